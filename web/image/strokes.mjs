// Strokes of a brush on a mask: what the visitor erases and restores by hand.
import { tiles } from './tiles.mjs';

/** @typedef {import('./photo.mjs').Mask} Mask */

/**
 * A stroke: a round brush along a polyline. Coordinates are the photo's, in pixels from its top left corner, so that
 * the centre of the first pixel is at (0.5, 0.5).
 * @typedef {object} Stroke
 * @property {'erase' | 'restore'} mode
 * @property {number} size the diameter, in pixels of the photo
 * @property {number} hardness the part of the radius within which the brush covers wholly, 0 to 1
 * @property {readonly (readonly [number, number])[]} points [x, y] each; one alone is a dot
 */

/** Pixels on a side of a tile: its distances stay in a cache. */
const SIDE = 128;

/**
 * Paint strokes on a mask, in their order, in place.
 *
 * A brush covers c of a pixel: 1 up to `hardness` of the radius from the polyline, 0 from the radius on, and smoothly
 * between (3 t^2 - 2 t^3), over a pixel of the mask at least, so that no edge has steps. An erased pixel m becomes
 * m * (1 - c), a restored one m + (1 - m) * c. Within one stroke c is the largest: where it crosses itself, it counts
 * once.
 * @param {Mask} mask in 0..1
 * @param {readonly Stroke[]} strokes
 * @param {object} [place] where the mask lies in the photo
 * @param {number} [place.scale] pixels of the mask to one of the photo
 * @param {number} [place.left] where its left edge lies, in pixels of the photo
 * @param {number} [place.top] where its upper edge lies, in pixels of the photo
 * @returns {Mask} the mask itself
 */
export function applyStrokes(mask, strokes, { scale = 1, left = 0, top = 0 } = {}) {
  const squares = new Float32Array(SIDE * SIDE);
  for (const stroke of strokes) {
    const radius = (stroke.size / 2) * scale;
    if (!(radius > 0) || !stroke.points.length) continue;
    const points = stroke.points.map(([x, y]) => [(x - left) * scale - 0.5, (y - top) * scale - 0.5]);
    const bounds = boundsOf(points, radius, mask);
    for (const { core } of tiles(bounds.bottom - bounds.top, bounds.right - bounds.left, 0, SIDE)) {
      const area = {
        top: bounds.top + core.top, bottom: bounds.top + core.bottom,
        left: bounds.left + core.left, right: bounds.left + core.right,
      };
      if (measure(squares, area, points, radius)) paint(mask, area, squares, stroke, radius);
    }
  }
  return mask;
}

/**
 * The rows and columns of the mask that a stroke can reach.
 * @param {number[][]} points
 * @param {number} radius
 * @param {Mask} mask
 */
function boundsOf(points, radius, { width, height }) {
  let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const [x, y] of points) {
    left = Math.min(left, x);
    right = Math.max(right, x);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y);
  }
  return {
    top: Math.max(0, Math.ceil(top - radius)),
    bottom: Math.min(height, Math.floor(bottom + radius) + 1),
    left: Math.max(0, Math.ceil(left - radius)),
    right: Math.min(width, Math.floor(right + radius) + 1),
  };
}

/**
 * Write the squared distance of each pixel of an area to the polyline, where it is less than the radius; elsewhere the
 * radius squared, or more.
 * @param {Float32Array} squares
 * @param {import('./photo.mjs').Area} area
 * @param {number[][]} points
 * @param {number} radius
 * @returns {boolean} whether any is less
 */
function measure(squares, area, points, radius) {
  const columns = area.right - area.left;
  squares.fill(radius * radius);
  let found = false;
  for (let index = 0; index < points.length; index++) {
    const [ax, ay] = points[Math.max(0, index - 1)];
    const [bx, by] = points[index];
    if (index === 0 && points.length > 1) continue;
    const top = Math.max(area.top, Math.ceil(Math.min(ay, by) - radius));
    const bottom = Math.min(area.bottom, Math.floor(Math.max(ay, by) + radius) + 1);
    const left = Math.max(area.left, Math.ceil(Math.min(ax, bx) - radius));
    const right = Math.min(area.right, Math.floor(Math.max(ax, bx) + radius) + 1);
    const [dx, dy] = [bx - ax, by - ay];
    const length = dx * dx + dy * dy;
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        // the nearest point of the segment, as a part of its length from a to b
        let part = length ? ((x - ax) * dx + (y - ay) * dy) / length : 0;
        part = part < 0 ? 0 : part > 1 ? 1 : part;
        const [across, down] = [x - ax - part * dx, y - ay - part * dy];
        const square = across * across + down * down;
        const at = (y - area.top) * columns + x - area.left;
        if (square < squares[at]) {
          squares[at] = square;
          found = true;
        }
      }
    }
  }
  return found;
}

/**
 * @param {Mask} mask
 * @param {import('./photo.mjs').Area} area
 * @param {Float32Array} squares
 * @param {Stroke} stroke
 * @param {number} radius in pixels of the mask
 */
function paint({ data, width }, area, squares, { mode, hardness }, radius) {
  const columns = area.right - area.left;
  const inner = Math.max(0, Math.min(Math.min(Math.max(hardness, 0), 1) * radius, radius - 1));
  const erase = mode === 'erase';
  for (let y = area.top; y < area.bottom; y++) {
    for (let x = area.left; x < area.right; x++) {
      const distance = Math.sqrt(squares[(y - area.top) * columns + x - area.left]);
      if (distance >= radius) continue;
      const t = distance <= inner ? 1 : (radius - distance) / (radius - inner);
      const coverage = t * t * (3 - 2 * t);
      const at = y * width + x;
      data[at] = erase ? data[at] * (1 - coverage) : data[at] + (1 - data[at]) * coverage;
    }
  }
}
