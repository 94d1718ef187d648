/**
 * The cut-out with the strokes of the brush: the list that can be undone, the mask that it makes, and the picture that
 * is drawn of it, no more of it than has changed.
 */
import { History } from './history.mjs';
import { ProxyMask, union } from './proxy_mask.mjs';

/**
 * @typedef {import('../image/strokes.mjs').Stroke} Stroke
 * @typedef {import('./proxy_mask.mjs').Levels} Levels
 * @typedef {import('./proxy_mask.mjs').Rectangle} Rectangle
 */

/** How long, in milliseconds, the mask rests before the blurred background is painted again. */
const REST = 300;

export class Painting {
  #history = new History();
  #layers;
  #changed;
  /** @type {ProxyMask | null} */
  #mask = null;
  /** @type {Stroke | null} the stroke that is being drawn */
  #stroke = null;
  #timer = 0;

  /**
   * @param {import('./layers.mjs').Layers} layers
   * @param {() => void} changed called when the list of strokes has changed
   */
  constructor(layers, changed) {
    this.#layers = layers;
    this.#changed = changed;
  }

  /**
   * Take another photo; its mask comes with `setMask`.
   * @param {ImageBitmap} bitmap
   * @param {number} scale pixels of the bitmap for one of the photo
   * @param {readonly Stroke[]} strokes
   */
  open(bitmap, scale, strokes) {
    this.#stroke = null;
    this.#mask = new ProxyMask(bitmap.width, bitmap.height, scale);
    this.#history.open(strokes);
    this.#layers.open(bitmap);
  }

  close() {
    clearTimeout(this.#timer);
    this.#stroke = this.#mask = null;
    this.#history.open([]);
    this.#layers.close();
  }

  get isOpen() { return this.#mask !== null; }

  /** Pixels of the bitmap for one of the photo. */
  get scale() { return this.#mask?.scale ?? 1; }

  get strokes() { return this.#history.strokes; }

  get canUndo() { return this.#history.canUndo; }

  get canRedo() { return this.#history.canRedo; }

  get isPainting() { return this.#stroke !== null; }

  /** @param {Levels} levels the mask without strokes */
  setMask(levels) {
    if (!this.#mask) return;
    this.#mask.setBase(levels);
    this.#mask.apply(this.strokes);
    this.#draw(this.#mask.whole);
  }

  /**
   * How much of the photo is shown at one of its places, 0..1.
   * @param {number} x
   * @param {number} y
   */
  shownAt(x, y) { return this.#mask?.at(x, y) ?? 0; }

  /** @param {Stroke} stroke which the brush goes on to draw */
  begin(stroke) {
    if (!this.#mask) return;
    this.#stroke = stroke;
    this.#mask.begin(stroke);
  }

  /** Show what the stroke has gained. */
  draw() {
    if (this.#stroke) this.#draw(this.#mask?.draw() ?? null);
  }

  /** @returns {boolean} whether there was a stroke to finish */
  finish() {
    if (!this.#stroke || !this.#mask) return false;
    this.#history.add(this.#stroke);
    this.#stroke = null;
    this.#draw(this.#mask.finish());
    this.#changed();
    return true;
  }

  abandon() {
    if (!this.#stroke || !this.#mask) return;
    this.#stroke = null;
    this.#draw(this.#mask.abandon());
  }

  /**
   * @param {'undo' | 'redo' | 'clear'} which
   * @returns {boolean} whether there was anything to do
   */
  travel(which) {
    this.abandon();
    const mask = this.#mask;
    const strokes = mask && this.#history[which]();
    if (!strokes) return false;
    const area = union(strokes.map(stroke => mask.bounds(stroke)));
    mask.apply(this.strokes, area);
    this.#draw(area);
    this.#changed();
    return true;
  }

  /** @param {Rectangle | null} area */
  #draw(area) {
    if (!area || !this.#mask) return;
    this.#layers.draw(this.#mask, area);
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.#layers.refreshBlur(this.scale), REST);
  }
}
