// From a photo's bytes to its mask, and from its mask to a file.
//
// What is kept of a photo is its Blob and the mask as the network gave it, some hundred KB: settings and strokes are
// applied anew each time, so every edit can be taken back. The photo that was used last stays decoded, and composed as
// the GPU gave it. One job runs at a time, so memory is bounded by one photo's size, however many are in the queue.
//
// The way to the network and back goes over the GPU where it takes the photo; the modules of image/ do the rest, and
// all of it where it does not. Both give the same to within a level of 8 bits.

import { compose, maskLevels } from '../image/compose.mjs';
import { decode } from '../image/decode.mjs';
import { constantInputs } from '../image/gpu/constant_inputs.mjs';
import { GpuStages, NotOnGpu } from '../image/gpu/index.mjs';
import { networkMask, nothingFound } from '../image/network_mask.mjs';
import { encodePng } from '../image/png.mjs';
import { prepare } from '../image/prepare.mjs';
import { DEFAULTS, enlarge, refine } from '../image/refine.mjs';
import { resize } from '../image/resample.mjs';
import { applyStrokes } from '../image/strokes.mjs';
import { encodeWebp } from '../image/webp.mjs';
import { open } from '../runner/index.mjs';
import { forget, keepingFetch } from './kept.mjs';
import { displayBitmap, displaySize } from './picture.mjs';

/**
 * @typedef {import('../image/decode.mjs').Photo} Photo
 * @typedef {import('../image/photo.mjs').Mask} Mask
 * @typedef {{name: string, blob: Blob, width: number, height: number, mask: Mask}} Kept
 * @typedef {import('./backend.mjs').Settings} Settings
 * @typedef {{id: string, width: number, height: number, bitmap: ImageBitmap, notices: string[],
 *   mask: import('./backend.mjs').MaskLevels}} Taken a photo that is held here; bitmap and mask are for display
 * @typedef {{signal: AbortSignal, onProgress: (progress: any) => void}} Job
 */

/** Bytes of a composed photo that are kept until the next one; a larger one is composed anew for its file. */
const LARGEST_COMPOSED = 2 ** 27;

export class Cutter {
  /** @type {any} */
  model = null;
  /** @type {any} */
  interface = null;
  /** @type {GpuStages|null} */
  stages = null;
  /** @type {Map<string, Kept>} */
  photos = new Map();
  /** @type {{id: string, photo: Photo, composed: Uint8Array|null}|null} */
  last = null;
  /** @type {Promise<unknown>} */
  turn = Promise.resolve();

  /**
   * Open a model in place of the one that is open.
   * @param {{model: import('./kept.mjs').Model, keep: boolean, base: string, allowSoftware: boolean}} what
   * @param {Job} job
   * @returns {Promise<any>} what is known of the adapter and of the model
   */
  open({ model, keep, base, allowSoftware }, { signal, onProgress }) {
    return this.alone(signal, async () => {
      this.model?.close();
      this.model = null;
      const files = keepingFetch(model, base, keep);
      const folder = new URL(model.folder, base).href;
      try {
        this.model = await open(folder, { onProgress, signal, fetch: files.fetch, allowSoftware });
      } catch (error) {
        // What was kept may be what is damaged: the next try fetches it.
        if (/** @type {any} */ (error)?.code === 'damaged') await forget(model, base);
        throw error;
      }
      await files.settled();
      this.stages ??= await stagesOf(base, signal);
      this.interface = interfaceOf(this.model);
      const { adapter, precision, timings } = this.model;
      return { adapter: { ...adapter }, precision, timings: { ...timings } };
    });
  }

  /**
   * Cut a photo out with the open model.
   * @param {{blob: Blob, name: string}} what
   * @param {Job} job
   * @returns {Promise<import('./backend.mjs').Cut>}
   */
  cut({ blob, name }, { signal, onProgress }) {
    return this.alone(signal, async () => {
      const begin = performance.now();
      onProgress({ words: 'Reading the photo' });
      this.last = null; // before the next is decoded, so that two are never in memory
      const photo = await decode(blob, { name, signal });
      onProgress({ words: 'Cutting out' });
      const { mask, composed } = await this.network(photo, signal, onProgress);
      const milliseconds = performance.now() - begin;
      const taken = await this.take(blob, photo, mask, composed);
      return { ...taken, adapter: { ...this.model.adapter }, milliseconds };
    });
  }

