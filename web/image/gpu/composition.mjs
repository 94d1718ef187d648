// The last step: pixels become the cut-out where they lie.
import { NotOnGpu } from './not_on_gpu.mjs';
import { bits, step } from './steps.mjs';

/**
 * What the cut-out shows, in the words of compose.mjs; what is left out is not done.
 * @typedef {object} Composition
 * @property {null | { colour: number[] } | { image: unknown } | { blur: number }} [background] `colour`: red, green,
 *   blue and alpha, 0 to 255
 * @property {boolean} [invert] keep what the mask leaves
 * @property {number | boolean} [decontaminate]
 * @property {'keep' | 'bleed' | 'zero'} [hidden] the colour of pixels of alpha 0
 * @property {number | null} [crop]
 */

/**
 * The alpha of the background's colour, 0 to 1; 0 where there is none.
 * @param {Composition} composition
 * @throws {NotOnGpu} the processor has to compose it
 */
export function opacityOf({ background = null, decontaminate = 0, hidden = 'keep', crop = null }) {
  if (decontaminate) throw new NotOnGpu("decontaminating is the processor's");
  if (crop !== null) throw new NotOnGpu("cropping is the processor's");
  const colour = background !== null && 'colour' in background ? background.colour : null;
  const isColour = Array.isArray(colour) && colour.length === 4 && colour.every(level => level >= 0 && level <= 255);
  if (background !== null && !isColour) throw new NotOnGpu("a background that is no colour is the processor's");
  const opacity = colour ? colour[3] / 255 : 0;
  if (hidden === 'bleed' && opacity === 0) throw new NotOnGpu("colours that bleed are the processor's");
  return opacity;
}

/**
 * @param {import('./kernels.mjs').Kernels} kernels
 * @param {{ width: number, height: number, opaque: boolean }} photo in pixels
 * @param {import('./steps.mjs').Operand} mask the plane at that size
 * @param {Composition} composition which `opacityOf` takes
 */
export function composeStep(kernels, { width, height, opaque }, mask, composition) {
  const opacity = opacityOf(composition);
  const { background, invert = false, hidden } = composition;
  const colour = background && 'colour' in background ? background.colour : [0, 0, 0];
  return step(kernels.find('compose', { background: opacity > 0 }), {
    operands: { mask, y: { scratch: 'pixels', bytes: 4 * width * height } },
    uniforms: {
      width,
      opaque: Number(opaque),
      invert: Number(invert),
      zero: Number(hidden === 'zero'),
      red: bits(colour[0]),
      green: bits(colour[1]),
      blue: bits(colour[2]),
      opacity: bits(opacity),
    },
    rows: height,
    columns: width,
    work: 8 * width * height,
  });
}
