// WebP files for Pillow to open, and what is refused.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { encodeWebp } from '../../../web/image/webp.mjs';

const FOLDER = process.env.PICTURES;
const sizes = JSON.parse(fs.readFileSync(path.join(FOLDER, 'pictures.json'), 'utf8'));
const icc = new Uint8Array(fs.readFileSync(path.join(FOLDER, 'profile.icc')));

for (const [name, { width, height, channels }] of Object.entries(sizes)) {
  test(name, async () => {
    const data = new Uint8Array(fs.readFileSync(path.join(FOLDER, `${name}.raw`)));
    for (const [suffix, profile] of [['', null], ['-profile', icc]]) {
      const blob = await encodeWebp({ width, height, channels, data, icc: profile });
      assert.equal(blob.type, 'image/webp');
      fs.writeFileSync(path.join(FOLDER, `${name}${suffix}.webp`), Buffer.from(await blob.arrayBuffer()));
    }
  });
}

test('what does not fit is refused', async () => {
  const data = new Uint8Array(16384);
  await assert.rejects(encodeWebp({ width: 16384, height: 1, channels: 1, data }), /at most 16383 pixels a side/);
  await assert.rejects(encodeWebp({ width: 2, height: 1, channels: 1, data }), /16384 samples are not those of 2 x 1/);
});

test('stops when it is told to', async () => {
  const side = 2000, data = new Uint8Array(side * side);
  const controller = new AbortController();
  const writing = encodeWebp({ width: side, height: side, channels: 1, data }, { signal: controller.signal });
  setTimeout(() => controller.abort(), 0);
  await assert.rejects(writing, { name: 'AbortError' });
});
