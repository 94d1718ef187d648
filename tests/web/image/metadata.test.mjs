// Orientation and profiles, without pixels.
import assert from 'node:assert/strict';
import test from 'node:test';
import { crc32 } from '../../../web/image/crc.mjs';
import { joinProfile, profileOfRgb } from '../../../web/image/icc.mjs';
import { orientation, placement } from '../../../web/image/orientation.mjs';

/** An EXIF block of one tag. */
function exif(value, { little = true, type = 3, tag = 0x112, before = '' } = {}) {
  const bytes = new Uint8Array(26), view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode(little ? 'II' : 'MM'));
  view.setUint16(2, 42, little);
  view.setUint32(4, 8, little);
  view.setUint16(8, 1, little);
  view.setUint16(10, tag, little);
  view.setUint16(12, type, little);
  view.setUint32(14, 1, little);
  if (type === 4) view.setUint32(18, value, little);
  else view.setUint16(18, value, little);
  return Uint8Array.from([...new TextEncoder().encode(before), ...bytes]);
}

test('orientation', () => {
  const xmp = new TextEncoder().encode('<x tiff:Orientation="5">');
  assert.equal(orientation(null), 1);
  for (const little of [true, false]) {
    for (const type of [3, 4]) {
      for (let value = 1; value <= 8; value++) assert.equal(orientation(exif(value, { little, type })), value);
    }
  }
  assert.equal(orientation(exif(6, { before: 'Exif\0\0' })), 6);
  assert.equal(orientation(exif(9)), 1);
  assert.equal(orientation(exif(0), xmp), 1, 'EXIF goes before XMP');
  assert.equal(orientation(exif(6, { tag: 0x100 }), xmp), 5);
  assert.equal(orientation(null, new TextEncoder().encode('<tiff:Orientation>7</tiff:Orientation>')), 7);
  for (let end = 0; end < 26; end++) assert.ok(orientation(exif(6).subarray(0, end)) <= 8);
});

test('each orientation puts every pixel in a place of its own', () => {
  for (let number = 1; number <= 8; number++) {
    const { width, height, origin, column, row } = placement(number, 3, 2);
    assert.deepEqual([width, height], number < 5 ? [3, 2] : [2, 3]);
    const places = [0, 1, 2].flatMap(x => [0, 1].map(y => origin + x * column + y * row));
    assert.deepEqual(places.sort((a, b) => a - b), [0, 1, 2, 3, 4, 5]);
  }
});

test('a profile in pieces', () => {
  const mark = new TextEncoder().encode('ICC_PROFILE\0');
  const piece = (number, count, ...content) => Uint8Array.from([...mark, number, count, ...content]);
  assert.equal(joinProfile([]), null);
  assert.deepEqual([...joinProfile([piece(2, 2, 3), piece(1, 2, 1, 2)])], [1, 2, 3]);
  assert.equal(joinProfile([piece(1, 3, 1), piece(2, 3, 2)]), null, 'one is missing');
  assert.equal(joinProfile([piece(1, 2, 1), piece(1, 2, 2)]), null, 'one comes twice');
});

test('only a profile for RGB is kept', () => {
  const profile = space => {
    const bytes = new Uint8Array(200);
    bytes.set(new TextEncoder().encode(space), 16);
    return bytes;
  };
  const rgb = profile('RGB ');
  assert.deepEqual(profileOfRgb(rgb, 'RGB'), { icc: rgb, notes: [] });
  assert.deepEqual(profileOfRgb(rgb, 'grey'), { icc: rgb, notes: [] });
  assert.equal(profileOfRgb(profile('GRAY'), 'grey').notes[0], 'greyscale converted to RGB without a profile');
  assert.equal(profileOfRgb(profile('GRAY'), 'RGB').notes[0], 'ICC profile dropped: not for RGB');
  assert.equal(profileOfRgb(profile('CMYK'), 'CMYK').notes[0], 'CMYK converted to RGB without a profile');
  assert.equal(profileOfRgb(new Uint8Array(20), 'RGB').icc, null);
  assert.deepEqual(profileOfRgb(null, 'RGB'), { icc: null, notes: [] });
});

test('check sums', () => {
  assert.equal(crc32(new TextEncoder().encode('123456789')), 0xcbf43926); // the value that all who name this sum give
  assert.equal(crc32(new TextEncoder().encode('6789'), crc32(new TextEncoder().encode('12345'))), 0xcbf43926);
  assert.equal(crc32(new Uint8Array(0)), 0);
});
