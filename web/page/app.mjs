// The page: what its parts are, and how they hear of each other.

import { announce, byId } from './dom.mjs';
import { listen } from './intake.mjs';
import { ModelsView, adapterName, progressWords } from './models_view.mjs';
import { hideNotice, isNotice, NOTICES, showNotice, started } from './notices.mjs';
import { stayOffline } from './offline.mjs';
import { Opener } from './opener.mjs';
import { thumbnail } from './picture.mjs';
import { Queue, StopsAll } from './queue.mjs';
import { QueueView } from './queue_view.mjs';
import { SaveView } from './save_view.mjs';
import { isAbort, sentence } from './words.mjs';
import { Workspace } from './workspace.mjs';

/**
 * @typedef {import('./backend.mjs').Backend} Backend
 * @typedef {import('./queue.mjs').Item} Item
 * @typedef {import('./queue.mjs').Turn} Turn
 * @typedef {import('./kept.mjs').Model} Model
 */

/**
 * Start the page with what cuts photos for it.
 * @param {{backend: Backend}} parts
 */
export async function start({ backend }) {
  started();
  stayOffline(() => { byId('offline').textContent = 'This page is on your device and opens without network.'; });
  const obstacle = await backend.check();
  if (obstacle) {
    const { code, canGoOn } = obstacle;
    showNotice(code, canGoOn ? { action: goOn(backend, () => begin(backend).then(() => byId('files').focus())) } : {});
    if (NOTICES[code].blocks) return;
  }
  await begin(backend);
}

/**
 * The button of a notice that leaves it to the visitor.
 * @param {Backend} backend
 * @param {() => void} then
 */
function goOn(backend, then) {
  return {
    label: 'Go on all the same',
    run: () => {
      backend.allow();
      hideNotice();
      then();
    },
  };
}

/** @param {Backend} backend */
async function begin(backend) {
  try {
    const { version, models } = await backend.site();
    byId('version').textContent = ` ${version}`;
    byId('columns').hidden = false;
    new App(backend, models);
  } catch (error) {
    showNotice('site', { error });
  }
}

class App {
  /**
   * @param {Backend} backend
   * @param {Model[]} models
   */
  constructor(backend, models) {
    this.backend = backend;
    this.opener = new Opener(backend);
    this.models = new ModelsView(models, backend.keeping);
    this.queue = new Queue((item, turn) => this.cut(item, turn), result => this.release(result));
    this.workspace = new Workspace(backend);
    this.saving = new SaveView(this.queue, this.workspace, backend);
    this.photos = new QueueView(this.queue, {
      select: item => void this.workspace.show(item),
      stale: item => item.result?.model.name !== this.models.chosen?.name,
      all: this.saving.all,
    });
    listen(photos => this.take(photos));
    this.opener.addEventListener('progress', event => this.models.show(/** @type {CustomEvent} */ (event).detail));
    this.opener.addEventListener('opened', event => {
      const { detail } = /** @type {CustomEvent} */ (event);
      hideNotice();
      this.models.opened(detail);
      announce(`The model is open${detail.adapter ? ` on ${adapterName(detail.adapter)}` : ''}.`);
    });
    this.opener.addEventListener('closed', () => this.models.opened(null));
    this.models.addEventListener('choose', () => this.photos.refresh());
    this.models.addEventListener('keep', event => void this.keep(/** @type {CustomEvent<Model>} */ (event).detail));
    this.queue.addEventListener('change', event => this.changed(/** @type {CustomEvent<Item>} */ (event).detail));
    this.queue.addEventListener('list', () => {
      if (this.workspace.item && !this.queue.items.includes(this.workspace.item)) this.showNext();
    });
    this.workspace.addEventListener('show', () => this.photos.mark(this.workspace.item));
    window.addEventListener('pagehide', event => { if (!event.persisted) backend.close(); });
  }

  /** @param {{name: string, blob: Blob}[]} photos */
  take(photos) {
    if (!photos.length) return;
    hideNotice();
    this.queue.add(photos);
    announce(photos.length === 1 ? `${photos[0].name} is added.` : `${photos.length} photos are added.`);
  }

  /**
   * One photo's turn: the model is opened, if it is not, then the photo is cut.
   * @param {Item} item
   * @param {Turn} turn
   */
  async cut(item, turn) {
    try {
      return await this.attempt(item, turn);
    } catch (error) {
      // The worker stopped between two photos, and the model went with it: the next worker opens it anew.
      if (/** @type {{code?: string}} */ (error).code !== 'closed') throw error;
      turn.state('opening');
      return this.attempt(item, turn);
    }
  }

  /**
   * @private
   * @param {Item} item
   * @param {Turn} turn
   */
  async attempt(item, turn) {
    const model = /** @type {Model} */ (this.models.chosen);
    try {
      await this.opener.open(model, {
        keep: this.models.agreed,
        signal: turn.signal,
        onProgress: progress => turn.progress({
          words: progressWords(model, progress), done: progress.done, total: progress.total,
        }),
      });
    } catch (error) {
      if (isAbort(error)) throw error;
      this.complain(error);
      throw new StopsAll(error);
    }
    turn.state('working');
    try {
      const result = await this.backend.cut(item.blob, {
        name: item.name, signal: turn.signal, onProgress: progress => turn.progress(progress),
      });
      return { ...result, model };
    } catch (error) {
      const { code } = /** @type {{code?: string}} */ (error);
      if (isNotice(code)) this.complain(error);
      // The model is opened anew for the next photo: what is left on the device may be of no use.
      if (['device-lost', 'out-of-memory', 'worker', 'closed'].includes(code ?? '')) this.opener.close();
      throw error;
    }
  }

  /** @param {unknown} error */
  complain(error) {
    const { code } = /** @type {{code?: string}} */ (error);
    if (!code || !isNotice(code)) return;
    const action = code === 'software' ? { action: goOn(this.backend, () => this.queue.retryFailed()) } : {};
    showNotice(code, { error, ...action });
  }

  /** @param {Item} item */
  changed(item) {
    if (item.state !== 'done') {
      if (item === this.workspace.item) this.showNext();
      return;
    }
    const { result } = item;
    const canvas = this.photos.thumbnail(item);
    if (canvas && result.bitmap) thumbnail(canvas, result.bitmap, result.mask);
    result.mask = null;
    if (!this.workspace.item) return void this.workspace.show(item);
    result.bitmap?.close();
    result.bitmap = null;
  }

  /** Show another photo in place of one that went. */
  showNext() {
    const shown = this.workspace.item;
    void this.workspace.show(this.queue.items.find(item => item !== shown && item.state === 'done') ?? null);
  }

  /** @param {any} result */
  release(result) {
    result.bitmap?.close?.();
    this.backend.release(result.id);
  }

  /**
   * The visitor agreed to keep the model: it is fetched now, unless it is here.
   * @param {Model} model
   */
  async keep(model) {
    const { keeping } = this.backend;
    if (!keeping) return;
    try {
      await keeping.keep(model, {
        onProgress: (done, total) => { if (model === this.models.chosen) this.models.storing(done, total); },
      });
      announce(`${model.title} is on this device.`);
    } catch (error) {
      this.models.notKept(model, sentence(error));
    } finally {
      await this.models.refresh();
    }
  }
}
