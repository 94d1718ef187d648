// The models MODELS/NAME in Chromium, on one input: their outputs are the same, bit by bit.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { launch, serve, visit } from '../harness.mjs';

const HERE = import.meta.dirname;

test(process.env.NAMES, async t => {
  const runner = path.join(HERE, '../../../web/runner');
  const server = await serve({ '/runner/': runner, '/tests/': HERE, '/models/': process.env.MODELS });
  t.after(() => server.close());
  const browser = await launch();
  t.after(() => browser.close());
  const page = await visit(browser, server.url);
  const outputs = [];
  for (const name of process.env.NAMES.split(' ')) {
    outputs.push(await page.evaluate(async name => {
      const { open } = await import('/runner/index.mjs');
      const { read } = await import('/tests/arrays.mjs');
      const model = await open(`/models/${name}/model`, { allowSoftware: true });
      const outputs = await model.run(await read(`/models/${name}/inputs.json`));
      model.close();
      return Object.values(outputs).map(array => Array.from(array));
    }, name));
  }
  assert.ok(outputs[0][0].length && outputs.length > 1);
  for (const other of outputs.slice(1)) assert.deepEqual(other, outputs[0]);
});
