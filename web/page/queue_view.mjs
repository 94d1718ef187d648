// The list of photos: what each is doing, and what can be done with it.

import { announce, byId, element } from './dom.mjs';
import { count } from './words.mjs';

/** @typedef {import('./queue.mjs').Item} Item */

const STATES = /** @type {Record<import('./queue.mjs').State, string>} */ ({
  waiting: 'Waiting', opening: 'Opening the model', working: 'Cutting out', done: 'Done', failed: 'Failed',
  cancelled: 'Cancelled',
});

/** The section "photos". `select` is called with a photo that is done when the visitor chooses it. */
export class QueueView {
  /** @type {Map<number, ReturnType<QueueView['row']>>} */
  rows = new Map();

  /**
   * @param {import('./queue.mjs').Queue} queue
   * @param {{select: (item: Item) => void, stale: (item: Item) => boolean, all: HTMLElement}} options
   *   `stale`: whether the photo was cut by another model than the one that is chosen now; `all`: what saves all photos
   */
  constructor(queue, { select, stale, all }) {
    this.queue = queue;
    this.select = select;
    this.stale = stale;
    this.root = byId('photos');
    this.heading = element('h2', { id: 'photos-title' }, 'Photos');
    this.summary = element('p', { class: 'summary' });
    this.progress = element('progress', { 'aria-label': 'Photos that are done' });
    this.list = element('ol', { class: 'queue' });
    this.cancelAll = element('button', { type: 'button', class: 'quiet', click: () => this.stop() }, 'Cancel all');
    this.retryAll = element('button', {
      type: 'button', class: 'quiet', click: () => queue.retryFailed(),
    }, 'Try failed again');
    this.clear = element('button', { type: 'button', class: 'quiet', click: () => this.removeAll() }, 'Remove all');
    this.root.replaceChildren(
      element('div', { class: 'heading' }, this.heading, this.summary), this.progress, this.list,
      element('div', { class: 'actions' }, this.cancelAll, this.retryAll, this.clear), all,
    );
    queue.addEventListener('list', () => this.refresh());
    queue.addEventListener('change', event => this.changed(/** @type {CustomEvent<Item>} */ (event).detail));
    this.refresh();
  }

  /**
   * Mark the photo that is shown.
   * @param {Item|null} item
   */
  mark(item) {
    for (const [id, row] of this.rows) {
      row.open.setAttribute('aria-pressed', String(id === item?.id));
      row.root.classList.toggle('shown', id === item?.id);
    }
  }

  /**
   * Where the small picture of a photo is drawn.
   * @param {Item} item
   */
  thumbnail(item) {
    return this.rows.get(item.id)?.picture ?? null;
  }

  /** Bring the list in step with the queue. */
  refresh() {
    const { items } = this.queue;
    const ids = new Set(items.map(item => item.id));
    for (const [id, row] of [...this.rows]) {
      if (ids.has(id)) continue;
      row.root.remove();
      this.rows.delete(id);
    }
    for (const item of items) {
      if (!this.rows.has(item.id)) {
        const row = this.row(item);
        this.rows.set(item.id, row);
        this.list.append(row.root);
      }
      this.update(item);
    }
    this.totals();
  }

  /**
   * @private
   * @param {Item} item
   */
  changed(item) {
    const before = this.rows.get(item.id)?.root.dataset.state;
    this.update(item);
    this.totals();
    if (before === item.state) return;
    const { done, failed, open, all } = this.queue.counts();
    if (item.state === 'failed') announce(`${item.name}: ${item.message}`);
    if (item.state === 'done') {
      announce(all === 1 ? `${item.name} is done.` : `${item.name} is done, ${done} of ${all}.`);
    }
    if (!open && all > 1 && item.state !== 'cancelled') {
      announce(`All photos are through: ${done} done${failed ? `, ${failed} failed` : ''}.`);
    }
  }

