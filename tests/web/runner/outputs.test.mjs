// Models run in Chromium, each MODELS/NAME: its outputs against what expected.json says, to LIMITS, a number for
// each output, and for all others that of "*".
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launch, serve, visit } from '../harness.mjs';

const HERE = import.meta.dirname;
let server, browser, page;

before(async () => {
  const runner = path.join(HERE, '../../../web/runner');
  server = await serve({ '/runner/': runner, '/tests/': HERE, '/models/': process.env.MODELS });
  browser = await launch();
  page = await visit(browser, server.url);
});

after(async () => {
  await browser?.close();
  await server?.close();
});

for (const name of process.env.NAMES.split(' ')) {
  test(name, async () => {
    const { differences, inputs } = await page.evaluate(async name => {
      const { open } = await import('/runner/index.mjs');
      const { read, differences } = await import('/tests/arrays.mjs');
      const base = `/models/${name}/`;
      const model = await open(`${base}model`, { allowSoftware: true });
      const outputs = await model.run(await read(`${base}inputs.json`));
      model.close();
      return { differences: differences(outputs, await read(`${base}expected.json`)), inputs: model.inputs };
    }, name);
    const limits = JSON.parse(process.env.LIMITS);
    assert.ok(Object.keys(differences).length && inputs.length);
    for (const [output, difference] of Object.entries(differences)) {
      assert.ok(difference <= (limits[output] ?? limits['*']), `${output}: ${difference} from what it should be`);
    }
    assert.deepEqual(page.messages, []);
  });
}
