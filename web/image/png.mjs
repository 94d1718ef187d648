// PNG (ISO 15948) written so that every sample comes back as it was: a canvas's own PNG went through a multiplication
// by alpha. The compressed parts go into a Blob one by one; the pixels are never held a second time.
import { crc32 } from './crc.mjs';
import { ImageError } from './image_error.mjs';
import { partsOf } from './streams.mjs';

/** Rows that are filtered and handed to the compressor together have about so many bytes. */
const BAND = 1 << 20;
/** Rows of a band that are tried with each filter, to choose the one of the band. */
const SAMPLED = 4;
/** Bytes of one IDAT chunk, about. */
const CHUNK = 1 << 20;
const LONGEST_SIDE = 2 ** 31 - 1;
/** @type {Record<number, number>} colour types */
const TYPES = { 1: 0, 3: 2, 4: 6 };

/**
 * A picture to be written.
 * @typedef {object} Picture
 * @property {number} width
 * @property {number} height
 * @property {number} channels 1 grey, 3 RGB, 4 straight RGBA
 * @property {Uint8Array | Uint8ClampedArray | Uint16Array} data row by row, a Uint16Array where `bits` is 16
 * @property {8 | 16} [bits] a sample
 * @property {Uint8Array | null} [icc] the profile of the colours
 */

/**
 * Write a PNG file.
 * @param {Picture} picture
 * @param {{ signal?: AbortSignal }} [options]
 * @returns {Promise<Blob>}
 * @throws {ImageError} the sides, channels, bits and data do not fit to each other
 * @throws {DOMException} AbortError
 */
export async function encodePng({ width, height, channels, data, bits = 8, icc = null }, { signal } = {}) {
  checkPicture(width, height, channels, data);
  if (bits !== 8 && bits !== 16) throw new ImageError(`a PNG of ${bits} bits a sample cannot be written; use 8 or 16`);
  if ((bits === 16) !== (data instanceof Uint16Array)) {
    throw new ImageError(`samples of ${bits} bits come in a Uint${bits}Array, not in a ${data.constructor.name}`);
  }
  const header = new Uint8Array(13), view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = bits;
  header[9] = TYPES[channels];
  /** @type {BlobPart[]} */
  const parts = [Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10), ...chunk('IHDR', [header])];
  if (icc) {
    const name = new TextEncoder().encode('ICC profile\0\0');
    parts.push(...chunk('iCCP', [name, ...await all(compressed(new Blob([/** @type {BlobPart} */ (icc)]).stream()))]));
  }
  /** @type {Uint8Array[]} */ let waiting = [];
  let size = 0;
  for await (const part of partsOf(compressed(filtered({ width, height, channels, data, bits }, signal)))) {
    signal?.throwIfAborted();
    waiting.push(part);
    size += part.length;
    if (size < CHUNK) continue;
    parts.push(new Blob(chunk('IDAT', waiting))); // into the browser's storage of blobs, which may be a file
    [waiting, size] = [[], 0];
  }
  if (size) parts.push(...chunk('IDAT', waiting));
  return new Blob([...parts, ...chunk('IEND', [])], { type: 'image/png' });
}

/**
 * Refuse what no picture can be made of.
 * @param {number} width
 * @param {number} height
 * @param {number} channels
 * @param {ArrayLike<number>} data
 */
export function checkPicture(width, height, channels, data) {
  if (![width, height].every(side => Number.isInteger(side) && side >= 1 && side <= LONGEST_SIDE)) {
    throw new ImageError(`a picture of ${width} x ${height} pixels cannot be written; both sides must be 1 or more`);
  }
  if (![1, 3, 4].includes(channels)) {
    throw new ImageError(`a picture of ${channels} channels cannot be written; it has 1 (grey), 3 (RGB) or 4 (RGBA)`);
  }
  if (data.length !== width * height * channels) {
    throw new ImageError(`${data.length} samples are not those of ${width} x ${height} pixels of ${channels} channels`);
  }
}

/**
 * The bytes that are to be compressed: of each row the number of its filter, and the row filtered by it.
 * @param {{ width: number, height: number, channels: number, data: ArrayLike<number>, bits: number }} picture
 * @param {AbortSignal} [signal]
 * @returns {ReadableStream<Uint8Array<ArrayBuffer>>}
 */
function filtered({ width, height, channels, data, bits }, signal) {
  const samples = width * channels, step = channels * bits / 8, bytes = width * step;
  const rows = Math.max(1, Math.floor(BAND / (bytes + 1)));
  const row = bits === 16 ? bigEndian(/** @type {Uint16Array} */ (data), samples)
    : (/** @type {number} */ y) => /** @type {Uint8Array} */ (data).subarray(y * samples, (y + 1) * samples);
  const nothing = new Uint8Array(bytes), trial = new Uint8Array(bytes);
  let top = 0;
  return new ReadableStream({
    pull(controller) {
      try {
        signal?.throwIfAborted();
      } catch (error) {
        controller.error(error);
        return;
      }
      const end = Math.min(top + rows, height);
      const filter = choose(row, nothing, trial, top, end, step);
      const band = new Uint8Array((bytes + 1) * (end - top));
      for (let y = top, at = 0; y < end; y++) {
        band[at] = filter;
        apply(filter, row(y), y ? row(y - 1) : nothing, step, band, at + 1);
        at += bytes + 1;
      }
      controller.enqueue(band);
      top = end;
      if (top === height) controller.close();
    },
  }, { highWaterMark: 1 });
}