  /** @private */
  totals() {
    const { done, failed, open, all, cancelled } = this.queue.counts();
    this.root.hidden = all === 0;
    document.body.classList.toggle('empty', all === 0);
    this.summary.textContent = open ? `${done} of ${all} done` : [
      done ? `${done} done` : '', failed ? `${failed} failed` : '', cancelled ? `${cancelled} cancelled` : '',
    ].filter(Boolean).join(', ');
    this.progress.hidden = open === 0 || all === 1;
    this.progress.max = all;
    this.progress.value = all - open;
    this.cancelAll.hidden = open === 0;
    this.retryAll.hidden = open > 0 || failed + cancelled === 0;
    this.clear.hidden = open > 0 || all < 2;
  }

  /**
   * @private
   * @param {Item} item
   */
  row(item) {
    const picture = element('canvas', { width: 112, height: 112, class: 'thumb', 'aria-hidden': 'true' });
    const state = element('span', { class: 'state' });
    const name = element('span', { class: 'photo-name', title: item.name }, item.name);
    const open = element('button', {
      type: 'button', class: 'open', 'aria-pressed': 'false', click: () => this.select(item),
    }, picture, element('span', { class: 'text' }, name, state));
    const progress = element('progress', { 'aria-label': `Progress of ${item.name}` });
    const message = element('p', { class: 'message' });
    const cross = (/** @type {string} */ label, /** @type {() => void} */ click) => element('button', {
      type: 'button', class: 'cross', title: label, 'aria-label': `${label} ${item.name}`, click,
    });
    const cancel = cross('Cancel', () => this.then(item, () => this.queue.cancel(item)));
    const remove = cross('Remove', () => this.remove(item));
    const retry = element('button', {
      type: 'button', class: 'quiet small',
      click: () => this.then(item, () => this.queue.retry(item)),
    }, 'Try again');
    const root = element('li', {}, open, cancel, remove, progress, message, retry);
    return { root, open, picture, state, progress, message, cancel, retry, remove };
  }

  /**
   * @private
   * @param {Item} item
   */
  update(item) {
    const row = this.rows.get(item.id);
    if (!row) return;
    const open = this.queue.isOpen(item);
    const busy = item.state === 'opening' || item.state === 'working';
    row.root.dataset.state = item.state;
    row.state.textContent = item.progress ? item.progress.words : STATES[item.state];
    row.open.disabled = item.state !== 'done';
    row.progress.hidden = !busy;
    if (item.progress?.total) {
      row.progress.max = item.progress.total;
      row.progress.value = item.progress.done ?? 0;
    } else {
      row.progress.removeAttribute('value');
    }
    row.message.textContent = item.message;
    row.message.hidden = !item.message;
    row.cancel.hidden = !open;
    row.retry.hidden = open || (item.state === 'done' && !this.stale(item));
    row.remove.hidden = open;
    const again = item.state === 'done' ? 'Again with the chosen model' : 'Try again';
    row.retry.textContent = again;
    row.retry.setAttribute('aria-label', `${again}: ${item.name}`);
  }

  /**
   * Do what a button says; the button goes then, and the focus stays in its row.
   * @private
   * @param {Item} item
   * @param {() => void} act
   */
  then(item, act) {
    act();
    const row = this.rows.get(item.id);
    [row?.cancel, row?.retry, row?.remove].find(each => each && !each.hidden)?.focus();
  }

  /**
   * @private
   * @param {Item} item
   */
  remove(item) {
    const at = this.queue.items.indexOf(item);
    this.queue.remove(item);
    announce(`${item.name} is removed, ${count(this.queue.items.length, 'photo')} left.`);
    const next = this.queue.items[Math.min(at, this.queue.items.length - 1)];
    const row = next && this.rows.get(next.id);
    const target = row ? [row.remove, row.cancel].find(each => !each.hidden) : byId('files');
    target?.focus();
  }

  /** @private */
  stop() {
    const { open } = this.queue.counts();
    this.queue.cancelAll();
    announce(`${count(open, 'photo')} cancelled.`);
    this.retryAll.focus();
  }

  /** @private */
  removeAll() {
    for (const item of [...this.queue.items]) this.queue.remove(item);
    announce('All photos are removed.');
    byId('files').focus();
  }
}