  /**
   * Take a photo whose mask a network has made elsewhere; no model needs to be open.
   * @param {{blob: Blob, name: string, mask: Mask}} what
   * @param {Job} job
   * @returns {Promise<Taken>}
   */
  adopt({ blob, name, mask }, { signal }) {
    return this.alone(signal, async () => {
      this.last = null;
      return this.take(blob, await decode(blob, { name, signal }), mask, null);
    });
  }

  /**
   * The refined mask, inverted where the settings say so, as 8-bit levels at the size of the display.
   * @param {{id: string, settings: Settings}} what
   * @param {Job} job
   */
  mask({ id, settings }, { signal }) {
    return this.alone(signal, async () => {
      const kept = this.kept(id);
      const mask = await this.refined(id, settings, signal);
      const { width, height } = displaySize(kept.width, kept.height);
      const small = width === mask.width && height === mask.height ? mask.data
        : resize(mask.data, mask.height, mask.width, 1, height, width, 'bilinear-antialias');
      return { width, height, levels: levelsOf(small) };
    });
  }

  /**
   * A file of the photo with these settings and strokes.
   * @param {{id: string, settings: Settings, strokes: any[], format: 'png'|'webp'|'mask'}} what
   * @param {Job} job
   * @returns {Promise<Blob>}
   */
  render({ id, settings, strokes, format }, { signal }) {
    return this.alone(signal, async () => {
      const { photo, composed } = await this.photo(id, signal);
      const { decontaminate, hidden, crop } = settings;
      const background = await backgroundOf(settings.background, signal);
      if (composed && format !== 'mask' && !strokes.length && isPlain(settings)) {
        const { width, height, icc } = photo;
        return encode(format, { width, height, channels: 4, data: composed, icc }, signal);
      }
      const mask = await this.refined(id, settings, signal);
      applyStrokes(mask, strokes);
      signal.throwIfAborted();
      // Strokes are made on what is seen, so the mask is inverted before them, and not again.
      if (format === 'mask') {
        const { width, height, data } = maskLevels(photo, mask, { bits: 8, invert: false, crop, signal });
        return encode('png', { width, height, channels: 1, data: /** @type {Uint8Array} */ (data), icc: null }, signal);
      }
      const picture = compose(photo, mask, { background, invert: false, decontaminate, hidden, crop }, { signal });
      return encode(format, picture, signal);
    });
  }

  /**
   * Let go of a photo.
   * @param {string} id
   */
  release(id) {
    this.photos.delete(id);
    if (this.last?.id === id) this.last = null;
  }

  /**
   * Hold a photo and its mask.
   * @private
   * @param {Blob} blob
   * @param {Photo} photo
   * @param {Mask} mask
   * @param {Uint8Array|null} composed the cut-out, where the GPU made it
   * @returns {Promise<Taken>}
   */
  async take(blob, photo, mask, composed) {
    const { name, width, height } = photo;
    const id = uniqueId();
    this.photos.set(id, { name, blob, width, height, mask });
    this.last = { id, photo, composed: composed && composed.length <= LARGEST_COMPOSED ? composed : null };
    const shown = displaySize(width, height);
    const nothing = nothingFound(mask, photo);
    return {
      id, width, height,
      bitmap: await displayBitmap(blob),
      mask: { ...shown, levels: levelsOf(enlarge(mask, shown.width, shown.height).data) },
      notices: [...photo.notes, ...(nothing === null ? [] : [nothing])],
    };
  }

  /**
   * The network's mask of a photo, at the network's size; and the cut-out, where the GPU made it.
   * @private
   * @param {Photo} photo
   * @param {AbortSignal} signal
   * @param {(progress: any) => void} onProgress
   * @returns {Promise<{mask: Mask, composed: Uint8Array|null}>}
   */
  async network(photo, signal, onProgress) {
    const { model } = this;
    if (!model) throw Object.assign(new Error('no model is open; choose one and try again'), { code: 'closed' });
    try {
      const cut = await this.stages?.cut(model, photo, this.interface, {}, { signal });
      if (cut?.networkMask) return { mask: cut.networkMask, composed: cut.data };
    } catch (error) {
      if (!(error instanceof NotOnGpu)) throw error;
    }
    const input = named(model.inputs, this.interface.input);
    const output = named(model.outputs, this.interface.output);
    const { data } = prepare(photo, this.interface);
    signal.throwIfAborted();
    const outputs = await model.run({ ...constantInputs(model, this.interface), [input.name]: data }, {
      signal, read: [output.name],
      onProgress: (/** @type {{done: number, total: number}} */ progress) => {
        onProgress({ words: 'Cutting out', done: progress.done, total: progress.total });
      },
    });
    const mask = networkMask(outputs[output.name], output.shape, output.dtype, this.interface, { name: photo.name });
    return { mask, composed: null };
  }

