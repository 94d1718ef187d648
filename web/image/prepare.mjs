// From a photo to what a network takes, in float32.
import { halfTable, toHalf } from './half.mjs';
import { ImageError } from './image_error.mjs';
import { rint } from './photo.mjs';
import { resampledRows, widens } from './resample.mjs';
import { visibleRows } from './visible.mjs';

/** @typedef {import('./photo.mjs').Photo} Photo */
/** @typedef {import('./filters.mjs').Filter} Filter */

/**
 * How a photo becomes the network's input, and the network's output a mask: the JSON of nss.interfaces.interface.
 * @typedef {object} Interface
 * @property {string} input the input that takes the photo
 * @property {'NCHW' | 'NHWC'} layout
 * @property {'float32' | 'float16' | 'uint8'} dtype
 * @property {'RGB' | 'BGR' | 'RGBA' | 'grey'} channels
 * @property {[number, number] | { shortest_edge?: number, longest_edge?: number, multiple_of?: number }} size height
 *   and width; or the length of one edge, where the photo keeps its shape
 * @property {number} scale of the photo's 0 to 255: the input is (x * scale - mean) / std
 * @property {number[]} mean one number a channel, or one for all
 * @property {number[]} std likewise
 * @property {Filter} filter
 * @property {string | number} output the output's name, or its index
 * @property {number} channel of an output with several, the one that is the foreground; negative from the end
 * @property {'none' | 'sigmoid' | 'softmax'} activation
 * @property {number} range the output's value for full foreground
 * @property {Record<string, unknown>} inputs constants for the model's other inputs
 */

/** A photo longer than this is first reduced to it with antialias, unless the model's own filter has antialias. */
export const LONGEST_SIDE = 4096;

/** Pixels of a network's input, at most. */
const LARGEST_INPUT = 1 << 24;

const CHANNELS = { RGB: 3, BGR: 3, RGBA: 4, grey: 1 };

/** Rec. 601. */
const LUMA = [0.299, 0.587, 0.114].map(Math.fround);

/** Which of red, green, blue and alpha each channel of the input is. */
const SOURCES = { RGB: [0, 1, 2], BGR: [2, 1, 0], RGBA: [0, 1, 2, 3], grey: [0] };

/**
 * Height and width of the network's input for a photo.
 * @param {{ name: string, width: number, height: number }} photo
 * @param {Interface} face
 * @returns {[number, number]}
 * @throws {ImageError} it would be too large, or `size` is none
 */
export function inputSize(photo, face) {
  const [height, width] = sizeOf(photo, face.size);
  if (height * width > LARGEST_INPUT) {
    throw new ImageError(
      `${photo.name}: 'size' ${JSON.stringify(face.size)} makes an input of ${width} x ${height} of a photo of ` +
      `${photo.width} x ${photo.height}, which is too large; crop it, or take another model`);
  }
  return [height, width];
}

/**
 * @param {{ width: number, height: number }} photo
 * @param {Interface['size']} size
 * @returns {[number, number]}
 */
function sizeOf({ height, width }, size) {
  if (Array.isArray(size)) return [size[0], size[1]];
  const { shortest_edge: shortest, longest_edge: longest, multiple_of: multiple = 1 } = size;
  const edge = shortest === undefined ? Math.max(height, width) : Math.min(height, width);
  const length = shortest ?? longest ?? NaN;
  /** @param {number} side */
  const round = side => Math.max(1, Math.floor((side * length) / edge / multiple + 0.5)) * multiple;
  const found = /** @type {[number, number]} */ ([round(height), round(width)]);
  if (!(found[0] > 0 && found[1] > 0)) {
    throw new ImageError(
      `'size' ${JSON.stringify(size)} is none; [height, width], or the length of an edge, is possible`);
  }
  return found;
}

/**
 * The size that a photo is first reduced to; its own where it is resized at once.
 * @param {number} height
 * @param {number} width
 * @param {Filter} filter
 * @returns {[number, number]}
 */
export function sizeBetween(height, width, filter) {
  const reduction = Math.max(height, width) / LONGEST_SIDE;
  if (reduction <= 1 || widens(filter)) return [height, width];
  return [Math.max(1, rint(height / reduction)), Math.max(1, rint(width / reduction))];
}

/**
 * What a photo's 0 to 255 are multiplied by, and what is then taken off, one a channel, as float32.
 * @param {Interface} face
 * @throws {ImageError} mean or std have another number of values than the input has channels
 */
