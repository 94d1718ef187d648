// The network's output → its mask at the photo's size, refined: planes of float32, a dispatch for each step.
import { halfKernel, reach } from '../gaussian.mjs';
import { SHARPEST } from '../refine.mjs';
import { lineWeights } from '../resample.mjs';
import { points } from './disc.mjs';
import { NotOnGpu } from './not_on_gpu.mjs';
import { bits, step } from './steps.mjs';
import { lineTable, pointTable, weightTable } from './tables.mjs';

/** @typedef {import('../prepare.mjs').Interface} Interface */
/** @typedef {import('./kernels.mjs').Kernels} Kernels */
/** @typedef {import('./steps.mjs').Place} Place */
/** @typedef {import('./steps.mjs').Step} Step */
/** @typedef {import('./steps.mjs').Operand} Operand */

/**
 * What is done to a mask, as nss names it; what is left out is not done.
 * @typedef {object} Refinement
 * @property {number} [guided]
 * @property {number} [black]
 * @property {number} [white]
 * @property {number} [drop_islands]
 * @property {number} [fill_holes]
 * @property {number} [smooth]
 * @property {number} [expand]
 * @property {number} [feather]
 */

/** Least distance of the black and the white point: closer ones make a level of the last bits of a float32. */
const LEAST_SPAN = 1 / 64;

/** Pixels that contours are moved by at the most: beyond, a disc has more points than pay. */
const FARTHEST = 16;

/** Pixels that a blur looks to each side at the most. */
const WIDEST = 4000;

/** The scratch buffer of the mask at the network's size, and that of what is found out about it. */
export const NETWORK_MASK = 'network mask';
export const SURVEY = 'survey';

/** Words of the survey: three of the output as it is, and from the fourth on three of the mask. */
export const SURVEY_WORDS = 8;

/**
 * @param {Refinement} refinement
 * @throws {NotOnGpu} the processor has to do it
 */
export function checkRefinement(refinement) {
  for (const name of /** @type {const} */ (['guided', 'drop_islands', 'fill_holes'])) {
    if (refinement[name]) throw new NotOnGpu(`${name} is the processor's`);
  }
  const { black = 0, white = 1, expand = 0, smooth = 0, feather = 0 } = refinement;
  if (!(white - black >= LEAST_SPAN)) throw new NotOnGpu('the black and the white point are nearly one');
  if (!(Math.abs(expand) <= FARTHEST)) throw new NotOnGpu(`contours move by more than ${FARTHEST} pixels`);
  for (const sigma of [3 * smooth, feather]) {
    if (!(sigma >= 0 && reach(sigma) <= WIDEST)) throw new NotOnGpu(`a blur of ${sigma} pixels is too wide`);
  }
}

/**
 * The steps that make the mask of an output, and where its last plane is then. At the network's size it stands in the
 * scratch buffer `NETWORK_MASK`, neither clipped nor refined; what is to be known of it in `SURVEY`, which is 0 before.
 * @param {Kernels} kernels
 * @param {{ width: number, height: number }} photo in pixels
 * @param {Interface} face
 * @param {object} output
 * @param {Place} output.place
 * @param {string} output.dtype in the model
 * @param {import('../network_mask.mjs').Form} output.form how it holds its mask
 * @param {Refinement} output.refinement what is done, which `checkRefinement` takes
 * @returns {{ steps: Step[], mask: Operand }}
 * @throws {NotOnGpu} the processor has to do it
 */
export function maskSteps(kernels, photo, face, { place, dtype, form, refinement }) {
  const { height, width, count, last } = form;
  const { storage } = place;
  if (!['f32', 'i32', 'u32'].includes(storage)) throw new NotOnGpu(`the network's output is stored as ${storage}`);
  const plain = face.range === 1 && face.activation === 'none';
  const classes = /^u?int/.test(dtype) && count === 1 && plain && face.channel > 0;
  const small = new Planes(kernels, height, width);
  const plane = small.plane(NETWORK_MASK);
  const channel = classes || face.channel >= 0 ? face.channel : face.channel + count;
  small.step('mask_plane', { activation: classes ? 'equal' : face.activation, storage }, {
    operands: { x: { place }, y: plane },
    uniforms: {
      channel,
      channels: count,
      row_stride: last ? width * count : width,
      column_stride: last ? count : 1,
      channel_stride: last ? 1 : height * width,
      divisor: bits(classes ? 1 : face.range),
    },
    taps: 2 * count,
  });
  const survey = { scratch: SURVEY, bytes: 4 * SURVEY_WORDS };
  if (storage === 'f32') small.steps.push(surveyStep(kernels, { place }, count * height * width, survey));
  small.steps.push(surveyStep(kernels, plane, height * width, { ...survey, base: 4 }));
  const planes = new Planes(kernels, photo.height, photo.width);
  let mask = enlarged(planes, plane, height, width, refinement);
  if (refinement.smooth) mask = smoothed(planes, mask, refinement.smooth);
  if (refinement.expand) mask = dilated(planes, mask, refinement.expand);
  if (refinement.feather) mask = blurred(planes, mask, refinement.feather);
  return { steps: [...small.steps, ...planes.steps], mask };
}