  /**
   * @private
   * @param {string} id
   * @param {Settings} settings
   * @param {AbortSignal} signal
   * @returns {Promise<Mask>} at the photo's size, the caller's own
   */
  async refined(id, { refinement, invert }, signal) {
    const { width, height, mask } = this.kept(id);
    const whole = enlarge(mask, width, height);
    // The steps look at the photo's size; one of them looks at its colours too.
    const photo = refinement.guided ? (await this.photo(id, signal)).photo : /** @type {Photo} */ ({ width, height });
    const refined = refine(whole, photo, refinement, { signal });
    if (invert) for (let at = 0; at < refined.data.length; at += 1) refined.data[at] = 1 - refined.data[at];
    return refined;
  }

  /**
   * @private
   * @param {string} id
   * @param {AbortSignal} signal
   */
  async photo(id, signal) {
    if (this.last?.id === id) return this.last;
    const { blob, name } = this.kept(id);
    this.last = null;
    const last = { id, photo: await decode(blob, { name, signal }), composed: null };
    this.last = last;
    return last;
  }

  /**
   * @private
   * @param {string} id
   */
  kept(id) {
    const kept = this.photos.get(id);
    if (!kept) throw new Error('this photo is not held any more; add it again');
    return kept;
  }

  /**
   * Run one job after the others.
   * @private
   * @template Result
   * @param {AbortSignal} signal
   * @param {() => Promise<Result>} job
   * @returns {Promise<Result>}
   */
  alone(signal, job) {
    const mine = this.turn.then(() => {
      signal.throwIfAborted();
      return job();
    });
    this.turn = mine.catch(() => undefined);
    return mine;
  }
}

/**
 * An id that no other worker gives, before or after this one: a photo of a worker that stopped is taken for no other.
 * Over plain http, as a server in a LAN may come, browsers have no `randomUUID`.
 */
function uniqueId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * @param {{name: string, dtype: string, shape: number[]}[]} tensors
 * @param {string|number} which name or index
 */
function named(tensors, which) {
  const found = typeof which === 'number' ? tensors.at(which) : tensors.find(each => each.name === which);
  if (!found) throw new Error(`the model has no tensor ${JSON.stringify(which)}; export it again`);
  return found;
}

/**
 * How the model wants its photos: what it was exported with, and the one size that it was compiled for.
 * @param {any} model
 */
function interfaceOf(model) {
  const wanted = model.metadata.interface;
  const { shape } = named(model.inputs, wanted.input);
  return { ...wanted, size: wanted.layout === 'NHWC' ? shape.slice(1, 3) : shape.slice(2, 4) };
}

/**
 * The stages on the GPU; null where the site has no kernels for them.
 * @param {string} base
 * @param {AbortSignal} signal
 */
async function stagesOf(base, signal) {
  const response = await fetch(new URL('image/kernels.json', base), { signal });
  return response.ok ? new GpuStages(await response.json()) : null;
}

/**
 * Whether the settings leave the cut-out as the GPU composed it.
 * @param {Settings} settings
 */
function isPlain({ background, refinement, decontaminate, hidden, invert, crop }) {
  const edges = /** @type {Record<string, any>} */ (DEFAULTS);
  return background === null && !decontaminate && hidden === 'keep' && !invert && crop === null
    && Object.entries(refinement).every(([name, value]) => value === edges[name]);
}

/**
 * @param {'png'|'webp'} format
 * @param {{width: number, height: number, channels: number, data: Uint8Array, icc: Uint8Array|null}} picture
 * @param {AbortSignal} signal
 */
function encode(format, picture, signal) {
  return format === 'webp' ? encodeWebp(picture, { signal }) : encodePng(picture, { signal });
}

/**
 * What `compose` takes as the background.
 * @param {Settings['background']} background
 * @param {AbortSignal} signal
 * @returns {Promise<import('../image/background.mjs').Background>}
 */
async function backgroundOf(background, signal) {
  if (background === null) return null;
  if ('colour' in background) {
    const digits = background.colour.slice(1).padEnd(8, 'f');
    return { colour: [0, 2, 4, 6].map(at => parseInt(digits.slice(at, at + 2), 16)) };
  }
  if ('image' in background) return { image: await decode(background.image, { name: 'the background', signal }) };
  return { blur: background.blur };
}

/** @param {Float32Array} values 0..1 */
function levelsOf(values) {
  const levels = new Uint8Array(values.length);
  for (let at = 0; at < values.length; at += 1) levels[at] = Math.round(Math.min(1, Math.max(0, values[at])) * 255);
  return levels;
}