/**
 * Reads rows of 16-bit samples as bytes, the high one first; two rows can be held at a time.
 * @param {Uint16Array} data
 * @param {number} samples a row
 * @returns {(y: number) => Uint8Array}
 */
function bigEndian(data, samples) {
  const rows = [new Uint8Array(2 * samples), new Uint8Array(2 * samples)];
  const held = [-1, -1];
  return y => {
    const bytes = rows[y & 1];
    if (held[y & 1] !== y) {
      for (let i = 0, from = y * samples; i < samples; i++, from++) {
        bytes[2 * i] = data[from] >> 8;
        bytes[2 * i + 1] = data[from];
      }
      held[y & 1] = y;
    }
    return bytes;
  };
}

/**
 * The filter whose output has the smallest sum of magnitudes, as libpng chooses it, over some rows of a band.
 * @param {(y: number) => Uint8Array | Uint8ClampedArray} row
 * @param {Uint8Array} nothing a row of zeros
 * @param {Uint8Array} trial as long as a row
 * @param {number} top first row of the band
 * @param {number} end the one behind its last
 * @param {number} step bytes a pixel
 * @returns {number}
 */
function choose(row, nothing, trial, top, end, step) {
  let best = 0, least = Infinity;
  const stride = Math.max(1, Math.floor((end - top) / SAMPLED));
  for (let filter = 0; filter < 5; filter++) {
    let sum = 0;
    for (let y = top + Math.min(1, end - top - 1); y < end; y += stride) {
      apply(filter, row(y), y ? row(y - 1) : nothing, step, trial, 0);
      for (let i = 0; i < trial.length; i++) sum += trial[i] < 128 ? trial[i] : 256 - trial[i];
    }
    if (sum < least) [best, least] = [filter, sum];
  }
  return best;
}

/**
 * Filter a row (ISO 15948, 9.2).
 * @param {number} filter 0 to 4
 * @param {Uint8Array | Uint8ClampedArray} line
 * @param {Uint8Array | Uint8ClampedArray} above
 * @param {number} step bytes a pixel
 * @param {Uint8Array} out
 * @param {number} at where in `out` the row begins
 */
function apply(filter, line, above, step, out, at) {
  const bytes = line.length, first = Math.min(step, bytes);
  if (filter === 0) {
    out.set(line, at);
  } else if (filter === 1) {
    for (let i = 0; i < first; i++) out[at + i] = line[i];
    for (let i = first; i < bytes; i++) out[at + i] = line[i] - line[i - step];
  } else if (filter === 2) {
    for (let i = 0; i < bytes; i++) out[at + i] = line[i] - above[i];
  } else if (filter === 3) {
    for (let i = 0; i < first; i++) out[at + i] = line[i] - (above[i] >> 1);
    for (let i = first; i < bytes; i++) out[at + i] = line[i] - ((line[i - step] + above[i]) >> 1);
  } else {
    for (let i = 0; i < first; i++) out[at + i] = line[i] - above[i];
    for (let i = first; i < bytes; i++) {
      const a = line[i - step], b = above[i], c = above[i - step];
      const pa = Math.abs(b - c), pb = Math.abs(a - c), pc = Math.abs(a + b - 2 * c);
      out[at + i] = line[i] - (pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
    }
  }
}

/** @param {ReadableStream<Uint8Array<ArrayBuffer>>} stream @returns {ReadableStream<Uint8Array>} as zlib has it */
function compressed(stream) {
  return stream.pipeThrough(/** @type {ReadableWritablePair<Uint8Array, Uint8Array<ArrayBuffer>>} */ (
    /** @type {unknown} */ (new CompressionStream('deflate'))));
}

/** @param {ReadableStream<Uint8Array>} stream */
async function all(stream) {
  const parts = [];
  for await (const part of partsOf(stream)) parts.push(part);
  return parts;
}

/**
 * @param {string} kind
 * @param {Uint8Array[]} parts its content
 * @returns {BlobPart[]}
 */
function chunk(kind, parts) {
  const head = new Uint8Array(8), end = new Uint8Array(4);
  head.set(new TextEncoder().encode(kind), 4);
  let length = 0, sum = crc32(head.subarray(4));
  for (const part of parts) {
    length += part.length;
    sum = crc32(part, sum);
  }
  new DataView(head.buffer).setUint32(0, length);
  new DataView(end.buffer).setUint32(0, sum);
  return /** @type {BlobPart[]} */ ([head, ...parts, end]);
}
