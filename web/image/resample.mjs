// Resampling: separable, with half-pixel centres. Rows are made one after the other as they are asked for, each row of
// the input is read once, and no more of them are held than one row of the output needs.
import { KERNELS } from './filters.mjs';
import { ImageError } from './image_error.mjs';

/** @typedef {import('./filters.mjs').Filter} Filter */
/** @typedef {Uint8Array | Uint8ClampedArray | Float32Array} Pixels */

/**
 * An image that is read row by row, from the top.
 * @typedef {object} Rows
 * @property {number} height
 * @property {number} width in pixels
 * @property {number} channels
 * @property {(y: number) => Pixels} row the width * channels numbers of row `y`, which hold until the next call
 */

/**
 * The weights by which `target` lines are made of `source` ones.
 * @typedef {object} LineWeights
 * @property {number} source how many lines there are
 * @property {Int32Array} first for each line made, the first one that has a weight
 * @property {Int32Array} counts how many lie from there to the last that has one
 * @property {Float32Array} weights target x taps, filled up with 0
 * @property {number} taps the largest of `counts`
 */

/**
 * @param {number} source lines that there are, at least 1
 * @param {number} target lines to make, at least 1
 * @param {Filter} filter
 * @returns {LineWeights}
 */
export function lineWeights(source, target, filter) {
  const kernel = KERNELS[filter];
  if (!kernel) {
    const filters = Object.keys(KERNELS).join(', ');
    throw new ImageError(`'filter' ${JSON.stringify(filter)} is none that is known: one of ${filters} is possible`);
  }
  const first = new Int32Array(target);
  const counts = new Int32Array(target).fill(1);
  if (source === target) {
    return { source, first: first.map((_, line) => line), counts, weights: new Float32Array(target).fill(1), taps: 1 };
  }
  const scale = source / target;
  const widening = kernel.antialias ? Math.max(scale, 1) : 1;
  const support = kernel.support * widening;
  const most = Math.min(source, Math.ceil(2 * support) + 2);
  const found = new Float64Array(most);
  let weights = new Float32Array(target * most);
  let taps = 1;
  let running = 0.5 * scale;
  for (let line = 0; line < target; line++) {
    let centre = (line + 0.5) * scale;
    if (filter === 'nearest') {
      // summed up as Pillow does: the last bits choose between two neighbours
      if (line > 0) running += scale;
      centre = Math.min(running, target * scale - 0.5 * Math.min(scale, 1));
    }
    // Pillow's Resample.c: the taps are the input pixels whose centres lie inside the support
    const begin = Math.max(Math.trunc(centre - support + 0.5), 0);
    const end = Math.min(Math.trunc(centre + support + 0.5), source);
    let sum = 0;
    for (let tap = begin; tap < end; tap++) sum += found[tap - begin] = kernel.weight((tap + 0.5 - centre) / widening);
    let low = 0;
    let high = end - begin;
    while (low < high - 1 && Math.fround(found[low] / sum) === 0) low++;
    while (high > low + 1 && Math.fround(found[high - 1] / sum) === 0) high--;
    first[line] = begin + low;
    counts[line] = high - low;
    taps = Math.max(taps, high - low);
    for (let tap = low; tap < high; tap++) weights[line * most + tap - low] = found[tap] / sum;
  }
  if (taps < most) {
    const dense = new Float32Array(target * taps);
    for (let line = 0; line < target; line++) {
      dense.set(weights.subarray(line * most, line * most + taps), line * taps);
    }
    weights = dense;
  }
  return { source, first, counts, weights, taps };
}

/**
 * Whether the filter takes more pixels the more it reduces: it has antialias.
 * @param {Filter} filter
 */
export function widens(filter) {
  return KERNELS[filter].antialias;
}

/**
 * An array read row by row.
 * @param {Pixels} data height x width x channels
 * @param {number} height
 * @param {number} width
 * @param {number} channels
 * @returns {Rows}
 */
export function arrayRows(data, height, width, channels) {
  const length = width * channels;
  return { height, width, channels, row: y => data.subarray(y * length, (y + 1) * length) };
}

/**
 * Another size of an image, whose rows are made as they are asked for, at best from the top: then each row of the input
 * is read once. Numbers keep their scale; what is read is Float32Array.
 * @param {Rows} rows
 * @param {number} height
 * @param {number} width
 * @param {Filter} filter
 * @returns {Rows & { row: (y: number) => Float32Array }}
 */
