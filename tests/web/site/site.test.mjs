// A site out of the command, under the headers that docs/web.md recommends: its files are those of site.json, and its
// model gives ONNX Runtime's mask.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { launch, serve, visit } from '../harness.mjs';

const { NSS_SITE: SITE = '', NSS_FOLDER: FOLDER = '', NSS_POLICY: POLICY = '' } = process.env;

/** How far the mask, 0 to 1, may be from ONNX Runtime's with float16 weights; 1.5e-3 was measured. */
const TOLERANCE = 5e-3;

/** @param {string} name */
const floats = name => {
  const bytes = fs.readFileSync(path.join(FOLDER, name));
  return Array.from(new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)));
};

let server;
let browser;

before(async () => {
  server = await serve({ '/site/': SITE }, { headers: {
    'content-security-policy': POLICY, 'x-content-type-options': 'nosniff',
  } });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
});

test('every file is served as site.json has it', async () => {
  const record = await (await fetch(`${server.url}site/site.json`)).json();
  const files = [...record.files, ...record.models.flatMap(model => model.files)];
  assert.ok(files.length > 10);
  for (const { path: name, bytes, sha256 } of files) {
    const response = await fetch(`${server.url}site/${name}`);
    const content = Buffer.from(await response.arrayBuffer());
    assert.equal(response.status, 200, name);
    assert.equal(content.length, bytes, name);
    assert.equal(createHash('sha256').update(content).digest('hex'), sha256, name);
    if (name.endsWith('.mjs')) assert.equal(response.headers.get('content-type'), 'text/javascript', name);
  }
});

test('its model gives the mask of ONNX Runtime', async () => {
  const page = await visit(browser, server.url);
  const output = await page.evaluate(async photo => {
    const record = await (await fetch('/site/site.json')).json();
    const [{ folder }] = record.models;
    const { open } = await import('/site/runner/index.mjs');
    const model = await open(`/site/${folder}`, { allowSoftware: true });
    const [input] = model.inputs;
    const outputs = await model.run({ [input.name]: new Float32Array(photo) });
    const [height, width] = model.metadata.interface.size;
    model.close();
    return { mask: Array.from(outputs[model.outputs[0].name]), size: [height, width], shape: input.shape };
  }, floats('photo.f32'));
  const mask = floats('mask.f32');
  assert.deepEqual(output.shape, [1, 3, ...output.size]);
  assert.equal(output.mask.length, mask.length);
  const difference = Math.max(...mask.map((value, index) => Math.abs(value - output.mask[index])));
  assert.ok(difference <= TOLERANCE, `off by ${difference}`);
});
