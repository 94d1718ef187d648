// What a cut-out is put on when it is not left transparent: a colour, an image, or the photo itself out of focus.
// Colours are mixed as every viewer mixes them, in the encoded values of the photo's own colour space.
import { bleed } from './bleed.mjs';
import { toProfile } from './colour.mjs';
import { blur, reach } from './gaussian.mjs';
import { ImageError } from './image_error.mjs';
import { rint } from './photo.mjs';
import { arrayRows, resampledRows } from './resample.mjs';

/** @typedef {import('./photo.mjs').Photo} Photo */
/** @typedef {import('./photo.mjs').View} View */
/** @typedef {import('./resample.mjs').Rows} Rows */

/**
 * What is put behind a cut-out; null, and a colour of alpha 0, leave it transparent.
 * @typedef {null | { colour: readonly number[] } | { image: Photo } | { blur?: number }} Background a colour is red,
 *   green, blue and alpha, 0 to 255, in sRGB; an image is scaled to cover, centred, and its alpha ignored; `blur` is a
 *   standard deviation in pixels, by default a fiftieth of the longer side
 */

/**
 * A background of an area: the colours of a row, four numbers a pixel of which the last means nothing, which hold until
 * the next call; and its alpha, 0 to 1.
 * @typedef {{ row: (y: number) => Uint8ClampedArray, opacity: number }} Behind
 */

/** Standard deviation of the blur, as a part of the picture's longer side. */
const DEFAULT_BLUR = 0.02;

/** The photo is blurred at the size at which the standard deviation is this many pixels. */
const BLUR_SIGMA = 4;

/** The largest radius of a blurred background, in pixels. */
const LARGEST_BLUR = 1000;

/**
 * Whether nothing is put behind the cut-out.
 * @param {Background} background
 */
export function isNone(background) {
  return background === null || ('colour' in background && background.colour[3] === 0);
}

/**
 * @param {Background} background nothing that `isNone`
 * @param {View} photo before decontamination
 * @param {(y: number) => Float32Array} alpha the area's rows, 0 to 1
 * @param {Uint8Array | null} icc the photo's profile: colours (sRGB) and images are converted to it
 * @param {string[]} notes receives a line where they could not be converted
 * @returns {Behind}
 * @throws {ImageError} it is no background
 */
export function behind(background, photo, alpha, icc, notes) {
  if (background && 'colour' in background) {
    const { colour } = background;
    if (colour.length !== 4 || !colour.every(level => level >= 0 && level <= 255)) {
      throw new ImageError(`the background's colour [${colour.join(', ')}] is none; four numbers of 0 to 255 make one`);
    }
    const patch = Uint8ClampedArray.from(colour);
    toProfile(null, icc, notes)?.(patch);
    const row = new Uint8ClampedArray(4 * photo.width);
    for (let at = 0; at < row.length; at += 4) row.set(patch, at);
    return { row: () => row, opacity: colour[3] / 255 };
  }
  if (background && 'image' in background) return covering(background.image, photo, icc, notes);
  if (background && 'blur' in background) {
    const sigma = background.blur ?? DEFAULT_BLUR * Math.max(photo.width, photo.height);
    if (!(sigma > 0) || (background.blur !== undefined && sigma > LARGEST_BLUR)) {
      throw new ImageError(
        `the background's blur ${sigma} is none; a number of pixels up to ${LARGEST_BLUR} is possible`);
    }
    return outOfFocus(photo, alpha, sigma);
  }
  throw new ImageError(`the background ${JSON.stringify(background)} is none; a colour, an image or blur is possible`);
}

/**
 * An image scaled to cover an area and centred.
 * @param {Photo} image
 * @param {{ width: number, height: number }} area
 * @param {Uint8Array | null} icc
 * @param {string[]} notes
 * @returns {Behind}
 */
