// What is to be done for one photo: the steps before and behind the network, and keys under which they are kept.
import { formOf } from '../network_mask.mjs';
import { ImageError } from '../image_error.mjs';
import { composeStep, opacityOf } from './composition.mjs';
import { backdropOf, inputStep } from './input_step.mjs';
import { checkRefinement, maskSteps } from './mask_steps.mjs';
import { NotOnGpu } from './not_on_gpu.mjs';

/** @typedef {import('../photo.mjs').Photo} Photo */
/** @typedef {import('../prepare.mjs').Interface} Interface */
/** @typedef {import('./index.mjs').Model} Model */
/** @typedef {import('./index.mjs').Settings} Settings */
/** @typedef {import('./index.mjs').Stage} Stage */
/** @typedef {import('./kernels.mjs').Kernels} Kernels */
/** @typedef {import('./steps.mjs').Place} Place */

/**
 * What can be refused without a device is refused when it is made: by NotOnGpu, or by ImageError where model and
 * interface do not fit.
 */
export class PhotoPlan {
  /**
   * @param {Kernels} kernels
   * @param {Model} model
   * @param {Photo} photo
   * @param {Interface} face
   * @param {Settings} settings
   */
  constructor(kernels, model, photo, face, settings) {
    const { refinement = {}, ...composition } = settings;
    checkRefinement(refinement);
    if (opacityOf(composition) > 0 && photo.icc) {
      throw new NotOnGpu("the background's colour is converted to the photo's profile by the processor");
    }
    if (face.channels === 'RGBA' && !photo.opaque) throw new NotOnGpu("the network sees the photo's own transparency");
    const output = typeof face.output === 'string'
      ? model.outputs.find(({ name }) => name === face.output)
      : model.outputs[face.output];
    if (!output) throw new ImageError(`the model has no output '${face.output}', which should be its mask`);
    if (!model.inputs.some(({ name }) => name === face.input)) {
      throw new ImageError(`the model has no input '${face.input}', which should take the photo`);
    }
    this.kernels = kernels;
    this.name = photo.name;
    this.size = { width: photo.width, height: photo.height, opaque: photo.opaque };
    this.face = face;
    this.output = output;
    this.form = formOf(output.shape, output.dtype, face);
    this.refinement = refinement;
    this.composition = composition;
    this.backdrop = backdropOf(photo);
  }

  /** @param {Stage} stage */
  inputKey(stage) {
    return `input ${JSON.stringify([this.size, this.face, this.backdrop, told(stage.place(this.face.input))])}`;
  }

  /** @param {Stage} stage */
  inputSteps(stage) {
    return [inputStep(this.kernels, this.size, this.face, stage.place(this.face.input), this.backdrop)];
  }

  /** @param {Stage} stage */
  maskKey(stage) {
    const { background, invert, hidden } = this.composition;
    const place = told(stage.place(this.output.name));
    return `mask ${JSON.stringify([this.size, this.face, this.refinement, background, invert, hidden, place])}`;
  }

  /** @param {Stage} stage */
  maskSteps(stage) {
    const { kernels, size, face, form, refinement, output: { name, dtype } } = this;
    const { steps, mask } = maskSteps(kernels, size, face, { place: stage.place(name), dtype, form, refinement });
    return [...steps, composeStep(kernels, size, mask, this.composition)];
  }
}

/** Numbers of buffers, by which keys tell them apart. @type {WeakMap<GPUBuffer, number>} */
const numbers = new WeakMap();
let count = 0;

/** @param {Place} place */
function told({ buffer, offset, storage, shape }) {
  if (!numbers.has(buffer)) numbers.set(buffer, count += 1);
  return [numbers.get(buffer), offset, storage, shape];
}
