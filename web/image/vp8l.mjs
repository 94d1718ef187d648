// The lossless stream of WebP (RFC 9649, section 3): green subtracted, predicted, repetitions as copies, Huffman codes.
import { BitWriter, writeCode } from './huffman.mjs';
import { TILE_BITS, chooseModes, predictRow, subtractGreen } from './predictors.mjs';

const [PREDICTOR, SUBTRACT_GREEN] = [0, 2];
const SIGNATURE = 0x2f;
const LITERALS = 256, LENGTHS = 24, DISTANCES = 40;
/** Codes of distances up to this one mean a place nearby (3.6.2.2): 1 the pixel above, 2 the one before. */
const NEARBY = 120;
const [LEAST_COPY, LONGEST_COPY, WINDOW] = [3, 4096, 1 << 20];
const HASH_BITS = 18, TRIES = 8, GOOD_COPY = 128;
/** After so many pixels without a copy only every eighth is looked up, which still finds the long ones. */
const PATIENCE = 256;
/** Pixels after which whoever waits for an abort is heard. */
const PAUSE = 1 << 21;

/**
 * The content of a chunk "VP8L".
 * @param {Uint8Array<ArrayBuffer>} rgba straight; what it holds is lost
 * @param {number} width up to 16384
 * @param {number} height up to 16384
 * @param {{ alpha: boolean, signal?: AbortSignal }} options `alpha`: some pixel is not opaque
 * @returns {Promise<Uint8Array<ArrayBuffer>[]>} its parts
 */
export async function encodeVp8l(rgba, width, height, { alpha, signal }) {
  const pause = pauses(signal);
  const writer = new BitWriter();
  writer.put(SIGNATURE, 8);
  writer.put(width - 1, 14);
  writer.put(height - 1, 14);
  writer.put(alpha ? 1 : 0, 1);
  writer.put(0, 3); // version

  subtractGreen(rgba);
  writer.put(1, 1);
  writer.put(SUBTRACT_GREEN, 2);

  const across = Math.ceil(width / (1 << TILE_BITS)), down = Math.ceil(height / (1 << TILE_BITS));
  const modes = new Uint8Array(across * down);
  for (let row = 0; row < down; row++) {
    chooseModes(rgba, width, height, row, modes);
    await pause(width << TILE_BITS);
  }
  const residual = new Uint8Array(4 * width);
  for (let y = height - 1; y >= 0; y--) {
    predictRow(rgba, width, y, modes, residual);
    await pause(width);
  }
  writer.put(1, 1);
  writer.put(PREDICTOR, 2);
  writer.put(TILE_BITS - 2, 3);
  const tiles = new Uint8Array(4 * modes.length);
  for (let tile = 0; tile < modes.length; tile++) tiles.set([0, modes[tile], 0, 255], 4 * tile);
  await writeImage(writer, tiles, across, false, pause);
  writer.put(0, 1); // no further transform
  await writeImage(writer, rgba, width, true, pause);
  return writer.finish();
}

/** @typedef {(pixels: number) => Promise<void> | void} Pause */

/** @param {AbortSignal} [signal] @returns {Pause} */
function pauses(signal) {
  let done = 0;
  return pixels => {
    done += pixels;
    if (done < PAUSE) return undefined;
    done = 0;
    return new Promise(resolve => { setTimeout(resolve); }).then(() => signal?.throwIfAborted());
  };
}

/**
 * Pixels as literals and copies, with one set of codes.
 * @param {BitWriter} writer
 * @param {Uint8Array<ArrayBuffer>} rgba
 * @param {number} width
 * @param {boolean} main the picture itself, not the modes of its tiles
 * @param {Pause} pause
 */
async function writeImage(writer, rgba, width, main, pause) {
  writer.put(0, 1); // no cache of colours
  if (main) writer.put(0, 1); // one set of codes for the whole picture
  const pixels = rgba.length / 4;
  const copies = await findCopies(new Uint32Array(rgba.buffer, rgba.byteOffset, pixels), width, pause);
  const counts = [LITERALS + LENGTHS, LITERALS, LITERALS, LITERALS, DISTANCES].map(size => new Uint32Array(size));
  const [greens, reds, blues, alphas, distances] = counts;
  let next = 0;
  for (let at = 0; at < pixels;) {
    if (next < copies.count && copies.starts[next] === at) {
      greens[LITERALS + prefix(copies.lengths[next])] += 1;
      distances[prefix(distanceCode(copies.distances[next], width))] += 1;
      at += copies.lengths[next++];
      continue;
    }
    reds[rgba[4 * at]] += 1;
    greens[rgba[4 * at + 1]] += 1;
    blues[rgba[4 * at + 2]] += 1;
    alphas[rgba[4 * at + 3]] += 1;
    at += 1;
  }
  const [green, red, blue, alpha, distance] = counts.map(each => writeCode(writer, each));
  next = 0;
  for (let at = 0, row = 0; at < pixels; row++) {
    for (const end = Math.min(pixels, (row + 1) * width); at < end;) {
      if (next < copies.count && copies.starts[next] === at) {
        const length = copies.lengths[next];
        const code = distanceCode(copies.distances[next++], width);
        const symbol = LITERALS + prefix(length), place = prefix(code);
        writer.put(green.bits[symbol], green.lengths[symbol]);
        writeExtra(writer, length);
        writer.put(distance.bits[place], distance.lengths[place]);
        writeExtra(writer, code);
        at += length;
        continue;
      }
      const [r, g, b, a] = [rgba[4 * at], rgba[4 * at + 1], rgba[4 * at + 2], rgba[4 * at + 3]];
      writer.put(green.bits[g], green.lengths[g]);
      writer.put(red.bits[r], red.lengths[r]);
      writer.put(blue.bits[b], blue.lengths[b]);
      writer.put(alpha.bits[a], alpha.lengths[a]);
      at += 1;
    }
    await pause(width);
  }
}