/** Planes of one height and width in scratch buffers, and the steps that write them. */
class Planes {
  /** @type {Step[]} */
  steps = [];
  /** Names of buffers whose content is needed no more. @type {string[]} */
  #free = [];
  #count = 0;

  /**
   * @param {Kernels} kernels
   * @param {number} height
   * @param {number} width
   */
  constructor(kernels, height, width) {
    this.kernels = kernels;
    this.height = height;
    this.width = width;
  }

  /**
   * @param {string} [name] by default that of a buffer that is free
   * @returns {{ scratch: string, bytes: number }}
   */
  plane(name = this.#free.pop() ?? `plane ${this.#count++}`) {
    return { scratch: name, bytes: 4 * this.height * this.width };
  }

  /** @param {{ scratch: string }} plane which is read no more */
  release({ scratch }) {
    this.#free.push(scratch);
  }

  /**
   * Add a step that makes a plane.
   * @param {string} name of the kernel
   * @param {Record<string, string | boolean>} constants
   * @param {{ operands: Record<string, Operand>, uniforms: Record<string, number>, taps: number }} options `taps` are
   *   values for a pixel
   */
  step(name, constants, { operands, uniforms, taps }) {
    const pixels = this.height * this.width;
    this.steps.push(step(this.kernels.find(name, { bits: 32, ...constants }), {
      operands,
      uniforms: { width: this.width, items: this.width, pixels, ...uniforms },
      rows: this.height,
      columns: this.width,
      work: 2 * taps * pixels,
    }));
  }
}

/**
 * @param {Kernels} kernels
 * @param {Operand} x
 * @param {number} length elements
 * @param {Operand} y
 */
function surveyStep(kernels, x, length, y) {
  return step(kernels.find('survey', { storage: 'f32' }), {
    operands: { x, y }, uniforms: { length }, rows: 1, columns: length, work: length,
  });
}

/**
 * @param {Planes} planes
 * @param {Operand} x the mask at the network's size
 * @param {number} height
 * @param {number} width
 * @param {Refinement} refinement
 */
function enlarged(planes, x, height, width, { black = 0, white = 1 }) {
  const rows = lineWeights(height, planes.height, 'bilinear-antialias');
  const columns = lineWeights(width, planes.width, 'bilinear-antialias');
  const y = planes.plane();
  planes.step('enlarge', { levels: black !== 0 || white !== 1 }, {
    operands: { x, lines: { table: lineTable(rows, columns) }, weights: { table: weightTable(rows, columns) }, y },
    uniforms: {
      height: planes.height,
      x_width: width,
      row_taps: rows.taps,
      column_taps: columns.taps,
      black: bits(black),
      span: bits(Math.fround(white) - Math.fround(black)),
    },
    taps: rows.taps * columns.taps,
  });
  return y;
}

/** @typedef {{ scratch: string, bytes: number }} Plane */

/**
 * A Gaussian blur along both axes; with `spread` of m (1 - m).
 * @param {Planes} planes
 * @param {Plane} x
 * @param {number} sigma in pixels
 * @param {{ spread?: boolean, keep?: boolean }} [options] `keep`: x is read again
 */
function blurred(planes, x, sigma, { spread = false, keep = false } = {}) {
  const weights = Float32Array.from(halfKernel(sigma));
  const uniforms = { height: planes.height, reach: weights.length - 1 };
  const taps = 2 * weights.length - 1;
  const between = planes.plane();
  planes.step('blur', { vertical: false, spread }, {
    operands: { x, weights: { table: weights }, y: between }, uniforms, taps,
  });
  if (!keep) planes.release(x);
  const y = planes.plane();
  planes.step('blur', { vertical: true, spread: false }, {
    operands: { x: between, weights: { table: weights }, y }, uniforms, taps,
  });
  planes.release(between);
  return y;
}

/**
 * @param {Planes} planes
 * @param {Plane} plane
 * @param {number} radius in pixels
 */
function smoothed(planes, plane, radius) {
  const x = blurred(planes, plane, radius, { keep: true });
  const before = blurred(planes, plane, 3 * radius, { spread: true });
  const after = blurred(planes, x, 3 * radius, { spread: true, keep: true });
  const y = planes.plane();
  planes.step('sharpen', {}, {
    operands: { x, before, after, y }, uniforms: { sharpest: bits(SHARPEST / Math.hypot(SHARPEST, radius)) }, taps: 8,
  });
  for (const each of [x, before, after]) planes.release(each);
  return y;
}

/**
 * @param {Planes} planes
 * @param {Plane} x
 * @param {number} pixels outwards; inwards where it is negative
 */
function dilated(planes, x, pixels) {
  const places = points(Math.abs(pixels));
  const y = planes.plane();
  planes.step('dilate', { complement: pixels < 0 }, {
    operands: { x, points: { table: pointTable(places) }, y },
    uniforms: { height: planes.height, points: places.length },
    taps: 4 * places.length,
  });
  planes.release(x);
  return y;
}
