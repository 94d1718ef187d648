// Edges of a mask moved to those of the photo, by a guided filter.
//
// K. He, J. Sun, X. Tang, "Guided Image Filtering" (2013), with the colours of the photo as guide: in each window the
// mask is written as a linear function of red, green and blue, by least squares, and each pixel gets the mean of the
// functions of all windows that it lies in. The functions are found at a reduced size, at which a window is three
// pixels wide, as in K. He, J. Sun, "Fast Guided Filter" (2015).
import { rint } from './photo.mjs';
import { isConstant, TILE, tiles } from './tiles.mjs';

/** @typedef {import('./photo.mjs').Area} Area */
/** @typedef {import('./photo.mjs').Mask} Mask */
/** @typedef {import('./photo.mjs').View} View */

/** How much variance of the colours, in 0..1 squared, is taken for noise. */
const EPSILON = 1e-5;

/** Reduced pixels on a side of a tile, at least: each looks three of them further. */
const CELLS = 16;

/**
 * Values of reduced pixels, `count` planes of height x width.
 * @typedef {{ planes: Float64Array[], width: number, height: number }} Cells
 */

/**
 * The mask as a locally linear function of the photo's colours.
 * @param {Mask} mask in 0..1
 * @param {View} photo of the same size
 * @param {number} radius half the side of a window in pixels, to within one; 0 gives the mask itself
 * @param {{ signal?: AbortSignal }} [options]
 * @returns {Mask} in 0..1; where the mask is constant as far as the filter looks, the mask
 */
export function guided(mask, photo, radius, { signal } = {}) {
  if (radius <= 0) return mask;
  const { width, height } = mask;
  const reduction = Math.max(1, rint((2 * radius) / 3));
  const out = new Float32Array(mask.data.length);
  // Tiles begin where a reduced pixel does, so that the grid of these is the image's.
  const side = Math.max(CELLS, Math.floor(TILE / reduction)) * reduction;
  for (const { core, window } of tiles(height, width, 3 * reduction, side)) {
    signal?.throwIfAborted();
    if (isConstant(mask.data, width, window)) {
      const value = mask.data[core.top * width + core.left];
      for (let y = core.top; y < core.bottom; y++) out.fill(value, y * width + core.left, y * width + core.right);
      continue;
    }
    apply(out, width, core, window, photo, coefficients(blockMeans(mask, photo, window, reduction)), reduction);
  }
  return { width, height, data: out };
}

/**
 * The radius in pixels of the photo for a mask that was enlarged from the network's size: three pixels of that.
 * @param {{ width: number, height: number }} photo
 * @param {{ width: number, height: number }} network the network's mask
 */
export function naturalRadius(photo, network) {
  return 3 * Math.max(1, photo.height / network.height, photo.width / network.width);
}

/**
 * Means of blocks of `reduction` pixels a side: the mask, then red, green and blue. Where the window ends within a
 * block, of what there is.
 * @param {Mask} mask
 * @param {View} photo
 * @param {Area} window
 * @param {number} reduction
 * @returns {Cells}
 */
function blockMeans(mask, photo, window, reduction) {
  const rows = window.bottom - window.top;
  const columns = window.right - window.left;
  const height = Math.ceil(rows / reduction);
  const width = Math.ceil(columns / reduction);
  const planes = Array.from({ length: 4 }, () => new Float64Array(height * width));
  const [p, red, green, blue] = planes;
  const { rgba } = photo;
  for (let y = 0; y < rows; y++) {
    const own = (window.top + y) * mask.width + window.left;
    const pixel = photo.offset + 4 * ((window.top + y) * photo.stride + window.left);
    const cells = Math.floor(y / reduction) * width;
    for (let x = 0, cell = cells, left = reduction; x < columns; x++) {
      p[cell] += mask.data[own + x];
      red[cell] += rgba[pixel + 4 * x];
      green[cell] += rgba[pixel + 4 * x + 1];
      blue[cell] += rgba[pixel + 4 * x + 2];
      if (--left === 0) {
        cell++;
        left = reduction;
      }
    }
  }
  for (let y = 0, cell = 0; y < height; y++) {
    for (let x = 0; x < width; x++, cell++) {
      const count = Math.min(reduction, rows - y * reduction) * Math.min(reduction, columns - x * reduction);
      for (const plane of planes) plane[cell] /= count;
    }
  }
  return { planes, width, height };
}

/**
 * Means of a (for colours of 0..255) and b over the windows that each pixel lies in, 4 planes: the paper's equations
 * (19) to (21).
 * @param {Cells} cells
 * @returns {Cells}
 */
