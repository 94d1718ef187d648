// One model is open at a time, and all photos that need it wait for the same opening.

import { unlessAborted } from './waiting.mjs';

/**
 * @typedef {import('./kept.mjs').Model} Model
 * @typedef {{stage: 'download'|'shaders', done: number, total: number}} OpenProgress
 */

/** Fires 'progress' (detail: `OpenProgress`), 'opened' (detail: what the backend says of it) and 'closed'. */
export class Opener extends EventTarget {
  /** @type {{model: Model, controller: AbortController, promise: Promise<any>, waiting: number, info: any}|null} */
  current = null;

  /**
   * @param {{open: (model: Model, options: any) => Promise<any>}} backend
   */
  constructor(backend) {
    super();
    this.backend = backend;
  }

  /**
   * What the backend says of the model, once it is open. A caller that gives up ends the opening only if it is the
   * last.
   * @param {Model} model
   * @param {{keep: boolean, signal: AbortSignal, onProgress: (progress: OpenProgress) => void}} options
   */
  async open(model, { keep, signal, onProgress }) {
    signal.throwIfAborted();
    if (this.current?.model.name !== model.name) this.begin(model, keep);
    const current = /** @type {NonNullable<Opener['current']>} */ (this.current);
    if (current.info) return current.info;
    const listen = (/** @type {Event} */ event) => onProgress(/** @type {CustomEvent<OpenProgress>} */ (event).detail);
    this.addEventListener('progress', listen);
    current.waiting += 1;
    try {
      return await unlessAborted(current.promise, signal);
    } finally {
      this.removeEventListener('progress', listen);
      current.waiting -= 1;
      // The next photo asks at once, if there is one.
      setTimeout(() => { if (current.waiting === 0 && !current.info) this.end(current); }, 50);
    }
  }

  /** Have the next call open the model anew. */
  close() {
    if (this.current) this.end(this.current);
  }

  /**
   * @private
   * @param {Model} model
   * @param {boolean} keep
   */
  begin(model, keep) {
    this.close();
    const controller = new AbortController();
    const current = {
      model, controller, waiting: 0, info: /** @type {any} */ (null),
      promise: /** @type {Promise<any>} */ (Promise.resolve()),
    };
    this.current = current;
    let loading = false;
    current.promise = this.backend.open(model, {
      keep,
      signal: controller.signal,
      onProgress: (/** @type {OpenProgress} */ detail) => {
        // Programs are made while weights come; a visitor is told of one thing at a time.
        if (detail.stage === 'download') loading = detail.done < detail.total;
        else if (loading) return;
        if (this.current === current) this.dispatchEvent(new CustomEvent('progress', { detail }));
      },
    }).then(info => {
      current.info = info ?? {};
      if (this.current === current) this.dispatchEvent(new CustomEvent('opened', { detail: current.info }));
      return current.info;
    });
    current.promise.catch(() => this.end(current));
  }

  /**
   * @private
   * @param {NonNullable<Opener['current']>} current
   */
  end(current) {
    current.controller.abort();
    if (this.current !== current) return;
    this.current = null;
    this.dispatchEvent(new Event('closed'));
  }
}
