// A network's mask at the photo's size: whole, or row by row where the whole need not be held.
import { arrayRows, resampledRows } from './resample.mjs';

/** @typedef {import('./photo.mjs').Mask} Mask */

/**
 * The rows of a mask at another size, clipped to 0..1; each holds until the next one is asked for.
 *
 * Bilinear with half-pixel centres; where the photo is smaller than the mask the filter widens, so that edges do not
 * turn into steps.
 * @param {Mask} mask
 * @param {number} width
 * @param {number} height
 * @returns {(y: number) => Float32Array}
 */
export function enlargedRows(mask, width, height) {
  const own = arrayRows(mask.data, mask.height, mask.width, 1);
  const rows = resampledRows(own, height, width, 'bilinear-antialias');
  const out = new Float32Array(width);
  return y => {
    const row = rows.row(y);
    for (let x = 0; x < width; x++) {
      const value = row[x];
      out[x] = value < 0 ? 0 : value > 1 ? 1 : value;
    }
    return out;
  };
}

/**
 * A mask at another size, clipped to 0..1, as a new one.
 * @param {Mask} mask finite, as `networkMask` gives it
 * @param {number} width
 * @param {number} height
 * @returns {Mask}
 */
export function enlarge(mask, width, height) {
  const row = enlargedRows(mask, width, height);
  const data = new Float32Array(width * height);
  for (let y = 0; y < height; y++) data.set(row(y), y * width);
  return { width, height, data };
}
