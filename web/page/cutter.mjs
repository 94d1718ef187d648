// From a photo's bytes to its mask, and from its mask to a file.
//
// What is kept of a photo is its Blob and the mask as the network gave it, some hundred KB: settings and strokes are
// applied anew each time, so every edit can be taken back. The photo that was used last stays decoded. One job runs at a
// time, so memory is bounded by one photo's size, however many are in the queue.

import { compose, maskLevels } from '../image/compose.mjs';
import { decode } from '../image/decode.mjs';
import { networkMask, nothingFound } from '../image/network_mask.mjs';
import { encodePng } from '../image/png.mjs';
import { prepare } from '../image/prepare.mjs';
import { enlarge, refine } from '../image/refine.mjs';
import { resize } from '../image/resample.mjs';
import { applyStrokes } from '../image/strokes.mjs';
import { encodeWebp } from '../image/webp.mjs';
import { open } from '../runner/index.mjs';
import { forget, keepingFetch } from './kept.mjs';
import { displayBitmap, displaySize } from './picture.mjs';

/**
 * @typedef {{name: string, width: number, height: number, rgba: Uint8ClampedArray|Uint8Array, opaque: boolean, icc: Uint8Array|null}} Photo
 * @typedef {{width: number, height: number, data: Float32Array}} Mask
 * @typedef {{name: string, blob: Blob, width: number, height: number, mask: Mask}} Kept
 * @typedef {{signal: AbortSignal, onProgress: (progress: any) => void}} Job
 */

