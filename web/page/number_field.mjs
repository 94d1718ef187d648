/** A number by slider and by keyboard, with its unit, what it does, and the way back to where it was. */
import { element } from './dom.mjs';
import { icon, uniqueId } from './elements.mjs';

export class NumberField {
  #field;
  #onchange;
  #range;
  #number;
  #reset;
  #error = element('p', { class: 'error', role: 'alert' });

  /**
   * @param {import('./fields.mjs').Field} field
   * @param {(settled: boolean) => void} onchange called when the visitor has changed the number; it is not settled as
   *   long as it is being typed
   */
  constructor(field, onchange) {
    this.#field = field;
    this.#onchange = onchange;
    const { label, hint, unit, words, min, max, step, initial, slider } = field;
    const id = uniqueId('number'), hintId = uniqueId('hint');
    this.#range = element('input', {
      type: 'range', min: slider[0], max: slider[1], step, value: initial,
      'aria-label': label, 'aria-describedby': hintId,
      input: () => this.#take(this.#range.valueAsNumber),
    });
    this.#number = element('input', {
      // No keyboard of digits where there is a sign to type.
      type: 'number', id, min, max, step, value: initial, inputmode: min < 0 ? null : 'decimal',
      'aria-describedby': hintId,
      input: () => this.#typed(), change: () => this.#settle(),
    });
    this.#reset = element('button', {
      type: 'button', class: 'sign reset', 'aria-label': `Reset ${label.toLowerCase()}`, title: `Back to ${initial}`,
      click: () => { this.#take(initial); this.#number.focus(); },
    }, icon('reset'));
    this.root = element('div', { class: 'number-field' },
      element('label', { for: id }, label, element('span', { class: 'unseen' }, `, ${words}`)),
      this.#reset,
      element('span', { class: 'entry' },
        this.#number, unit && element('span', { class: 'unit', 'aria-hidden': 'true' }, unit)),
      this.#range,
      element('p', { class: 'hint', id: hintId }, hint),
      this.#error);
    this.#show(initial);
  }

  /** The number, within what is possible. */
  get value() {
    const { min, max } = this.#field;
    const value = this.#number.valueAsNumber;
    return Number.isNaN(value) ? this.#field.initial : Math.min(max, Math.max(min, value));
  }

  set value(value) {
    this.#number.value = String(value);
    this.#show(value);
  }

  /** @param {number} value */
  #take(value) {
    this.value = value;
    this.#onchange(true);
  }

  #typed() {
    const value = this.#number.valueAsNumber;
    if (value !== this.value) return;
    this.#show(value);
    this.#onchange(false);
  }

  /** What is not possible becomes the nearest number that is, and it is said. */
  #settle() {
    const typed = this.#number.valueAsNumber, { label, min, max } = this.#field;
    this.#take(this.value);
    if (typed === this.value) return;
    const why = Number.isNaN(typed) ? 'takes a number' : `goes from ${min} to ${max}`;
    this.#error.textContent = `${label} ${why}; it is ${this.value} now.`;
  }

  /** @param {number} value */
  #show(value) {
    const { initial, unit } = this.#field;
    this.#error.textContent = '';
    this.#range.value = String(value);
    const words = unit === 'px' ? ' pixels' : unit === 'px²' ? ' square pixels' : '';
    this.#range.setAttribute('aria-valuetext', `${value}${words}`);
    this.#reset.classList.toggle('idle', value === initial);
  }
}
