// Dilation of a mask by a disc of any radius, whole pixels or not, for every level of the mask at once.
//
// The mask is taken as the bilinear surface through its pixels, and each pixel becomes the largest value of the surface
// within the disc around it. Such a surface is largest on a pixel within the disc or on the disc's rim, so the pixels
// are looked at as runs of rows, and the rim at points that lie close enough together.

/** How far the chord between two neighbouring points of the rim may lie inside it, in pixels. */
const SAGITTA = 0.03;

/** How much smaller the disc is off the axes, since the surface bulges to either side of a hard, slanted edge. */
const BULGE = 0.04;

/** @typedef {{ data: Float32Array, width: number, height: number }} Plane */

/**
 * How many pixels to each side a dilation by `radius` pixels looks.
 * @param {number} radius
 */
export function reach(radius) {
  return Math.ceil(radius);
}

/**
 * The largest value within `radius` pixels of each pixel; what lies outside the window is not looked at.
 * @param {Float32Array} data height x width
 * @param {number} width
 * @param {number} height
 * @param {number} radius in pixels, at least 0
 * @returns {Float32Array} height x width, a new array
 */
export function dilate(data, width, height, radius) {
  const window = { data, width, height };
  const out = { data: data.slice(), width, height };
  if (radius <= 0) return out.data;
  const disc = discRadius(radius);
  raiseToPixels(out, window, disc);
  const points = [[0, radius], ...rim(disc)];
  raiseToRim(out, window, points);
  const turned = transpose(window);
  const other = { ...turned, data: turned.data.slice() };
  raiseToRim(other, turned, points);
  raiseShifted(out, transpose(other), 0, 0);
  return out.data;
}

/**
 * Raise `out` to the largest pixel within the disc.
 * @param {Plane} out
 * @param {Plane} window
 * @param {number} radius
 */
function raiseToPixels(out, window, radius) {
  const runs = { ...window, data: window.data.slice() };
  let halfWidth = 0;
  for (let row = Math.floor(radius); row >= 0; row--) {
    // the lower the row, the wider: runs of one row are those of the last and a few pixels more
    while ((halfWidth + 1) ** 2 + row ** 2 <= radius ** 2) {
      halfWidth++;
      raiseShifted(runs, window, 0, halfWidth);
      raiseShifted(runs, window, 0, -halfWidth);
    }
    raiseShifted(out, runs, row, 0);
    if (row) raiseShifted(out, runs, -row, 0);
  }
}

/**
 * The radius of the disc off the axes.
 * @param {number} radius of the dilation, in pixels
 */
export function discRadius(radius) {
  return radius - BULGE * Math.min(1, radius);
}

/**
 * (rows, columns) from the centre to points of the rim in one octant; the others are their mirror images.
 * @param {number} radius
 * @returns {number[][]}
 */
export function rim(radius) {
  const octant = radius / Math.sqrt(2);
  const pieces = Math.max(1, Math.ceil(Math.sqrt(radius / (8 * SAGITTA))));
  // whole rows where they are dense enough: there the surface is interpolated along one axis only
  const step = Math.floor(Math.sqrt(4 * SAGITTA * radius)) || octant / pieces;
  const points = [];
  for (let index = 0; index <= Math.ceil(octant / step - 1e-6); index++) {
    const row = Math.min(step * index, radius);
    points.push([row, Math.sqrt(radius * radius - row * row)]);
  }
  return points;
}

/**
 * Raise `out` to the surface at points of the rim, and at their mirror images up and down, left and right.
 * @param {Plane} out
 * @param {Plane} window
 * @param {number[][]} points
 */
function raiseToRim(out, window, points) {
  for (const [row, column] of points) {
    for (const { plane: rows, shift: down } of between(window, row, true)) {
      for (const { plane, shift: right } of between(rows, column, false)) raiseShifted(out, plane, down, right);
    }
  }
}

/**
 * The surface `distance` pixels after and before each pixel, as planes with the shift to read them at.
 * @param {Plane} window
 * @param {number} distance
 * @param {boolean} down along columns, else along rows
 * @returns {{ plane: Plane, shift: number }[]}
 */
function between(window, distance, down) {
  const whole = Math.floor(distance);
  const fraction = Math.fround(distance % 1);
  if (fraction === 0) return [...new Set([whole, -whole])].map(shift => ({ plane: window, shift: shift || 0 }));
  const { data } = window;
  const width = window.width - (down ? 0 : 1);
  const height = window.height - (down ? 1 : 0);
  const after = { data: new Float32Array(width * height), width, height };
  const before = { data: new Float32Array(width * height), width, height };
  const step = down ? window.width : 1;
  for (let y = 0; y < height; y++) {
    for (let x = 0, at = y * width, from = y * window.width; x < width; x++, at++, from++) {
      const first = data[from];
      const second = data[from + step];
      // both are written from the pixel that is nearer to the centre, so that mirrored windows give the same bits
      const rise = Math.fround(Math.fround(second - first) * fraction);
      after.data[at] = first + rise;
      before.data[at] = second - rise;
    }
  }
  return [{ plane: after, shift: whole }, { plane: before, shift: -whole - 1 }];
}

/**
 * Raise each pixel of `out` to what stands `down` rows below and `right` columns beside it in `values`.
 * @param {Plane} out
 * @param {Plane} values
 * @param {number} down
 * @param {number} right
 */
function raiseShifted({ data, width, height }, values, down, right) {
  const bottom = Math.min(height, values.height - down);
  const left = Math.max(0, -right);
  const end = Math.min(width, values.width - right);
  const source = values.data;
  for (let y = Math.max(0, -down); y < bottom; y++) {
    const shift = (y + down) * values.width + right - y * width;
    for (let at = y * width + left; at < y * width + end; at++) {
      const value = source[at + shift];
      if (value > data[at]) data[at] = value;
    }
  }
}

/**
 * @param {Plane} plane
 * @returns {Plane} its rows as columns
 */
function transpose({ data, width, height }) {
  const out = new Float32Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) out[x * height + y] = data[y * width + x];
  }
  return { data: out, width: height, height: width };
}
