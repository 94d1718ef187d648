// What can be saved: the photo that is shown, and all of them.

import { announce, byId, element } from './dom.mjs';
import { fileName, save, zipOfAll } from './downloads.mjs';
import { count, duration, isAbort, sentence } from './words.mjs';
import { ranOn } from './models_view.mjs';

/**
 * @typedef {import('./queue.mjs').Item} Item
 * @typedef {import('./downloads.mjs').Format} Format
 */

const FORMATS = /** @type {[Format, string, string][]} */ ([
  ['png', 'PNG', 'every pixel as it is, with transparency'],
  ['webp', 'WebP', 'the same in a smaller file'],
  ['mask', 'Mask', 'white where the subject is'],
]);

/** The section "save" below the editor, and `all`, which stands below the queue. One file is made at a time. */
export class SaveView {
  /** @type {AbortController|null} */
  making = null;

  /**
   * @param {import('./queue.mjs').Queue} queue
   * @param {import('./workspace.mjs').Workspace} workspace
   * @param {import('./backend.mjs').Backend} backend
   */
  constructor(queue, workspace, backend) {
    this.queue = queue;
    this.workspace = workspace;
    this.backend = backend;
    this.title = element('h2', { id: 'save-title' }, 'Save');
    this.about = element('p', { class: 'about' });
    this.status = element('p', { class: 'saving' });
    this.stop = element('button', {
      type: 'button', class: 'quiet', hidden: true, click: () => this.making?.abort(),
    }, 'Cancel');
    this.buttons = FORMATS.map(([format, label, hint], index) => element('button', {
      type: 'button', class: index ? '' : 'primary', title: `${label}: ${hint}`, 'aria-label': `Save as ${label}`,
      'data-format': format, click: () => void this.one(format),
    }, label));
    byId('save').replaceChildren(
      element('div', { class: 'save-row' }, this.title, element('div', { class: 'buttons' }, ...this.buttons)),
      this.about,
      element('div', { class: 'saving-row' }, this.status, this.stop),
    );
    this.format = element('select', { id: 'all-format' },
      ...FORMATS.map(([format, label]) => element('option', { value: format }, label)));
    this.allButton = element('button', { type: 'button', id: 'all-save', click: () => void this.every() }, 'Save ZIP');
    this.allStatus = element('p', { class: 'saving' });
    this.allStop = element('button', {
      type: 'button', class: 'quiet', hidden: true, click: () => this.making?.abort(), 'aria-label': 'Cancel the ZIP',
    }, 'Cancel');
    this.all = element('div', { class: 'all', hidden: true },
      element('label', { for: 'all-format' }, 'All as'), this.format, this.allButton, this.allStop, this.allStatus);
    queue.addEventListener('list', () => this.refresh());
    queue.addEventListener('change', () => this.refresh());
    workspace.addEventListener('show', () => this.refresh());
    this.refresh();
  }

  /** @private */
  refresh() {
    this.all.hidden = this.queue.items.length < 2 || this.queue.counts().done === 0;
    const { item } = this.workspace;
    const result = item?.result;
    if (!item || !result) return;
    const { width, height, milliseconds, model, adapter, where, notices = [] } = result;
    this.about.textContent = `${item.name}, ${width} × ${height}. Cut out in ${duration(milliseconds)}`
      + `${model ? ` by ${model.title}` : ''}${adapter ? ` ${ranOn(adapter, where)}` : ''}.`
      + notices.map((/** @type {string} */ notice) => ` ${sentence(notice)}`).join('');
  }

  /**
   * @private
   * @param {Format} format
   */
  async one(format) {
    const { item } = this.workspace;
    if (!item?.result) return;
    const name = fileName(item.name, format);
    await this.make(this.status, this.stop, `Writing ${name}`, async signal => {
      save(await this.render(item, format, signal), name);
      return `${name} is saved.`;
    });
  }

  /** @private */
  async every() {
    const format = /** @type {Format} */ (this.format.value);
    const items = this.queue.items.filter(item => item.result);
    await this.make(this.allStatus, this.allStop, 'Writing the ZIP', async signal => {
      const { blob, failed } = await zipOfAll(items, item => this.render(item, format, signal), format, {
        signal, onProgress: (done, total) => { this.allStatus.textContent = `Writing ${done} of ${total}`; },
      });
      save(blob, 'cutouts.zip');
      const [first] = failed;
      const left = first ? ` ${count(failed.length, 'photo')} left out: ${first.name}: ${sentence(first.error)}` : '';
      return `cutouts.zip with ${count(items.length - failed.length, 'photo')} is saved.${left}`;
    });
  }

  /**
   * @private
   * @param {Item} item
   * @param {Format} format
   * @param {AbortSignal} signal
   */
  render(item, format, signal) {
    return this.backend.render(item.result.id, this.workspace.values, item.strokes, { format, signal });
  }

  /**
   * @private
   * @param {HTMLElement} status
   * @param {HTMLButtonElement} stop
   * @param {string} words
   * @param {(signal: AbortSignal) => Promise<string>} work its sentence is said at the end
   */
  async make(status, stop, words, work) {
    if (this.making) return;
    const making = this.making = new AbortController();
    const asked = /** @type {HTMLElement|null} */ (document.activeElement);
    this.enable(false);
    stop.hidden = false;
    status.textContent = words;
    status.classList.remove('failed');
    try {
      status.textContent = await work(making.signal);
    } catch (error) {
      status.textContent = isAbort(error) ? 'Cancelled.' : sentence(error);
      status.classList.toggle('failed', !isAbort(error));
    } finally {
      this.making = null;
      this.enable(true);
      const focused = document.activeElement;
      if (focused === stop || focused === document.body) asked?.focus();
      stop.hidden = true;
      announce(status.textContent);
    }
  }

  /**
   * @private
   * @param {boolean} yes
   */
  enable(yes) {
    // Not `disabled`, which would take the focus away.
    for (const button of [...this.buttons, this.allButton]) button.setAttribute('aria-disabled', String(!yes));
  }
}
