// The photo that is shown: its editor, the settings, and what its mask is after them.

import { Editor } from './editor.mjs';
import { SettingsPanel } from './settings.mjs';
import { announce, byId } from './dom.mjs';
import { displayBitmap } from './picture.mjs';
import { isAbort, sentence } from './words.mjs';

/**
 * @typedef {import('./queue.mjs').Item} Item
 * @typedef {import('./backend.mjs').Backend} Backend
 * @typedef {import('./backend.mjs').Settings} Settings
 */

/** Fires 'show' when another photo, or none, is shown. */
export class Workspace extends EventTarget {
  /** @type {Item|null} */
  item = null;
  /** @type {ImageBitmap|null} */
  bitmap = null;
  /** @type {AbortController|null} */
  asking = null;
  edges = '';

  /** @param {Backend} backend */
  constructor(backend) {
    super();
    this.backend = backend;
    this.root = byId('result');
    this.panel = byId('settings');
    this.editor = new Editor(byId('editor'));
    this.settings = new SettingsPanel(this.panel);
    this.editor.addEventListener('strokes', () => { if (this.item) this.item.strokes = this.editor.strokes; });
    this.settings.addEventListener('change', () => void this.restyle());
  }

  /** @returns {Settings} */
  get values() {
    return /** @type {Settings} */ (this.settings.value);
  }

  /**
   * Show a photo that is done, with its strokes and the settings of all.
   * @param {Item|null} item
   */
  async show(item) {
    this.asking?.abort();
    this.item = item;
    this.root.hidden = this.panel.hidden = !item;
    document.body.classList.toggle('working', Boolean(item));
    if (!item) {
      this.bitmap?.close();
      this.bitmap = null;
      this.dispatchEvent(new Event('show'));
      return;
    }
    const asking = this.asking = new AbortController();
    this.root.setAttribute('aria-busy', 'true');
    const { result } = item;
    const old = this.bitmap;
    try {
      const values = this.values;
      // A photo that was shown before has lost its bitmap: 50 of them do not fit into memory.
      const [bitmap, mask] = await Promise.all([
        result.bitmap ?? displayBitmap(/** @type {Blob} */ (item.blob)),
        this.backend.mask(result.id, values, { signal: asking.signal }),
      ]);
      if (this.item !== item || item.result !== result) return;
      result.bitmap = null;
      this.bitmap = bitmap;
      this.edges = edgesOf(values);
      this.editor.show({ bitmap, width: result.width, height: result.height, mask, strokes: item.strokes });
      this.editor.setBackground(values.background);
      if (old !== bitmap) old?.close();
      this.dispatchEvent(new Event('show'));
    } catch (error) {
      if (!isAbort(error)) announce(`${item.name} cannot be shown: ${sentence(error)}`);
    } finally {
      if (this.asking === asking) this.root.removeAttribute('aria-busy');
    }
  }

  /** @private Bring the preview in step with the settings. */
  async restyle() {
    const { item, values } = this;
    if (!item) return;
    this.editor.setBackground(values.background);
    if (edgesOf(values) === this.edges) return;
    this.asking?.abort();
    const asking = this.asking = new AbortController();
    this.root.setAttribute('aria-busy', 'true');
    try {
      const mask = await this.backend.mask(item.result.id, values, { signal: asking.signal });
      if (this.item !== item || this.asking !== asking) return;
      this.edges = edgesOf(values);
      this.editor.setMask(mask);
    } catch (error) {
      if (!isAbort(error)) announce(`The edges cannot be changed: ${sentence(error)}`);
    } finally {
      if (this.asking === asking) this.root.removeAttribute('aria-busy');
    }
  }
}

/** @param {Settings} settings */
const edgesOf = ({ refinement, invert }) => JSON.stringify([refinement, invert]);
