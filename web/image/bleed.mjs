// Colour under full transparency that holds nothing of what was removed: the edge's, continued outwards.
//
// A hidden pixel takes the mean of the visible ones around it, weighted by alpha and, farther out, by the inverse cube
// of the distance: an interpolation after D. Shepard (1968), with squares for circles. Beyond the widest square there
// is one colour, which costs a file next to nothing.
import { rint } from './photo.mjs';
import { tiles } from './tiles.mjs';

/** @typedef {import('./tiles.mjs').Tile} Tile */

/** Squares 3, 9, 27 and 81 pixels wide: each is the sum of nine of the one before it, so many pixels apart. */
const STEPS = [1, 3, 9, 27];

/** How far the widest square reaches, in pixels. */
const REACH = 40;

/** What the one colour weighs in the widest square: as much as opaque pixels over a fifth of it. */
const FAR = 81 * 16 * 255;

const THIRD_CUBED = Math.fround(1 / 27);

/**
 * Replace the colours of pixels with alpha 0 by the edge's, in place.
 *
 * A hidden pixel with visible neighbours has their mean, weighted by alpha; those over `REACH` pixels from any have the
 * mean of all such neighbours; between, the one changes into the other. All is black where nothing is visible.
 * @param {Uint8Array | Uint8ClampedArray} rgba height x width x 4
 * @param {number} width
 * @param {number} height
 * @param {{ signal?: AbortSignal }} [options]
 */
export function bleed(rgba, width, height, { signal } = {}) {
  const image = { rgba, width, height };
  /** @type {Float32Array | null} */
  let far = null;
  for (const tile of tiles(height, width, REACH)) {
    signal?.throwIfAborted();
    if (!has(image, tile.core, 0)) continue;
    far ??= edgeColour(image);
    if (has(image, tile.window, 1)) {
      continueColours(image, tile, far);
    } else {
      fill(image, tile, far);
    }
  }
}

/** @typedef {{ rgba: Uint8Array | Uint8ClampedArray, width: number, height: number }} Image */

/**
 * Whether an area has a pixel that is hidden (0) or visible (1).
 * @param {Image} image
 * @param {import('./photo.mjs').Area} area
 * @param {0 | 1} wanted
 */
function has({ rgba, width }, area, wanted) {
  for (let y = area.top; y < area.bottom; y++) {
    const end = 4 * (y * width + area.right);
    for (let at = 4 * (y * width + area.left) + 3; at < end; at += 4) {
      if ((rgba[at] ? 1 : 0) === wanted) return true;
    }
  }
  return false;
}

/**
 * The one colour for all hidden pixels of a tile.
 * @param {Image} image
 * @param {Tile} tile
 * @param {Float32Array} far
 */
function fill({ rgba, width }, { core }, far) {
  const [red, green, blue] = far.map(rint);
  for (let y = core.top; y < core.bottom; y++) {
    for (let at = 4 * (y * width + core.left); at < 4 * (y * width + core.right); at += 4) {
      rgba[at] = red;
      rgba[at + 1] = green;
      rgba[at + 2] = blue;
    }
  }
}

/**
 * The mean, weighted by alpha, of all hidden pixels' visible neighbours; black if there are none.
 * @param {Image} image
 */
function edgeColour(image) {
  const { rgba, width, height } = image;
  const total = [0, 0, 0, 0];
  for (const tile of tiles(height, width, 1)) {
    if (!has(image, tile.core, 0) || !has(image, tile.window, 1)) continue;
    const planes = [0, 1, 2, 3].map(channel => sumNine(weigh(image, tile, channel, 1), 1));
    const { core } = tile;
    const columns = core.right - core.left;
    for (let y = core.top; y < core.bottom; y++) {
      for (let x = core.left; x < core.right; x++) {
        const at = (y - core.top) * columns + x - core.left;
        if (rgba[4 * (y * width + x) + 3] !== 0 || planes[3].data[at] === 0) continue;
        for (let channel = 0; channel < 4; channel++) total[channel] += planes[channel].data[at];
      }
    }
  }
  return Float32Array.from(total.slice(0, 3), sum => sum / Math.max(1, total[3]));
}

/**
 * Write the colours of a tile's hidden pixels.
 * @param {Image} image
 * @param {Tile} tile
 * @param {Float32Array} far
 */
