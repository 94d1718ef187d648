// What cuts photos for the page: here the browser itself, in one module worker. Another backend may stand in its place.

import { canKeep, forget, isKept, keepAll, room } from './kept.mjs';
import { controlled } from './offline.mjs';
import { readSite } from './site.mjs';
import { coded } from './words.mjs';

/**
 * @typedef {import('./kept.mjs').Model} Model
 * @typedef {object} Keeping how models are kept on this device
 * @property {boolean} available
 * @property {(model: Model) => Promise<boolean>} isKept
 * @property {(model: Model, options?: {signal?: AbortSignal, onProgress?: (done: number, total: number) => void})
 *   => Promise<void>} keep
 * @property {(model: Model) => Promise<unknown>} forget
 * @property {() => Promise<number|null>} room bytes that are free; null where nobody knows
 *
 * @typedef {{width: number, height: number, levels: Uint8Array}} MaskLevels 8-bit levels, row by row
 * @typedef {object} Cut
 * @property {string} id
 * @property {number} width of the photo, upright
 * @property {number} height
 * @property {ImageBitmap} bitmap for display, at most 4096 a side
 * @property {MaskLevels} mask without refinement, of the bitmap's size
 * @property {any} adapter
 * @property {number} milliseconds from the bytes to the mask
 * @property {string[]} notices
 *
 * @property {Model} [model] which one cut it, where that may be another than the one that was asked for
 *
 * @typedef {object} CutOptions
 * @property {string} name
 * @property {Model} model the one that is open
 * @property {AbortSignal} signal
 * @property {(progress: any) => void} [onProgress]
 * @property {string|null} [job] the job on a server that may have done it already
 * @property {(job: string) => void} [onJob] called with the job that does it, where there is one
 * @property {(blob: Blob) => void} [onPhoto] called with the photo, where none was given
 *
 * @typedef {object} Settings
 * @property {null|{colour: string}|{image: Blob}|{blur: number}} background
 * @property {Record<string, any>} refinement
 * @property {number} decontaminate
 * @property {'keep'|'bleed'|'zero'} hidden
 * @property {boolean} invert
 * @property {number|null} crop
 *
 * @typedef {object} Backend
 * @property {() => Promise<{code: string, canGoOn?: boolean}|null>} check what stands in the way, as a key of `NOTICES`
 * @property {() => void} allow go on all the same, where `canGoOn` says that one can
 * @property {() => Promise<import('./site.mjs').Site>} site
 * @property {(model: Model, options: {keep: boolean, signal: AbortSignal, onProgress: (progress: any) => void})
 *   => Promise<any>} open
 * @property {(blob: any, options: CutOptions) => Promise<Cut>} cut a photo; null where a job on a server has it
 * @property {(id: string, settings: Settings, strokes: any[],
 *   options: {format: 'png'|'webp'|'mask', signal?: AbortSignal}) => Promise<Blob>} render
 * @property {(id: string, settings: Settings, options?: {signal?: AbortSignal}) => Promise<MaskLevels>} mask
 *   refined, without strokes, of the display's size
 * @property {(id: string) => void} release
 * @property {(job: string) => unknown} [forget] a job that nobody wants any more
 * @property {() => void} close
 * @property {Keeping|null} keeping
 */

/** The browser's own backend. Errors have the runner's `code`, or that of a notice. @implements {Backend} */
export class WorkerBackend {
  /** @type {Worker|null} */
  worker = null;
  /**
   * @type {Map<number, {resolve: (value: any) => void, reject: (error: unknown) => void,
   *   onProgress?: (progress: any) => void}>}
   */
  calls = new Map();
  next = 1;
  software = false;

  /**
   * @param {string} base address of the site
   * @param {Promise<import('./site.mjs').Site>|null} [known] its list, where that is read already
   */
  constructor(base, known = null) {
    this.base = base;
    this.known = known;
    /** @type {Keeping|null} */
    this.keeping = {
      available: canKeep(),
      isKept: model => isKept(model, base),
      keep: (model, options) => keepAll(model, base, options),
      forget: model => forget(model, base),
      room,
    };
  }