/** @param {number} distance in pixels @param {number} width @returns {number} */
function distanceCode(distance, width) {
  return distance === width ? 1 : distance === 1 ? 2 : distance + NEARBY;
}

/** @param {number} value 1 or more @returns {number} the symbol that stands for its size (3.6.2.2) */
function prefix(value) {
  const number = value - 1;
  if (number < 4) return number;
  const highest = 31 - Math.clz32(number);
  return 2 * highest + (number >> highest - 1 & 1);
}

/** @param {BitWriter} writer @param {number} value the bits of it that its symbol leaves open */
function writeExtra(writer, value) {
  const number = value - 1;
  if (number < 4) return;
  const bits = 30 - Math.clz32(number), rest = number & (1 << bits) - 1;
  writer.put(rest & 0xff, Math.min(bits, 8)); // up to 18 bits
  if (bits > 8) writer.put(rest >> 8, bits - 8);
}

/**
 * Copies, in order: `count` of them in the three arrays, in pixels.
 * @typedef {{ count: number, starts: Uint32Array, lengths: Uint16Array, distances: Uint32Array }} Copies
 */

/**
 * Where pixels repeat what stands before: hash chains of two pixels, greedy.
 * @param {Uint32Array} pixels
 * @param {number} width
 * @param {Pause} pause
 * @returns {Promise<Copies>}
 */
async function findCopies(pixels, width, pause) {
  const heads = new Int32Array(1 << HASH_BITS).fill(-1);
  const chain = new Int32Array(Math.min(WINDOW, 1 << 32 - Math.clz32(pixels.length))), mask = chain.length - 1;
  const last = pixels.length - LEAST_COPY, farthest = chain.length - NEARBY;
  /** @type {Copies} */
  let copies = { count: 0, starts: new Uint32Array(64), lengths: new Uint16Array(64), distances: new Uint32Array(64) };
  /** @param {number} at */
  const hash = at => (Math.imul(pixels[at], 0x9e3779b1) ^ Math.imul(pixels[at + 1], 0x85ebca6b)) >>> 32 - HASH_BITS;
  /** @param {number} at @param {number} from @param {number} most @returns {number} how many pixels are the same */
  const same = (at, from, most) => {
    let length = 0;
    while (length < most && pixels[at + length] === pixels[from + length]) length += 1;
    return length;
  };
  let waited = 0, misses = 0;
  for (let at = 0; at <= last;) {
    if (at - waited >= PAUSE) {
      await pause(at - waited);
      waited = at;
    }
    const most = Math.min(LONGEST_COPY, pixels.length - at);
    let best = at >= 1 ? same(at, at - 1, most) : 0, distance = 1;
    if (at >= width && best < GOOD_COPY) {
      const length = same(at, at - width, most);
      if (length > best) [best, distance] = [length, width];
    }
    const bucket = hash(at);
    let from = heads[bucket];
    // a distance takes about as many bits as a pixel: those that are far have to save more
    const patient = misses < PATIENCE || (at & 7) === 0;
    for (let tries = patient ? TRIES : 0; tries > 0 && from >= 0 && at - from < farthest && best < GOOD_COPY; tries--) {
      if (pixels[from + best] === pixels[at + best]) {
        const length = same(at, from, most);
        if (length > best + 1) [best, distance] = [length, at - from];
      }
      const before = chain[from & mask];
      if (before >= from) break;
      from = before;
    }
    chain[at & mask] = heads[bucket];
    heads[bucket] = at;
    if (best < LEAST_COPY + (distance > width ? 1 : 0)) {
      at += 1;
      misses += 1;
      continue;
    }
    misses = 0;
    if (copies.count === copies.starts.length) copies = grown(copies);
    copies.starts[copies.count] = at;
    copies.lengths[copies.count] = best;
    copies.distances[copies.count++] = distance;
    const end = Math.min(at + best, last + 1);
    const first = Math.max(at + 1, end - GOOD_COPY); // of a long copy only the end is entered
    for (let each = first; each < end; each++) {
      const bucket = hash(each);
      chain[each & mask] = heads[bucket];
      heads[bucket] = each;
    }
    at += best;
  }
  return copies;
}

/** @param {Copies} copies @returns {Copies} with room for twice as many */
function grown({ count, starts, lengths, distances }) {
  const room = 2 * count;
  const more = {
    count, starts: new Uint32Array(room), lengths: new Uint16Array(room), distances: new Uint32Array(room),
  };
  more.starts.set(starts);
  more.lengths.set(lengths);
  more.distances.set(distances);
  return more;
}
