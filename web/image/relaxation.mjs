// Foreground and background of a window, by Jacobi iterations: the inner loop of foreground.mjs, in float32 throughout.
import { halfTable } from './half.mjs';

/** @typedef {import('./photo.mjs').Area} Area */

/** Weight of smoothness where alpha does not change. */
const SMOOTHNESS = Math.fround(1e-5);

/**
 * Foreground and background: red, green and blue of the one, then of the other. Of a level that is solved where it is
 * soft alone, as the bits of float16.
 * @typedef {object} Colours
 * @property {Float32Array | Uint16Array} data 6 x height x width, in 0..1
 * @property {number} width
 * @property {number} height
 */

/**
 * Jacobi iterations on the paper's equation (9); beyond the window each pixel has itself as neighbour.
 *
 * With the means F' and B' of the neighbours, weighted by S in all, the 2 x 2 system of a pixel has the solution
 * F = F' + a r, B = B' + (1 - a) r with r = (I - a F' - (1 - a) B') / (a^2 + (1 - a)^2 + S).
 * @param {Uint8Array[]} image the window's three planes
 * @param {Float32Array} alpha the window's
 * @param {Colours} below of the level of half the size, from which it begins
 * @param {Area} window
 * @param {number} iterations
 * @returns {Float32Array} 6 x height x width
 */
export function iterate(image, alpha, below, window, iterations) {
  const width = window.right - window.left;
  const height = window.bottom - window.top;
  const size = width * height;
  const { weights, step, rest } = systemOf(alpha, width, height);
  const out = new Float32Array(6 * size);
  const stride = width + 2;
  const grids = [0, 1, 2, 3].map(() => new Float32Array(stride * (height + 2)));
  for (let channel = 0; channel < 3; channel++) {
    let [foreground, background, nextForeground, nextBackground] = grids;
    begin(foreground, below, channel, window);
    begin(background, below, channel + 3, window);
    const own = new Float32Array(size);
    for (let at = 0; at < size; at++) own[at] = image[channel][at] * Math.fround(1 / 255);
    for (let turn = 0; turn < iterations; turn++) {
      repeatEdges(foreground, width, height);
      repeatEdges(background, width, height);
      relax(foreground, background, nextForeground, nextBackground, own, alpha, rest, weights, step, width, height);
      [foreground, nextForeground] = [nextForeground, foreground];
      [background, nextBackground] = [nextBackground, background];
    }
    for (let y = 0; y < height; y++) {
      const from = (y + 1) * stride + 1;
      out.set(foreground.subarray(from, from + width), channel * size + y * width);
      out.set(background.subarray(from, from + width), (channel + 3) * size + y * width);
    }
  }
  return out;
}

/**
 * What each pixel's four neighbours weigh (up, down, left, right, one after the other), what its residue counts, and
 * 1 - alpha.
 * @param {Float32Array} alpha
 * @param {number} width
 * @param {number} height
 */
function systemOf(alpha, width, height) {
  const size = width * height;
  const weights = new Float32Array(4 * size);
  const step = new Float32Array(size);
  const rest = new Float32Array(size);
  const f = Math.fround;
  for (let y = 0; y < height; y++) {
    for (let x = 0, at = y * width; x < width; x++, at++) {
      const a = alpha[at];
      const up = y > 0 ? f(SMOOTHNESS + Math.abs(f(a - alpha[at - width]))) : SMOOTHNESS;
      const down = y < height - 1 ? f(SMOOTHNESS + Math.abs(f(alpha[at + width] - a))) : SMOOTHNESS;
      const left = x > 0 ? f(SMOOTHNESS + Math.abs(f(a - alpha[at - 1]))) : SMOOTHNESS;
      const right = x < width - 1 ? f(SMOOTHNESS + Math.abs(f(alpha[at + 1] - a))) : SMOOTHNESS;
      const total = f(f(f(up + down) + left) + right);
      weights[4 * at] = up / total;
      weights[4 * at + 1] = down / total;
      weights[4 * at + 2] = left / total;
      weights[4 * at + 3] = right / total;
      const b = f(1 - a);
      rest[at] = b;
      step[at] = f(f(f(a * a) + f(b * b)) + total);
    }
  }
  return { weights, step, rest };
}

/**
 * Write what a window begins with into a grid with a margin of one pixel: a plane of the level below, each value
 * repeated.
 * @param {Float32Array} grid
 * @param {Colours} below
 * @param {number} plane
 * @param {Area} window
 */
function begin(grid, { data, width, height }, plane, window) {
  const stride = window.right - window.left + 2;
  const halves = data instanceof Uint16Array ? halfTable() : null;
  for (let y = window.top; y < window.bottom; y++) {
    const from = plane * width * height + (y >> 1) * width;
    let to = (y - window.top + 1) * stride + 1;
    for (let x = window.left; x < window.right; x++, to++) {
      const value = data[from + (x >> 1)];
      grid[to] = halves ? halves[value] : value;
    }
  }
}

/**
 * @param {Float32Array} grid with a margin of one pixel, which gets the values beside it
 * @param {number} width
 * @param {number} height
 */
function repeatEdges(grid, width, height) {
  const stride = width + 2;
  grid.copyWithin(0, stride, 2 * stride);
  grid.copyWithin((height + 1) * stride, height * stride, (height + 1) * stride);
  for (let y = 0; y < height + 2; y++) {
    grid[y * stride] = grid[y * stride + 1];
    grid[y * stride + width + 1] = grid[y * stride + width];
  }
}

/**
 * One iteration for one colour.
 * @param {Float32Array} foreground
 * @param {Float32Array} background
 * @param {Float32Array} nextForeground
 * @param {Float32Array} nextBackground
 * @param {Float32Array} own
 * @param {Float32Array} alpha
 * @param {Float32Array} rest
 * @param {Float32Array} weights
 * @param {Float32Array} step
 * @param {number} width
 * @param {number} height
 */
function relax(foreground, background, nextForeground, nextBackground, own, alpha, rest, weights, step, width, height) {
  const f = Math.fround;
  const stride = width + 2;
  for (let y = 0; y < height; y++) {
    for (let x = 0, at = y * width, to = (y + 1) * stride + 1; x < width; x++, at++, to++) {
      const [up, down] = [weights[4 * at], weights[4 * at + 1]];
      const [left, right] = [weights[4 * at + 2], weights[4 * at + 3]];
      let fore = f(f(foreground[to - stride] * up) + f(foreground[to + stride] * down));
      fore = f(f(fore + f(foreground[to - 1] * left)) + f(foreground[to + 1] * right));
      let back = f(f(background[to - stride] * up) + f(background[to + stride] * down));
      back = f(f(back + f(background[to - 1] * left)) + f(background[to + 1] * right));
      const residue = f(f(own[at] - f(fore * alpha[at])) - f(back * rest[at]));
      fore = f(fore + f(residue * f(alpha[at] / step[at])));
      back = f(back + f(residue * f(rest[at] / step[at])));
      nextForeground[to] = fore < 0 ? 0 : fore > 1 ? 1 : fore;
      nextBackground[to] = back < 0 ? 0 : back > 1 ? 1 : back;
    }
  }
}
