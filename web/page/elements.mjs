/**
 * The icons and controls that the editor and the settings are made of.
 */
import { element } from './dom.mjs';

const SVG = 'http://www.w3.org/2000/svg';

/** Icons of 24 by 24, each the path of a line. */
const ICONS = {
  move: 'M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3',
  erase: 'M9.5 19.5h10M5 14.5l8.5-9 6 5.5-8 8.5H8z',
  restore: 'M14.5 4.5l5 5-9 9-5-5zM5.5 13.5c-2 2-1 4-3 6 3 .5 6 0 8-1',
  undo: 'M8.5 5L4 9.5 8.5 14M4.5 9.5H14a5.5 5.5 0 0 1 0 11h-3',
  redo: 'M15.5 5L20 9.5 15.5 14M19.5 9.5H10a5.5 5.5 0 0 0 0 11h3',
  clear: 'M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.5 11v5M13.5 11v5',
  minus: 'M5 12h14',
  plus: 'M5 12h14M12 5v14',
  reset: 'M5 5v5h5M5.5 10a7.5 7.5 0 1 1-1 4.5',
};

/** @typedef {keyof typeof ICONS} IconName */

/**
 * An icon in the colour of the text around it, which a screen reader passes over.
 * @param {IconName} name
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

let last = 0;

/**
 * An id that no other element of the page has.
 * @param {string} stem
 */
export const uniqueId = stem => `${stem}-${++last}`;

/**
 * A set of exclusive choices that looks like one button in parts, and is native radio buttons.
 * @param {string} legend what is chosen, for screen readers
 * @param {{ value: string, label: string, icon?: IconName, title?: string }[]} choices
 * @param {(value: string) => void} onchange
 */
export function segments(legend, choices, onchange) {
  const name = uniqueId('choice');
  const inputs = new Map(choices.map(({ value }) => [
    value, element('input', { type: 'radio', name, value, change: () => onchange(value) }),
  ]));
  const root = element('fieldset', { class: 'segments' }, element('legend', { class: 'unseen' }, legend));
  for (const choice of choices) {
    const label = element('span', {}, choice.label);
    root.append(element('label', { title: choice.title }, /** @type {Node} */ (inputs.get(choice.value)),
      choice.icon ? icon(choice.icon) : null, label));
  }
  return {
    root,
    /** @param {string} value checks that choice, and tells nobody */
    set value(value) {
      const input = inputs.get(value);
      if (input) input.checked = true;
    },
    get value() {
      return [...inputs].find(([, input]) => input.checked)?.[0] ?? '';
    },
  };
}
