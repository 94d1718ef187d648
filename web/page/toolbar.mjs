/**
 * The controls around the editor's picture: which tool, the brush, undo, before and after, zoom. They know nothing of
 * pictures; what they are set to is told to `actions`, and `update` shows how things are.
 */
import { element } from './dom.mjs';
import { icon, segments, uniqueId } from './elements.mjs';

/**
 * @typedef {'view' | 'erase' | 'restore'} Tool
 * @typedef {object} Actions
 * @property {(tool: Tool) => void} tool
 * @property {(size: number) => void} size in photo pixels
 * @property {(hardness: number) => void} hardness 0..1
 * @property {(shown: boolean) => void} ghost whether what is removed shows faintly
 * @property {() => void} undo
 * @property {() => void} redo
 * @property {() => void} clear
 * @property {(percent: number) => void} compare how much of the picture is the untouched photo
 * @property {(direction: 1 | -1) => void} step zoom
 * @property {() => void} fit
 * @property {() => void} actual 100 %
 * @typedef {object} State
 * @property {Tool} tool
 * @property {number} size
 * @property {number} largest
 * @property {number} hardness
 * @property {boolean} ghost
 * @property {boolean} canUndo
 * @property {boolean} canRedo
 * @property {number} strokes
 * @property {number} compare
 * @property {number} zoom pixels of the screen for one of the photo
 * @property {boolean} fitted
 */

/** Steps of the size's slider, which goes by factors: small brushes need the finer choice. */
const SIZE_STEPS = 100;

export class Toolbar {
  #tools;
  #size = element('input', { type: 'range', min: 0, max: SIZE_STEPS });
  #hardness = element('input', { type: 'range', min: 0, max: 100 });
  #ghost = element('input', { type: 'checkbox' });
  #compare = element('input', { type: 'range', min: 0, max: 100, step: 'any', value: 0 });
  #sizeText = element('output');
  #hardnessText = element('output');
  #compareText = element('output');
  #zoomText = element('output', { class: 'zoom-text', 'aria-label': 'Zoom' });
  #largest = 1;

