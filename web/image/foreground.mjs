// The foreground's own colour where a photo shows a mixture of it and of what is behind it.
//
// Multi-level foreground estimation (T. Germer, T. Uelwer, S. Conrad, S. Harmeling, 2020): foreground F and background
// B are sought that mix to the photo, I = a F + (1 - a) B, and are smooth, most of all where alpha changes. Solved from
// the coarsest level of a pyramid to the finest, each beginning with what the one before it found, where alpha is soft
// and near it; levels are means of 2 x 2 pixels, and iterations are Jacobi's. All in float32, as nss has it.
import { halfTable, toHalf } from './half.mjs';
import { tiles, withHalo } from './tiles.mjs';

/** @typedef {import('./photo.mjs').Area} Area */
/** @typedef {import('./photo.mjs').View} View */

/** Weight of smoothness where alpha does not change. */
const SMOOTHNESS = Math.fround(1e-5);

/** Levels up to this side get more iterations. */
const SMALL = 32;

const ITERATIONS_SMALL = 20;
const ITERATIONS = 8;

/** How far from soft pixels a level is solved: what the level above reads, from half as many of its pixels away. */
const REACH = ITERATIONS + 4;

/**
 * A photo, three planes of bytes, its alpha, and where the full photo's alpha is soft.
 * @typedef {object} Level
 * @property {Uint8Array[]} image
 * @property {Float32Array} alpha
 * @property {Uint8Array} soft 1 or 0
 * @property {number} width
 * @property {number} height
 */

/**
 * Foreground and background: red, green and blue of the one, then of the other. Of a level that is solved where it is
 * soft alone, as the bits of float16.
 * @typedef {object} Colours
 * @property {Float32Array | Uint16Array} data 6 x height x width, in 0..1
 * @property {number} width
 * @property {number} height
 */

/**
 * Take the background's colour out of soft pixels.
 * @param {View} photo
 * @param {Float32Array} alpha height x width, 0..1
 * @param {number} amount from 0, the photo's colours, to 1, the foreground's
 * @param {Uint8Array} out height x width x 4, which has the photo's colours already, and gets those of pixels whose
 *   alpha is neither 0 nor 255 once it is rounded to 8 bits
 * @param {{ signal?: AbortSignal }} [options]
 */
export function decontaminate(photo, alpha, amount, out, { signal } = {}) {
  const { width, height } = photo;
  const below = solve(pyramid(photo, alpha), signal);
  const share = Math.fround(amount);
  for (const { core } of tiles(height, width, 0)) {
    signal?.throwIfAborted();
    const part = softPart(core, at => isSoft(alpha[at]), width);
    if (!part) continue;
    const window = withHalo(part, ITERATIONS, height, width);
    const columns = window.right - window.left;
    const image = [0, 1, 2].map(channel => {
      const plane = new Uint8Array(columns * (window.bottom - window.top));
      for (let y = window.top, to = 0; y < window.bottom; y++) {
        let from = photo.offset + 4 * (y * photo.stride + window.left) + channel;
        for (let x = 0; x < columns; x++, from += 4) plane[to++] = photo.rgba[from];
      }
      return plane;
    });
    const colours = iterate(image, cutOut(alpha, width, window), below, window, ITERATIONS);
    const size = columns * (window.bottom - window.top);
    for (let y = part.top; y < part.bottom; y++) {
      for (let x = part.left; x < part.right; x++) {
        if (!isSoft(alpha[y * width + x])) continue;
        const at = (y - window.top) * columns + x - window.left;
        for (let channel = 0; channel < 3; channel++) {
          const own = image[channel][at];
          const further = Math.fround(Math.fround(colours[channel * size + at] * 255) - own);
          const value = Math.fround(own + Math.fround(share * further));
          out[4 * (y * width + x) + channel] = roundByte(value);
        }
      }
    }
  }
}

const byte = new Uint8ClampedArray(1);

/** @param {number} value rounded to nearest, ties to even */
function roundByte(value) {
  byte[0] = value;
  return byte[0];
}

/** @param {number} alpha */
function isSoft(alpha) {
  const level = Math.fround(alpha * 255);
  return level > 0.5 && level <= 254.5;
}

/**
 * The rows and columns of an area that hold soft pixels; null where there is none.
 * @param {Area} area
 * @param {(at: number) => boolean} soft
 * @param {number} width
 * @returns {Area | null}
 */
function softPart({ top, bottom, left, right }, soft, width) {
  const part = { top: bottom, bottom: top, left: right, right: left };
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      if (!soft(y * width + x)) continue;
      if (y < part.top) part.top = y;
      part.bottom = y + 1;
      if (x < part.left) part.left = x;
      if (x >= part.right) part.right = x + 1;
    }
  }
  return part.bottom > part.top ? part : null;
}

/**
 * @param {Float32Array} alpha
 * @param {number} width
 * @param {Area} window
 */
function cutOut(alpha, width, window) {
  const columns = window.right - window.left;
  const out = new Float32Array(columns * (window.bottom - window.top));
  for (let y = window.top; y < window.bottom; y++) {
    out.set(alpha.subarray(y * width + window.left, y * width + window.right), (y - window.top) * columns);
  }
  return out;
}

/**
 * Levels from half the photo's size to a single pixel.
 * @param {View} photo
 * @param {Float32Array} alpha
 */