export function normalisation(face) {
  const count = CHANNELS[face.channels];
  for (const key of /** @type {const} */ (['mean', 'std'])) {
    const { length } = face[key];
    if (length !== 1 && length !== count) {
      const counts = count === 1 ? 'one number' : `one number, or ${count}`;
      throw new ImageError(
        `'${key}' has ${length} numbers, and the network's input is ${face.channels}: ${counts} would be right`);
    }
  }
  const inverse = Math.fround(1 / face.scale);
  const factor = new Float32Array(count);
  const offset = new Float32Array(count);
  for (let channel = 0; channel < count; channel++) {
    const std = Math.fround(face.std[face.std.length === 1 ? 0 : channel]);
    const mean = Math.fround(face.mean[face.mean.length === 1 ? 0 : channel]);
    factor[channel] = Math.fround(1 / Math.fround(inverse * std));
    offset[channel] = Math.fround(mean / std);
  }
  return { factor, offset };
}

/**
 * The network's input for a photo: its layout, dtype, channels, size and numbers. The network is not shown what the
 * photo's own alpha hides (visible.mjs).
 *
 * Resized with the model's own filter, then (x * scale - mean) / std in float32; uint8 is rounded and clipped. No more
 * than some rows of the photo are held beside it.
 * @param {Photo} photo
 * @param {Interface} face
 * @param {{ size?: [number, number], signal?: AbortSignal }} [options] `size`: the height and width of a network that
 *   has but one, whatever the interface says
 * @returns {{ data: Float32Array | Uint8Array, shape: number[] }} 1 x C x H x W ("NCHW") or 1 x H x W x C; numbers of
 *   float16 as Float32Array, each rounded to the float16 that it is
 * @throws {ImageError} see `inputSize` and `normalisation`
 */
export function prepare(photo, face, { size, signal } = {}) {
  const { factor, offset } = normalisation(face);
  const [height, width] = size ?? inputSize(photo, face);
  let rows = visibleRows(photo);
  const [betweenHeight, betweenWidth] = sizeBetween(photo.height, photo.width, face.filter);
  if (betweenHeight !== photo.height || betweenWidth !== photo.width) {
    rows = resampledRows(rows, betweenHeight, betweenWidth, 'bilinear-antialias');
  }
  const source = resampledRows(rows, height, width, face.filter);
  const count = CHANNELS[face.channels];
  const planar = face.layout === 'NCHW';
  const data = new Float32Array(count * height * width);
  const step = planar ? 1 : count;
  for (let y = 0; y < height; y++) {
    if (y % 64 === 0) signal?.throwIfAborted();
    const row = source.row(y);
    for (let channel = 0; channel < count; channel++) {
      const at = planar ? (channel * height + y) * width : y * width * count + channel;
      if (face.channels === 'grey') {
        writeLuma(row, data, at, step, factor[0], offset[0]);
      } else {
        const from = SOURCES[face.channels][channel];
        if (from === 3 && photo.opaque) {
          writeConstant(data, at, step, width, Math.fround(Math.fround(255 * factor[channel]) - offset[channel]));
        } else {
          write(row, from, data, at, step, factor[channel], offset[channel]);
        }
      }
    }
  }
  const shape = planar ? [1, count, height, width] : [1, height, width, count];
  if (face.dtype === 'uint8') return { data: new Uint8Array(new Uint8ClampedArray(data).buffer), shape };
  if (face.dtype === 'float16') toHalves(data);
  return { data, shape };
}

/**
 * @param {ArrayLike<number>} row four channels a pixel
 * @param {number} from the channel
 * @param {Float32Array} data
 * @param {number} at
 * @param {number} step
 * @param {number} factor
 * @param {number} offset
 */
function write(row, from, data, at, step, factor, offset) {
  for (let x = from; x < row.length; x += 4, at += step) data[at] = Math.fround(row[x] * factor) - offset;
}

/**
 * @param {ArrayLike<number>} row four channels a pixel
 * @param {Float32Array} data
 * @param {number} at
 * @param {number} step
 * @param {number} factor
 * @param {number} offset
 */
function writeLuma(row, data, at, step, factor, offset) {
  for (let x = 0; x < row.length; x += 4, at += step) {
    const luma = Math.fround(LUMA[0] * row[x] + LUMA[1] * row[x + 1] + LUMA[2] * row[x + 2]);
    data[at] = Math.fround(luma * factor) - offset;
  }
}

/**
 * @param {Float32Array} data
 * @param {number} at
 * @param {number} step
 * @param {number} count
 * @param {number} value
 */
function writeConstant(data, at, step, count, value) {
  for (let x = 0; x < count; x++, at += step) data[at] = value;
}

/**
 * Each number replaced by the float16 nearest to it, ties to even.
 * @param {Float32Array} data
 */
function toHalves(data) {
  const values = halfTable();
  for (let at = 0; at < data.length; at++) data[at] = values[toHalf(data[at])];
}
