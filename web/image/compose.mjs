// Mask and photo to the pixels of a file: colours at soft edges, what lies behind, and what is cut away.
import { alphaRows, maskLevels, subject } from './alpha.mjs';
import { behind, isNone } from './background.mjs';
import { bleed } from './bleed.mjs';
import { decontaminate } from './foreground.mjs';
import { ImageError } from './image_error.mjs';
import { viewOf } from './photo.mjs';

export { maskLevels };

/** @typedef {import('./background.mjs').Background} Background */
/** @typedef {import('./photo.mjs').Area} Area */
/** @typedef {import('./photo.mjs').Mask} Mask */
/** @typedef {import('./photo.mjs').Photo} Photo */

/**
 * What a file shows of a cut-out; what is left out has its default.
 * @typedef {object} Composition
 * @property {Background} [background] null: transparent
 * @property {boolean} [invert] keep what the mask removes
 * @property {number} [decontaminate] how far the colours of soft pixels go from the photo's to those of the foreground
 *   alone, 0 to 1
 * @property {'keep' | 'bleed' | 'zero'} [hidden] the colour of pixels with alpha 0: "keep" leaves the photo's, from
 *   which anyone can restore what was removed; "bleed" continues the edge's colours outwards; "zero" is black
 * @property {number | null} [crop] pixels to leave around the subject; null for the whole picture
 */

/**
 * The pixels of a file.
 * @typedef {object} Composed
 * @property {number} width
 * @property {number} height
 * @property {3 | 4} channels RGB, or RGBA with straight alpha
 * @property {Uint8Array} data height x width x channels
 * @property {Uint8Array | null} icc the profile of its colours
 * @property {Area} area where in the photo it lies
 * @property {string[]} notes what was decided on the way, one short phrase each
 */

/** Rows between two looks at the signal. */
const BAND = 256;

/**
 * Compose a cut-out. Beside the result no second copy of the photo is made.
 *
 * Without a background: colours as in the photo, alpha the mask times the photo's own, rounded once. On a colour whose
 * alpha is below 255: straight alpha too.
 * @param {Photo} photo
 * @param {Mask} mask at the photo's size; or as the network gave it, from which it is enlarged row by row
 * @param {Composition} [composition]
 * @param {{ signal?: AbortSignal }} [options]
 * @returns {Composed}
 * @throws {ImageError} a setting is out of its range
 */
export function compose(photo, mask, composition = {}, { signal } = {}) {
  const { background, invert, decontaminate: amount, hidden, crop } = check(composition);
  /** @type {string[]} */
  const notes = [];
  const rows = alphaRows(photo, mask, invert);
  const area = areaOf(photo, rows, crop, notes);
  const width = area.right - area.left;
  const height = area.bottom - area.top;
  const view = viewOf(photo, area);
  const whole = amount > 0 ? wholeAlpha(photo, mask, area, rows) : null;
  /** @param {number} y */
  const alpha = y => {
    if (whole) return whole.subarray(y * width, (y + 1) * width);
    const row = rows(area.top + y);
    return width === photo.width ? row : row.subarray(area.left, area.right);
  };
  const transparent = isNone(background);
  // decontaminated colours stand where the picture will, which is written over them from its beginning
  let data = new Uint8Array((transparent || amount > 0 ? 4 : 3) * width * height);
  let fore = view;
  if (transparent || amount > 0) copyColours(view, data);
  if (whole) {
    decontaminate(view, whole, amount, data, { signal });
    fore = { rgba: data, offset: 0, stride: width, width, height };
  }
  /** @type {3 | 4} */
  let channels = 4;
  if (transparent) {
    writeAlpha(data, width, height, alpha, hidden === 'zero', signal);
    if (hidden === 'bleed') bleed(data, width, height, { signal });
  } else {
    const back = behind(background, view, alpha, photo.icc, notes);
    if (back.opacity < 1) {
      if (!whole) data = new Uint8Array(4 * width * height);
      layOverTranslucent(fore, alpha, back, data, signal);
    } else {
      channels = 3;
      layOver(fore, alpha, back, data, signal);
      data = data.subarray(0, 3 * width * height);
    }
  }
  return { width, height, channels, data, icc: photo.icc, area, notes };
}

/**
 * @param {Composition} composition
 * @returns {Required<Composition>}
 */
function check(composition) {
  const { background = null, invert = false, decontaminate: amount = 0, hidden = 'keep', crop = null } = composition;
  if (!['keep', 'bleed', 'zero'].includes(hidden)) {
    throw new ImageError(`'hidden' ${JSON.stringify(hidden)}: one of keep, bleed, zero is possible`);
  }
  if (!(amount >= 0 && amount <= 1)) {
    throw new ImageError(`'decontaminate' ${amount}: an amount from 0 to 1 is possible`);
  }
  if (crop !== null && !(Number.isInteger(crop) && crop >= 0)) {
    throw new ImageError(`'crop' ${crop}: a padding of 0 pixels or more, a whole number, is possible`);
  }
  return { background, invert, decontaminate: amount, hidden, crop };
}

