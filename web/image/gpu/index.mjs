// A photo → its cut-out on the GPU that the network runs on, in one submission: pixels go up, are resampled and
// normalised into the network's input, and come back composed with its mask. What the GPU does not do, the modules
// beside this folder do.
import { ImageError } from '../image_error.mjs';
import { constantInputs } from './constant_inputs.mjs';
import { DeviceStages } from './device_stages.mjs';
import { Kernels } from './kernels.mjs';
import { NETWORK_MASK, SURVEY, SURVEY_WORDS } from './mask_steps.mjs';
import { NotOnGpu } from './not_on_gpu.mjs';
import { PhotoPlan } from './photo_plan.mjs';

export { NotOnGpu };

/** @typedef {import('../photo.mjs').Photo} Photo */
/** @typedef {import('../photo.mjs').Mask} Mask */
/** @typedef {import('../prepare.mjs').Interface} Interface */
/** @typedef {import('./steps.mjs').Place} Place */

/**
 * @typedef {object} Stage
 * @property {GPUDevice} device
 * @property {GPUCommandEncoder} encoder
 * @property {(name: string) => Place} place
 */

/**
 * A model that the runner has opened.
 * @typedef {object} Model
 * @property {readonly { name: string, dtype: string, shape: readonly number[] }[]} inputs
 * @property {readonly { name: string, dtype: string, shape: readonly number[] }[]} outputs
 * @property {(inputs: Record<string, any>, options: { signal?: AbortSignal, read: string[],
 *   before: (stage: Stage) => void, after: (stage: Stage) => () => Promise<unknown> }) => Promise<unknown>} run
 */

/**
 * What is done with the mask, and what the cut-out shows.
 * @typedef {import('./composition.mjs').Composition & { refinement?: import('./mask_steps.mjs').Refinement }} Settings
 */

/**
 * @typedef {object} CutOut
 * @property {Uint8Array} data height x width x 4, composed: straight alpha, which is the mask times the photo's own;
 *   over a background's colour, where there is one
 * @property {Mask | null} networkMask at the network's own size, neither clipped nor refined
 * @property {[number, number]} range the smallest and the largest value of that mask
 */

/** What the values of a mask must differ by to differ in a file of 8 bits. */
const ONE_LEVEL = 0.5 / 255;

/** Where pixels begin in what is read: behind the survey. */
const PIXELS = 256;

/** Cuts out photos on the devices of the runner's models. One serves all models. */
export class GpuStages {
  #kernels;
  #keep;
  /** @type {WeakMap<GPUDevice, DeviceStages>} */
  #devices = new WeakMap();

  /**
   * @param {import('./kernels.mjs').KernelFile} kernels image/kernels.json, parsed
   * @param {{ keep?: number }} [options] `keep`: bytes of pixels and planes that may stay on a device
   */
  constructor(kernels, { keep = 1 << 28 } = {}) {
    this.#kernels = new Kernels(kernels);
    this.#keep = keep;
  }

  /**
   * @param {Model} model
   * @param {Photo} photo
   * @param {Interface} face how the model wants its photos; those get the one size that the compiled model has
   * @param {Settings} [settings]
   * @param {object} [options]
   * @param {AbortSignal} [options.signal]
   * @param {boolean} [options.mask] give `networkMask` too, with which the cut-out can be edited; true by default
   * @param {Uint8Array} [options.into] width * height * 4 bytes that receive the result, and are its `data`: memory
   *   that was used before saves time. It may be `photo.rgba`
   * @param {boolean} [options.unchecked] take whatever the network gives for a mask, as a measurement does
   * @returns {Promise<CutOut>}
   * @throws {NotOnGpu} the GPU does not do this photo or these settings
   * @throws {ImageError} the network made nothing of the photo, or interface and model do not fit
   * @throws {Error} what `model.run` raises
   */
  async cut(model, photo, face, settings = {}, { signal, mask = true, into, unchecked = false } = {}) {
    const plan = new PhotoPlan(this.#kernels, model, photo, face, settings);
    const pixels = 4 * photo.width * photo.height;
    if (photo.rgba.length !== pixels || (into && into.length !== pixels)) {
      throw new ImageError(
        `${photo.name}: ${photo.width} x ${photo.height} pixels take ${pixels} bytes, and others are given`);
    }
    /** @type {CutOut | undefined} */
    let result;
    /** @type {GPUDevice | undefined} */
    let device;
    /** @type {GPUBuffer | undefined} */
    let upload;
    try {
      await model.run(constantInputs(model, face), {
        signal,
        read: [],
        before: stage => {
          device = stage.device;
          upload = this.#before(stage, plan, photo);
        },
        after: stage => {
          const finish = this.#after(stage, plan, { mask, into, unchecked });
          return async () => {
            if (upload) this.#on(stage.device).staging.uploaded(upload);
            result = await finish();
          };
        },
      });
    } catch (error) {
      if (/** @type {{ code?: unknown }} */ (error)?.code !== 'out-of-memory') throw error;
      if (device) this.#forget(device);
      throw new NotOnGpu('the GPU has not enough memory for it', { cause: error });
    }
    return /** @type {CutOut} */ (result);
  }

  /**
   * Record what brings the photo up and makes the network's input of it; the buffer by which it goes.
   * @param {Stage} stage
   * @param {PhotoPlan} plan
   * @param {Photo} photo
   */
  #before(stage, plan, photo) {
    const stages = this.#on(stage.device);
    const commands = stages.commands(plan.inputKey(stage), () => plan.inputSteps(stage));
    const upload = stages.staging.upload(photo.rgba);
    stage.encoder.copyBufferToBuffer(upload, 0, stages.scratch('pixels', photo.rgba.length), 0, photo.rgba.length);
    encode(stage.encoder, commands);
    return upload;
  }

