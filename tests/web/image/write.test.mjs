// Pictures written and read again in Chromium's own worker, with its own compression.
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch, serve, visit } from '../harness.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const { width, height, formats } = JSON.parse(process.env.PICTURE);

test(`${width} x ${height} as ${formats}`, async () => {
  const server = await serve({ '/image/': path.join(HERE, '../../../web/image'), '/tests/': HERE });
  const browser = await launch({ webgpu: false });
  try {
    const page = await visit(browser, server.url);
    const answer = await page.evaluate(request => new Promise((resolve, reject) => {
      const worker = new Worker('/tests/write_worker.mjs', { type: 'module' });
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
      worker.postMessage(request);
    }), { width, height, formats });
    assert.equal(answer.error, undefined);
    for (const format of formats) {
      console.log(`${format}: ${JSON.stringify(answer[format])}`);
      assert.equal(answer[format].differ, 0, `${format}: samples that differ`);
      assert.equal(answer[format].profile, true);
      assert.deepEqual(answer[format].notes, []);
    }
    // two local headers of 30 bytes, two of the directory of 46, an end of 22, and the names a and "a (2)" twice
    assert.equal(answer.archive, 2 * 30 + 2 * 46 + 22 + 2 * 6);
  } finally {
    await browser.close();
    await server.close();
  }
});
