// The filters that a photo may be resampled with: which pixels of the input count for one of the output, and how much.

/** @typedef {'nearest' | 'bilinear' | 'bilinear-antialias' | 'bicubic-antialias' | 'lanczos-antialias'} Filter */

/**
 * Weights by the signed distance of an input pixel's centre, which are 0 beyond `support`.
 * @typedef {object} Kernel
 * @property {(distance: number) => number} weight
 * @property {number} support in pixels
 * @property {boolean} antialias whether it widens by the scale of a reduction
 */

/** @param {number} distance */
const box = distance => (distance > -0.5 && distance <= 0.5 ? 1 : 0);

/** @param {number} distance */
const triangle = distance => Math.max(1 - Math.abs(distance), 0);

/**
 * Keys' cubic convolution with a = -0.5.
 * @param {number} distance
 */
function cubic(distance) {
  const t = Math.min(Math.abs(distance), 2);
  return t < 1 ? (1.5 * t - 2.5) * t * t + 1 : ((-0.5 * t + 2.5) * t - 4) * t + 2;
}

/** @param {number} x */
const sinc = x => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/**
 * The sinc of three lobes a side.
 * @param {number} distance
 */
const lanczos = distance => (Math.abs(distance) < 3 ? sinc(distance) * sinc(distance / 3) : 0);

/**
 * Those with antialias are Pillow's BILINEAR, BICUBIC and LANCZOS, "nearest" its NEAREST; "bilinear" is ONNX Resize's
 * mode linear with half-pixel centres, two taps an axis.
 * @type {Readonly<Record<Filter, Kernel>>}
 */
export const KERNELS = {
  'nearest': { weight: box, support: 0.5, antialias: false },
  'bilinear': { weight: triangle, support: 1, antialias: false },
  'bilinear-antialias': { weight: triangle, support: 1, antialias: true },
  'bicubic-antialias': { weight: cubic, support: 2, antialias: true },
  'lanczos-antialias': { weight: lanczos, support: 3, antialias: true },
};
