/**
 * What is asked of a cut-out, as a form. Its `value` is what the worker takes, its names and ranges are those of the
 * command; 'change' follows a change by the visitor, when it has come to rest.
 */
import { BackgroundField } from './background_field.mjs';
import { element } from './dom.mjs';
import { uniqueId } from './elements.mjs';
import { FIELDS, HIDDEN, defaults } from './fields.mjs';
import { NumberField } from './number_field.mjs';

/**
 * @typedef {import('./fields.mjs').Settings} Settings
 * @typedef {import('./fields.mjs').FieldName} FieldName
 */

/** How long, in milliseconds, a change rests before it is told: a slider on its way is no setting yet. */
const REST = 200;

const NUMBERS = /** @type {const} */ ([
  'smooth', 'expand', 'feather', 'guided', 'black', 'white', 'threshold', 'drop_islands', 'fill_holes',
  'decontaminate', 'crop',
]);

export class SettingsPanel extends EventTarget {
  #timer = 0;
  #background = new BackgroundField(() => this.#changed());
  /** @type {Record<typeof NUMBERS[number], NumberField>} */
  #numbers;
  #hard = element('input', { type: 'checkbox', change: () => this.#changed() });
  #invert = element('input', { type: 'checkbox', change: () => this.#changed() });
  #cropped = element('input', { type: 'checkbox', change: () => this.#changed() });
  #hidden = element('select', { change: () => this.#changed() },
    ...Object.entries(HIDDEN).map(([value, { label }]) => element('option', { value }, label)));
  #hiddenHint = element('p', { class: 'hint' });
  #more;

  /**
   * Build the form in an element, which it fills.
   * @param {HTMLElement} root
   */
  constructor(root) {
    super();
    this.#numbers = /** @type {any} */ (Object.fromEntries(NUMBERS.map(name => [
      name, new NumberField(FIELDS[name], settled => this.#changed(settled ? name : undefined)),
    ])));
    const row = (/** @type {typeof NUMBERS[number]} */ name) => this.#numbers[name].root;
    const hidden = this.#hidden.id = uniqueId('hidden');
    this.#hiddenHint.id = `${hidden}-hint`;
    this.#hidden.setAttribute('aria-describedby', this.#hiddenHint.id);
    this.#more = element('details', {},
      element('summary', {}, 'More for edges'),
      element('div', { class: 'stack' }, row('guided'), check('Hard edge, by one threshold', this.#hard),
        row('black'), row('white'), row('threshold'), row('drop_islands'), row('fill_holes')));
    const submit = (/** @type {Event} */ event) => event.preventDefault();
    this.element = element('form', { class: 'settings', submit },
      group('Background', this.#background.root),
      group('Edges', row('smooth'), row('expand'), row('feather'), this.#more),
      group('Colours', row('decontaminate'),
        element('div', { class: 'choice' },
          element('label', { for: hidden }, 'Under what is transparent'), this.#hidden, this.#hiddenHint)),
      group('Picture', check('Keep the background, remove the subject', this.#invert),
        check('Crop to the subject', this.#cropped), row('crop')),
      element('button', { type: 'button', class: 'reset-all', click: () => this.#resetAll() }, 'Reset all settings'));
    root.append(this.element);
    this.value = defaults();
  }

  /** @returns {Settings} what the form says now, whether or not 'change' has told of it */
  get value() {
    const number = (/** @type {typeof NUMBERS[number]} */ name) => this.#numbers[name].value;
    const threshold = number('threshold'), black = number('black');
    return {
      background: this.#background.value,
      refinement: {
        smooth: number('smooth'), expand: number('expand'), feather: number('feather'),
        black: this.#hard.checked ? threshold : black,
        white: this.#hard.checked ? threshold : Math.max(black, number('white')),
        drop_islands: number('drop_islands'), fill_holes: number('fill_holes'), guided: number('guided'),
      },
      decontaminate: number('decontaminate'),
      hidden: /** @type {Settings['hidden']} */ (this.#hidden.value),
      invert: this.#invert.checked,
      crop: this.#cropped.checked ? Math.round(number('crop')) : null,
    };
  }

  /** Setting it tells nobody: 'change' is for what the visitor does. */
  set value(settings) {
    clearTimeout(this.#timer);
    const { background, refinement, decontaminate, hidden, invert, crop } = settings;
    this.#background.value = background;
    const { black, white, ...others } = refinement;
    const hard = black === white;
    this.#hard.checked = hard;
    const numbers = {
      ...others, decontaminate, crop: crop ?? FIELDS.crop.initial,
      threshold: hard ? black : FIELDS.threshold.initial, black: hard ? 0 : black, white: hard ? 1 : white,
    };
    for (const name of NUMBERS) this.#numbers[name].value = numbers[name];
    this.#hidden.value = hidden;
    this.#invert.checked = invert;
    this.#cropped.checked = crop !== null;
    this.#show();
  }

  /** @param {FieldName} [name] of the number that changed, and is settled */
  #changed(name) {
    const { black, white } = this.#numbers;
    // The points do not pass each other: one takes the other along.
    if (name === 'black' && black.value > white.value) white.value = black.value;
    if (name === 'white' && white.value < black.value) black.value = white.value;
    this.#show();
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.dispatchEvent(new Event('change')), REST);
  }

  #show() {
    const { black, white, threshold, crop } = this.#numbers;
    black.root.hidden = white.root.hidden = this.#hard.checked;
    threshold.root.hidden = !this.#hard.checked;
    crop.root.hidden = !this.#cropped.checked;
    this.#hiddenHint.textContent = HIDDEN[/** @type {Settings['hidden']} */ (this.#hidden.value)].hint;
    const { guided, drop_islands: islands, fill_holes: holes } = this.#numbers;
    const changed = this.#hard.checked || black.value > 0 || white.value < 1
      || [guided, islands, holes].some(each => each.value > 0);
    this.#more.classList.toggle('changed', changed);
  }

  #resetAll() {
    this.value = defaults();
    this.#changed();
  }
}

/**
 * @param {string} legend
 * @param {...Node} fields
 */
function group(legend, ...fields) {
  return element('fieldset', { class: 'settings-group' }, element('legend', {}, legend), ...fields);
}

/**
 * @param {string} label
 * @param {HTMLInputElement} input
 */
function check(label, input) {
  return element('label', { class: 'check' }, input, element('span', {}, label));
}
