// The points at which a dilation looks: nss.arrays.dilation.points.
import { discRadius, rim } from '../dilation.mjs';

/**
 * Rows and columns from a pixel to where the surface around it is looked at: its own first, each point once.
 * @param {number} radius in pixels, at least 0
 * @returns {[number, number][]}
 */
export function points(radius) {
  if (radius <= 0) return [[0, 0]];
  const disc = discRadius(radius);
  const whole = Math.floor(disc);
  /** @type {Map<string, [number, number]>} */
  const found = new Map();
  const add = (/** @type {number} */ row, /** @type {number} */ column) => {
    const point = /** @type {[number, number]} */ ([row + 0, column + 0]); // + 0: -0 is 0
    if (!found.has(point.join())) found.set(point.join(), point);
  };
  add(0, 0);
  for (let row = -whole; row <= whole; row++) {
    for (let column = -whole; column <= whole; column++) {
      if (row * row + column * column <= disc * disc) add(row, column);
    }
  }
  for (const [row, column] of [[0, radius], ...rim(disc)]) {
    for (const down of [1, -1]) {
      for (const right of [1, -1]) {
        add(down * row, right * column);
        add(right * column, down * row);
      }
    }
  }
  return [...found.values()];
}
