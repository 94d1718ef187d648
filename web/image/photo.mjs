// What photos and masks are everywhere in this folder.

/**
 * A photo, upright: its pixels as they are in the file, with straight alpha.
 * @typedef {object} Photo
 * @property {string} name what to call it in an error
 * @property {number} width in pixels
 * @property {number} height in pixels
 * @property {Uint8ClampedArray | Uint8Array} rgba height x width x 4, row by row
 * @property {boolean} opaque whether it has no alpha of its own: the fourth byte of every pixel counts as 255
 * @property {Uint8Array | null} icc the ICC profile of its colours; null is sRGB
 */

/**
 * How much of each pixel is foreground.
 * @typedef {object} Mask
 * @property {number} width in pixels
 * @property {number} height in pixels
 * @property {Float32Array} data height x width, 0 to 1, row by row
 */

/**
 * A part of a photo: pixel (x, y) begins at `rgba[offset + 4 * (y * stride + x)]`.
 * @typedef {object} View
 * @property {Uint8ClampedArray | Uint8Array} rgba of the whole photo
 * @property {number} offset of the first pixel, in bytes
 * @property {number} stride from one row to the next, in pixels
 * @property {number} width in pixels
 * @property {number} height in pixels
 */

/**
 * Rows and columns of an image: half-open ranges.
 * @typedef {object} Area
 * @property {number} top
 * @property {number} bottom behind the last row
 * @property {number} left
 * @property {number} right behind the last column
 */

/**
 * An area of a photo, without a copy.
 * @param {Photo} photo
 * @param {Area} [area] by default the whole
 * @returns {View}
 */
export function viewOf(photo, area = { top: 0, bottom: photo.height, left: 0, right: photo.width }) {
  const { rgba, width: stride } = photo;
  const offset = 4 * (area.top * stride + area.left);
  return { rgba, offset, stride, width: area.right - area.left, height: area.bottom - area.top };
}

/** 1.5 * 2^52: a double that large has no fraction, so that adding it rounds to nearest, ties to even. */
const WHOLE = 6755399441055744;

/**
 * The nearest whole number, ties to even, as NumPy's rint and Python's round; of -2^51 to 2^51.
 * @param {number} value
 */
export function rint(value) {
  return value + WHOLE - WHOLE;
}