function covering(image, { width, height }, icc, notes) {
  const scale = Math.max(height / image.height, width / image.width);
  const rows = Math.min(image.height, rint(height / scale));
  const columns = Math.min(image.width, rint(width / scale));
  const top = Math.floor((image.height - rows) / 2);
  const left = Math.floor((image.width - columns) / 2);
  const length = 4 * Math.max(1, columns);
  const source = {
    height: Math.max(1, rows),
    width: Math.max(1, columns),
    channels: 4,
    /** @param {number} y */
    row: y => image.rgba.subarray(4 * ((top + y) * image.width + left), 4 * ((top + y) * image.width + left) + length),
  };
  const scaled = resampledRows(source, height, width, 'bilinear-antialias');
  const convert = toProfile(image.icc, icc, notes);
  const out = new Uint8ClampedArray(4 * width); // which rounds to nearest, ties to even
  return {
    opacity: 1,
    row(y) {
      out.set(scaled.row(y));
      convert?.(out);
      return out;
    },
  };
}

/**
 * The photo blurred, without a glow of the foreground: what it covers is filled from around it first. Blurred at a
 * reduced size: a Gaussian that wide leaves nothing that a finer grid would show.
 * @param {View} photo
 * @param {(y: number) => Float32Array} alpha
 * @param {number} sigma
 * @returns {Behind}
 */
function outOfFocus(photo, alpha, sigma) {
  const { width, height } = photo;
  const reduction = Math.max(1, sigma / BLUR_SIGMA);
  const rows = Math.max(1, rint(height / reduction));
  const columns = Math.max(1, rint(width / reduction));
  const pixels = resampledRows(viewRows(photo), rows, columns, 'bilinear-antialias');
  const source = { height, width, channels: 1, row: alpha };
  const coverage = resampledRows(source, rows, columns, 'bilinear-antialias');
  const small = new Uint8ClampedArray(4 * rows * columns);
  for (let y = 0; y < rows; y++) {
    const at = 4 * y * columns;
    small.set(pixels.row(y), at);
    const covered = coverage.row(y);
    for (let x = 0; x < columns; x++) small[at + 4 * x + 3] = covered[x] < Math.fround(0.02) ? 255 : 0;
  }
  if (small.some((value, at) => at % 4 === 3 && value > 0)) bleed(small, columns, rows);
  const blurred = blurredRows(small, columns, rows, (sigma * rows) / height);
  const enlarged = resampledRows(blurred, height, width, 'bilinear');
  const out = new Uint8ClampedArray(4 * width);
  return {
    opacity: 1,
    row(y) {
      out.set(enlarged.row(y));
      return out;
    },
  };
}

/**
 * The rows of a part of a photo.
 * @param {View} view
 * @returns {Rows}
 */
function viewRows({ rgba, offset, stride, width, height }) {
  const row = (/** @type {number} */ y) => rgba.subarray(offset + 4 * y * stride, offset + 4 * (y * stride + width));
  return { height, width, channels: 4, row };
}

/**
 * The colours of an image blurred, a band of rows at a time.
 * @param {Uint8ClampedArray} rgba
 * @param {number} width
 * @param {number} height
 * @param {number} sigma
 * @returns {Rows}
 */
function blurredRows(rgba, width, height, sigma) {
  const halo = reach(sigma);
  const count = Math.max(64, 4 * halo);
  let first = -1;
  let band = new Float32Array(0);
  /** @param {number} top */
  const make = top => {
    const from = Math.max(0, top - halo);
    const to = Math.min(height, top + count + halo);
    const source = arrayRows(rgba, height, width, 4);
    band = new Float32Array(4 * width * Math.min(count, height - top));
    for (let channel = 0; channel < 3; channel++) {
      const plane = new Float32Array(width * (to - from));
      for (let y = from; y < to; y++) {
        const row = source.row(y);
        for (let x = 0; x < width; x++) plane[(y - from) * width + x] = row[4 * x + channel];
      }
      const soft = blur(plane, width, to - from, sigma);
      const skip = (top - from) * width;
      for (let at = 0; 4 * at < band.length; at++) band[4 * at + channel] = soft[skip + at];
    }
    first = top;
  };
  return {
    height,
    width,
    channels: 4,
    row(y) {
      const top = y - (y % count);
      if (first !== top) make(top);
      return band.subarray(4 * width * (y - top), 4 * width * (y - top + 1));
    },
  };
}