function continueColours(image, tile, far) {
  const { rgba, width } = image;
  const { core } = tile;
  const columns = core.right - core.left;
  const alpha = squareSums(weigh(image, tile, 3, REACH), 1);
  /** @type {Uint8ClampedArray[]} */
  const colours = [];
  for (let channel = 0; channel < 3; channel++) {
    const sums = squareSums(weigh(image, tile, channel, REACH), far[channel]);
    const out = new Uint8ClampedArray(sums.closest.length); // which rounds to nearest, ties to even
    for (let at = 0; at < out.length; at++) {
      const isNear = alpha.closest[at] > 0;
      out[at] = isNear
        ? Math.fround(Math.fround(sums.closest[at]) / Math.fround(alpha.closest[at]))
        : Math.fround(sums.weighted[at] / alpha.weighted[at]);
    }
    colours.push(out);
  }
  for (let y = core.top; y < core.bottom; y++) {
    for (let x = core.left; x < core.right; x++) {
      const pixel = 4 * (y * width + x);
      if (rgba[pixel + 3] !== 0) continue;
      const at = (y - core.top) * columns + x - core.left;
      for (let channel = 0; channel < 3; channel++) rgba[pixel + channel] = colours[channel][at];
    }
  }
}

/** @typedef {{ data: Int32Array, width: number, height: number }} Sums */

/**
 * Alpha times a colour (channels 0 to 2), or alpha (3), of a tile and its halo; 0 beyond the image.
 * @param {Image} image
 * @param {Tile} tile
 * @param {number} channel
 * @param {number} margin the halo
 * @returns {Sums}
 */
function weigh({ rgba, width }, { core, window }, channel, margin) {
  const columns = core.right - core.left + 2 * margin;
  const rows = core.bottom - core.top + 2 * margin;
  const data = new Int32Array(columns * rows);
  for (let y = window.top; y < window.bottom; y++) {
    let to = (y - core.top + margin) * columns + window.left - core.left + margin;
    for (let from = 4 * (y * width + window.left); from < 4 * (y * width + window.right); from += 4, to++) {
      const alpha = rgba[from + 3];
      if (alpha) data[to] = channel === 3 ? alpha : alpha * rgba[from + channel];
    }
  }
  return { data, width: columns, height: rows };
}

/**
 * Sums of the 3 x 3 values `step` apart around each one that has them all: smaller by 2 `step`. In integers, so that no
 * order of summing shows.
 * @param {Sums} sums
 * @param {number} step
 * @returns {Sums}
 */
function sumNine({ data, width, height }, step) {
  const columns = width - 2 * step;
  const rows = height - 2 * step;
  const down = new Int32Array(width * rows);
  for (let at = 0; at < down.length; at++) {
    down[at] = data[at] + data[at + step * width] + data[at + 2 * step * width];
  }
  const out = new Int32Array(columns * rows);
  for (let y = 0; y < rows; y++) {
    for (let x = 0, from = y * width, to = y * columns; x < columns; x++, from++, to++) {
      out[to] = down[from] + down[from + step] + down[from + 2 * step];
    }
  }
  return { data: out, width: columns, height: rows };
}

/**
 * Sums over the smallest square, and weighted ones over all and what lies beyond, without the halo.
 * @param {Sums} plane with a halo of `REACH`
 * @param {number} far
 * @returns {{ closest: Int32Array, weighted: Float32Array }}
 */
function squareSums(plane, far) {
  const width = plane.width - 2 * REACH;
  const height = plane.height - 2 * REACH;
  const weighted = new Float32Array(width * height);
  let closest = new Int32Array(0);
  let square = plane;
  let weight = 1;
  let margin = REACH;
  for (const step of STEPS) {
    square = sumNine(square, step);
    margin -= step;
    const own = step === 1 ? (closest = new Int32Array(width * height)) : null;
    for (let y = 0; y < height; y++) {
      for (let x = 0, from = (y + margin) * square.width + margin, to = y * width; x < width; x++, from++, to++) {
        weighted[to] += square.data[from] * weight;
        if (own) own[to] = square.data[from];
      }
    }
    weight = Math.fround(weight * THIRD_CUBED);
  }
  const beyond = Math.fround(Math.fround(Math.fround(FAR * far) * weight) * 27);
  for (let at = 0; at < weighted.length; at++) weighted[at] += beyond;
  return { closest, weighted };
}
