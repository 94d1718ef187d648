// Choosing the model, by size and licence; what is kept of it on this device.

import { announce, byId, element } from './dom.mjs';
import { sentence, size } from './words.mjs';

/** @typedef {import('./kept.mjs').Model} Model */

const COMMERCIAL = {
  yes: '',
  no: 'Not for commercial use',
  ask: 'Commercial use by agreement only',
};

const WEIGHTS = { f32: '32-bit weights', f16: '16-bit weights', int8: '8-bit weights' };

const PRECISIONS = /** @type {Record<string, string>} */ ({
  f32: 'computed in 32 bits',
  'f32-split': 'computed in 32 bits',
  f16: 'computed in 16 bits',
});

/** The section "model". Fires 'choose' (detail: the model). */
export class ModelsView extends EventTarget {
  /** @type {Model|null} */
  chosen = null;
  failed = '';

  /** How models are kept; null where they are not. @type {import('./backend.mjs').Keeping|null} */
  keeping = null;
  /** Where photos are cut, in words; undefined where there is no choice. @type {string|undefined} */
  where = undefined;

  /** @param {HTMLElement|null} [choice] where the visitor chooses between places */
  constructor(choice = null) {
    super();
    this.root = byId('model');
    this.now = element('span', { class: 'now' });
    this.state = element('p', { class: 'model-state' });
    this.progress = element('progress', { 'aria-label': 'Opening the model', hidden: true });
    this.keep = element('input', { type: 'checkbox', id: 'keep', change: () => void this.agree() });
    this.keepWords = element('label', { for: 'keep' });
    this.keptWords = element('p', { class: 'hint' });
    this.forget = element('button', { type: 'button', class: 'quiet small', click: () => void this.remove() });
    this.options = element('fieldset', { class: 'models' });
    this.keepRow = element('div', { class: 'keep' },
      element('p', { class: 'keep-row' }, this.keep, ' ', this.keepWords), this.keptWords, this.forget);
    this.details = element('details', {},
      element('summary', {}, element('h2', { id: 'model-title' }, 'Model'), ' ', this.now),
      choice, this.options, this.keepRow,
    );
    this.root.replaceChildren(this.details, this.state, this.progress);
  }

  /**
   * Offer the models of a place.
   * @param {import('./app.mjs').Place} place
   */
  offer({ models, backend, where, model }) {
    this.keeping = backend.keeping;
    this.where = where;
    this.keepRow.hidden = !this.keeping;
    this.options.replaceChildren(
      element('legend', { class: 'unseen' }, 'Model'), ...models.map(each => this.option(each)));
    this.opened(null);
    this.choose(model ?? models.find(each => each.default) ?? models[0]);
  }

  /** Whether the visitor agreed to keep the chosen model. */
  get agreed() {
    return this.keep.checked && !this.keep.disabled;
  }

  /**
   * Say how far the opening is.
   * @param {import('./opener.mjs').OpenProgress} progress
   */
  show({ stage, done, total }) {
    const words = progressWords(/** @type {Model} */ (this.chosen), { stage, done, total });
    this.state.textContent = words;
    this.progress.hidden = false;
    this.progress.max = total || 1;
    this.progress.value = done;
  }

  /**
   * Say that the model is open, on which adapter; or, with null, that it is not.
   * @param {{adapter?: {description?: string, vendor?: string, architecture?: string}}|null} info
   */
  opened(info) {
    this.progress.hidden = true;
    this.state.textContent = info ? `Ready${info.adapter ? ` ${ranOn(info.adapter, this.where)}` : ''}` : '';
    void this.refresh();
  }

  /**
   * Say how far the keeping is.
   * @param {number} done bytes
   * @param {number} total
   */
  storing(done, total) {
    this.keptWords.textContent = `Keeping it: ${size(done)} of ${size(total)}`;
  }

  /**
   * Say why the model is not kept.
   * @param {Model} model
   * @param {string} words
   */
  notKept(model, words) {
    remember(model, false);
    if (model === this.chosen) this.keep.checked = false;
    this.failed = words;
    announce(`${model.title} is not kept. ${words}`);
  }

  /**
   * @private
   * @param {Model} model
   */
  choose(model) {
    this.chosen = model;
    this.failed = '';
    this.now.textContent = [model.title, model.bytes && size(model.bytes), this.where].filter(Boolean).join(', ');
    const input = /** @type {HTMLInputElement} */ (byId(`model-${model.name}`));
    input.checked = true;
    this.keep.checked = Boolean(this.keeping) && remembered(model);
    this.state.textContent = '';
    void this.refresh();
    this.dispatchEvent(new CustomEvent('choose', { detail: model }));
  }

