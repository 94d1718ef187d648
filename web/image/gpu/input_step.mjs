// A photo's pixels → the network's input, in one dispatch: prepare.mjs as data for the GPU.
import { normalisation, sizeBetween } from '../prepare.mjs';
import { backdrop } from '../visible.mjs';
import { NotOnGpu } from './not_on_gpu.mjs';
import { bits, step } from './steps.mjs';
import { lineTable, linesThrough, weightTable, widest } from './tables.mjs';

/** @typedef {import('../photo.mjs').Photo} Photo */
/** @typedef {import('../prepare.mjs').Interface} Interface */
/** @typedef {import('./steps.mjs').Place} Place */

/** What each channel of the input takes of red, green and blue. */
const MIXED = {
  RGB: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  BGR: [[0, 0, 1], [0, 1, 0], [1, 0, 0]],
  RGBA: [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]],
  grey: [[0.299, 0.587, 0.114].map(Math.fround)],
};

/**
 * The colour, red in the lowest byte, that the network sees where a photo is transparent; null for an opaque photo.
 * @param {Photo} photo
 */
export function backdropOf(photo) {
  if (photo.opaque) return null;
  const [red, green, blue] = backdrop(photo);
  return red | (green << 8) | (blue << 16);
}

/**
 * The dispatch that makes the input at `place` of the scratch buffer 'pixels'.
 *
 * The photo is resampled to the height and width that the place has, since a compiled model has but one size.
 * @param {import('./kernels.mjs').Kernels} kernels
 * @param {{ width: number, height: number }} photo in pixels
 * @param {Interface} face
 * @param {Place} place
 * @param {number | null} behind what `backdropOf` says
 * @throws {NotOnGpu} the processor has to make it
 */
export function inputStep(kernels, photo, face, place, behind) {
  if (face.channels === 'RGBA' && behind !== null) throw new NotOnGpu("the network sees the photo's own transparency");
  const matrix = MIXED[face.channels];
  const planar = face.layout === 'NCHW';
  const [height, width] = planar ? place.shape.slice(-2) : place.shape.slice(-3, -1);
  const channels = place.shape.at(planar ? -3 : -1);
  const elements = place.shape.reduce((product, extent) => product * extent, 1);
  if (place.shape.length < 3 || channels !== matrix.length || elements !== channels * height * width) {
    const shape = place.shape.join(', ');
    throw new NotOnGpu(`the network's input is ${place.storage}[${shape}], and not of ${face.channels} pixels`);
  }
  const { factor, offset } = normalisation(face);
  if (![...factor, ...offset].every(Number.isFinite)) throw new NotOnGpu('mean and std are beyond float32');
  const [between, betweenWidth] = sizeBetween(photo.height, photo.width, face.filter);
  const rows = linesThrough(photo.height, between, height, face.filter);
  const columns = linesThrough(photo.width, betweenWidth, width, face.filter);
  /** @type {Record<string, number>} */
  const uniforms = {
    width,
    height,
    x_width: photo.width,
    row_taps: rows.taps,
    column_taps: columns.taps,
    row_stride: planar ? width : width * channels,
    column_stride: planar ? 1 : channels,
    channel_stride: planar ? height * width : 1,
  };
  matrix.forEach((parts, channel) => {
    parts.forEach((part, index) => { uniforms[`m${channel}${index}`] = bits(part * factor[channel]); });
    const opaque = channel === 3 ? 255 * factor[3] : 0;
    uniforms[`offset${channel}`] = bits(opaque - offset[channel]);
  });
  if (behind !== null) uniforms.backdrop = behind;
  const kernel = kernels.find('network_input', {
    backdrop: behind !== null,
    channels,
    half: face.dtype === 'float16',
    pixel_bytes: 4,
    storage: place.storage,
    whole: face.dtype === 'uint8',
  });
  return step(kernel, {
    operands: {
      x: { scratch: 'pixels', bytes: 4 * photo.width * photo.height },
      lines: { table: lineTable(rows, columns) },
      weights: { table: weightTable(rows, columns) },
      y: { place },
    },
    uniforms,
    rows: height,
    columns: width,
    work: 6 * widest(rows) * widest(columns),
  });
}
