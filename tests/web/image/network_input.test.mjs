// Resampling, the network's input and its mask, against what nss computed (test_network_input.py).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkMask, nothingFound, rangeNote } from '../../../web/image/network_mask.mjs';
import { inputSize, prepare } from '../../../web/image/prepare.mjs';
import { enlarge } from '../../../web/image/enlarge.mjs';
import { lineWeights, resize } from '../../../web/image/resample.mjs';
import { visibleRows } from '../../../web/image/visible.mjs';
import { casesOf, countDifferent, farthest, maskOf, photoOf } from './cases.mjs';

/** The weights of one line over all `old` lines. */
function spread({ first, counts, weights, taps }, line, old) {
  const out = new Float32Array(old);
  out.set(weights.subarray(line * taps, line * taps + counts[line]), first[line]);
  return out;
}

test('the weights of lines are those of nss', () => {
  for (const { name, filter, old, new: length, first, counts, weights } of casesOf('weights')) {
    const found = lineWeights(old, length, filter);
    assert.equal(found.source, old);
    assert.equal(found.weights.length, length * found.taps, name);
    // a tap of 1e-17 at the filter's very end may be one's alone, so lines are compared weight by weight
    const expected = { first: first.data, counts: counts.data, weights: weights.data, taps: weights.shape[1] };
    for (let line = 0; line < length; line++) {
      const apart = farthest(spread(found, line, old), spread(expected, line, old));
      assert.ok(apart <= 1e-7, `${name}: ${apart} in line ${line}`);
    }
  }
});

test('resized arrays are within 5e-6 of those of nss', () => {
  for (const { name, filter, x, result } of casesOf('resize')) {
    const [height, width, channels] = x.shape;
    const found = resize(x.data, height, width, channels, result.shape[0], result.shape[1], filter);
    const apart = farthest(found, result.data) / 255;
    assert.ok(apart <= (filter === 'nearest' ? 0 : 5e-6), `${name}: ${apart}`);
  }
});

test('the network gets what it gets of nss', () => {
  for (const { name, interface: face, rgba, opaque, result } of casesOf('prepare')) {
    const photo = photoOf(rgba, opaque);
    const { data, shape } = prepare(photo, face);
    assert.deepEqual(shape, result.shape, name);
    const apart = farthest(data, result.data);
    if (face.dtype === 'uint8') {
      assert.ok(data instanceof Uint8Array);
      assert.ok(apart <= 1 && countDifferent(data, result.data) <= data.length * 1e-3, `${name}: ${apart}`);
    } else {
      // 3e-6 of 0..1 before it is divided by the deviation; a rounding to float16 may fall to the other side
      const tolerance = 3e-6 / Math.min(...face.std) + (face.dtype === 'float16' ? 6e-4 : 0);
      assert.ok(apart <= tolerance, `${name}: ${apart}`);
      if (face.dtype === 'float16') {
        assert.ok(countDifferent(data, result.data) <= Math.max(1, data.length * 0.01), name);
      }
    }
  }
});

test('a network of one size gets that, and an input that is too large is refused', () => {
  const [{ rgba, opaque, interface: face }] = casesOf('prepare');
  const photo = photoOf(rgba, opaque);
  assert.deepEqual(prepare(photo, face, { size: [8, 24] }).shape, [1, 3, 8, 24]);
  const flat = { ...photo, width: 60_000, height: 1 };
  assert.throws(() => inputSize(flat, { ...face, size: { shortest_edge: 512 } }), /photo.png: 'size' .*too large/);
  assert.throws(() => prepare(photo, { ...face, mean: [1, 2] }), /'mean' has 2 numbers/);
  assert.throws(() => prepare(photo, { ...face, filter: /** @type {any} */ ('area') }), /'filter' "area"/);
  assert.throws(() => prepare(photo, face, { signal: AbortSignal.abort() }), { name: 'AbortError' });
});

test('transparent photos are laid over the same backdrop', () => {
  for (const { name, rgba, result } of casesOf('visible')) {
    const rows = visibleRows(photoOf(rgba, false));
    const found = new Uint8Array(result.data.length);
    for (let y = 0; y < rows.height; y++) {
      const row = rows.row(y);
      for (let x = 0; x < rows.width; x++) found.set(row.subarray(4 * x, 4 * x + 3), 3 * (y * rows.width + x));
    }
    assert.equal(countDifferent(found, result.data), 0, name);
  }
});

test('outputs of any form become the mask that nss makes of them', () => {
  for (const { name, interface: face, output, dtype, result } of casesOf('mask')) {
    const mask = networkMask(output.data, output.shape, dtype, face);
    assert.deepEqual([mask.height, mask.width], result.shape, name);
    const apart = farthest(mask.data, result.data);
    assert.ok(apart <= 1e-6, `${name}: ${apart}`);
  }
});

test('an output that holds no mask is refused in the words of nss', () => {
  for (const { name, interface: face, shape, dtype } of casesOf('no mask')) {
    const count = shape.reduce((product, side) => product * side, 1);
    const beginning = name.slice(0, name.indexOf(';'));
    assert.throws(() => networkMask(new Float32Array(count), shape, dtype, face), error => {
      const message = String(error.message).replaceAll(/\[[^\]]*\]/g, '[]');
      return message.startsWith(`the model ${beginning}`.replaceAll(/\[[^\]]*\]/g, '[]')) || assert.fail(message);
    });
  }
});

test('NaN, and one value everywhere, are errors; numbers out of 0..1 are said', () => {
  const [{ interface: face, output, dtype }] = casesOf('mask');
  const bad = output.data.slice();
  bad[7] = NaN;
  assert.throws(() => networkMask(bad, output.shape, dtype, face, { name: 'a.jpg' }), /^ImageError: a.jpg: .*NaN/);
  bad.fill(0.25);
  assert.throws(() => networkMask(bad, output.shape, dtype, face), /no structure in this photo: its mask is 0.25/);
  bad.fill(1);
  assert.equal(rangeNote(networkMask(bad, output.shape, dtype, face)), null);
  bad.fill(3);
  assert.match(rangeNote(networkMask(bad, output.shape, dtype, face)) ?? '', /no mask in 0..1/);
});

test('masks are enlarged, and judged, as nss does', () => {
  for (const { name, raw, rgba, opaque, note, enlarged } of casesOf('note')) {
    const photo = photoOf(rgba, opaque);
    const mask = enlarge(maskOf(raw), photo.width, photo.height);
    assert.ok(farthest(mask.data, enlarged.data) <= 1e-6, name);
    assert.equal(nothingFound(maskOf(raw), photo), note, name);
    assert.equal(nothingFound(mask, photo), note, `${name}, enlarged`);
  }
});
