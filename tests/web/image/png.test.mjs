// PNG files for Pillow to open, and what is refused.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { decode } from '../../../web/image/decode.mjs';
import { encodePng } from '../../../web/image/png.mjs';

const FOLDER = process.env.PICTURES;
const sizes = JSON.parse(fs.readFileSync(path.join(FOLDER, 'pictures.json'), 'utf8'));
const icc = new Uint8Array(fs.readFileSync(path.join(FOLDER, 'profile.icc')));

for (const [name, { bits, ...size }] of Object.entries(sizes)) {
  test(name, async () => {
    const bytes = new Uint8Array(fs.readFileSync(path.join(FOLDER, `${name}.raw`)));
    const data = bits === 16 ? new Uint16Array(bytes.buffer) : bytes;
    const blob = await encodePng({ ...size, bits, data, icc: size.channels > 1 ? icc : null });
    assert.equal(blob.type, 'image/png');
    fs.writeFileSync(path.join(FOLDER, `${name}.png`), Buffer.from(await blob.arrayBuffer()));
    if (bits === 8 && size.channels === 4) {
      const again = await decode(blob);
      assert.equal(Buffer.compare(Buffer.from(again.rgba.buffer), Buffer.from(bytes)), 0);
    }
  });
}

test('rows longer than what is filtered at a time', async () => {
  const width = 700_000, data = Uint8Array.from({ length: width * 3 }, (_, at) => at * at >> 9);
  const photo = await decode(await encodePng({ width, height: 1, channels: 3, data }));
  assert.equal(photo.width, width);
  assert.ok(data.every((sample, at) => photo.rgba[4 * Math.floor(at / 3) + at % 3] === sample));
});

test('more than one chunk', async () => {
  const width = 1500, height = 1200, data = new Uint8Array(width * height);
  for (let at = 0, seed = 1; at < data.length; at++) data[at] = (seed = Math.imul(seed, 1103515245) + 12345) >>> 16;
  const blob = await encodePng({ width, height, channels: 1, data });
  const photo = await decode(blob);
  assert.ok(data.every((sample, at) => photo.rgba[4 * at] === sample));
});

test('what does not fit is refused', async () => {
  const data = new Uint8Array(12);
  await assert.rejects(encodePng({ width: 0, height: 1, channels: 4, data }), /0 x 1 pixels cannot be written/);
  await assert.rejects(encodePng({ width: 2, height: 3, channels: 2, data }), /2 channels/);
  await assert.rejects(encodePng({ width: 2, height: 3, channels: 4, data }), /12 samples are not those of 2 x 3/);
  await assert.rejects(encodePng({ width: 2, height: 2, channels: 3, data, bits: 16 }), /come in a Uint16Array/);
  await assert.rejects(encodePng({ width: 2, height: 2, channels: 3, data, bits: 4 }), /4 bits/);
});

test('stops when it is told to', async () => {
  const width = 2000, height = 2000, data = new Uint8Array(width * height * 4);
  const controller = new AbortController(), { signal } = controller;
  let looks = 0;
  signal.throwIfAborted = () => {
    if ((looks += 1) === 3) controller.abort(); // in the midst of its rows
    AbortSignal.prototype.throwIfAborted.call(signal);
  };
  await assert.rejects(encodePng({ width, height, channels: 4, data }, { signal }), { name: 'AbortError' });
  assert.ok(looks < 9, `${looks} looks`);
});