function coefficients({ planes: [p, r, g, b], width, height }) {
  const size = width * height;
  const counts = box(new Float64Array(size).fill(1), width, height);
  /** @param {(cell: number) => number} value */
  const mean = value => {
    const plane = new Float64Array(size);
    for (let cell = 0; cell < size; cell++) plane[cell] = value(cell);
    const sums = box(plane, width, height);
    for (let cell = 0; cell < size; cell++) sums[cell] /= counts[cell];
    return sums;
  };
  const [meanP, meanR, meanG, meanB] = [p, r, g, b].map(plane => mean(cell => plane[cell]));
  const [pr, pg, pb] = [r, g, b].map(plane => mean(cell => plane[cell] * p[cell]));
  const [rr, rg, rb, gg, gb, bb] = [[r, r], [r, g], [r, b], [g, g], [g, b], [b, b]].map(
    ([one, other]) => mean(cell => one[cell] * other[cell]));
  const noise = EPSILON * 255 ** 2;
  const out = Array.from({ length: 4 }, () => new Float64Array(size));
  for (let cell = 0; cell < size; cell++) {
    const [own, red, green, blue] = [meanP[cell], meanR[cell], meanG[cell], meanB[cell]];
    // (S + noise I) a = c by S + noise I = L D L^T, which needs no pivots since it is positive
    const varianceRG = rg[cell] - red * green;
    const varianceRB = rb[cell] - red * blue;
    const dR = rr[cell] - red * red + noise;
    const gR = varianceRG / dR;
    const bR = varianceRB / dR;
    const dG = gg[cell] - green * green + noise - gR * varianceRG;
    const rest = gb[cell] - green * blue - gR * varianceRB;
    const bG = rest / dG;
    const dB = bb[cell] - blue * blue + noise - bR * varianceRB - bG * rest;
    const cR = pr[cell] - red * own;
    const cG = pg[cell] - green * own - gR * cR;
    const cB = pb[cell] - blue * own - bR * cR - bG * cG;
    const aB = cB / dB;
    const aG = cG / dG - bG * aB;
    const aR = cR / dR - gR * aG - bR * aB;
    out[0][cell] = aR;
    out[1][cell] = aG;
    out[2][cell] = aB;
    out[3][cell] = own - (aR * red + aG * green + aB * blue);
  }
  const planes = out.map(plane => mean(cell => plane[cell]));
  return { planes, width, height };
}

/**
 * Sums over windows of 3 x 3, clipped at the edges.
 * @param {Float64Array} plane
 * @param {number} width
 * @param {number} height
 */
function box(plane, width, height) {
  const across = plane.slice();
  for (let y = 0; y < height; y++) {
    for (let x = 0, at = y * width; x < width; x++, at++) {
      if (x > 0) across[at] += plane[at - 1];
      if (x < width - 1) across[at] += plane[at + 1];
    }
  }
  const out = across.slice();
  for (let at = width; at < out.length; at++) out[at] += across[at - width];
  for (let at = 0; at < out.length - width; at++) out[at] += across[at + width];
  return out;
}

/**
 * Where each pixel of a line lies among the centres of reduced ones.
 * @param {number} start of the line, in pixels from the first reduced one
 * @param {number} end
 * @param {number} count of reduced pixels
 * @param {number} reduction
 */
function between(start, end, count, reduction) {
  const first = new Int32Array(end - start);
  const fraction = new Float64Array(end - start);
  for (let at = start; at < end; at++) {
    const centre = Math.min(Math.max((at + 0.5) / reduction - 0.5, 0), count - 1);
    first[at - start] = Math.min(Math.floor(centre), Math.max(0, count - 2));
    fraction[at - start] = centre - first[at - start];
  }
  return { first, fraction };
}

/**
 * Write the functions' values into `core` of `out`; a and b are enlarged bilinearly.
 * @param {Float32Array} out
 * @param {number} width
 * @param {Area} core
 * @param {Area} window
 * @param {View} photo
 * @param {Cells} cells of the window
 * @param {number} reduction
 */
function apply(out, width, core, window, photo, cells, reduction) {
  const down = between(core.top - window.top, core.bottom - window.top, cells.height, reduction);
  const across = between(core.left - window.left, core.right - window.left, cells.width, reduction);
  const { rgba } = photo;
  const lines = cells.planes.map(() => new Float64Array(cells.width + 1));
  const [red, green, blue, constant] = lines;
  for (let y = core.top; y < core.bottom; y++) {
    const share = down.fraction[y - core.top];
    const above = down.first[y - core.top] * cells.width;
    const below = share ? above + cells.width : above;
    cells.planes.forEach((plane, index) => {
      const line = lines[index];
      for (let x = 0; x < cells.width; x++) line[x] = plane[above + x] * (1 - share) + plane[below + x] * share;
    });
    let pixel = photo.offset + 4 * (y * photo.stride + core.left);
    for (let x = core.left; x < core.right; x++, pixel += 4) {
      const cell = across.first[x - core.left];
      const right = across.fraction[x - core.left];
      const left = 1 - right;
      const value =
        (red[cell] * left + red[cell + 1] * right) * rgba[pixel] +
        (green[cell] * left + green[cell + 1] * right) * rgba[pixel + 1] +
        (blue[cell] * left + blue[cell + 1] * right) * rgba[pixel + 2] +
        constant[cell] * left + constant[cell + 1] * right;
      out[y * width + x] = value < 0 ? 0 : value > 1 ? 1 : value;
    }
  }
}
