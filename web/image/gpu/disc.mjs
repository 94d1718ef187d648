// The points at which a dilation looks: nss.arrays.dilation.points.

/** How far the chord between two neighbouring points of the rim may lie inside it, in pixels. */
const SAGITTA = 0.03;

/** How much smaller the disc is off the axes, since the surface bulges to either side of a hard, slanted edge. */
const BULGE = 0.04;

/**
 * Rows and columns from a pixel to where the surface around it is looked at: its own first, each point once.
 * @param {number} radius in pixels, at least 0
 * @returns {[number, number][]}
 */
export function points(radius) {
  if (radius <= 0) return [[0, 0]];
  const disc = radius - BULGE * Math.min(1, radius);
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

/**
 * (rows, columns) from the centre to points of the rim in one octant; the others are their mirror images.
 * @param {number} radius
 */
function rim(radius) {
  const octant = radius / Math.sqrt(2);
  const pieces = Math.max(1, Math.ceil(Math.sqrt(radius / (8 * SAGITTA))));
  // whole rows where they are dense enough: there the surface is interpolated along one axis only
  const step = Math.floor(Math.sqrt(4 * SAGITTA * radius)) || octant / pieces;
  return Array.from({ length: Math.ceil(octant / step - 1e-6) + 1 }, (_, index) => {
    const row = Math.min(step * index, radius);
    return [row, Math.sqrt(radius * radius - row * row)];
  });
}