export function resampledRows(rows, height, width, filter) {
  const { channels } = rows;
  const down = lineWeights(rows.height, height, filter);
  const across = rows.width === width ? null : lineWeights(rows.width, width, filter);
  const length = width * channels;
  const ring = new Float32Array(down.taps * length);
  const held = new Int32Array(down.taps).fill(-1);
  const wide = across ? new Float32Array(rows.width * channels) : null;
  const out = new Float32Array(length);

  /** @param {number} y where row `y` of the input, `width` wide, begins in the ring */
  const place = y => {
    const slot = y % down.taps;
    const offset = slot * length;
    if (held[slot] !== y) {
      if (across && wide) {
        wide.set(rows.row(y)); // as float, so that the loops below see one type of array
        resampleRow(wide, across, channels, ring, offset);
      } else {
        ring.set(rows.row(y), offset);
      }
      held[slot] = y;
    }
    return offset;
  };

  return {
    height,
    width,
    channels,
    row(y) {
      const first = down.first[y];
      const count = down.counts[y];
      if (count === 1) {
        const offset = place(first);
        return ring.subarray(offset, offset + length);
      }
      out.fill(0);
      const base = y * down.taps;
      let tap = 0;
      for (; tap + 3 < count; tap += 4) {
        addFour(out, ring, down.weights, base + tap, place(first + tap), place(first + tap + 1), place(first + tap + 2),
          place(first + tap + 3));
      }
      for (; tap + 1 < count; tap += 2) {
        addTwo(out, ring, down.weights[base + tap], down.weights[base + tap + 1], place(first + tap),
          place(first + tap + 1));
      }
      if (tap < count) addTwo(out, ring, down.weights[base + tap], 0, place(first + tap), place(first + tap));
      return out;
    },
  };
}

/**
 * @param {Float32Array} out
 * @param {Float32Array} ring
 * @param {Float32Array} weights
 * @param {number} at of the first of four weights
 * @param {number} a
 * @param {number} b
 * @param {number} c
 * @param {number} d where the rows of these weights begin
 */
function addFour(out, ring, weights, at, a, b, c, d) {
  const [wa, wb, wc, wd] = [weights[at], weights[at + 1], weights[at + 2], weights[at + 3]];
  for (let x = 0; x < out.length; x++) {
    out[x] += wa * ring[a + x] + wb * ring[b + x] + wc * ring[c + x] + wd * ring[d + x];
  }
}

/**
 * @param {Float32Array} out
 * @param {Float32Array} ring
 * @param {number} wa
 * @param {number} wb
 * @param {number} a
 * @param {number} b
 */
function addTwo(out, ring, wa, wb, a, b) {
  for (let x = 0; x < out.length; x++) out[x] += wa * ring[a + x] + wb * ring[b + x];
}

/**
 * One row resampled, written at `offset` of `out`.
 * @param {Float32Array} row
 * @param {LineWeights} across
 * @param {number} channels
 * @param {Float32Array} out
 * @param {number} offset
 */
function resampleRow(row, across, channels, out, offset) {
  const { first, counts, weights, taps } = across;
  if (channels === 4) {
    for (let x = 0, to = offset; x < first.length; x++, to += 4) {
      let r = 0, g = 0, b = 0, a = 0;
      let from = 4 * first[x];
      const end = x * taps + counts[x];
      for (let tap = x * taps; tap < end; tap++, from += 4) {
        const weight = weights[tap];
        r += weight * row[from];
        g += weight * row[from + 1];
        b += weight * row[from + 2];
        a += weight * row[from + 3];
      }
      out[to] = r;
      out[to + 1] = g;
      out[to + 2] = b;
      out[to + 3] = a;
    }
    return;
  }
  for (let channel = 0; channel < channels; channel++) {
    for (let x = 0, to = offset + channel; x < first.length; x++, to += channels) {
      let sum = 0;
      let from = channels * first[x] + channel;
      const end = x * taps + counts[x];
      for (let tap = x * taps; tap < end; tap++, from += channels) sum += weights[tap] * row[from];
      out[to] = sum;
    }
  }
}

/**
 * An image at another size.
 * @param {Pixels} data height x width x channels
 * @param {number} height
 * @param {number} width
 * @param {number} channels
 * @param {number} newHeight
 * @param {number} newWidth
 * @param {Filter} filter
 * @returns {Float32Array} newHeight x newWidth x channels, at the scale of `data`, not rounded
 */
export function resize(data, height, width, channels, newHeight, newWidth, filter) {
  return whole(resampledRows(arrayRows(data, height, width, channels), newHeight, newWidth, filter));
}

/**
 * All rows of an image as one array.
 * @param {Rows} rows
 */
export function whole(rows) {
  const length = rows.width * rows.channels;
  const out = new Float32Array(rows.height * length);
  for (let y = 0; y < rows.height; y++) out.set(rows.row(y), y * length);
  return out;
}
