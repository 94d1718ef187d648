/**
 * The mask as the editor shows it: at the size of the picture on the page (the proxy), with the strokes of the brush.
 *
 * Strokes are in photo pixels. What is kept of them is the list; the levels here are made anew from the mask without
 * strokes wherever the list changes, by the same mathematics that makes the file, so that undoing leaves no trace.
 */
import { resize } from '../image/resample.mjs';
import { applyStrokes } from '../image/strokes.mjs';

/**
 * @typedef {import('../image/strokes.mjs').Stroke} Stroke
 * @typedef {{ left: number, top: number, right: number, bottom: number }} Rectangle whole pixels, half-open
 * @typedef {{ width: number, height: number, levels: Uint8Array }} Levels a mask in 0..255, row by row
 */

export class ProxyMask {
  /** @type {Uint8Array} the mask without strokes */
  #base;
  /** @type {Float32Array} the mask with all finished strokes, 0..1 */
  #edited;
  /** @type {Uint8Array | null} the coverage of the stroke that is being drawn, 0..255 */
  #cover = null;
  /** @type {Stroke | null} */
  #drawn = null;
  /** How many points of it `#cover` has. */
  #covered = 0;

  /**
   * @param {number} width of the proxy, in pixels
   * @param {number} height
   * @param {number} scale proxy pixels for one pixel of the photo
   */
  constructor(width, height, scale) {
    this.width = width;
    this.height = height;
    this.scale = scale;
    this.#base = new Uint8Array(width * height);
    this.#edited = new Float32Array(width * height);
  }

  /** @returns {Rectangle} */
  get whole() { return { left: 0, top: 0, right: this.width, bottom: this.height }; }

  /**
   * Take the mask without strokes, of any size; `apply` then has to be called for the whole.
   * @param {Levels} mask
   */
  setBase({ width, height, levels }) {
    if (levels.length !== width * height) {
      throw new Error(`the mask has ${levels.length} levels where ${width} x ${height} need ${width * height}`);
    }
    if (width === this.width && height === this.height) this.#base.set(levels);
    else {
      const resized = resize(levels, height, width, 1, this.height, this.width, 'bilinear-antialias');
      this.#base.set(Uint8ClampedArray.from(resized));
    }
  }

