// What can be done to a mask at the photo's size: each step a pure function, which changes nothing at its default.
// Lengths are in pixels of the photo. Where a mask is constant as far as a step looks, it stays as it is to the bit.
import { dropIslands, fillHoles } from './areas.mjs';
import * as dilation from './dilation.mjs';
import { enlarge } from './enlarge.mjs';
import * as gaussian from './gaussian.mjs';
import { guided } from './guided.mjs';
import { ImageError } from './image_error.mjs';
import { viewOf } from './photo.mjs';
import { mapTiles, TILE } from './tiles.mjs';

export { enlarge };

/** @typedef {import('./photo.mjs').Mask} Mask */
/** @typedef {import('./photo.mjs').Photo} Photo */
/** @typedef {{ signal?: AbortSignal }} Options */

/**
 * The steps between the network's mask and the cut-out; what is left out has its default.
 * @typedef {object} Refinement
 * @property {number} [guided] radius of the guided filter that moves edges to the photo's, 0 to 1000
 * @property {number} [black] values up to this become 0
 * @property {number} [white] values from this on become 1; at `black` it is a threshold
 * @property {number} [drop_islands] islands of fewer square pixels go
 * @property {number} [fill_holes] holes of fewer square pixels are filled
 * @property {number} [smooth] scale of the contour's smoothing, 0 to 1000
 * @property {number} [expand] by how much contours move outwards, -200 to 200; a negative number contracts
 * @property {number} [feather] standard deviation of the blur that softens edges, 0 to 1000
 */

/** The largest radius in pixels. */
export const LONGEST = 1000;

/** How far a contour can be moved, in pixels. */
export const FARTHEST = 200;

/** The largest side of a tile in pixels: it bounds the memory that wide steps take. */
const LARGEST_TILE = 2048;

/** Standard deviation of a ramp one pixel wide: an edge that is sharper shows steps. */
export const SHARPEST = 0.29;

/** What changes nothing. @type {Readonly<Required<Refinement>>} */
export const DEFAULTS = {
  guided: 0, black: 0, white: 1, drop_islands: 0, fill_holes: 0, smooth: 0, expand: 0, feather: 0,
};

/**
 * The refined mask. Edges are found again first; tones are cut before areas are counted, since haze joins a speck to
 * its neighbours; areas go before contours move; softening comes last.
 * @param {Mask} mask in 0..1; one of another size than the photo's is enlarged first
 * @param {Photo} photo
 * @param {Refinement} settings
 * @param {Options & { onStep?: (name: string) => void }} [options] `onStep`: is told of each step before it is done
 * @returns {Mask} at the photo's size; the mask itself where nothing is to be done
 * @throws {ImageError} a setting is out of its range
 */
export function refine(mask, photo, settings, { signal, onStep } = {}) {
  const { black, white, ...lengths } = check(settings);
  /** @type {[string, boolean, (mask: Mask) => Mask][]} */
  const steps = [
    ['guided', lengths.guided > 0, m => guided(m, viewOf(photo), lengths.guided, { signal })],
    ['levels', black !== 0 || white !== 1, m => levels(m, black, white)],
    ['drop_islands', lengths.drop_islands > 0, m => dropIslands(m, lengths.drop_islands)],
    ['fill_holes', lengths.fill_holes > 0, m => fillHoles(m, lengths.fill_holes)],
    ['smooth', lengths.smooth > 0, m => smooth(m, lengths.smooth, { signal })],
    ['expand', lengths.expand !== 0, m => expand(m, lengths.expand, { signal })],
    ['feather', lengths.feather > 0, m => feather(m, lengths.feather, { signal })],
  ];
  let refined = mask;
  if (mask.width !== photo.width || mask.height !== photo.height) refined = enlarge(mask, photo.width, photo.height);
  for (const [name, applies, step] of steps) {
    if (!applies) continue;
    signal?.throwIfAborted();
    onStep?.(name);
    refined = step(refined);
  }
  return refined;
}

/**
 * The settings with the defaults of what is left out.
 * @param {Refinement} settings
 * @throws {ImageError} one is out of its range
 */
export function check(settings) {
  const whole = { ...DEFAULTS, ...settings };
  for (const [name, value] of Object.entries(whole)) {
    if (!(name in DEFAULTS)) {
      throw new ImageError(`'${name}' is no step of a refinement; there are ${Object.keys(DEFAULTS).join(', ')}`);
    }
    if (typeof value !== 'number' || !Number.isFinite(value)) {
      throw new ImageError(`'${name}' ${JSON.stringify(value)}: a number is possible`);
    }
  }
  const ranges = {
    guided: [0, LONGEST], smooth: [0, LONGEST], feather: [0, LONGEST], expand: [-FARTHEST, FARTHEST],
    drop_islands: [0, Infinity], fill_holes: [0, Infinity],
  };
  for (const [name, [lower, upper]] of Object.entries(ranges)) {
    const value = whole[/** @type {keyof Refinement} */ (name)];
    if (value >= lower && value <= upper) continue;
    const span = upper === Infinity ? `of ${lower} or more square` : `from ${lower} to ${upper}`;
    throw new ImageError(`'${name}' ${value}: a number ${span} pixels is possible`);
  }
  const { black, white } = whole;
  if (!(black >= 0 && black <= white && white <= 1)) {
    throw new ImageError(`'black' ${black}, 'white' ${white}: 0 <= black <= white <= 1 must hold`);
  }
  return whole;
}

