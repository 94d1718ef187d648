// The pixels of a PNG file, exact: what browsers hand out went through a multiplication by alpha, and 16 bits are cut.
import { damaged } from './containers/png.mjs';
import { Reader } from './containers/reader.mjs';
import { crc32 } from './crc.mjs';
import { partsOf } from './streams.mjs';

/** Adam7 (ISO 15948, 8.2): first column and row, and steps, of each pass. */
const PASSES = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];
const PIECE = 1 << 20;

/**
 * Decode the pixels into their upright place.
 * @param {Blob} blob the file
 * @param {import('./containers/png.mjs').PngHeader} header
 * @param {import('./orientation.mjs').Placement} place
 * @param {Uint8ClampedArray} rgba four bytes a pixel of the upright picture; samples of 16 bits are divided by 257 and
 *   rounded
 * @param {string} name of the photo, for a message
 * @param {AbortSignal} [signal]
 */
export async function decodePixels(blob, header, place, rgba, name, signal) {
  const pixels = new Uint32Array(rgba.buffer, rgba.byteOffset, rgba.length / 4);
  const passes = header.interlaced ? PASSES : [[0, 0, 1, 1]];
  const bits = header.channels * header.depth, step = Math.max(1, bits >> 3);
  const longest = Math.ceil(header.width * bits / 8);
  const widen = widener(header);
  const colours = new Uint8Array(4 * header.width), colour = new Uint32Array(colours.buffer);
  let line = new Uint8Array(longest), above = new Uint8Array(longest);
  let pass = -1, row = 0, rows = 0, width = 0, bytes = 0, filled = 0, filter = -1;

  /** Go to the next pass that has pixels; false behind the last one. */
  const next = () => {
    for (pass += 1; pass < passes.length; pass += 1) {
      const [left, top, across, down] = passes[pass];
      width = Math.ceil((header.width - left) / across);
      rows = Math.ceil((header.height - top) / down);
      if (width > 0 && rows > 0) break;
    }
    row = 0;
    bytes = Math.ceil(width * bits / 8);
    above.fill(0);
    return pass < passes.length;
  };
  const write = () => {
    const [left, top, across, down] = passes[pass];
    widen(line, width, colours);
    let at = place.origin + place.column * left + place.row * (top + row * down);
    const stride = place.column * across;
    if (stride === 1) pixels.set(width === header.width ? colour : colour.subarray(0, width), at);
    else for (let x = 0; x < width; x++, at += stride) pixels[at] = colour[x];
  };

  let more = next();
  const stream = { whole: true };
  for await (const part of untilDamage(inflated(blob, header.data), stream)) {
    signal?.throwIfAborted();
    for (let at = 0; at < part.length && more;) {
      if (filter < 0) { filter = part[at++]; filled = 0; }
      const taken = Math.min(bytes - filled, part.length - at);
      line.set(part.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
      if (filled < bytes) break;
      if (filter > 4) throw damaged(name, `row ${row} has the filter ${filter}`);
      restore(filter, line, above, bytes, step);
      write();
      [line, above] = [above, line];
      filter = -1;
      row += 1;
      if (row === rows) more = next();
    }
  }
  if (more) throw damaged(name, `${pass ? `pass ${pass + 1}, ` : ''}row ${row} of ${rows} is missing or unreadable`);
  // bytes behind the compressed pixels, or the end of their check sum missing, are no reason to refuse them
  if (!stream.whole && !await areSound(blob, header.data)) throw damaged(name, 'a check sum of its pixels is wrong');
}

/**
 * The parts of a stream up to where it cannot be decompressed.
 * @param {ReadableStream<Uint8Array>} stream
 * @param {{ whole: boolean }} state becomes false there
 */
async function* untilDamage(stream, state) {
  try {
    yield* partsOf(stream);
  } catch (error) {
    if (error instanceof DOMException) throw error; // the file cannot be read
    state.whole = false;
  }
}

/**
 * Whether the check sums of all IDAT chunks are right.
 * @param {Blob} blob
 * @param {[number, number][]} data
 */
async function areSound(blob, data) {
  const reader = new Reader(blob);
  for (const [start, length] of data) {
    let sum = 0;
    for (let at = start - 4; at < start + length; at += PIECE) {
      sum = crc32(await reader.bytes(at, Math.min(PIECE, start + length - at)), sum);
    }
    const end = await reader.bytes(start + length, 4);
    if (end.length < 4 || new DataView(end.buffer, end.byteOffset, 4).getUint32(0) !== sum) return false;
  }
  return true;
}

/**
 * The content of all IDAT chunks, without zlib's compression.
 * @param {Blob} blob
 * @param {[number, number][]} data
 * @returns {ReadableStream<Uint8Array>}
 */
function inflated(blob, data) {
  data = data.map(([start, length]) => [start, length]);
  let next = 0;
  /** @type {ReadableStream<BufferSource>} */
  const source = new ReadableStream({
    async pull(controller) {
      if (next === data.length) return controller.close();
      // many chunks lie one behind the other, 12 bytes apart: read them in one go
      const first = data[next][0];
      let end = next;
      while (end < data.length && data[end][0] + data[end][1] - first <= PIECE) end += 1;
      if (end === next) { // one chunk that is larger: piece by piece
        const [start, length] = data[next];
        const part = await blob.slice(start, start + Math.min(length, PIECE)).arrayBuffer();
        data[next] = [start + part.byteLength, length - part.byteLength];
        if (!data[next][1] || !part.byteLength) next += 1;
        return controller.enqueue(new Uint8Array(part));
      }
      const [start, length] = data[end - 1];
      const bytes = new Uint8Array(await blob.slice(first, start + length).arrayBuffer());
      for (; next < end; next++) {
        const [at, size] = data[next];
        if (size) controller.enqueue(bytes.subarray(at - first, at - first + size));
      }
    },
  });
  return source.pipeThrough(/** @type {ReadableWritablePair<Uint8Array, BufferSource>} */ (
    /** @type {unknown} */ (new DecompressionStream('deflate'))));
}

/**
 * Undo a filter in place (ISO 15948, 9.2).
 * @param {number} filter 0 to 4
 * @param {Uint8Array} line
 * @param {Uint8Array} above the line before, restored
 * @param {number} bytes of the line
 * @param {number} step bytes a pixel
 */
function restore(filter, line, above, bytes, step) {
  if (filter === 1) {
    for (let i = step; i < bytes; i++) line[i] += line[i - step];
  } else if (filter === 2) {
    for (let i = 0; i < bytes; i++) line[i] += above[i];
  } else if (filter === 3) {
    for (let i = 0; i < step && i < bytes; i++) line[i] += above[i] >> 1;
    for (let i = step; i < bytes; i++) line[i] += (line[i - step] + above[i]) >> 1;
  } else if (filter === 4) {
    for (let i = 0; i < step && i < bytes; i++) line[i] += above[i];
    for (let i = step; i < bytes; i++) {
      const a = line[i - step], b = above[i], c = above[i - step];
      const pa = Math.abs(b - c), pb = Math.abs(a - c), pc = Math.abs(a + b - 2 * c);
      line[i] += pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
    }
  }
}

/**
 * What takes the bytes of a restored line to RGBA.
 * @param {import('./containers/png.mjs').PngHeader} header
 * @returns {(line: Uint8Array, width: number, rgba: Uint8Array) => void}
 */
function widener({ type, depth, palette, transparency }) {
  const key = transparency && [0, 2, 4].map(at => transparency[at] << 8 | transparency[at + 1]);
  if (type === 3 || depth < 8) {
    const table = new Uint8Array(4 * 256).fill(255), top = (1 << depth) - 1;
    for (let index = 0; index < 256; index++) {
      for (let k = 0; k < 3; k++) {
        table[4 * index + k] = palette ? palette[3 * index + k] ?? 0 : Math.round(Math.min(index, top) * 255 / top);
      }
      if (palette) table[4 * index + 3] = transparency?.[index] ?? 255;
      else if (key && key[0] === index) table[4 * index + 3] = 0;
    }
    const colours = new Uint32Array(table.buffer);
    return (line, width, rgba) => {
      const out = new Uint32Array(rgba.buffer);
      for (let x = 0; x < width; x++) {
        out[x] = colours[depth === 8 ? line[x] : line[x * depth >> 3] >> 8 - depth - (x * depth & 7) & top];
      }
    };
  }
  // by channels of the file: where red, green, blue and alpha are; alpha -1 where there is none
  const colour = type === 2 || type === 6, a = type === 6 ? 3 : type === 4 ? 1 : -1;
  const [r, g, b, channels] = colour ? [0, 1, 2, a < 0 ? 3 : 4] : [0, 0, 0, a < 0 ? 1 : 2];
  if (depth === 8) {
    if (type === 6) return (line, width, rgba) => rgba.set(line.subarray(0, 4 * width));
    return (line, width, rgba) => {
      for (let x = 0, i = 0, o = 0; x < width; x++, i += channels, o += 4) {
        rgba[o] = line[i + r];
        rgba[o + 1] = line[i + g];
        rgba[o + 2] = line[i + b];
        rgba[o + 3] = a >= 0 ? line[i + a] : key && line[i + r] === key[0] && (type === 0
          || (line[i + g] === key[1] && line[i + b] === key[2])) ? 0 : 255;
      }
    };
  }
  return (line, width, rgba) => {
    /** @param {number} i */
    const wide = i => line[i] << 8 | line[i + 1];
    /** @param {number} i 257 is odd: nothing lies half-way */
    const round = i => Math.floor((wide(i) + 128) / 257);
    for (let x = 0, i = 0, o = 0; x < width; x++, i += 2 * channels, o += 4) {
      rgba[o] = round(i + 2 * r);
      rgba[o + 1] = round(i + 2 * g);
      rgba[o + 2] = round(i + 2 * b);
      rgba[o + 3] = a >= 0 ? round(i + 2 * a) : key && wide(i) === key[0] && (type === 0
        || (wide(i + 2) === key[1] && wide(i + 4) === key[2])) ? 0 : 255;
    }
  };
}