  async check() {
    if (!isSecureContext) return { code: 'insecure' };
    if (!navigator.gpu) return { code: 'no-webgpu' };
    const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null);
    if (!adapter) return { code: 'no-adapter' };
    const { info } = adapter;
    const software = info.isFallbackAdapter || /swiftshader|llvmpipe|lavapipe|warp|basic render/i.test(
      `${info.vendor} ${info.architecture} ${info.description}`);
    return software && !this.software ? { code: 'software', canGoOn: true } : null;
  }

  allow() {
    this.software = true;
  }

  async site() {
    return this.known ?? readSite(this.base);
  }

  /**
   * @param {Model} model
   * @param {{keep: boolean, signal: AbortSignal, onProgress: (progress: any) => void}} options
   */
  async open(model, { keep, signal, onProgress }) {
    return this.call('open', { model, keep, base: this.base, allowSoftware: this.software }, { signal, onProgress });
  }

  /**
   * @param {Blob} blob
   * @param {CutOptions} options
   * @returns {Promise<Cut>}
   */
  async cut(blob, { name, signal, onProgress }) {
    return this.call('cut', { blob, name }, { signal, onProgress });
  }

  /**
   * Take a photo whose mask a network has made elsewhere.
   * @param {Blob} blob
   * @param {{name: string, mask: import('../image/photo.mjs').Mask, signal: AbortSignal}} options
   *   `mask`: as the network gave it, at its own size
   * @returns {Promise<import('./cutter.mjs').Taken>}
   */
  async adopt(blob, { name, mask, signal }) {
    return this.call('adopt', { blob, name, mask }, { signal });
  }

  /**
   * @param {string} id
   * @param {Settings} settings
   * @param {any[]} strokes
   * @param {{format: 'png'|'webp'|'mask', signal?: AbortSignal}} options
   * @returns {Promise<Blob>}
   */
  async render(id, settings, strokes, { format, signal }) {
    return this.call('render', { id, settings, strokes, format }, { signal });
  }

  /**
   * @param {string} id
   * @param {Settings} settings
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<MaskLevels>}
   */
  async mask(id, settings, { signal } = {}) {
    return this.call('mask', { id, settings }, { signal });
  }

  /** @param {string} id */
  release(id) {
    this.worker?.postMessage({ release: id });
  }

  close() {
    this.worker?.terminate();
    this.worker = null;
    const error = new DOMException('the page has closed its worker', 'AbortError');
    for (const { reject } of this.calls.values()) reject(error);
    this.calls.clear();
  }

  /**
   * @private
   * @param {string} method of the worker
   * @param {any} values
   * @param {{signal?: AbortSignal, onProgress?: (progress: any) => void}} [options]
   * @returns {Promise<any>}
   */
  async call(method, values, { signal, onProgress } = {}) {
    signal?.throwIfAborted();
    const worker = await this.started();
    const call = this.next++;
    const abort = () => worker.postMessage({ abort: call });
    signal?.addEventListener('abort', abort);
    try {
      return await new Promise((resolve, reject) => {
        this.calls.set(call, { resolve, reject, onProgress });
        worker.postMessage({ call, method, values });
        if (signal?.aborted) abort();
      });
    } finally {
      this.calls.delete(call);
      signal?.removeEventListener('abort', abort);
    }
  }

  /** @private */
  async started() {
    if (this.worker) return this.worker;
    // The service worker hands the worker's file out with the page's policy, which a <meta> does not give it.
    await controlled(3000);
    if (this.worker) return this.worker;
    const worker = new Worker(new URL('worker.mjs', import.meta.url), { type: 'module', name: 'nss' });
    worker.onmessage = ({ data }) => {
      const call = this.calls.get(data.call);
      if (!call) {
        data.result?.bitmap?.close();
        return;
      }
      if (data.progress) call.onProgress?.(data.progress);
      else if (data.error) call.reject(revived(data.error));
      else call.resolve(data.result);
    };
    worker.onerror = event => {
      event.preventDefault();
      const why = event.message || 'its program did not load';
      const error = coded('worker', `the page's worker stopped (${why}); load the page again`);
      for (const { reject } of this.calls.values()) reject(error);
      this.calls.clear();
      worker.terminate();
      this.worker = null;
    };
    this.worker = worker;
    return worker;
  }
}

/**
 * An error of the worker, as what it was there.
 * @param {{name: string, message: string, code?: string}} error
 */
function revived({ name, message, code }) {
  if (name === 'AbortError') return new DOMException(message, 'AbortError');
  return Object.assign(new Error(message), { name, ...(code === undefined ? {} : { code }) });
}