/**
 * Stretch what lies between the black and the white point to 0..1; where they are one it is a threshold.
 * @param {Mask} mask
 * @param {number} black values up to this become 0
 * @param {number} white values from this on become 1
 * @returns {Mask}
 */
export function levels(mask, black, white) {
  const { width, height, data } = mask;
  if (black === 0 && white === 1) return mask;
  const lower = Math.fround(black);
  const upper = Math.fround(white);
  const span = Math.fround(upper - lower);
  const out = new Float32Array(data.length);
  for (let at = 0; at < data.length; at++) {
    if (lower === upper) {
      out[at] = data[at] >= upper ? 1 : 0;
    } else {
      // divided, so that the white point gives 1 to the bit
      const value = Math.fround(data[at] - lower) / span;
      out[at] = value < 0 ? 0 : value > 1 ? 1 : value;
    }
  }
  return { width, height, data: out };
}

/**
 * Soften edges: a Gaussian blur of that standard deviation.
 * @param {Mask} mask
 * @param {number} radius in pixels, 0 or more
 * @param {Options} [options]
 * @returns {Mask}
 */
export function feather(mask, radius, { signal } = {}) {
  if (radius <= 0) return mask;
  const halo = gaussian.reach(radius);
  /** @type {Parameters<typeof mapTiles>[1]} */
  const soften = (window, width, height) => gaussian.blur(window, width, height, radius);
  return mapTiles(mask, soften, { halo, side: sideFor(halo, 4), signal });
}

/**
 * Smooth the contour at the scale of `radius`, with its edge as soft as it was.
 *
 * The mask is blurred, and its edge made as narrow again as it had been. How wide an edge is shows in m * (1 - m),
 * summed across it: so the sums around each place, of the mask and of the blurred one, give the ratio of the two
 * widths.
 * @param {Mask} mask
 * @param {number} radius in pixels, 0 or more
 * @param {Options} [options]
 * @returns {Mask}
 */
export function smooth(mask, radius, { signal } = {}) {
  if (radius <= 0) return mask;
  const around = 3 * radius;
  const sharpest = SHARPEST / Math.hypot(SHARPEST, radius);
  /** @type {Parameters<typeof mapTiles>[1]} */
  const narrow = (window, width, height) => {
    const out = gaussian.blur(window, width, height, radius);
    const before = gaussian.blur(window.map(softness), width, height, around);
    const after = gaussian.blur(out.map(softness), width, height, around);
    for (let at = 0; at < out.length; at++) {
      const found = after[at] > 0 ? before[at] / after[at] : 1;
      const ratio = found < sharpest ? sharpest : found > 1 ? 1 : found;
      // On the logistic curve widths scale by a power of the odds. The blurred profile is nearly a Gaussian, and with
      // this power the point that must come to 90 % does, to within 0.1 %.
      const power = (1.0743 - 0.0743 * ratio * ratio) / ratio;
      out[at] = 1 / (1 + ((1 - out[at]) / out[at]) ** power);
    }
    return out;
  };
  const halo = gaussian.reach(radius) + gaussian.reach(around);
  return mapTiles(mask, narrow, { halo, side: sideFor(halo, 4), signal });
}

/** @param {number} value */
const softness = value => value - Math.fround(value * value);

/**
 * Move every contour outwards by `pixels`, or inwards by a negative number: by a disc. Soft edges keep their profile.
 * @param {Mask} mask
 * @param {number} pixels any number, whole or not
 * @param {Options} [options]
 * @returns {Mask}
 */
export function expand(mask, pixels, { signal } = {}) {
  if (pixels === 0) return mask;
  const radius = Math.abs(pixels);
  /** @type {Parameters<typeof mapTiles>[1]} */
  const move = (window, width, height) => {
    if (pixels > 0) return dilation.dilate(window, width, height, radius);
    return complement(dilation.dilate(complement(window), width, height, radius));
  };
  const halo = dilation.reach(radius);
  return mapTiles(mask, move, { halo, side: sideFor(halo, 3), signal });
}

/**
 * 1 - mask, in place.
 * @param {Float32Array} data
 */
function complement(data) {
  for (let at = 0; at < data.length; at++) data[at] = 1 - data[at];
  return data;
}

/**
 * The side of a tile for a halo, which is computed and dropped: small tiles repeat more of each other's work, large
 * ones hold more that need not be looked at.
 * @param {number} halo
 * @param {number} halos how many times as wide as the halo a tile is at least
 */
function sideFor(halo, halos) {
  return Math.min(Math.max(TILE, halos * halo), LARGEST_TILE);
}
