// Choosing where photos are cut: on the computer that serves the page, or in this browser.

import { announce, byId, element } from './dom.mjs';
import { sentence } from './words.mjs';

/** @typedef {'computer'|'browser'} PlaceName */

/** Fires 'choose' (detail: the place's name). */
export class PlaceView extends EventTarget {
  /** @param {{name: PlaceName, title: string, about: string}[]} places the first is chosen */
  constructor(places) {
    super();
    this.state = element('p', { class: 'place-state' });
    this.progress = element('progress', { 'aria-label': 'Making the models ready', hidden: true });
    this.root = element('fieldset', { class: 'places' },
      element('legend', {}, 'Where photos are cut out'),
      ...places.map(({ name, title, about }, index) => element('div', { class: 'option' },
        element('input', {
          type: 'radio', name: 'place', id: `place-${name}`, value: name, checked: index === 0,
          'aria-describedby': `place-${name}-about`,
          change: () => this.dispatchEvent(new CustomEvent('choose', { detail: name })),
        }),
        element('label', { for: `place-${name}` }, element('span', { class: 'title' }, title)),
        element('div', { class: 'about', id: `place-${name}-about` }, element('p', {}, about)))),
      this.progress, this.state);
  }

  /**
   * Check a place, and tell nobody.
   * @param {PlaceName} name
   */
  set chosen(name) {
    const input = /** @type {HTMLInputElement} */ (byId(`place-${name}`));
    input.checked = true;
  }

  /**
   * Say that something is made ready, and takes a while.
   * @param {string} words
   */
  busy(words) {
    this.progress.hidden = false;
    this.state.classList.remove('failed');
    this.state.textContent = words;
    announce(words);
  }

  /**
   * Say how it ended.
   * @param {unknown} [error] why it failed
   */
  ready(error) {
    this.progress.hidden = true;
    this.state.classList.toggle('failed', error !== undefined);
    this.state.textContent = error === undefined ? '' : sentence(error);
    if (error !== undefined) announce(this.state.textContent);
  }
}

const KEY = 'nss-place';

/** What was chosen in this browser for this address. @returns {PlaceName} */
export function rememberedPlace() {
  try {
    return localStorage.getItem(KEY) === 'browser' ? 'browser' : 'computer';
  } catch {
    return 'computer'; // storage is blocked
  }
}

/** @param {PlaceName} name */
export function rememberPlace(name) {
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // storage is blocked: the choice holds for this visit
  }
}
