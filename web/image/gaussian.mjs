// The Gaussian blur of a mask, or of a window of one: separable, in sums of double precision.
import { rint } from './photo.mjs';

/** A normal distribution has 6.3e-5 of its mass outside four standard deviations. */
const TRUNCATE = 4;

/** Sums of products of these units with 0 and 1 are exact. */
const UNIT = 2 ** -24;

/**
 * How many pixels to each side a blur looks.
 * @param {number} sigma in pixels
 */
export function reach(sigma) {
  return Math.ceil(TRUNCATE * sigma);
}

/**
 * The weights from the pixel outwards: its own, then that of either one beside it, and so on. Whole multiples of 2^-24,
 * whose sum, both sides counted, is one: so what is 0 or 1 as far as the blur looks stays exactly that.
 * @param {number} sigma in pixels, above 0
 */
export function halfKernel(sigma) {
  const count = reach(sigma);
  const half = new Float64Array(count + 1);
  for (let distance = 0; distance <= count; distance++) half[distance] = Math.exp(-0.5 * (distance / sigma) ** 2);
  const sum = 2 * half.reduce((total, value) => total + value, 0) - half[0];
  // the sums from outside are rounded, not the weights, so that the errors do not add up
  let outside = 0;
  let rounded = 0;
  for (let distance = count; distance > 0; distance--) {
    outside += half[distance] / sum;
    const next = rint(outside / UNIT);
    half[distance] = (next - rounded) * UNIT;
    rounded = next;
  }
  half[0] = (1 / UNIT - 2 * rounded) * UNIT;
  return half;
}

/**
 * Convolve with a Gaussian, sampled at whole pixels, cut off at four standard deviations and normalised.
 * @param {Float32Array} data height x width
 * @param {number} width
 * @param {number} height
 * @param {number} sigma the standard deviation in pixels; 0 gives the array itself
 * @returns {Float32Array} height x width; pixels on the edge count as repeated outwards
 */
export function blur(data, width, height, sigma) {
  if (sigma <= 0) return data;
  const kernel = halfKernel(sigma);
  const margin = kernel.length - 1;
  const sums = new Float64Array(width);
  const row = new Float32Array(width + 2 * margin);
  const out = new Float32Array(data.length);
  const last = height - 1;
  for (let y = 0; y < height; y++) {
    convolve(sums, data, kernel, distance => width * Math.max(0, y - distance),
      distance => width * Math.min(last, y + distance));
    row.set(sums, margin);
    row.fill(row[margin], 0, margin);
    row.fill(row[margin + width - 1], margin + width);
    convolve(sums, row, kernel, distance => margin - distance, distance => margin + distance);
    out.set(sums, y * width);
  }
  return out;
}

/**
 * Sums of lines of `data`, each weighted by its distance from the line in the middle.
 * @param {Float64Array} sums
 * @param {Float32Array} data
 * @param {Float64Array} kernel
 * @param {(distance: number) => number} before where the line that far before begins
 * @param {(distance: number) => number} after
 */
function convolve(sums, data, kernel, before, after) {
  const own = before(0);
  for (let x = 0; x < sums.length; x++) sums[x] = kernel[0] * data[own + x];
  let distance = 1;
  for (; distance + 3 < kernel.length; distance += 4) {
    const [u, v, w, z] = [kernel[distance], kernel[distance + 1], kernel[distance + 2], kernel[distance + 3]];
    const [a, b, c, d] = [before(distance), after(distance), before(distance + 1), after(distance + 1)];
    const [e, f, g, h] = [before(distance + 2), after(distance + 2), before(distance + 3), after(distance + 3)];
    for (let x = 0; x < sums.length; x++) {
      sums[x] += u * (data[a + x] + data[b + x]) + v * (data[c + x] + data[d + x]) +
        w * (data[e + x] + data[f + x]) + z * (data[g + x] + data[h + x]);
    }
  }
  for (; distance < kernel.length; distance++) {
    const weight = kernel[distance];
    const [a, b] = [before(distance), after(distance)];
    for (let x = 0; x < sums.length; x++) sums[x] += weight * (data[a + x] + data[b + x]);
  }
}
