// WebP (RFC 9649) without loss: every sample comes back as it was, the colours under alpha 0 too.
import { file } from './containers/webp.mjs';
import { ImageError } from './image_error.mjs';
import { checkPicture } from './png.mjs';
import { encodeVp8l } from './vp8l.mjs';

const LONGEST_SIDE = 16383;
const [ICC_FLAG, ALPHA_FLAG] = [0x20, 0x10];

/**
 * Write a lossless WebP file. Takes four bytes a pixel beside the picture.
 * @param {{ width: number, height: number, channels: number, data: Uint8Array | Uint8ClampedArray,
 *   icc?: Uint8Array | null }} picture `channels`: 1 grey, 3 RGB, 4 straight RGBA
 * @param {{ signal?: AbortSignal }} [options]
 * @returns {Promise<Blob>}
 * @throws {ImageError} a side of more than 16383 pixels, or sides, channels and data do not fit to each other
 * @throws {DOMException} AbortError
 */
export async function encodeWebp({ width, height, channels, data, icc = null }, { signal } = {}) {
  signal?.throwIfAborted();
  checkPicture(width, height, channels, data);
  if (width > LONGEST_SIDE || height > LONGEST_SIDE) {
    throw new ImageError(`WebP has at most ${LONGEST_SIDE} pixels a side, and the picture is ${width} x ${height}; `
      + 'save it as PNG');
  }
  const rgba = new Uint8Array(4 * width * height);
  let alpha = false;
  if (channels === 4) {
    rgba.set(data);
    for (let at = 3; at < rgba.length && !alpha; at += 4) alpha = rgba[at] !== 255;
  } else {
    const [green, blue] = channels === 3 ? [1, 2] : [0, 0];
    for (let from = 0, at = 0; at < rgba.length; from += channels, at += 4) {
      rgba[at] = data[from];
      rgba[at + 1] = data[from + green];
      rgba[at + 2] = data[from + blue];
      rgba[at + 3] = 255;
    }
  }
  const stream = await encodeVp8l(rgba, width, height, { alpha, signal });
  if (!icc) return file([['VP8L', stream]]);
  const extended = new Uint8Array(10);
  extended[0] = ICC_FLAG | (alpha ? ALPHA_FLAG : 0);
  for (const [at, side] of [[4, width - 1], [7, height - 1]]) extended.set([side & 255, side >> 8, 0], at);
  return file([['VP8X', [extended]], ['ICCP', [icc]], ['VP8L', stream]]);
}