  /** @param {Actions} actions */
  constructor(actions) {
    this.#tools = segments('Tool', [
      { value: 'view', label: 'View', icon: 'move', title: 'Move and compare (V)' },
      { value: 'erase', label: 'Erase', icon: 'erase', title: 'Take away with the brush (E)' },
      { value: 'restore', label: 'Restore', icon: 'restore', title: 'Bring back with the brush (R)' },
    ], value => actions.tool(/** @type {Tool} */ (value)));
    this.undo = button('Undo', 'undo', 'Undo (Ctrl Z)', () => actions.undo());
    this.redo = button('Redo', 'redo', 'Redo (Ctrl Shift Z)', () => actions.redo());
    this.clear = button('Remove all strokes', 'clear', 'Remove all strokes', () => actions.clear());
    const all = 'All of the picture (0)';
    this.fit = element('button', { type: 'button', title: all, click: () => actions.fit() }, 'Fit');
    this.actual = element('button', {
      type: 'button', title: 'A pixel of the photo on a pixel of the screen (1)', click: () => actions.actual(),
    }, '100 %');
    this.#size.addEventListener('input', () => actions.size(this.#largest ** (this.#size.valueAsNumber / SIZE_STEPS)));
    this.#hardness.addEventListener('input', () => actions.hardness(this.#hardness.valueAsNumber / 100));
    this.#ghost.addEventListener('change', () => actions.ghost(this.#ghost.checked));
    this.#compare.addEventListener('input', () => actions.compare(this.#compare.valueAsNumber));
    this.#compare.addEventListener('keydown', event => {
      // A step of `any` leaves the arrows to the browser, and browsers differ.
      const step = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -20, PageUp: 20 }[event.key];
      if (!step) return;
      event.preventDefault();
      actions.compare(Math.min(100, Math.max(0, this.#compare.valueAsNumber + step)));
    });

    this.above = element('div', { class: 'bar' },
      this.#tools.root,
      element('div', { class: 'group' }, this.undo, this.redo, this.clear));
    this.hint = element('p', { class: 'hint' });
    this.brush = element('div', { class: 'brush-controls' },
      labelled('Size', this.#size, this.#sizeText),
      labelled('Hardness', this.#hardness, this.#hardnessText),
      element('label', { class: 'check', title: 'Shows faintly what is removed, while you restore' },
        this.#ghost, element('span', {}, 'Faint photo')));
    this.details = element('div', { class: 'bar details' }, this.hint, this.brush);
    this.below = element('div', { class: 'bar below' },
      element('div', { class: 'compare' }, labelled('Before', this.#compare, this.#compareText)),
      element('div', { class: 'group', role: 'group', 'aria-label': 'Zoom' },
        button('Zoom out', 'minus', 'Zoom out (-)', () => actions.step(-1)),
        this.#zoomText,
        button('Zoom in', 'plus', 'Zoom in (+)', () => actions.step(1)),
        this.fit, this.actual));
  }

  /** @param {State} state */
  update(state) {
    const { tool, size, largest, hardness, compare, zoom } = state;
    const painting = tool !== 'view';
    this.#tools.value = tool;
    this.hint.hidden = painting;
    this.brush.hidden = !painting;
    this.#ghost.checked = state.ghost;
    this.#ghost.disabled = tool !== 'restore';
    this.#largest = largest;
    if (Math.round(largest ** (this.#size.valueAsNumber / SIZE_STEPS)) !== size) {
      this.#size.value = String(SIZE_STEPS * Math.log(size) / Math.log(largest));
    }
    say(this.#size, this.#sizeText, `${size} px`, `${size} pixels of the photo`);
    this.#hardness.value = String(Math.round(hardness * 100));
    say(this.#hardness, this.#hardnessText, `${Math.round(hardness * 100)} %`);
    this.#compare.value = String(compare);
    const before = `${Math.round(compare)} %`;
    say(this.#compare, this.#compareText, before, `${before} of it is the untouched photo`);
    this.#zoomText.textContent = percent(zoom);
    this.fit.setAttribute('aria-pressed', String(state.fitted));
    this.actual.setAttribute('aria-pressed', String(Math.abs(zoom - 1) < 1e-6));
    setDisabled(this.undo, !state.canUndo);
    setDisabled(this.redo, !state.canRedo);
    setDisabled(this.clear, state.strokes === 0);
  }
}

/** @param {number} zoom */
export const percent = zoom => `${zoom < 0.1 ? (zoom * 100).toFixed(1) : Math.round(zoom * 100)} %`;

/**
 * A button that is off keeps the focus, and says that it is off: a disabled one would drop it.
 * @param {HTMLButtonElement} target
 * @param {boolean} disabled
 */
function setDisabled(target, disabled) {
  target.setAttribute('aria-disabled', String(disabled));
}

/**
 * @param {string} name
 * @param {import('./elements.mjs').IconName} sign
 * @param {string} title
 * @param {() => void} click
 */
function button(name, sign, title, click) {
  return element('button', { type: 'button', class: 'sign', 'aria-label': name, title, click }, icon(sign));
}

/**
 * @param {string} text
 * @param {HTMLInputElement} input
 * @param {HTMLOutputElement} output
 */
function labelled(text, input, output) {
  input.id ||= uniqueId('control');
  output.setAttribute('for', input.id);
  return element('div', { class: 'labelled' }, element('label', { for: input.id }, text), input, output);
}

/**
 * @param {HTMLInputElement} input
 * @param {HTMLOutputElement} output
 * @param {string} text
 * @param {string} [words] what a screen reader says instead
 */
function say(input, output, text, words = text) {
  output.textContent = text;
  input.setAttribute('aria-valuetext', words);
}