export class Cutter {
  /** @type {any} */
  model = null;
  /** @type {any} */
  interface = null;
  /** @type {Map<string, Kept>} */
  photos = new Map();
  /** @type {{id: string, photo: Photo}|null} */
  last = null;
  /** @type {Promise<unknown>} */
  turn = Promise.resolve();
  next = 1;

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
      this.interface = this.model.metadata.interface;
      return { adapter: { ...this.model.adapter }, precision: this.model.precision, timings: { ...this.model.timings } };
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
      const photo = await decode(blob, { name, signal });
      const mask = await this.network(photo, signal, onProgress);
      const milliseconds = performance.now() - begin;
      const id = String(this.next++);
      this.photos.set(id, { name, blob, width: photo.width, height: photo.height, mask });
      this.last = { id, photo };
      const { width, height } = displaySize(photo.width, photo.height);
      return {
        id, width: photo.width, height: photo.height,
        bitmap: await displayBitmap(blob),
        mask: { width, height, levels: levelsOf(enlarge(mask, width, height).data) },
        adapter: { ...this.model.adapter },
        milliseconds,
        notices: nothingFound(mask) ? ['the model found nothing in this photo; try another model, or the brush'] : [],
      };
    });
  }

  /**
   * The refined mask, inverted where the settings say so, as 8-bit levels at the size of the display.
   * @param {{id: string, settings: import('./backend.mjs').Settings}} what
   * @param {Job} job
   */
  mask({ id, settings }, { signal }) {
    return this.alone(signal, async () => {
      const kept = this.kept(id);
      const mask = await this.refined(id, settings, signal);
      const { width, height } = displaySize(kept.width, kept.height);
      const small = width === mask.width && height === mask.height ? mask.data
        : resize(mask.data, mask.height, mask.width, 1, height, width, 'triangle');
      return { width, height, levels: levelsOf(small) };
    });
  }

  /**
   * A file of the photo with these settings and strokes.
   * @param {{id: string, settings: import('./backend.mjs').Settings, strokes: any[], format: 'png'|'webp'|'mask'}} what
   * @param {Job} job
   * @returns {Promise<Blob>}
   */
  render({ id, settings, strokes, format }, { signal }) {
    return this.alone(signal, async () => {
      const photo = await this.photo(id, signal);
      const mask = await this.refined(id, settings, signal);
      applyStrokes(mask, strokes);
      signal.throwIfAborted();
      // Strokes are made on what is seen, so the mask is inverted before them, and not again.
      if (format === 'mask') {
        const data = maskLevels(photo, mask, { bits: 8, invert: false });
        return encodePng({ width: mask.width, height: mask.height, channels: 1, data, bits: 8, icc: null });
      }
      const { decontaminate, hidden, crop } = settings;
      const background = await backgroundOf(settings.background, signal);
      const picture = compose(photo, mask, { background, invert: false, decontaminate, hidden, crop });
      signal.throwIfAborted();
      return format === 'webp' ? encodeWebp(picture) : encodePng({ ...picture, bits: 8 });
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
   * The network's mask of a photo, at the network's size.
   * @private
   * @param {Photo} photo
   * @param {AbortSignal} signal
   * @param {(progress: any) => void} onProgress
   * @returns {Promise<Mask>}
   */
  async network(photo, signal, onProgress) {
    const { model } = this;
    if (!model) throw new Error('no model is open; choose one and try again');
    const wanted = this.interface;
    const input = named(model.inputs, wanted.input);
    const output = named(model.outputs, wanted.output);
    // The model was compiled for one size of input, which its photos are resized to.
    const nchw = wanted.layout === 'NCHW';
    const size = nchw ? input.shape.slice(2, 4) : input.shape.slice(1, 3);
    const { data } = prepare(photo, { ...wanted, size });
    signal.throwIfAborted();
    onProgress({ words: 'Cutting out' });
    const inputs = { ...constants(model, wanted), [input.name]: data };
    const outputs = await model.run(inputs, {
      signal, read: [output.name],
      onProgress: (/** @type {{done: number, total: number}} */ progress) => onProgress({ words: 'Cutting out', ...progress }),
    });
    return networkMask(outputs[output.name], output.shape, output.dtype, wanted);
  }

  /**
   * @private
   * @param {string} id
   * @param {import('./backend.mjs').Settings} settings
   * @param {AbortSignal} signal
   * @returns {Promise<Mask>} at the photo's size, the caller's own
   */
  async refined(id, { refinement, invert }, signal) {
    const { width, height, mask } = this.kept(id);
    const photo = refinement.guided ? await this.photo(id, signal) : null;
    const whole = refine(enlarge(mask, width, height), photo, refinement);
    signal.throwIfAborted();
    if (invert) for (let index = 0; index < whole.data.length; index += 1) whole.data[index] = 1 - whole.data[index];
    return whole;
  }

  /**
   * @private
   * @param {string} id
   * @param {AbortSignal} signal
   * @returns {Promise<Photo>}
   */
  async photo(id, signal) {
    if (this.last?.id !== id) {
      const { blob, name } = this.kept(id);
      this.last = null; // before the next is decoded, so that two are never in memory
      this.last = { id, photo: await decode(blob, { name, signal }) };
    }
    return this.last.photo;
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
 * @param {{name: string, dtype: string, shape: number[]}[]} tensors
 * @param {string|number} which name or index
 */
function named(tensors, which) {
  const found = typeof which === 'number' ? tensors.at(which) : tensors.find(each => each.name === which);
  if (!found) throw new Error(`the model has no tensor ${JSON.stringify(which)}; export it again`);
  return found;
}

/**
 * The model's other inputs, which are the same for each photo: one number for all elements, or nested lists.
 * @param {any} model
 * @param {any} wanted
 */
function constants(model, wanted) {
  /** @type {Record<string, any>} */
  const made = {};
  for (const [name, value] of Object.entries(wanted.inputs ?? {})) {
    const { dtype, shape } = named(model.inputs, name);
    const length = shape.reduce((product, extent) => product * extent, 1);
    const Typed = /** @type {any} */ (({ float32: Float32Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array,
      bool: Uint8Array })[dtype]);
    if (!Typed) throw new Error(`the model's input "${name}" is of type ${dtype}, which the page does not make; use nss-wgpu`);
    const cast = dtype === 'int64' ? BigInt : Number;
    made[name] = Array.isArray(value) ? Typed.from(value.flat(Infinity), cast) : new Typed(length).fill(cast(value));
  }
  return made;
}

/**
 * What `compose` takes as the background.
 * @param {import('./backend.mjs').Settings['background']} background
 * @param {AbortSignal} signal
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
  for (let index = 0; index < values.length; index += 1) levels[index] = Math.round(Math.min(1, Math.max(0, values[index])) * 255);
  return levels;
}
