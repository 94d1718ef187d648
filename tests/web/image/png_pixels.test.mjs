// PNG files of every kind against nss.photos, which reads them by Pillow.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { ImageError, decode } from '../../../web/image/decode.mjs';

const FOLDER = process.env.PHOTOS;
const known = JSON.parse(fs.readFileSync(path.join(FOLDER, 'reference.json'), 'utf8'));
const read = name => fs.readFileSync(path.join(FOLDER, name));

for (const [name, reference] of Object.entries(known)) {
  test(name, async () => {
    const photo = await decode(new Blob([read(name)]), { name });
    assert.deepEqual([photo.width, photo.height], [reference.width, reference.height]);
    assert.equal(Buffer.compare(Buffer.from(photo.rgba.buffer), read(`${name}.rgba`)), 0, 'the same pixels');
    assert.equal(Buffer.compare(Buffer.from(photo.icc ?? []), read(`${name}.icc`)), 0, 'the same profile');
    assert.equal(photo.opaque, reference.opaque);
    assert.deepEqual(photo.notes, reference.notes);
  });
}
