// Work on a mask tile by tile, and only where there is something to do: most of a mask is 0 or 1 without a break.

/** @typedef {import('./photo.mjs').Area} Area */
/** @typedef {import('./photo.mjs').Mask} Mask */

/** Pixels on a side of a tile. */
export const TILE = 256;

/**
 * A part of an image, and the window that is read to compute it: `core` and a halo, as far as the image goes.
 * @typedef {{ core: Area, window: Area }} Tile
 */

/**
 * Tiles that cover an image, from the top left.
 * @param {number} height
 * @param {number} width
 * @param {number} halo in pixels
 * @param {number} [side] of a tile, at most
 * @returns {Generator<Tile>}
 */
export function* tiles(height, width, halo, side = TILE) {
  for (let top = 0; top < height; top += side) {
    for (let left = 0; left < width; left += side) {
      const core = { top, bottom: Math.min(top + side, height), left, right: Math.min(left + side, width) };
      yield { core, window: withHalo(core, halo, height, width) };
    }
  }
}

/**
 * An area with a halo as far as the image goes.
 * @param {Area} area
 * @param {number} halo
 * @param {number} height
 * @param {number} width
 * @returns {Area}
 */
export function withHalo(area, halo, height, width) {
  return {
    top: Math.max(0, area.top - halo),
    bottom: Math.min(area.bottom + halo, height),
    left: Math.max(0, area.left - halo),
    right: Math.min(area.right + halo, width),
  };
}

/**
 * Whether all of a window has the value of its first pixel.
 * @param {Float32Array} data of rows of `width`
 * @param {number} width
 * @param {Area} area
 */
export function isConstant(data, width, area) {
  const first = data[area.top * width + area.left];
  for (let y = area.top; y < area.bottom; y++) {
    for (let at = y * width + area.left; at < y * width + area.right; at++) {
      if (data[at] !== first) return false;
    }
  }
  return true;
}

/**
 * An area of an array of rows of `width`, as an array of its own.
 * @param {Float32Array} data
 * @param {number} width
 * @param {Area} area
 */
export function cut(data, width, area) {
  const columns = area.right - area.left;
  const out = new Float32Array((area.bottom - area.top) * columns);
  for (let y = area.top, to = 0; y < area.bottom; y++, to += columns) {
    out.set(data.subarray(y * width + area.left, y * width + area.right), to);
  }
  return out;
}

/**
 * A function of the windows of a mask, computed where the mask varies.
 * @param {Mask} mask
 * @param {(window: Float32Array, width: number, height: number) => Float32Array} work takes a window, which is its own
 *   to change, and gives an array of its size; what it gives within `halo` pixels of an edge of the window that is no
 *   edge of the image is dropped. It must map a constant mask to itself.
 * @param {{ halo: number, side?: number, signal?: AbortSignal }} options `halo`: how far it looks, in pixels
 * @returns {Mask} where a window is constant, the mask's own values; it does not depend on `side`
 */
export function mapTiles({ data, width, height }, work, { halo, side = TILE, signal }) {
  const out = new Float32Array(data.length);
  for (const { core, window } of tiles(height, width, halo, side)) {
    signal?.throwIfAborted();
    if (isConstant(data, width, window)) {
      const value = data[core.top * width + core.left];
      if (value === 0) continue;
      for (let y = core.top; y < core.bottom; y++) out.fill(value, y * width + core.left, y * width + core.right);
      continue;
    }
    const columns = window.right - window.left;
    const result = work(cut(data, width, window), columns, window.bottom - window.top);
    for (let y = core.top; y < core.bottom; y++) {
      const from = (y - window.top) * columns + core.left - window.left;
      out.set(result.subarray(from, from + core.right - core.left), y * width + core.left);
    }
  }
  return { width, height, data: out };
}