/**
 * @param {Photo} photo
 * @param {(y: number) => Float32Array} rows
 * @param {number | null} crop
 * @param {string[]} notes
 * @returns {Area}
 */
function areaOf(photo, rows, crop, notes) {
  const found = crop === null ? null : subject(photo, rows, crop);
  if (found) return found;
  if (crop !== null) notes.push('no subject was found to crop to; the whole picture was kept');
  return { top: 0, bottom: photo.height, left: 0, right: photo.width };
}

/**
 * The alpha of an area as one array: the mask's own where it is that.
 * @param {Photo} photo
 * @param {Mask} mask
 * @param {Area} area
 * @param {(y: number) => Float32Array} rows
 */
function wholeAlpha(photo, mask, area, rows) {
  const width = area.right - area.left;
  const height = area.bottom - area.top;
  if (rows(0).buffer === mask.data.buffer && width === photo.width && height === photo.height) return mask.data;
  const out = new Float32Array(width * height);
  for (let y = 0; y < height; y++) out.set(rows(area.top + y).subarray(area.left, area.right), y * width);
  return out;
}

/**
 * @param {import('./photo.mjs').View} view
 * @param {Uint8Array} out height x width x 4
 */
function copyColours({ rgba, offset, stride, width, height }, out) {
  for (let y = 0; y < height; y++) {
    const from = offset + 4 * y * stride;
    out.set(rgba.subarray(from, from + 4 * width), 4 * y * width);
  }
}

/**
 * @param {Uint8Array} data height x width x 4
 * @param {number} width
 * @param {number} height
 * @param {(y: number) => Float32Array} alpha
 * @param {boolean} zero write black where alpha is 0
 * @param {AbortSignal} [signal]
 */
function writeAlpha(data, width, height, alpha, zero, signal) {
  const levels = new Uint8ClampedArray(width); // which rounds to nearest, ties to even
  for (let y = 0; y < height; y++) {
    if (y % BAND === 0) signal?.throwIfAborted();
    const row = alpha(y);
    for (let x = 0; x < width; x++) levels[x] = Math.fround(row[x] * 255);
    for (let x = 0, at = 4 * y * width; x < width; x++, at += 4) {
      data[at + 3] = levels[x];
      if (zero && levels[x] === 0) data[at] = data[at + 1] = data[at + 2] = 0;
    }
  }
}

/**
 * Over an opaque background: RGB.
 * @param {import('./photo.mjs').View} fore
 * @param {(y: number) => Float32Array} alpha
 * @param {import('./background.mjs').Behind} back
 * @param {Uint8Array} data
 * @param {AbortSignal} [signal]
 */
function layOver({ rgba, offset, stride, width, height }, alpha, back, data, signal) {
  const f = Math.fround;
  const line = new Uint8ClampedArray(3 * width);
  for (let y = 0; y < height; y++) {
    if (y % BAND === 0) signal?.throwIfAborted();
    const behindRow = back.row(y);
    const row = alpha(y);
    let from = offset + 4 * y * stride;
    for (let x = 0, to = 0, at = 0; x < width; x++, from += 4, at += 4, to += 3) {
      const a = row[x];
      const rest = f(1 - a);
      line[to] = f(f(rgba[from] * a) + f(behindRow[at] * rest));
      line[to + 1] = f(f(rgba[from + 1] * a) + f(behindRow[at + 1] * rest));
      line[to + 2] = f(f(rgba[from + 2] * a) + f(behindRow[at + 2] * rest));
    }
    data.set(line, 3 * y * width);
  }
}

/**
 * Over a background of one alpha below 1: RGBA, straight.
 * @param {import('./photo.mjs').View} fore
 * @param {(y: number) => Float32Array} alpha
 * @param {import('./background.mjs').Behind} back
 * @param {Uint8Array} data
 * @param {AbortSignal} [signal]
 */
function layOverTranslucent({ rgba, offset, stride, width, height }, alpha, back, data, signal) {
  const f = Math.fround;
  const line = new Uint8ClampedArray(4 * width);
  const opacity = f(back.opacity);
  for (let y = 0; y < height; y++) {
    if (y % BAND === 0) signal?.throwIfAborted();
    const behindRow = back.row(y);
    const row = alpha(y);
    let from = offset + 4 * y * stride;
    for (let x = 0, at = 0; x < width; x++, from += 4, at += 4) {
      const a = row[x];
      const rest = f(opacity * f(1 - a));
      const total = f(a + rest);
      line[at] = f(f(f(rgba[from] * a) + f(behindRow[at] * rest)) / total);
      line[at + 1] = f(f(f(rgba[from + 1] * a) + f(behindRow[at + 1] * rest)) / total);
      line[at + 2] = f(f(f(rgba[from + 2] * a) + f(behindRow[at + 2] * rest)) / total);
      line[at + 3] = f(total * 255);
    }
    data.set(line, 4 * y * width);
  }
}
