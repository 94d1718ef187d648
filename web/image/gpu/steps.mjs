// A dispatch as data: a kernel, what it reads and writes, its numbers and its grid. No device is needed to make one.
import { NotOnGpu } from './not_on_gpu.mjs';

/** @typedef {import('./kernels.mjs').Kernel} Kernel */

/**
 * Where an input or output of the network lies, as the runner says it.
 * @typedef {object} Place
 * @property {GPUBuffer} buffer
 * @property {number} offset in bytes
 * @property {number} bytes
 * @property {string} storage f32, f16, i32 or u32
 * @property {readonly number[]} shape
 */

/**
 * What stands at a binding: a tensor of the network; so many bytes of a scratch buffer, which has a name; or a table.
 * `base` is where its element 0 lies, in items.
 * @typedef {{ place: Place, base?: number } | { scratch: string, bytes: number, base?: number } |
 *   { table: Int32Array | Float32Array, base?: number }} Operand
 */

/**
 * @typedef {object} Step
 * @property {Kernel} kernel
 * @property {Operand[]} operands in the order of its bindings
 * @property {Int32Array} numbers in the order of its uniforms
 * @property {number} covered workgroups where it counts them in one number, else 0
 * @property {[number, number]} grid workgroups along x and y; of no meaning where `covered` is not 0
 * @property {number} work multiplications and additions
 */

/** Bytes: offsets of bindings are multiples of it. */
export const ALIGNMENT = 256;

/**
 * @param {Kernel} kernel
 * @param {object} options
 * @param {Record<string, Operand>} options.operands by their names
 * @param {Record<string, number>} [options.uniforms] i32, by name, but for those that every kernel has
 * @param {number} options.rows of the result
 * @param {number} options.columns items of a row
 * @param {number} [options.work] multiplications and additions
 * @returns {Step}
 */
export function step(kernel, { operands, uniforms = {}, rows, columns, work = 0 }) {
  /** @type {Record<string, number>} */
  const values = { first: 0, count: rows, ...uniforms };
  const ordered = kernel.bindings.map(({ name }) => operands[name]);
  kernel.bindings.forEach(({ name }, index) => { values[`base_${name}`] = baseOf(ordered[index]); });
  const numbers = Int32Array.from(kernel.uniforms, name => {
    if (!(name in values)) throw new Error(`${kernel.kernel} wants ${name}: kernels.json is of another version`);
    return values[name];
  });
  const [width, height] = kernel.covers;
  return height === undefined
    ? { kernel, operands: ordered, numbers, covered: Math.ceil((rows * columns) / width), grid: [0, 0], work }
    : {
      kernel, operands: ordered, numbers, covered: 0,
      grid: [Math.ceil(columns / width), Math.ceil(rows / height)], work,
    };
}

/** @param {Operand} operand */
function baseOf(operand) {
  const base = operand.base ?? 0;
  return 'place' in operand ? base + (operand.place.offset % ALIGNMENT) / 4 : base;
}

const number = new DataView(new ArrayBuffer(4));

/**
 * The bits of a float32, as the i32 that a uniform holds.
 * @param {number} value
 */
export function bits(value) {
  number.setFloat32(0, value);
  return number.getInt32(0);
}

/**
 * The workgroups of a step along x and y, within what the device allows along each.
 * @param {Step} step
 * @param {number} longest
 * @returns {[number, number]}
 * @throws {NotOnGpu} they are too many
 */
export function gridOf({ covered, grid }, longest) {
  const lines = Math.ceil(covered / longest);
  const [x, y] = covered ? [Math.ceil(covered / lines), lines] : grid;
  if (x > longest || y > longest) throw new NotOnGpu(`${x} x ${y} workgroups are more than this GPU allows`);
  return [x, y];
}