  /**
   * Record what makes the cut-out of the network's output. What it returns reads that, once it is submitted.
   * @param {Stage} stage
   * @param {PhotoPlan} plan
   * @param {{ mask: boolean, into?: Uint8Array, unchecked: boolean }} options
   * @returns {() => Promise<CutOut>}
   */
  #after(stage, plan, { mask, into, unchecked }) {
    const { device, encoder } = stage;
    const stages = this.#on(device);
    const { form: { height, width }, size, name } = plan;
    const pixels = 4 * size.width * size.height;
    const maskBytes = mask ? 4 * height * width : 0;
    const bytes = PIXELS + pixels + maskBytes;
    const commands = stages.commands(plan.maskKey(stage), () => plan.maskSteps(stage));
    const readback = stages.staging.readback(bytes);
    const survey = stages.scratch(SURVEY, 4 * SURVEY_WORDS);
    encoder.clearBuffer(survey, 0, 4 * SURVEY_WORDS);
    encode(encoder, commands);
    encoder.copyBufferToBuffer(survey, 0, readback, 0, 4 * SURVEY_WORDS);
    encoder.copyBufferToBuffer(stages.scratch('pixels', pixels), 0, readback, PIXELS, pixels);
    if (mask) {
      encoder.copyBufferToBuffer(stages.scratch(NETWORK_MASK, maskBytes), 0, readback, PIXELS + pixels, maskBytes);
    }
    return async () => {
      await readback.mapAsync(GPUMapMode.READ, 0, bytes);
      try {
        const content = readback.getMappedRange(0, bytes);
        const words = new Uint32Array(content, 0, SURVEY_WORDS);
        if (!unchecked) check(words, name);
        const range = rangeOf(words);
        const data = into ?? new Uint8Array(pixels);
        data.set(new Uint8Array(content, PIXELS, pixels));
        const values = mask ? new Float32Array(content, PIXELS + pixels, height * width).slice() : null;
        return { data, networkMask: values && { width, height, data: values }, range };
      } finally {
        readback.unmap();
        stages.staging.read(readback);
        stages.trim(this.#keep);
      }
    };
  }

  /**
   * Free what is kept on a device: pixels and planes of the largest photo, and tables.
   * @param {GPUDevice} device
   */
  #forget(device) {
    this.#devices.get(device)?.destroy();
    this.#devices.delete(device);
  }

  /** @param {GPUDevice} device */
  #on(device) {
    let stages = this.#devices.get(device);
    if (!stages) this.#devices.set(device, stages = new DeviceStages(device));
    return stages;
  }
}

/**
 * Record commands.
 * @param {GPUCommandEncoder} encoder
 * @param {import('./device_stages.mjs').Command[]} commands
 */
function encode(encoder, commands) {
  const pass = encoder.beginComputePass();
  for (const { pipeline, group, grid } of commands) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(...grid);
  }
  pass.end();
}

/**
 * The smallest and the largest value of a mask, by its survey (shaders/images/survey.wgsl).
 * @param {Uint32Array} words
 * @returns {[number, number]}
 */
function rangeOf(words) {
  const turned = Uint32Array.from(words.subarray(5, 7), word => (word >>> 31 ? word ^ 0x80000000 : ~word));
  const [largest, negated] = new Float32Array(turned.buffer);
  return [-negated, largest];
}

/**
 * @param {Uint32Array} words of the survey
 * @param {string} name what to call the photo
 * @throws {ImageError} the network made nothing of the photo
 */
function check(words, name) {
  if (words[0] || words[4]) {
    throw new ImageError(
      `${name}: the network gave NaN or infinite values for this photo; a photo of one colour can do that`);
  }
  const [smallest, largest] = rangeOf(words);
  if (largest - smallest < ONE_LEVEL && largest > ONE_LEVEL && smallest < 1 - ONE_LEVEL) {
    const value = Number(largest.toPrecision(3));
    throw new ImageError(`${name}: the network found no structure in this photo: its mask is ${value} everywhere`);
  }
}