function pyramid(photo, alpha) {
  let { width, height } = photo;
  const { rgba, offset, stride } = photo;
  /** @type {Level[]} */
  const levels = [];
  do {
    const before = levels.at(-1);
    /** @param {number} channel */
    const plane = channel => {
      const out = new Uint8ClampedArray(Math.ceil(width / 2) * Math.ceil(height / 2)); // which rounds, ties to even
      if (before) halve(before.image[channel], 0, 1, width, width, height, out);
      else halve(rgba, offset + channel, 4, 4 * stride, width, height, out);
      return new Uint8Array(out.buffer);
    };
    const image = [plane(0), plane(1), plane(2)];
    const small = new Float32Array(image[0].length);
    halve(before ? before.alpha : alpha, 0, 1, width, width, height, small);
    const soft = new Uint8Array(small.length);
    const columns = Math.ceil(width / 2);
    for (let y = 0; y < height; y++) {
      for (let x = 0, at = y * width; x < width; x++, at++) {
        if (before ? before.soft[at] : isSoft(alpha[at])) soft[(y >> 1) * columns + (x >> 1)] = 1;
      }
    }
    width = columns;
    height = Math.ceil(height / 2);
    levels.push({ image, alpha: small, soft, width, height });
  } while (Math.max(width, height) > 1);
  return levels;
}

/**
 * Means of 2 x 2 pixels; the last row or column of an odd number stands for two.
 * @param {Uint8Array | Uint8ClampedArray | Float32Array} data
 * @param {number} offset of the first pixel
 * @param {number} step from one pixel to the next
 * @param {number} stride from one row to the next
 * @param {number} width
 * @param {number} height
 * @param {Uint8ClampedArray | Float32Array} out
 */
function halve(data, offset, step, stride, width, height, out) {
  let to = 0;
  for (let y = 0; y < height; y += 2) {
    const down = y + 1 < height ? stride : 0;
    for (let x = 0; x < width; x += 2) {
      const at = offset + y * stride + x * step;
      const left = down ? Math.fround(data[at] + data[at + down]) * 0.5 : data[at];
      if (x + 1 < width) {
        const next = at + step;
        const right = down ? Math.fround(data[next] + data[next + down]) * 0.5 : data[next];
        out[to++] = Math.fround(left + right) * 0.5;
      } else {
        out[to++] = left;
      }
    }
  }
}

/**
 * Foreground and background at the finest of these levels, within `REACH` of soft pixels.
 * @param {Level[]} levels
 * @param {AbortSignal} [signal]
 */
function solve(levels, signal) {
  // the coarsest level has one pixel, which cannot tell the two apart
  let colours = meanColours(levels[Math.min(3, levels.length - 1)]);
  for (const level of levels.reverse()) {
    const { width, height } = level;
    if (Math.max(width, height) <= SMALL) {
      const all = { top: 0, bottom: height, left: 0, right: width };
      colours = { data: iterate(level.image, level.alpha, colours, all, ITERATIONS_SMALL), width, height };
    } else {
      colours = solveSoft(level, colours, signal);
    }
  }
  return colours;
}

/**
 * What is surely foreground and what is surely background.
 * @param {Level} level
 * @returns {Colours} of one pixel
 */
function meanColours({ image, alpha }) {
  const data = new Float32Array(6);
  for (const side of [0, 1]) {
    const isSure = (/** @type {number} */ value) => (side ? value < Math.fround(0.1) : value > Math.fround(0.9));
    const isAny = alpha.some(isSure);
    const sums = [0, 0, 0];
    let count = 0;
    for (let at = 0; at < alpha.length; at++) {
      if (isAny && !isSure(alpha[at])) continue;
      count++;
      for (let channel = 0; channel < 3; channel++) sums[channel] += image[channel][at];
    }
    for (let channel = 0; channel < 3; channel++) data[3 * side + channel] = sums[channel] / count / 255;
  }
  return { data, width: 1, height: 1 };
}

/**
 * Foreground and background of a level within `REACH` of soft pixels, as float16; nothing elsewhere.
 * @param {Level} level
 * @param {Colours} below
 * @param {AbortSignal} [signal]
 * @returns {Colours}
 */
function solveSoft({ image, alpha, soft, width, height }, below, signal) {
  const size = width * height;
  const data = new Uint16Array(6 * size); // of which only what is written takes memory
  for (const { core, window: around } of tiles(height, width, REACH)) {
    signal?.throwIfAborted();
    const found = softPart(around, at => soft[at] === 1, width);
    if (!found) continue;
    const wide = withHalo(found, REACH, height, width);
    const part = {
      top: Math.max(wide.top, core.top), bottom: Math.min(wide.bottom, core.bottom),
      left: Math.max(wide.left, core.left), right: Math.min(wide.right, core.right),
    };
    const window = withHalo(part, ITERATIONS, height, width);
    const columns = window.right - window.left;
    const planes = image.map(plane => {
      const out = new Uint8Array(columns * (window.bottom - window.top));
      for (let y = window.top, to = 0; y < window.bottom; y++, to += columns) {
        out.set(plane.subarray(y * width + window.left, y * width + window.right), to);
      }
      return out;
    });
    const colours = iterate(planes, cutOut(alpha, width, window), below, window, ITERATIONS);
    for (let plane = 0; plane < 6; plane++) {
      for (let y = part.top; y < part.bottom; y++) {
        let from = plane * planes[0].length + (y - window.top) * columns + part.left - window.left;
        let to = plane * size + y * width + part.left;
        for (let x = part.left; x < part.right; x++) data[to++] = toHalf(colours[from++]);
      }
    }
  }
  return { data, width, height };
}

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
function iterate(image, alpha, below, window, iterations) {
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
    const own = Float32Array.from(image[channel], value => value * Math.fround(1 / 255));
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
