// Tables of weights, as the kernels read them.
import { lineWeights } from '../resample.mjs';

/** @typedef {import('../resample.mjs').LineWeights} LineWeights */
/** @typedef {import('../filters.mjs').Filter} Filter */

/**
 * For each row and then each column of the result, the first line that it is made of and how many they are.
 * @param {LineWeights} rows
 * @param {LineWeights} columns
 */
export function lineTable(rows, columns) {
  const table = new Int32Array(2 * (rows.first.length + columns.first.length));
  let at = 0;
  for (const { first, counts } of [rows, columns]) {
    for (let line = 0; line < first.length; line++) {
      table[at++] = first[line];
      table[at++] = counts[line];
    }
  }
  return table;
}

/**
 * The weights of each row, and then of each column.
 * @param {LineWeights} rows
 * @param {LineWeights} columns
 */
export function weightTable(rows, columns) {
  const table = new Float32Array(rows.weights.length + columns.weights.length);
  table.set(rows.weights);
  table.set(columns.weights, rows.weights.length);
  return table;
}

/**
 * For each point the whole rows and columns below it, and what it lies beyond them, as the bits of float32.
 * @param {readonly (readonly [number, number])[]} points rows and columns from the pixel
 */
export function pointTable(points) {
  const table = new Int32Array(4 * points.length);
  const parts = new Float32Array(table.buffer);
  points.forEach(([row, column], index) => {
    table[4 * index] = Math.floor(row);
    table[4 * index + 1] = Math.floor(column);
    parts[4 * index + 2] = row - Math.floor(row);
    parts[4 * index + 3] = column - Math.floor(column);
  });
  return table;
}

/**
 * The sum of all counts: how many lines are looked at.
 * @param {LineWeights} lines
 */
export function widest({ counts }) {
  return counts.reduce((sum, count) => sum + count, 0);
}

/**
 * The weights of one axis. An axis that is first reduced to `between` lines, with antialias, has those of both in one.
 * @param {number} source
 * @param {number} between `source` where it is not
 * @param {number} target
 * @param {Filter} filter
 * @returns {LineWeights}
 */
export function linesThrough(source, between, target, filter) {
  if (between === source) return lineWeights(source, target, filter);
  const inner = lineWeights(source, between, 'bilinear-antialias');
  const outer = lineWeights(between, target, filter);
  const first = new Int32Array(target);
  const counts = new Int32Array(target);
  for (let line = 0; line < target; line++) {
    const last = outer.first[line] + outer.counts[line] - 1;
    first[line] = inner.first[outer.first[line]];
    counts[line] = inner.first[last] + inner.counts[last] - first[line];
  }
  const taps = counts.reduce((most, count) => Math.max(most, count), 1);
  const sums = new Float64Array(target * taps);
  for (let line = 0; line < target; line++) {
    for (let tap = 0; tap < outer.counts[line]; tap++) {
      const row = outer.first[line] + tap;
      const weight = outer.weights[line * outer.taps + tap];
      const at = line * taps + inner.first[row] - first[line];
      for (let k = 0; k < inner.counts[row]; k++) sums[at + k] += weight * inner.weights[row * inner.taps + k];
    }
  }
  return { source, first, counts, weights: Float32Array.from(sums), taps };
}
