// What the browser decodes, against nss.photos; in a worker.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test, { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch, serve, visit } from '../harness.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const FOLDER = process.env.PHOTOS;
const known = JSON.parse(fs.readFileSync(path.join(FOLDER, 'reference.json'), 'utf8'));
let server, browser, page;

before(async () => {
  server = await serve({
    '/image/': path.join(HERE, '../../../web/image'), '/photos/': FOLDER, '/tests/': HERE,
  });
  browser = await launch({ webgpu: false });
  page = await visit(browser, server.url);
  await page.evaluate(() => { globalThis.worker = new Worker('/tests/decode_worker.mjs', { type: 'module' }); });
});
after(async () => {
  await browser?.close();
  await server?.close();
});

const decode = request => page.evaluate(request => new Promise((resolve, reject) => {
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = ({ message }) => reject(new Error(message));
  worker.postMessage(request);
}), request);

for (const [name, reference] of Object.entries(known)) {
  if (reference.error) continue;
  test(name, async () => {
    const photo = await decode({ name, compare: true });
    assert.equal(photo.error, undefined);
    assert.deepEqual([photo.width, photo.height, photo.length], [reference.width, reference.height, true]);
    assert.deepEqual([photo.colours, photo.levels], [[0, 0], [0, 0]], 'pixels that differ, and by how much');
    assert.equal(photo.profile, true, 'the same profile');
    assert.equal(photo.opaque, reference.opaque);
    assert.deepEqual(photo.notes, reference.notes);
  });
}

for (const name of Object.keys(known).filter(each => known[each].error)) {
  test(name, async () => {
    const { error, kind } = await decode({ name });
    assert.equal(kind, 'ImageError');
    assert.ok(error.startsWith(`${name}: `));
    assert.match(error, /: (truncated or damaged [A-Za-z]+ image|this browser does not decode HEIC)/);
  });
}

test('stops when it is told to', async () => {
  assert.equal((await decode({ name: '444.jpg', abort: true })).kind, 'AbortError');
  assert.equal((await decode({ name: '444.jpg' })).error, undefined);
});
