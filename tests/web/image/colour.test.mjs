// Colours between profiles, against what LittleCMS made of them (test_colour.py).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toProfile } from '../../../web/image/colour.mjs';
import { compose } from '../../../web/image/compose.mjs';
import { casesOf } from './cases.mjs';

test('colours are converted as by LittleCMS', () => {
  for (const { name, colours, source, target, result } of casesOf('colours')) {
    const count = colours.data.length / 3;
    const rgba = new Uint8ClampedArray(4 * count);
    for (let pixel = 0; pixel < count; pixel++) {
      for (let i = 0; i < 3; i++) rgba[4 * pixel + i] = colours.data[3 * pixel + i];
      rgba[4 * pixel + 3] = 77;
    }
    const notes = [];
    toProfile(source?.data ?? null, target?.data ?? null, notes)?.(rgba);
    assert.deepEqual(notes, []);
    const off = [0, 0, 0, 0, 0];
    for (let pixel = 0; pixel < count; pixel++) {
      assert.equal(rgba[4 * pixel + 3], 77);
      for (let i = 0; i < 3; i++) off[Math.abs(rgba[4 * pixel + i] - result.data[3 * pixel + i])]++;
    }
    // LittleCMS reckons with 14 bits behind the point, which a pure power makes some levels of near black
    assert.equal(off.length, 5, `${name}: ${off}`);
    assert.ok(off[1] <= 0.05 * 3 * count && off[2] + off[3] + off[4] <= 0.001 * 3 * count, `${name}: ${off}`);
  }
});

test('a profile that cannot be used is said, and the colours are left', () => {
  const rgba = Uint8Array.from([1, 2, 3, 255]);
  const mask = { width: 1, height: 1, data: Float32Array.of(0) };
  for (const { name, icc } of casesOf('broken')) {
    const photo = { name, width: 1, height: 1, rgba, opaque: true, icc: icc.data };
    const { data, notes, icc: kept } = compose(photo, mask, { background: { colour: [255, 0, 0, 255] } });
    assert.deepEqual([...data], [255, 0, 0], name);
    assert.deepEqual(notes, ["the colours of the background could not be converted to the photo's profile"], name);
    assert.equal(kept, icc.data);
  }
});

test('a background is put into the colours of the photo', () => {
  const { target } = casesOf('colours').find(each => each.name === 'P3, to') ?? assert.fail();
  const mask = { width: 1, height: 1, data: Float32Array.of(0) };
  const photo = { name: 'p', width: 1, height: 1, rgba: new Uint8Array(4), opaque: true, icc: target.data };
  const red = compose(photo, mask, { background: { colour: [255, 0, 0, 255] } }).data;
  assert.ok(Math.abs(red[0] - 234) <= 1 && Math.abs(red[1] - 51) <= 1 && Math.abs(red[2] - 35) <= 1, String(red));
  const image = { name: 'i', width: 1, height: 1, rgba: Uint8Array.of(255, 0, 0, 0), opaque: true, icc: null };
  assert.deepEqual(compose(photo, mask, { background: { image } }).data, red);
  const own = compose(photo, mask, { background: { image: { ...image, icc: target.data.slice() } } });
  assert.deepEqual([...own.data], [255, 0, 0]);
});
