// Inputs and outputs between a page's typed arrays and the types in which a GPU holds them.
import { RunnerError } from './errors.mjs';

/**
 * The arrays by which a page gives and gets each type. A boolean is 0 or 1; float16 comes and goes as f32, since not
 * every browser has arrays of it.
 */
const HOST_TYPES = {
  bool: Uint8Array, int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array,
  uint16: Uint16Array, uint32: Uint32Array, uint64: BigUint64Array, float16: Float32Array, float32: Float32Array,
  float64: Float64Array, int4: Int8Array, uint4: Uint8Array,
};

const STORAGE_TYPES = { f32: Float32Array, f16: Uint16Array, i32: Int32Array, u32: Uint32Array };

/** @type {Record<string, [number, number]>} the integers that an array of bytes holds too many of */
const LIMITS = { int4: [-8, 7], uint4: [0, 15] };

/** @type {Record<string, [bigint, bigint]>} */
const RANGES = { i32: [-(2n ** 31n), 2n ** 31n - 1n], u32: [0n, 2n ** 32n - 1n] };

/**
 * @typedef {Int8Array|Int16Array|Int32Array|BigInt64Array|Uint8Array|Uint16Array|Uint32Array|BigUint64Array|
 *   Float32Array|Float64Array} TypedArray
 * @typedef {import('./header.mjs').Place} Place
 */

/** @param {Place} place */
const elements = place => place.shape.reduce((product, extent) => product * extent, 1);

/**
 * Raise RunnerError 'input' where an array has not the type or the number of elements of an input, or holds what its
 * four bits do not.
 * @param {Place} place
 * @param {unknown} array
 */
export function checkInput(place, array) {
  const type = HOST_TYPES[place.dtype], count = elements(place);
  if (!(array instanceof type)) {
    throw new RunnerError(
      'input',
      `input '${place.name}' is no ${type.name}, which holds its ${place.dtype}: convert it`
    );
  }
  if (array.length !== count) {
    throw new RunnerError(
      'input',
      `input '${place.name}' has ${array.length} elements, and ${place.shape.join(' x ')} are ${count}`
    );
  }
  const limits = LIMITS[place.dtype];
  if (!limits) return;
  const [least, most] = limits, beyond = Array.from(array, Number).find(value => value < least || value > most);
  if (beyond !== undefined) {
    throw new RunnerError(
      'input', `input '${place.name}' takes integers from ${least} to ${most}; it was given ${beyond}`);
  }
}

/**
 * An input as it is stored, in whole words: a view of `array` where that holds it already.
 *
 * Raises RunnerError 'input' for an integer beyond 32 bits.
 * @param {Place} place
 * @param {TypedArray} array that `checkInput` has let through
 * @returns {ArrayBufferView<ArrayBuffer>}
 */
export function toStorage(place, array) {
  const { dtype, storage } = place, type = STORAGE_TYPES[storage];
  if (dtype === 'bool') return new type(Array.from(/** @type {Uint8Array} */ (array), value => (value ? 1 : 0)));
  if (storage === 'f16') {
    const words = new Uint16Array(Math.ceil(array.length / 2) * 2); // writes are of 4 bytes
    for (let index = 0; index < array.length; index += 1) words[index] = halfBits(Number(array[index]));
    return words;
  }
  if (array.constructor === type) return /** @type {ArrayBufferView<ArrayBuffer>} */ (array);
  if (array instanceof BigInt64Array || array instanceof BigUint64Array) {
    const [least, most] = RANGES[storage] ?? [];
    return new type(Array.from(array, value => {
      if (value < least || value > most) {
        throw new RunnerError(
          'input',
          `input '${place.name}' holds the integer ${value}, and a GPU computes in 32 bits: give a smaller one`
        );
      }
      return Number(value);
    }));
  }
  return new type(array);
}

/**
 * An output as the page gets it.
 * @param {Place} place
 * @param {ArrayBuffer} bytes
 * @param {number} offset where it begins in `bytes`
 * @returns {TypedArray}
 */
export function fromStorage(place, bytes, offset) {
  const { dtype, storage } = place, type = HOST_TYPES[dtype];
  const stored = new STORAGE_TYPES[storage](bytes, offset, elements(place));
  if (dtype === 'bool') return Uint8Array.from(stored, value => (value ? 1 : 0));
  if (storage === 'f16') return /** @type {Float32ArrayConstructor} */ (type).from(stored, numberOfHalf);
  if (type === BigInt64Array || type === BigUint64Array) {
    return /** @type {BigInt64ArrayConstructor} */ (type).from(Array.from(stored, value => BigInt(Math.trunc(value))));
  }
  return /** @type {Float32ArrayConstructor} */ (type).from(stored);
}

/**
 * Raise RunnerError 'nan' where an output holds NaN.
 * @param {Place} place
 * @param {TypedArray} array
 */
export function checkOutput(place, array) {
  if (!(array instanceof Float32Array || array instanceof Float64Array)) return;
  for (let index = 0; index < array.length; index += 1) {
    if (array[index] !== array[index]) {
      throw new RunnerError(
        'nan',
        `output '${place.name}' holds NaN: this GPU or its driver computes wrongly, or an input was none; try ` +
        'another'
      );
    }
  }
}

const F32 = new Float32Array(1);
const BITS = new Uint32Array(F32.buffer);

/**
 * The bits of the float16 nearest to a number, of two as near the even one.
 * @param {number} number
 */
export function halfBits(number) {
  F32[0] = number;
  const sign = (BITS[0] >>> 16) & 0x8000, magnitude = BITS[0] & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // from 65520 on
  if (magnitude < 0x38800000) return sign | roundEven(Math.abs(F32[0]) * 2 ** 24);
  const even = (magnitude >>> 13) & 1;
  return sign | ((magnitude - 0x38000000 + 0xfff + even) >>> 13);
}

/** @param {number} number not negative */
function roundEven(number) {
  const below = Math.floor(number), part = number - below;
  return part > 0.5 || (part === 0.5 && below % 2) ? below + 1 : below;
}

/**
 * The number that the bits of a float16 are.
 * @param {number} bits
 */
export function numberOfHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >>> 10) & 31, fraction = bits & 0x3ff;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}
