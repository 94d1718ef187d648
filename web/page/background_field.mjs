/** What the cut-out is put on: nothing, a colour with its opacity, an image, or the photo out of focus. */
import { element } from './dom.mjs';
import { segments, uniqueId } from './elements.mjs';
import { FIELDS } from './fields.mjs';
import { NumberField } from './number_field.mjs';

/**
 * @typedef {import('./layers.mjs').Background} Background
 * @typedef {'none' | 'colour' | 'image' | 'blur'} Kind
 */

const SWATCHES = [
  ['White', '#ffffff'], ['Light grey', '#e8e8e8'], ['Black', '#000000'],
  ['Sky blue', '#bfdcf2'], ['Sand', '#eadfca'], ['Green', '#00b140'],
];

export class BackgroundField {
  /** @type {Kind} */
  #kind = 'none';
  /** @type {Blob | null} */
  #image = null;
  #onchange;
  #kinds;
  #colour = element('input', { type: 'color', value: '#ffffff' });
  #opacity = element('input', { type: 'range', min: 0, max: 100, value: 100 });
  #opacityText = element('output');
  #file = element('input', { type: 'file', accept: 'image/*', class: 'unseen' });
  /** @type {HTMLButtonElement[]} */
  #swatches = [];
  #error = element('p', { class: 'error', role: 'alert' });
  #fileName = element('span', { class: 'file-name' });
  #blur;
  /** @type {Record<Kind, HTMLElement>} */
  #panels;

  /** @param {() => void} onchange called when the visitor has chosen another background */
  constructor(onchange) {
    this.#onchange = onchange;
    this.#kinds = segments('Background', [
      { value: 'none', label: 'None' }, { value: 'colour', label: 'Colour' },
      { value: 'image', label: 'Image' }, { value: 'blur', label: 'Blur' },
    ], kind => { this.#show(/** @type {Kind} */ (kind)); onchange(); });
    this.#blur = new NumberField(FIELDS.blur, onchange);
    this.#colour.addEventListener('input', () => { this.#show('colour'); onchange(); });
    this.#opacity.addEventListener('input', () => { this.#show('colour'); onchange(); });
    this.#file.addEventListener('change', () => void this.#choose());
    this.#panels = {
      none: element('p', { class: 'hint' }, 'Transparent.'),
      colour: this.#colourPanel(),
      image: this.#imagePanel(),
      blur: element('div', {}, this.#blur.root, element('p', { class: 'hint' }, 'The photo itself, out of focus.')),
    };
    this.root = element('div', { class: 'background-field' }, this.#kinds.root, ...Object.values(this.#panels));
    this.#show('none');
  }

  /** @returns {Background} null as long as no image has been chosen for one */
  get value() {
    if (this.#kind === 'colour') {
      const alpha = Math.round(this.#opacity.valueAsNumber / 100 * 255).toString(16).padStart(2, '0');
      return { colour: this.#colour.value + alpha };
    }
    if (this.#kind === 'image') return this.#image && { image: this.#image };
    return this.#kind === 'blur' ? { blur: this.#blur.value } : null;
  }

  set value(background) {
    if (background === null) this.#show('none');
    else if ('colour' in background) {
      this.#colour.value = background.colour.slice(0, 7);
      this.#opacity.value = String(Math.round(parseInt(background.colour.slice(7) || 'ff', 16) / 2.55));
      this.#show('colour');
    } else if ('image' in background) {
      this.#image = background.image;
      this.#show('image');
    } else {
      this.#blur.value = background.blur;
      this.#show('blur');
    }
  }

  /** Take the file that was chosen, if it is an image that the browser reads. */
  async #choose() {
    const [chosen] = this.#file.files ?? [];
    if (!chosen) return;
    this.#error.textContent = '';
    try {
      (await createImageBitmap(chosen)).close();
    } catch {
      this.#error.textContent = `${chosen.name} is no image that this browser reads; choose a PNG, JPEG or WebP file.`;
      return;
    }
    this.#image = chosen;
    this.#show('image');
    this.#onchange();
  }

  /** @param {Kind} kind */
  #show(kind) {
    this.#kind = this.#kinds.value = kind;
    for (const [each, panel] of Object.entries(this.#panels)) panel.hidden = each !== kind;
    for (const swatch of this.#swatches) {
      swatch.setAttribute('aria-pressed', String(swatch.value === this.#colour.value));
    }
    this.#opacityText.textContent = `${this.#opacity.value} %`;
    this.#opacity.setAttribute('aria-valuetext', `${this.#opacity.value} %`);
    const some = this.#image instanceof File ? this.#image.name : 'An image';
    this.#fileName.textContent = this.#image ? some : 'None chosen yet';
  }

  #colourPanel() {
    const picker = uniqueId('colour'), opacity = uniqueId('opacity');
    this.#colour.id = picker;
    this.#opacity.id = opacity;
    this.#opacityText.setAttribute('for', opacity);
    this.#swatches.push(...SWATCHES.map(([name, value]) => {
      const swatch = element('button', {
        type: 'button', class: 'swatch', 'aria-label': name, title: name,
        click: () => { this.#colour.value = value; this.#show('colour'); this.#onchange(); },
      });
      swatch.style.backgroundColor = value;
      swatch.value = value;
      return swatch;
    }));
    return element('div', { class: 'stack' },
      element('div', { class: 'colours' },
        element('label', { for: picker, class: 'unseen' }, 'Colour'), this.#colour, ...this.#swatches),
      element('div', { class: 'labelled' },
        element('label', { for: opacity }, 'Opacity'), this.#opacity, this.#opacityText));
  }

  #imagePanel() {
    const id = uniqueId('image');
    this.#file.id = id;
    this.#fileName.id = `${id}-name`;
    this.#file.setAttribute('aria-describedby', this.#fileName.id);
    return element('div', { class: 'stack' },
      element('div', { class: 'file' },
        this.#file, element('label', { for: id, class: 'like-button' }, 'Choose an image'), this.#fileName),
      this.#error,
      element('p', { class: 'hint' }, 'Scaled to cover the photo, and centred.'));
  }
}
