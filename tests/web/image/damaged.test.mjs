// What is no photo, or half of one: a sentence each, and never another error than that.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { identify, readContainer } from '../../../web/image/containers/identify.mjs';
import { Reader } from '../../../web/image/containers/reader.mjs';
import { ImageError, decode } from '../../../web/image/decode.mjs';

const FOLDER = process.env.PHOTOS;
const read = name => new Uint8Array(fs.readFileSync(path.join(FOLDER, name)));
const latin = text => Uint8Array.from(text, each => each.charCodeAt(0));

const REFUSED = {
  'nothing at all': ['', /the file is empty \(0 bytes\)/],
  'a text': ['hello', /is not an image that this page knows/],
  'a drawing': ['<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', /is a drawing \(SVG\)/],
  'TIFF': ['II*\0\x08\0\0\0', /is a TIFF image, which browsers do not decode; save it as PNG/],
  'JPEG 2000': ['\0\0\0\x0cjP  \r\n\x87\n', /is a JPEG 2000 image/],
  'PPM': ['P6\n1 1\n255\n...', /is a PPM image/],
  'half a signature': ['\x89PNG', /is not an image/],
  'PNG without chunks': ['\x89PNG\r\n\x1a\n', /damaged PNG image \(it has no header\)/],
};
for (const [what, [content, sentence]] of Object.entries(REFUSED)) {
  test(what, async () => {
    await assert.rejects(decode(new Blob([latin(content)]), { name: 'it.bin' }), error => {
      assert.ok(error instanceof ImageError);
      assert.match(error.message, sentence);
      assert.match(error.message, /^it\.bin: [^\n]+[^.]$/);
      return true;
    });
  });
}

test('more pixels than there may be are refused before they are decoded', async () => {
  const file = read('rgb.png');
  const view = new DataView(file.buffer);
  view.setUint32(16, 20_000);
  view.setUint32(20, 20_000);
  const { crc32 } = await import('../../../web/image/crc.mjs');
  view.setUint32(29, crc32(file.subarray(12, 29)));
  await assert.rejects(decode(new Blob([file])), /20000 x 20000 pixels are more than 268 megapixels; reduce it first/);
});

test('a JPEG that cannot hold its pixels', async () => {
  const file = read('444.jpg');
  const frame = file.findIndex((byte, at) => byte === 0xff && file[at + 1] === 0xc0);
  new DataView(file.buffer).setUint32(frame + 5, 16_000 << 16 | 16_000);
  await assert.rejects(decode(new Blob([file])), /16000 x 16000 pixels take at least [\d,]+ bytes, and it has/);
});

test('a PNG cut anywhere', async () => {
  const file = read('rgba.png');
  const whole = await decode(new Blob([file]));
  const ends = Array.from({ length: 60 }, (_, at) => 9 + Math.floor(at * (file.length - 9) / 64));
  for (const end of [...ends, ...[17, 18, 20].map(missing => file.length - missing)]) {
    await assert.rejects(decode(new Blob([file.subarray(0, end)])), { name: 'ImageError' }, `${end} bytes`);
  }
  const rest = await decode(new Blob([file.subarray(0, file.length - 12)])); // only the mark of the end is missing
  assert.deepEqual(rest.rgba, whole.rgba);
});

test('a PNG with a wrong byte among its pixels', async () => {
  const file = read('rgba.png');
  for (let at = 60; at < file.length - 16; at += file.length >> 5) {
    const damaged = file.slice();
    damaged[at] ^= 4;
    await assert.rejects(decode(new Blob([damaged])), { name: 'ImageError' }, `byte ${at}`);
  }
});

test('files with wrong bytes', async () => {
  let seed = 7;
  const random = most => (seed = Math.imul(seed, 1664525) + 1013904223 >>> 0) % most;
  let refused = 0;
  for (const name of fs.readdirSync(FOLDER).filter(each => /\.(png|jpg|webp|avif|gif|bmp)$/.test(each))) {
    const file = read(name);
    for (let round = 0; round < 40; round++) {
      const damaged = round % 4 ? file.slice() : file.slice(0, random(file.length));
      for (let count = random(6); count >= 0; count--) damaged[random(Math.min(damaged.length, 400))] = random(256);
      const blob = new Blob([damaged]);
      try {
        const format = identify(damaged.subarray(0, 64), name);
        if (format === 'PNG') await decode(blob, { name });
        else await readContainer(new Reader(blob), format, name);
      } catch (error) {
        assert.ok(error instanceof ImageError, `${name}, ${round}: ${error.stack}`);
        refused += 1;
      }
    }
  }
  assert.ok(refused > 100, `${refused} were refused`);
});
