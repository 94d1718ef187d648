// The refinement of masks, against what nss computed (test_refine.py).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { halfKernel } from '../../../web/image/gaussian.mjs';
import { naturalRadius } from '../../../web/image/guided.mjs';
import { check, DEFAULTS, refine } from '../../../web/image/refine.mjs';
import { casesOf, farthest, maskOf, photoOf } from './cases.mjs';

// Comparisons and whole counts are exact. The blur sums in double precision where nss sums in float32, and the guided
// filter's slopes are large where colours hardly vary, which nss evaluates in float32.
const TOLERANCE = {
  black: 0, drop_islands: 0, fill_holes: 0, expand: 0, feather: 1e-6, smooth: 7e-6, guided: 1e-5,
};

for (const step of Object.keys(TOLERANCE)) {
  test(`${step} gives what it gives in nss`, () => {
    for (const { name, settings, mask, rgba, result } of casesOf('step').filter(each => step in each.settings)) {
      const given = maskOf(mask);
      const refined = refine(given, photoOf(rgba, true), settings);
      const apart = farthest(refined.data, result.data);
      assert.ok(apart <= TOLERANCE[step], `${name}: ${apart}`);
      assert.equal(farthest(given.data, mask.data), 0, `${name} changed the mask that it was given`);
    }
  });
}

test('all steps together, on a mask that is enlarged', () => {
  for (const { name, settings, raw, rgba, result } of casesOf('whole')) {
    const refined = refine(maskOf(raw), photoOf(rgba, true), settings);
    assert.equal(refined.data.length, result.data.length);
    // a level, and whether an area counts, turn on the last bit: where one falls otherwise its area shows
    let apart = 0;
    for (let at = 0; at < result.data.length; at++) if (Math.abs(refined.data[at] - result.data[at]) > 1e-5) apart++;
    assert.ok(apart <= result.data.length * 1e-3, `${name}: ${apart} pixels`);
  }
});

test('nothing is done, and nothing copied, at the defaults', () => {
  const [{ mask, rgba }] = casesOf('step').slice(-1);
  const given = maskOf(mask);
  assert.equal(refine(given, photoOf(rgba, true), {}), given);
  assert.equal(refine(given, photoOf(rgba, true), DEFAULTS), given);
});

test('a constant mask stays as it is to the bit', () => {
  const photo = { name: 'a', width: 70, height: 41, rgba: new Uint8Array(70 * 41 * 4), opaque: true, icc: null };
  for (const value of [0, Math.fround(0.3), 1]) {
    const mask = { width: 70, height: 41, data: new Float32Array(70 * 41).fill(value) };
    const refined = refine(mask, photo, { smooth: 3, expand: 2, feather: 5, guided: 4 });
    assert.ok(refined.data.every(each => each === value));
  }
});

test('the weights of the blur, and the radius for an enlarged mask, are those of nss', () => {
  for (const { name, sigma, weights } of casesOf('kernel')) {
    assert.equal(farthest(Float32Array.from(halfKernel(sigma)), weights.data), 0, name);
  }
  for (const { size, radius } of casesOf('natural radius')) {
    assert.equal(naturalRadius({ height: size[0], width: size[1] }, { height: 64, width: 32 }), radius);
  }
});

test('a setting out of its range is refused in the words of nss', () => {
  for (const { name, settings } of casesOf('wrong')) {
    assert.throws(() => check(settings), error => {
      assert.equal(error.name, 'ImageError');
      assert.equal(error.message.replace('square pixels', 'pixels'), name.replace('square pixels', 'pixels'));
      return true;
    });
  }
  assert.throws(() => check({ smooth: NaN }), /'smooth' .*a number is possible/);
  assert.throws(() => check(/** @type {any} */ ({ soften: 2 })), /'soften' is no step/);
});

test('a signal stops it', () => {
  const [{ mask, rgba }] = casesOf('step').slice(-1);
  const signal = AbortSignal.abort();
  assert.throws(() => refine(maskOf(mask), photoOf(rgba, true), { feather: 2 }, { signal }), { name: 'AbortError' });
});
