// Reads what tests/web/image/cases.py wrote, into the folder that NSS_CASES names.
import fs from 'node:fs';
import path from 'node:path';

const folder = process.env.NSS_CASES;
if (!folder) throw new Error('NSS_CASES names the folder of the cases; run by pytest');
const bytes = fs.readFileSync(path.join(folder, 'data.bin'));
const TYPES = {
  uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array, int64: BigInt64Array, uint32: Uint32Array,
  float32: Float32Array, float64: Float64Array,
};

/** @param {any} value */
function revive(value) {
  if (!value || typeof value !== 'object' || value.dtype === undefined || value.at === undefined) return value;
  const type = TYPES[value.dtype];
  const count = value.shape.reduce((product, side) => product * side, 1);
  const start = bytes.byteOffset + value.at;
  const data = new type(bytes.buffer.slice(start, start + count * type.BYTES_PER_ELEMENT));
  return { data, shape: value.shape };
}

/** The cases of a kind, their arrays as { data, shape }. */
export function casesOf(kind) {
  const all = JSON.parse(fs.readFileSync(path.join(folder, 'cases.json'), 'utf-8'));
  const found = all.filter(each => each.kind === kind);
  if (!found.length) throw new Error(`there is no case of ${kind}`);
  return found.map(each => Object.fromEntries(Object.entries(each).map(([key, value]) => [key, revive(value)])));
}

/** The largest difference of two arrays of equal length; NaN is infinitely far from any number. */
export function farthest(one, other) {
  if (one.length !== other.length) throw new Error(`${one.length} numbers and ${other.length}`);
  let most = 0;
  for (let at = 0; at < one.length; at++) {
    const apart = Math.abs(one[at] - other[at]);
    if (!(apart <= most)) most = apart >= 0 ? apart : Object.is(one[at], other[at]) ? most : Infinity;
  }
  return most;
}

/** How many elements of two arrays of equal length differ. */
export function countDifferent(one, other) {
  if (one.length !== other.length) throw new Error(`${one.length} numbers and ${other.length}`);
  let count = 0;
  for (let at = 0; at < one.length; at++) if (one[at] !== other[at]) count++;
  return count;
}

/** A photo of web/image of an array { data, shape } of H x W x 4; if opaque with a fourth byte that means nothing. */
export function photoOf({ data, shape }, opaque, icc = null) {
  if (opaque) for (let at = 3; at < data.length; at += 4) data[at] = at % 251;
  return { name: 'photo.png', height: shape[0], width: shape[1], rgba: data, opaque, icc };
}

/** A mask of web/image of an array { data, shape } of H x W. */
export function maskOf({ data, shape }) {
  return { height: shape[0], width: shape[1], data: data.slice() };
}
