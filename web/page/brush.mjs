/**
 * The brush: what it paints, its ring on the picture, and the stroke in the making. Sizes are in photo pixels, so that
 * a stroke is the same on the page and in the file.
 */
import { element } from './dom.mjs';

/**
 * @typedef {import('../image/strokes.mjs').Stroke} Stroke
 * @typedef {'erase' | 'restore'} Mode
 * @typedef {Stroke & { points: [number, number][] }} Drawn a stroke that gains points
 */

/** Points nearer than this part of the brush's size to the last one add nothing that shows. */
const SPACING = 0.02;

export class Brush {
  /** @type {Mode} */
  mode = 'erase';
  /** Full effect within this part of the radius, from there falling to nothing at the edge. */
  hardness = 0.8;
  #size = 40;
  #largest = 400;
  /** @type {Drawn | null} the stroke that goes where the brush goes */
  stroke = null;
  /** Where the ring is, in photo pixels. */
  position = { x: 0, y: 0 };
  #inner = element('div', { class: 'ring-inner' });

  constructor() {
    this.ring = element('div', { class: 'ring', 'aria-hidden': 'true' }, this.#inner);
    this.ring.hidden = true;
  }

  /** The diameter in photo pixels, a whole number. */
  get size() { return this.#size; }

  set size(value) { this.#size = Math.min(this.#largest, Math.max(1, Math.round(value))); }

  get largest() { return this.#largest; }

  /**
   * Take a size that suits a photo.
   * @param {number} width
   * @param {number} height
   */
  open(width, height) {
    const longer = Math.max(width, height);
    this.#largest = Math.max(8, Math.round(longer / 2));
    this.size = longer / 20;
    this.position = { x: width / 2, y: height / 2 };
    this.stroke = null;
  }

  /**
   * The next size, larger (1) or smaller (-1): by a fifth, by a pixel at least.
   * @param {1 | -1} direction
   */
  step(direction) {
    const next = Math.round(this.#size * 1.2 ** direction);
    this.size = next === this.#size ? next + direction : next;
  }

  /**
   * Begin a stroke.
   * @returns {Drawn} its points come with `move`
   */
  begin() {
    this.stroke = { mode: this.mode, size: this.#size, hardness: this.hardness, points: [rounded(this.position)] };
    return this.stroke;
  }

  /**
   * Move the brush, and take the stroke along.
   * @param {number} x photo pixels
   * @param {number} y
   */
  move(x, y) {
    this.position = { x, y };
    const points = this.stroke?.points;
    if (!points) return;
    const [lastX, lastY] = points[points.length - 1];
    if (Math.hypot(x - lastX, y - lastY) >= Math.max(0.25, this.#size * SPACING)) points.push(rounded(this.position));
  }

  /**
   * Draw the ring where the brush is.
   * @param {import('./view.mjs').View} view
   */
  place(view) {
    const [x, y] = view.toWindow(this.position.x, this.position.y);
    const side = Math.max(3, this.#size * view.scale);
    this.ring.style.width = this.ring.style.height = `${side}px`;
    this.ring.style.transform = `translate(${x - side / 2}px, ${y - side / 2}px)`;
    this.ring.classList.toggle('small', side < 20);
    this.ring.dataset.mode = this.mode;
    this.#inner.style.inset = `${(1 - this.hardness) * 50}%`;
    this.#inner.hidden = this.hardness > 0.97 || side * (1 - this.hardness) < 8;
  }
}

/**
 * A place to a 64th of a pixel: finer than anything that shows, and exact in sums, so that a stroke comes out the same
 * to the bit from wherever its pixels are counted.
 * @param {{ x: number, y: number }} position
 * @returns {[number, number]}
 */
const rounded = ({ x, y }) => [Math.round(x * 64) / 64, Math.round(y * 64) / 64];