  /**
   * @private
   * @param {Model} model
   */
  option(model) {
    const id = `model-${model.name}`;
    const warning = model.licence === 'unknown'
      ? 'Nobody said what its licence is'
      : COMMERCIAL[model.commercial] ?? '';
    return element('div', { class: 'option' },
      element('input', {
        type: 'radio', name: 'model', id, value: model.name, 'aria-describedby': `${id}-about`,
        change: () => this.choose(model),
      }),
      element('label', { for: id },
        element('span', { class: 'title' }, model.title), ' ',
        element('span', { class: 'bytes' }, model.bytes ? size(model.bytes) : '')),
      element('div', { class: 'about', id: `${id}-about` },
        element('p', {}, model.summary),
        warning && element('p', { class: 'warning' }, warning),
        element('p', { class: 'licence' }, 'Licence: ',
          model.licence_url
            ? element('a', { href: model.licence_url, target: '_blank', rel: 'noopener noreferrer' }, model.licence)
            : model.licence,
          `. ${technical(model)}.`)),
    );
  }

  /** Say what is kept. */
  async refresh() {
    const { keeping, chosen } = this;
    if (!keeping || !chosen) return;
    this.keepWords.textContent = `Keep it on this device (${size(chosen.bytes)}), to use it without network`;
    this.forget.textContent = 'Remove from this device';
    this.forget.setAttribute('aria-label', `Remove ${chosen.title} from this device`);
    const [kept, free] = await Promise.all([
      keeping.isKept(chosen).catch(() => false), keeping.room().catch(() => null),
    ]);
    if (chosen !== this.chosen) return;
    this.keep.disabled = !keeping.available;
    this.forget.hidden = !kept;
    this.root.dataset.kept = String(kept);
    if (!keeping.available) this.keptWords.textContent = 'This browser keeps nothing here: a private window does not.';
    else if (kept) this.keptWords.textContent = 'It is on this device.';
    else if (this.failed) this.keptWords.textContent = this.failed;
    else this.keptWords.textContent = free === null ? '' : `There is room for ${size(free)}.`;
  }

  /** @private The visitor ticked the box, or took the tick away. */
  async agree() {
    const { keeping, chosen, keep } = this;
    if (!keeping || !chosen) return;
    this.failed = '';
    remember(chosen, keep.checked);
    if (!keep.checked) return;
    const free = await keeping.room().catch(() => null);
    if (free !== null && free < chosen.bytes) {
      keep.checked = false;
      remember(chosen, false);
      const words = `There is room for ${size(free)}, and the model needs ${size(chosen.bytes)}: `
        + 'free some space first.';
      this.keptWords.textContent = words;
      announce(words);
      return;
    }
    this.dispatchEvent(new CustomEvent('keep', { detail: chosen }));
  }

  /** @private */
  async remove() {
    const { keeping, chosen } = this;
    if (!keeping || !chosen) return;
    this.keep.checked = false;
    remember(chosen, false);
    try {
      await keeping.forget(chosen);
      announce(`${chosen.title} is removed from this device.`);
    } catch (error) {
      announce(sentence(error));
    }
    await this.refresh();
    this.keep.focus();
  }
}

/**
 * @param {Model} model
 * @param {import('./opener.mjs').OpenProgress} progress
 */
export function progressWords(model, { stage, done, total }) {
  if (stage === 'download') return `Loading ${model.title}: ${size(done)} of ${size(total)}`;
  return `Preparing your graphics card: ${done} of ${total} programs`;
}

/**
 * @param {{description?: string, vendor?: string, architecture?: string}} adapter
 */
export function adapterName({ description, vendor, architecture }) {
  return description || [vendor, architecture].filter(Boolean).join(' ') || 'a graphics card without a name';
}

/**
 * "on NVIDIA H200", or, where there is a choice of places, "on this computer: NVIDIA H200".
 * @param {Parameters<typeof adapterName>[0]} adapter
 * @param {string} [where]
 */
export function ranOn(adapter, where) {
  return where ? `${where}: ${adapterName(adapter)}` : `on ${adapterName(adapter)}`;
}

/**
 * The size of a model's mask, and its weights, or what it is computed in.
 * @param {Model} model
 */
function technical({ size: mask, weights, precision, device }) {
  const size = mask ? `Mask of ${mask[1]} × ${mask[0]}` : 'Mask of the photo’s shape';
  return [size, WEIGHTS[weights] ?? PRECISIONS[precision ?? ''], device && `on ${device}`].filter(Boolean).join(', ');
}

/**
 * What the visitor's agreement is stored under: that of this site, and of no other one of its origin.
 * @param {Model} model
 */
const agreement = model => `keep ${new URL(model.folder, document.baseURI).pathname}`;

/** @param {Model} model */
function remembered(model) {
  try {
    return localStorage.getItem(agreement(model)) === 'yes';
  } catch {
    return false; // storage is blocked
  }
}

/**
 * @param {Model} model
 * @param {boolean} yes
 */
function remember(model, yes) {
  try {
    if (yes) localStorage.setItem(agreement(model), 'yes');
    else localStorage.removeItem(agreement(model));
  } catch {
    // storage is blocked: the choice holds for this visit
  }
}
