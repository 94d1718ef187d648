// Strokes of a brush, against what test_strokes.py computed of all distances.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyStrokes } from '../../../web/image/strokes.mjs';
import { casesOf, farthest, maskOf } from './cases.mjs';

test('strokes cover what they should', () => {
  for (const { name, mask, strokes, place, result } of casesOf('strokes')) {
    const painted = maskOf(mask);
    assert.equal(applyStrokes(painted, strokes, place), painted);
    const apart = farthest(painted.data, result.data);
    assert.ok(apart <= 1e-5, `${name}: ${apart}`);
  }
});

test('strokes keep to their order, and a stroke that crosses itself counts once', () => {
  const blank = () => ({ width: 40, height: 40, data: new Float32Array(1600).fill(1) });
  const erase = { mode: /** @type {const} */ ('erase'), size: 20, hardness: 0, points: [[20, 20], [20, 20.01]] };
  const once = applyStrokes(blank(), [erase]).data;
  const crossing = { ...erase, points: [...erase.points, ...erase.points, ...erase.points] };
  assert.ok(farthest(applyStrokes(blank(), [crossing]).data, once) < 1e-3);
  assert.ok(once[20 * 40 + 25] > 0 && once[20 * 40 + 25] < 1);
  assert.equal(once[20 * 40 + 31], 1);
  const restore = { ...erase, mode: /** @type {const} */ ('restore'), hardness: 1 };
  assert.equal(applyStrokes(blank(), [erase, restore]).data[20 * 40 + 20], 1);
  assert.ok(applyStrokes(blank(), [restore, erase]).data[20 * 40 + 20] < 0.1);
  assert.deepEqual(applyStrokes(blank(), [{ ...erase, points: [] }]).data, blank().data);
});
