// Where the stored units of the weights lie in the shards, and where their content belongs.
import { damaged } from './fields.mjs';

/** Bytes of a unit of the constant buffers' content; each buffer begins with one. */
export const UNIT = 256;

/** Bytes that a unit takes in a shard, by its encoding. */
export const STORED_BYTES = { raw: UNIT, f16: 128, q8: 68 };

/**
 * @typedef {import('./header.mjs').Shard} Shard
 * @typedef {import('./header.mjs').Segment} Segment
 * @typedef {{encoding: import('./header.mjs').Encoding, units: number, at: number, buffer: number,
 *   offset: number}} Part
 *   units of one encoding in one shard and for one buffer: `at` is their byte in the shard, `offset` that in the buffer
 */

/**
 * The parts of each shard, in order. Raises RunnerError where segments, shards and buffers do not have one size.
 * @param {number[]} sizes of the constant buffers, in bytes
 * @param {Shard[]} shards
 * @param {Segment[]} segments
 * @returns {Part[][]}
 */
export function segmentUnits(sizes, shards, segments) {
  /** @type {Part[][]} */
  const parts = [];
  let segment = 0, done = 0, buffer = 0, offset = 0;
  for (const shard of shards) {
    /** @type {Part[]} */
    const own = [];
    let at = 0;
    while (at < shard.bytes) {
      if (segment === segments.length) throw damaged('its shards are longer than its segments');
      while (buffer < sizes.length && offset >= sizes[buffer]) [buffer, offset] = [buffer + 1, 0];
      if (buffer === sizes.length) throw damaged('its segments are longer than its buffers');
      const { encoding, units: all } = segments[segment];
      const fitting = Math.floor((shard.bytes - at) / STORED_BYTES[encoding]);
      const units = Math.min(all - done, fitting, Math.ceil((sizes[buffer] - offset) / UNIT));
      if (!units) throw damaged('a shard ends within a unit');
      own.push({ encoding, units, at, buffer, offset });
      at += units * STORED_BYTES[encoding];
      offset += units * UNIT;
      done += units;
      if (done === all) [segment, done] = [segment + 1, 0];
    }
    parts.push(own);
  }
  while (buffer < sizes.length && offset >= sizes[buffer]) [buffer, offset] = [buffer + 1, 0];
  if (segment !== segments.length) throw damaged('its shards are shorter than its segments');
  if (buffer !== sizes.length) throw damaged('its segments are shorter than its buffers');
  return parts;
}
