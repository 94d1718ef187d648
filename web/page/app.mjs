// The page: what its parts are, and how they hear of each other.

import { announce, byId } from './dom.mjs';
import { listen } from './intake.mjs';
import { ModelsView, progressWords, ranOn } from './models_view.mjs';
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
 *
 * @typedef {object} Place where photos are cut
 * @property {Backend} backend
 * @property {Model[]} models at least one
 * @property {number} width how many photos it takes at a time
 * @property {string} [where] it is, in words, where there is another one: "on this computer"
 * @property {Model} [model] the one that was chosen there
 * @property {Opener} [opener]
 */

/** What every photo would meet that goes to a server. */
const REFUSALS = ['token', 'refused', 'address'];

/** What is left on the device may be of no use. */
const LOST = ['device-lost', 'out-of-memory', 'worker', 'closed'];

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
export function goOn(backend, then) {
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
    show(version);
    new App({ backend, models, width: 1 });
  } catch (error) {
    showNotice('site', { error });
  }
}

/**
 * Show what the page works with.
 * @param {string} version
 */
export function show(version) {
  byId('version').textContent = ` ${version}`;
  byId('columns').hidden = false;
}

export class App {
  /**
   * @param {Place} place
   * @param {HTMLElement|null} [choice] where the visitor chooses another one
   */
  constructor(place, choice = null) {
    this.home = this.place = place;
    const { backend } = place; // photos that are cut are with it, wherever that was
    this.models = new ModelsView(choice);
    this.queue = new Queue((item, turn) => this.cut(item, turn), result => this.release(result));
    this.workspace = new Workspace(backend);
    this.saving = new SaveView(this.queue, this.workspace, backend);
    this.photos = new QueueView(this.queue, {
      select: item => void this.workspace.show(item),
      stale: item => item.result?.model !== this.models.chosen,
      all: this.saving.all,
    });
    listen(photos => this.take(photos));
    this.models.addEventListener('choose', event => {
      this.place.model = /** @type {CustomEvent<Model>} */ (event).detail;
      this.photos.refresh();
    });
    this.models.addEventListener('keep', event => void this.keep(/** @type {CustomEvent<Model>} */ (event).detail));
    this.queue.addEventListener('change', event => this.changed(/** @type {CustomEvent<Item>} */ (event).detail));
    this.queue.addEventListener('list', () => {
      if (this.workspace.item && !this.queue.items.includes(this.workspace.item)) this.showNext();
    });
    this.queue.addEventListener('forget', event => backend.forget?.(/** @type {CustomEvent<string>} */ (event).detail));
    this.workspace.addEventListener('show', () => this.photos.mark(this.workspace.item));
    window.addEventListener('pagehide', event => { if (!event.persisted) backend.close(); });
    this.use(place);
  }

  /**
   * Have photos cut there from now on.
   * @param {Place} place
   */
  use(place) {
    this.place = place;
    this.models.offer(place);
    this.queue.width = place.width;
    const info = this.openerOf(place).current?.info;
    if (info) this.models.opened(info);
  }

  /**
   * @private
   * @param {Place} place
   */
  openerOf(place) {
    if (place.opener) return place.opener;
    const opener = place.opener = new Opener(place.backend);
    const here = (/** @type {(detail: any) => void} */ then) => (/** @type {Event} */ event) => {
      if (place === this.place) then(/** @type {CustomEvent} */ (event).detail);
    };
    opener.addEventListener('progress', here(detail => this.models.show(detail)));
    opener.addEventListener('opened', here(detail => {
      hideNotice();
      this.models.opened(detail);
      announce(`The model is open${detail.adapter ? ` ${ranOn(detail.adapter, place.where)}` : ''}.`);
    }));
    opener.addEventListener('closed', here(() => this.models.opened(null)));
    return opener;
  }

  /** @param {Iterable<import('./queue.mjs').Incoming>} photos */
  take(photos) {
    const added = [...photos];
    if (!added.length) return;
    hideNotice();
    this.queue.add(added);
    announce(added.length === 1 ? `${added[0].name} is added.` : `${added.length} photos are added.`);
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
    // What a server has from an earlier visit goes on there.
    const isHeld = item.job !== null && !item.blob;
    const place = isHeld ? this.home : this.place;
    if (place !== this.home) this.queue.forget(item);
    const { backend, where } = place;
    const opener = this.openerOf(place);
    const model = /** @type {Model} */ (place.model);
    try {
      await opener.open(model, {
        keep: this.models.agreed,
        signal: turn.signal,
        onProgress: progress => turn.progress({
          words: progressWords(model, progress), done: progress.done, total: progress.total,
        }),
      });
    } catch (error) {
      if (isAbort(error)) throw error;
      this.complain(error, place);
      throw new StopsAll(error);
    }
    turn.state('working');
    try {
      const result = await backend.cut(item.blob, {
        name: item.name, model, job: item.job, signal: turn.signal, onJob: turn.job, onPhoto: turn.photo,
        onProgress: progress => {
          turn.state(progress.waiting ? 'waiting' : 'working');
          turn.progress(progress);
        },
      });
      return { model, where, ...result };
    } catch (error) {
      const { code } = /** @type {{code?: string}} */ (error);
      if (isNotice(code)) this.complain(error, place);
      // The model is opened anew for the next photo.
      if (LOST.includes(code ?? '')) opener.close();
      throw REFUSALS.includes(code ?? '') ? new StopsAll(error) : error;
    }
  }

  /**
   * @param {unknown} error
   * @param {Place} place
   */
  complain(error, { backend }) {
    const { code } = /** @type {{code?: string}} */ (error);
    if (!code || !isNotice(code)) return;
    const action = code === 'software' ? { action: goOn(backend, () => this.queue.retryFailed()) } : {};
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
    this.home.backend.release(result.id);
  }

  /**
   * The visitor agreed to keep the model: it is fetched now, unless it is here.
   * @param {Model} model
   */
  async keep(model) {
    const { keeping } = this.place.backend;
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
