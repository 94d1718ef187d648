// The alpha of a cut-out: its mask, or what that leaves, times the photo's own alpha; row by row, so that of a mask at
// the network's size no whole one is made.
import { enlargedRows } from './enlarge.mjs';
import { rint } from './photo.mjs';

/** @typedef {import('./photo.mjs').Area} Area */
/** @typedef {import('./photo.mjs').Mask} Mask */
/** @typedef {import('./photo.mjs').Photo} Photo */

/** What a pixel's alpha must reach to belong to the subject that a picture is cropped to: below is haze. */
const CROP_ALPHA = Math.fround(0.05);

/** What the 256 levels of a photo's own alpha count, as float32. */
const OWN = Float32Array.from({ length: 256 }, (_, level) => level * Math.fround(1 / 255));

/**
 * The rows of a cut-out's alpha, 0 to 1; each holds until the next one is asked for. They are made at best from the
 * top.
 * @param {Photo} photo
 * @param {Mask} mask at the photo's size, or at another one, as the network's, from which it is enlarged
 * @param {boolean} invert alpha is what the mask leaves
 * @returns {(y: number) => Float32Array}
 */
export function alphaRows({ rgba, width, height, opaque }, mask, invert) {
  const isWhole = mask.width === width && mask.height === height;
  const rows = isWhole ? null : enlargedRows(mask, width, height);
  const out = new Float32Array(width);
  return y => {
    const row = rows ? rows(y) : mask.data.subarray(y * width, (y + 1) * width);
    if (opaque && !invert) return row;
    const at = 4 * y * width + 3;
    for (let x = 0; x < width; x++) {
      const kept = invert ? Math.fround(1 - row[x]) : row[x];
      out[x] = opaque ? kept : kept * OWN[rgba[at + 4 * x]];
    }
    return out;
  };
}

/**
 * The rows and columns that hold the subject, and `padding` pixels around it as far as the photo goes.
 * @param {Photo} photo
 * @param {(y: number) => Float32Array} alpha its rows
 * @param {number} padding in pixels
 * @returns {Area | null} null where there is none
 */
export function subject({ width, height }, alpha, padding) {
  let [top, bottom, left, right] = [height, 0, width, 0];
  for (let y = 0; y < height; y++) {
    const row = alpha(y);
    let first = 0;
    while (first < width && !(row[first] >= CROP_ALPHA)) first++;
    if (first === width) continue;
    let last = width - 1;
    while (!(row[last] >= CROP_ALPHA)) last--;
    top = Math.min(top, y);
    bottom = y + 1;
    left = Math.min(left, first);
    right = Math.max(right, last + 1);
  }
  if (bottom === 0) return null;
  return {
    top: Math.max(0, top - padding),
    bottom: Math.min(bottom + padding, height),
    left: Math.max(0, left - padding),
    right: Math.min(right + padding, width),
  };
}

/**
 * The alpha channel alone, rounded to nearest, ties to even.
 * @param {Photo} photo
 * @param {Mask} mask at the photo's size or the network's
 * @param {{ bits?: 8 | 16, invert?: boolean, crop?: number | null, signal?: AbortSignal }} [options] `crop`: pixels to
 *   leave around the subject
 * @returns {{ width: number, height: number, data: Uint8Array | Uint16Array }}
 */
export function maskLevels(photo, mask, { bits = 8, invert = false, crop = null, signal } = {}) {
  const rows = alphaRows(photo, mask, invert);
  const whole = { top: 0, bottom: photo.height, left: 0, right: photo.width };
  const area = (crop === null ? null : subject(photo, rows, crop)) ?? whole;
  const width = area.right - area.left;
  const height = area.bottom - area.top;
  const data = bits === 16 ? new Uint16Array(width * height) : new Uint8Array(width * height);
  const white = bits === 16 ? 65535 : 255;
  for (let y = 0; y < height; y++) {
    if (y % 256 === 0) signal?.throwIfAborted();
    const row = rows(area.top + y);
    for (let x = 0, at = y * width; x < width; x++, at++) data[at] = rint(Math.fround(row[area.left + x] * white));
  }
  return { width, height, data };
}
