// The transforms of VP8L (RFC 9649, section 4): green is subtracted from red and blue, and each pixel is replaced by
// what it differs from a prediction, of which each tile has its own kind.

/** Tiles have 2^TILE_BITS pixels a side. */
export const TILE_BITS = 4;
/** The kinds of prediction that are tried, by their numbers in the RFC (4.1): the others win seldom. */
const MODES = [1, 2, 5, 7, 10, 11, 12, 13];
/** Of the rows of a tile, every second one is tried. */
const ROW_STEP = 2;

/**
 * Subtract green from red and blue, in place.
 * @param {Uint8Array} rgba
 */
export function subtractGreen(rgba) {
  for (let at = 0; at < rgba.length; at += 4) {
    rgba[at] -= rgba[at + 1];
    rgba[at + 2] -= rgba[at + 1];
  }
}

/**
 * The kind of prediction of each tile of a row of tiles.
 * @param {Uint8Array} rgba
 * @param {number} width
 * @param {number} height
 * @param {number} tileRow
 * @param {Uint8Array} modes gets them, row by row
 */
export function chooseModes(rgba, width, height, tileRow, modes) {
  const side = 1 << TILE_BITS, across = Math.ceil(width / side);
  const top = tileRow * side, end = Math.min(top + side, height);
  const residual = new Uint8Array(4 * side);
  for (let tile = 0; tile < across; tile++) {
    const left = Math.max(1, tile * side), right = Math.min(width, (tile + 1) * side);
    let best = MODES[0], least = Infinity;
    for (const mode of MODES) {
      let sum = 0;
      for (let y = Math.max(top, 1); y < end && sum < least; y += ROW_STEP) {
        const length = 4 * (right - left);
        predict(mode, rgba, 4 * (y * width + left), length, 4 * width, residual, 0);
        for (let i = 0; i < length; i++) sum += residual[i] < 128 ? residual[i] : 256 - residual[i];
      }
      if (sum < least) [best, least] = [mode, sum];
    }
    modes[tileRow * across + tile] = best;
  }
}

/**
 * Replace a row by what it differs from its prediction, in place. The rows above must be as they were, so rows go from
 * the last one to the first.
 * @param {Uint8Array} rgba
 * @param {number} width
 * @param {number} y
 * @param {Uint8Array} modes
 * @param {Uint8Array} residual as long as a row
 */
export function predictRow(rgba, width, y, modes, residual) {
  const side = 1 << TILE_BITS, across = Math.ceil(width / side), stride = 4 * width, start = y * stride;
  if (y === 0) {
    for (let i = 4; i < stride; i++) residual[i] = rgba[start + i] - rgba[start + i - 4];
    for (let i = 0; i < 3; i++) residual[i] = rgba[i];
    residual[3] = rgba[3] - 255; // the first pixel is predicted to be black and opaque
  } else {
    for (let i = 0; i < 4; i++) residual[i] = rgba[start + i] - rgba[start + i - stride];
    for (let tile = 0; tile < across; tile++) {
      const left = Math.max(1, tile * side), right = Math.min(width, (tile + 1) * side);
      const mode = modes[(y >> TILE_BITS) * across + tile];
      if (right > left) predict(mode, rgba, start + 4 * left, 4 * (right - left), stride, residual, 4 * left);
    }
  }
  rgba.set(residual.subarray(0, stride), start);
}

/**
 * What pixels of one row differ from their prediction; none in the first column or the first row. L, T, TL and TR are
 * the pixels left, above, above left and above right; behind the last column TR is the first pixel of the row.
 * @param {number} mode
 * @param {Uint8Array} rgba
 * @param {number} from the first byte
 * @param {number} length bytes
 * @param {number} stride bytes a row
 * @param {Uint8Array} out
 * @param {number} at where in `out` they begin
 */
function predict(mode, rgba, from, length, stride, out, at) {
  const end = from + length;
  switch (mode) {
    case 1:
      for (let i = from; i < end; i++) out[at++] = rgba[i] - rgba[i - 4];
      return;
    case 2:
      for (let i = from; i < end; i++) out[at++] = rgba[i] - rgba[i - stride];
      return;
    case 5: // the mean of T and the mean of L and TR
      for (let i = from; i < end; i++) {
        out[at++] = rgba[i] - ((((rgba[i - 4] + rgba[i - stride + 4]) >> 1) + rgba[i - stride]) >> 1);
      }
      return;
    case 7:
      for (let i = from; i < end; i++) out[at++] = rgba[i] - ((rgba[i - 4] + rgba[i - stride]) >> 1);
      return;
    case 10: // the mean of the mean of L and TL and that of T and TR
      for (let i = from; i < end; i++) {
        const above = i - stride;
        out[at++] = rgba[i] - ((((rgba[i - 4] + rgba[above - 4]) >> 1) + ((rgba[above] + rgba[above + 4]) >> 1)) >> 1);
      }
      return;
    case 11: // L or T, whichever is nearer to L + T - TL over all channels
      for (let i = from; i < end; i += 4) {
        let toLeft = 0, toTop = 0;
        for (let k = i; k < i + 4; k++) {
          toLeft += Math.abs(rgba[k - stride] - rgba[k - stride - 4]);
          toTop += Math.abs(rgba[k - 4] - rgba[k - stride - 4]);
        }
        const chosen = toLeft < toTop ? 4 : stride;
        for (let k = i; k < i + 4; k++) out[at++] = rgba[k] - rgba[k - chosen];
      }
      return;
    case 12: // L + T - TL
      for (let i = from; i < end; i++) {
        const value = rgba[i - 4] + rgba[i - stride] - rgba[i - stride - 4];
        out[at++] = rgba[i] - (value < 0 ? 0 : value > 255 ? 255 : value);
      }
      return;
    default: // 13: half of what the mean of L and T differs from TL, beyond that mean
      for (let i = from; i < end; i++) {
        const mean = (rgba[i - 4] + rgba[i - stride]) >> 1, off = mean - rgba[i - stride - 4];
        const value = mean + (off < 0 ? -(-off >> 1) : off >> 1);
        out[at++] = rgba[i] - (value < 0 ? 0 : value > 255 ? 255 : value);
      }
  }
}
