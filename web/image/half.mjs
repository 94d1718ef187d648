// float16, which typed arrays do not have everywhere, as 16 bits of a Uint16Array. The runner has its own conversion
// (tensors.mjs): it is a library by itself, and image/ works without it.
import { rint } from './photo.mjs';

const word = new Float32Array(1);
const bits = new Uint32Array(word.buffer);

/** @type {Float32Array | null} */
let table = null;

/**
 * The bits of the float16 nearest to a number, ties to even.
 * @param {number} value float32
 */
export function toHalf(value) {
  word[0] = value;
  const sign = (bits[0] >>> 16) & 0x8000;
  const magnitude = Math.abs(word[0]);
  if (!(magnitude < 65520)) return sign | (magnitude >= 65520 ? 0x7c00 : 0x7e00);
  // 10 bits behind the first one, and none below 2^-24; what is rounded up carries into the exponent by itself
  const exponent = Math.max(((bits[0] >>> 23) & 255) - 127, -14);
  const units = rint(magnitude / 2 ** (exponent - 10));
  return sign | (exponent === -14 ? units : ((exponent + 15) << 10) + units - 1024);
}

/** The number that each of the 65536 bit patterns is, as float32. */
export function halfTable() {
  if (!table) {
    table = new Float32Array(1 << 16);
    for (let half = 0; half < table.length; half++) {
      const exponent = (half >>> 10) & 31;
      const fraction = half & 1023;
      let value = exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
      if (exponent === 31) value = fraction ? NaN : Infinity;
      table[half] = half & 0x8000 ? -value : value;
    }
  }
  return table;
}
