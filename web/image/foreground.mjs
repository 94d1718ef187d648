// The foreground's own colour where a photo shows a mixture of it and of what is behind it.
//
// Multi-level foreground estimation (T. Germer, T. Uelwer, S. Conrad, S. Harmeling, 2020): foreground F and background
// B are sought that mix to the photo, I = a F + (1 - a) B, and are smooth, most of all where alpha changes. Solved from
// the coarsest level of a pyramid to the finest, each beginning with what the one before it found, where alpha is soft
// and near it; levels are means of 2 x 2 pixels, and iterations are Jacobi's. All in float32, as nss has it.
import { toHalf } from './half.mjs';
import { iterate } from './relaxation.mjs';
import { tiles, withHalo } from './tiles.mjs';

/** @typedef {import('./photo.mjs').Area} Area */
/** @typedef {import('./photo.mjs').View} View */
/** @typedef {import('./relaxation.mjs').Colours} Colours */

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
