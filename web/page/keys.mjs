/**
 * The editor by keyboard. Letters and arrows count while the picture has the focus, undo and redo anywhere in the
 * editor.
 *
 * @typedef {object} Keys
 * @property {(tool: import('./toolbar.mjs').Tool) => void} tool
 * @property {(direction: 1 | -1) => void} size
 * @property {(how: 'fit' | 'actual' | 1 | -1) => void} zoom
 * @property {() => void} undo
 * @property {() => void} redo
 * @property {(x: -1 | 0 | 1, y: -1 | 0 | 1, step: number) => void} arrow `step` in CSS pixels
 * @property {() => void} press Space goes down
 * @property {() => void} release
 * @property {() => void} escape
 * @property {() => void} focus the picture got the focus by the keyboard
 */

const STEP = 4, LARGE_STEP = 40;

/** @type {Record<string, [-1 | 0 | 1, -1 | 0 | 1]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * @param {HTMLElement} editor
 * @param {HTMLElement} picture inside of it
 * @param {Keys} keys
 */
export function onKey(editor, picture, keys) {
  editor.addEventListener('keydown', event => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const letter = event.key.toLowerCase();
    if (letter === 'z' && !event.shiftKey) keys.undo();
    else if (letter === 'y' || letter === 'z') keys.redo();
    else return;
    event.preventDefault();
  });

  /** @type {Record<string, () => void>} */
  const letters = {
    v: () => keys.tool('view'), e: () => keys.tool('erase'), r: () => keys.tool('restore'),
    '[': () => keys.size(-1), ']': () => keys.size(1),
    '+': () => keys.zoom(1), '=': () => keys.zoom(1), '-': () => keys.zoom(-1),
    0: () => keys.zoom('fit'), 1: () => keys.zoom('actual'),
    Escape: () => keys.escape(),
  };
  picture.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    const action = letters[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (arrow) keys.arrow(...arrow, event.shiftKey ? LARGE_STEP : STEP);
    else if (event.key === ' ') {
      if (!event.repeat) keys.press();
    } else if (action) action();
    else return;
    event.preventDefault();
  });
  picture.addEventListener('keyup', event => {
    if (event.key === ' ') keys.release();
  });
  picture.addEventListener('focus', () => {
    if (picture.matches(':focus-visible')) keys.focus();
  });
}