  /**
   * Make the mask anew within a rectangle: the mask without strokes, then all strokes.
   * @param {readonly Stroke[]} strokes
   * @param {Rectangle} [area]
   */
  apply(strokes, area = this.whole) {
    const mask = this.#window(area);
    this.#rows(area, (from, at, count) => {
      for (let x = 0; x < count; x += 1) mask.data[at + x] = this.#base[from + x] / 255;
    });
    const within = strokes.filter(stroke => !isEmpty(intersection(this.bounds(stroke), area)));
    applyStrokes(mask, within, this.#place(area));
    this.#store(mask, area);
  }

  /**
   * The pixels that a stroke can change.
   * @param {Stroke} stroke
   * @param {number} [from] the first point that counts, with the line that leads to it
   * @returns {Rectangle} within the proxy; empty where the stroke lies outside
   */
  bounds(stroke, from = 0) {
    const reach = stroke.size / 2;
    const box = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
    for (let at = Math.max(0, from - 1); at < stroke.points.length; at += 1) {
      const [x, y] = stroke.points[at];
      box.left = Math.min(box.left, Math.floor((x - reach) * this.scale) - 1);
      box.top = Math.min(box.top, Math.floor((y - reach) * this.scale) - 1);
      box.right = Math.max(box.right, Math.ceil((x + reach) * this.scale) + 1);
      box.bottom = Math.max(box.bottom, Math.ceil((y + reach) * this.scale) + 1);
    }
    return intersection(box, this.whole);
  }

  /**
   * Begin a stroke; `draw` shows its points as they come, and `finish` or `abandon` ends it.
   * @param {Stroke} stroke its points are added by the caller
   */
  begin(stroke) {
    this.#drawn = stroke;
    this.#covered = 0;
    this.#cover ??= new Uint8Array(this.width * this.height);
  }

  /**
   * Take in the points that the stroke has gained: only where they lie, whatever the stroke's length.
   * @returns {Rectangle | null} what changed
   */
  draw() {
    const stroke = this.#drawn, cover = this.#cover;
    if (!stroke || !cover || this.#covered === stroke.points.length) return null;
    const area = this.bounds(stroke, this.#covered);
    if (!isEmpty(area)) {
      // What restoring makes of an empty mask is the coverage itself.
      const fresh = this.#window(area);
      const points = stroke.points.slice(Math.max(0, this.#covered - 1));
      applyStrokes(fresh, [{ ...stroke, mode: 'restore', points }], this.#place(area));
      this.#rows(area, (from, at, count) => {
        for (let x = 0; x < count; x += 1) {
          cover[from + x] = Math.max(cover[from + x], Math.round(fresh.data[at + x] * 255));
        }
      });
    }
    this.#covered = stroke.points.length;
    return isEmpty(area) ? null : area;
  }

  /**
   * End the stroke, as part of the mask.
   * @returns {Rectangle} what changed
   */
  finish() {
    const { stroke, area } = this.#end();
    if (stroke && !isEmpty(area)) {
      const mask = this.#window(area);
      this.#rows(area, (from, at, count) => mask.data.set(this.#edited.subarray(from, from + count), at));
      applyStrokes(mask, [stroke], this.#place(area));
      this.#store(mask, area);
    }
    return area;
  }

  /**
   * End the stroke, as if it had not been.
   * @returns {Rectangle} what changed
   */
  abandon() { return this.#end().area; }

  /**
   * The levels of a rectangle, with the stroke that is being drawn, as the alpha of an image.
   * @param {Rectangle} area
   */
  image(area) {
    const image = new ImageData(area.right - area.left, area.bottom - area.top);
    const { data } = image;
    this.#rows(area, (from, at, count) => {
      for (let x = 0; x < count; x += 1) data[4 * (at + x) + 3] = Math.round(this.#level(from + x) * 255);
    });
    return image;
  }

  /**
   * The mask at a place of the photo, 0..1; 0 outside.
   * @param {number} photoX
   * @param {number} photoY
   */
  at(photoX, photoY) {
    const x = Math.floor(photoX * this.scale), y = Math.floor(photoY * this.scale);
    return x >= 0 && y >= 0 && x < this.width && y < this.height ? this.#level(y * this.width + x) : 0;
  }

  /**
   * Where a rectangle lies in the photo.
   * @param {Rectangle} area
   */
  #place({ left, top }) { return { scale: this.scale, left: left / this.scale, top: top / this.scale }; }

  /** @param {number} index */
  #level(index) {
    const value = this.#edited[index];
    if (!this.#drawn || !this.#cover) return value;
    const cover = this.#cover[index] / 255;
    return this.#drawn.mode === 'erase' ? value * (1 - cover) : value + (1 - value) * cover;
  }

  #end() {
    const stroke = this.#drawn;
    const area = stroke ? this.bounds(stroke) : intersection(this.whole, NOTHING);
    this.#rows(area, (from, _, count) => this.#cover?.fill(0, from, from + count));
    this.#drawn = null;
    return { stroke, area };
  }

  /**
   * @param {Rectangle} area
   * @param {(from: number, at: number, count: number) => void} visit a row: where it begins in the proxy and in the
   *   rectangle, and how many pixels it has
   */
  #rows(area, visit) {
    const count = area.right - area.left;
    for (let y = area.top; y < area.bottom; y += 1) visit(y * this.width + area.left, (y - area.top) * count, count);
  }

  /**
   * An empty mask of a rectangle's size.
   * @param {Rectangle} area
   */
  #window(area) {
    const width = area.right - area.left, height = area.bottom - area.top;
    return { width, height, data: new Float32Array(width * height) };
  }

  /**
   * @param {{ data: Float32Array }} mask
   * @param {Rectangle} area
   */
  #store({ data }, area) {
    this.#rows(area, (from, at, count) => this.#edited.set(data.subarray(at, at + count), from));
  }
}

/** @type {Rectangle} */
const NOTHING = { left: 0, top: 0, right: 0, bottom: 0 };

/** @param {Rectangle} area */
export const isEmpty = area => area.right <= area.left || area.bottom <= area.top;

/**
 * @param {Rectangle} a
 * @param {Rectangle} b
 * @returns {Rectangle} empty where they do not meet
 */
export function intersection(a, b) {
  const both = {
    left: Math.max(a.left, b.left), top: Math.max(a.top, b.top),
    right: Math.min(a.right, b.right), bottom: Math.min(a.bottom, b.bottom),
  };
  return isEmpty(both) ? NOTHING : both;
}

/**
 * The smallest rectangle that holds all of them.
 * @param {readonly Rectangle[]} areas empty ones count for nothing
 * @returns {Rectangle}
 */
export function union(areas) {
  const some = areas.filter(area => !isEmpty(area));
  return some.length === 0 ? NOTHING : {
    left: Math.min(...some.map(area => area.left)), top: Math.min(...some.map(area => area.top)),
    right: Math.max(...some.map(area => area.right)), bottom: Math.max(...some.map(area => area.bottom)),
  };
}
