// Photos that wait for their turn: so many at a time, each with a state and, where it failed, the sentence why.

import { isAbort, sentence } from './words.mjs';

/**
 * @typedef {'waiting'|'opening'|'working'|'done'|'failed'|'cancelled'} State
 * @typedef {object} Progress
 * @property {string} words what is going on
 * @property {number} [done]
 * @property {number} [total] without it nobody knows how long it takes
 * @typedef {object} Item
 * @property {number} id
 * @property {string} name
 * @property {Blob|null} blob null while only a server has it
 * @property {string|null} job on the server that cuts it; null where none does
 * @property {State} state
 * @property {string} message why it failed; empty otherwise
 * @property {Progress|null} progress
 * @property {any} result what `work` returned
 * @property {any[]} strokes of the brush, in pixels of the photo
 * @property {AbortController|null} controller of the run in progress
 * @typedef {{name: string, blob: Blob|null, job?: string, state?: State, message?: string}} Incoming
 * @typedef {object} Turn
 * @property {AbortSignal} signal
 * @property {(state: 'waiting'|'opening'|'working') => void} state
 * @property {(progress: Progress) => void} progress
 * @property {(job: string) => void} job
 * @property {(blob: Blob) => void} photo
 */

/** An error that every other photo would meet too: those that wait fail with it, and nothing is tried 50 times. */
export class StopsAll extends Error {
  /** @param {unknown} cause */
  constructor(cause) {
    super(sentence(cause), { cause });
  }
}

const OPEN_STATES = /** @type {State[]} */ (['waiting', 'opening', 'working']);

/**
 * Fires 'list' when photos come or go, 'change' (detail: the item) when one of them changes, and 'forget' (detail: the
 * job's id) when nobody wants what a server does or has of a photo.
 */
export class Queue extends EventTarget {
  /** @type {Item[]} */
  items = [];
  #width = 1;
  #active = 0;

  /**
   * @param {(item: Item, turn: Turn) => Promise<any>} work cuts one photo
   * @param {(result: any) => void} [discard] takes back what `work` returned and nobody wants any more
   */
  constructor(work, discard = () => {}) {
    super();
    this.work = work;
    this.discard = discard;
    this.next = 1;
  }

  /** How many photos have their turn at a time. */
  get width() { return this.#width; }

  set width(width) {
    this.#width = width;
    this.run();
  }

  get running() { return this.#active > 0; }

  /** @param {Iterable<Incoming>} photos */
  add(photos) {
    const added = [...photos].map(({ name, blob, job = null, state = 'waiting', message = '' }) => ({
      id: this.next++, name, blob, job, state, message, progress: null, result: null, strokes: [], controller: null,
    }));
    this.items.push(...added);
    this.dispatchEvent(new Event('list'));
    this.run();
    return added;
  }

  /** @param {Item} item */
  retry(item) {
    if (this.isOpen(item)) return;
    // What failed may have its photo on the server alone, for as long as it has the job.
    if (item.result) this.forget(item);
    this.drop(item);
    this.set(item, { state: 'waiting', message: '' });
    this.run();
  }

  retryFailed() {
    for (const item of this.items) if (item.state === 'failed' || item.state === 'cancelled') this.retry(item);
  }

  /** @param {Item} item */
  cancel(item) {
    if (!this.isOpen(item)) return;
    const controller = item.controller;
    item.controller = null;
    this.set(item, { state: 'cancelled', progress: null });
    controller?.abort();
    this.forget(item);
  }

  cancelAll() {
    // From behind: what is being worked on goes last, so that nothing else begins.
    for (const item of [...this.items].reverse()) this.cancel(item);
  }

  /** @param {Item} item */
  remove(item) {
    this.cancel(item);
    this.forget(item);
    this.drop(item);
    this.items = this.items.filter(each => each !== item);
    this.dispatchEvent(new Event('list'));
  }

  /** @param {Item} item */
  isOpen(item) {
    return OPEN_STATES.includes(item.state);
  }

  /** How many photos are in each state. */
  counts() {
    const counts = { waiting: 0, opening: 0, working: 0, done: 0, failed: 0, cancelled: 0 };
    for (const item of this.items) counts[item.state] += 1;
    return { ...counts, open: counts.waiting + counts.opening + counts.working, all: this.items.length };
  }

  /**
   * Have the server forget its job.
   * @param {Item} item
   */
  forget(item) {
    if (item.job === null) return;
    this.dispatchEvent(new CustomEvent('forget', { detail: item.job }));
    item.job = null;
  }

  /**
   * @private
   * @param {Item} item
   */
  drop(item) {
    if (item.result) this.discard(item.result);
    item.result = null;
  }

  /**
   * @private
   * @param {Item} item
   * @param {Partial<Item>} values
   */
  set(item, values) {
    Object.assign(item, values);
    this.dispatchEvent(new CustomEvent('change', { detail: item }));
  }

  /** @private */
  run() {
    while (this.#active < this.#width) {
      // One that waits within its turn, as for a server that is busy, has its controller.
      const item = this.items.find(each => each.state === 'waiting' && !each.controller);
      if (!item) return;
      this.#active += 1;
      void this.turn(item).finally(() => {
        this.#active -= 1;
        this.run();
      });
    }
  }

  /**
   * @private
   * @param {Item} item
   */
  async turn(item) {
    const controller = new AbortController();
    const mine = () => item.controller === controller;
    item.controller = controller;
    this.set(item, { state: 'opening', message: '', progress: null });
    try {
      const result = await this.work(item, {
        signal: controller.signal,
        state: state => { if (mine() && item.state !== state) this.set(item, { state, progress: null }); },
        progress: progress => { if (mine()) this.set(item, { progress }); },
        job: job => { if (mine()) item.job = job; },
        photo: blob => { if (mine()) item.blob = blob; },
      });
      if (mine()) this.set(item, { state: 'done', result, progress: null });
      else this.discard(result);
    } catch (error) {
      if (!mine()) return;
      if (isAbort(error)) return this.set(item, { state: 'cancelled', progress: null });
      this.set(item, { state: 'failed', message: sentence(error), progress: null });
      if (error instanceof StopsAll) {
        for (const other of this.items.filter(each => each.state === 'waiting' && !each.controller)) {
          this.set(other, { state: 'failed', message: sentence(error) });
        }
      }
    } finally {
      if (mine()) item.controller = null;
    }
  }
}
