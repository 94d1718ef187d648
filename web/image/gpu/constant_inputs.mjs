// What a model takes beside the photo.
import { ImageError } from '../image_error.mjs';

/** The arrays by which the runner takes each type. */
const ARRAYS = {
  bool: Uint8Array, int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array,
  uint16: Uint16Array, uint32: Uint32Array, uint64: BigUint64Array, float16: Float32Array, float32: Float32Array,
  float64: Float64Array, int4: Int8Array, uint4: Uint8Array,
};

/**
 * @typedef {Uint8Array | Int8Array | Int16Array | Int32Array | BigInt64Array | Uint16Array | Uint32Array |
 *   BigUint64Array | Float32Array | Float64Array} Values
 */

/**
 * The constants of an interface, as the runner takes them: one number for all elements, or nested lists of their shape.
 * @param {{ inputs: readonly { name: string, dtype: string, shape: readonly number[] }[] }} model
 * @param {{ inputs: Record<string, unknown> }} face
 * @returns {Record<string, Values>} by the inputs' names
 * @throws {ImageError} one has another number of elements than the input, or another input is none of the model's
 */
export function constantInputs(model, face) {
  return Object.fromEntries(Object.entries(face.inputs).map(([name, values]) => {
    const input = model.inputs.find(each => each.name === name);
    if (!input) throw new ImageError(`the model has no input '${name}', which the interface gives a constant`);
    const length = input.shape.reduce((product, extent) => product * extent, 1);
    const list = [values].flat(Infinity).map(Number);
    if (list.length !== length && Array.isArray(values)) {
      throw new ImageError(
        `the constant for input '${name}' has ${list.length} numbers, and the model wants ${length}`);
    }
    const array = new ARRAYS[/** @type {keyof typeof ARRAYS} */ (input.dtype)](length);
    for (let at = 0; at < length; at++) {
      const value = list.length === 1 ? list[0] : list[at];
      array[at] = array instanceof BigInt64Array || array instanceof BigUint64Array ? BigInt(value) : value;
    }
    return [name, array];
  }));
}
