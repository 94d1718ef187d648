/**
 * What lies one above the other in the editor: the background, the photo seen faintly where it was removed, the
 * cut-out, and the untouched photo left of the slider's line. The browser composes them; only the cut-out is redrawn,
 * and of it only what changed.
 */
import { element } from './dom.mjs';
import { paintBlur } from './out_of_focus.mjs';

/**
 * @typedef {import('./proxy_mask.mjs').ProxyMask} ProxyMask
 * @typedef {import('./proxy_mask.mjs').Rectangle} Rectangle
 * @typedef {null | { colour: string } | { image: Blob } | { blur: number }} Background `colour` is #rrggbbaa or
 *   #rrggbb, `blur` the standard deviation in photo pixels
 */

/** The longer side of the faint photo, in pixels: it is looked through, not at. */
const GHOST_SIDE = 1024;

export class Layers {
  #backdrop = element('canvas', { class: 'layer backdrop' });
  #image = element('img', { class: 'layer backdrop', alt: '' });
  #ghost = element('canvas', { class: 'layer ghost' });
  #cutout = element('canvas', { class: 'layer cutout' });
  #photo = element('canvas', { class: 'layer photo' });
  #scratch = document.createElement('canvas');
  /** @type {Background} */
  #background = null;
  /** Rises with every background, so that one that took long to read does not replace a later one. */
  #turn = 0;

  constructor() {
    /** What shows through where nothing is; its squares keep their size at any zoom. */
    this.checks = element('div', { class: 'checks', 'aria-hidden': 'true' });
    this.element = element('div', { class: 'picture', 'aria-hidden': 'true' },
      this.#backdrop, this.#image, this.#ghost, this.#cutout, this.#photo);
    this.#image.hidden = this.#backdrop.hidden = this.#ghost.hidden = true;
  }

  /**
   * Take another photo. The bitmap is drawn here and not needed afterwards.
   * @param {ImageBitmap} bitmap
   */
  open(bitmap) {
    const { width, height } = bitmap;
    const reduction = Math.min(1, GHOST_SIDE / Math.max(width, height));
    for (const canvas of [this.#cutout, this.#photo]) setSize(canvas, width, height);
    setSize(this.#ghost, Math.max(1, Math.round(width * reduction)), Math.max(1, Math.round(height * reduction)));
    context(this.#photo).drawImage(bitmap, 0, 0);
    context(this.#ghost).drawImage(bitmap, 0, 0, this.#ghost.width, this.#ghost.height);
    this.element.style.width = `${width}px`;
    this.element.style.height = `${height}px`;
  }

  /** Let go of the photo. */
  close() {
    this.#turn += 1;
    this.#forgetImage();
    for (const canvas of [this.#backdrop, this.#ghost, this.#cutout, this.#photo, this.#scratch]) setSize(canvas, 0, 0);
  }

  /**
   * Draw the cut-out anew within a rectangle: the photo, multiplied with the mask.
   * @param {ProxyMask} mask
   * @param {Rectangle} area
   */
  draw(mask, area) {
    const { left, top } = area, width = area.right - left, height = area.bottom - top;
    if (width <= 0 || height <= 0) return;
    if (this.#scratch.width < width || this.#scratch.height < height) setSize(this.#scratch, width, height);
    context(this.#scratch).putImageData(mask.image(area), 0, 0);
    const target = context(this.#cutout);
    target.save();
    target.beginPath();
    target.rect(left, top, width, height);
    target.clip();
    target.clearRect(left, top, width, height);
    target.drawImage(this.#photo, left, top, width, height, left, top, width, height);
    target.globalCompositeOperation = 'destination-in';
    target.drawImage(this.#scratch, 0, 0, width, height, left, top, width, height);
    target.restore();
  }

  /**
   * Show what the cut-out is put on.
   * @param {Background} background
   * @param {number} scale proxy pixels for a pixel of the photo
   * @throws {Error} in one sentence, where an image cannot be read; what was shown before is gone then
   */
  async setBackground(background, scale) {
    const turn = ++this.#turn;
    this.#background = background;
    const colour = background && 'colour' in background ? background.colour : '';
    this.element.style.backgroundColor = colour;
    this.#backdrop.hidden = true;
    if (!(background && 'image' in background)) this.#forgetImage();
    if (background && 'blur' in background) this.refreshBlur(scale);
    if (background && 'image' in background) {
      const url = URL.createObjectURL(background.image);
      const image = new Image();
      image.src = url;
      try {
        await image.decode();
      } catch {
        URL.revokeObjectURL(url);
        if (turn === this.#turn) this.#forgetImage();
        throw new Error('The background image cannot be read; choose a PNG, JPEG or WebP file.');
      }
      if (turn !== this.#turn) return URL.revokeObjectURL(url);
      this.#forgetImage();
      this.#image.src = url;
      this.#image.hidden = false;
      await this.#image.decode().catch(() => {});
    }
  }

  /**
   * Paint the blurred background again, if that is what is shown: the mask has changed, which says what to blur.
   * @param {number} scale
   */
  refreshBlur(scale) {
    const background = this.#background;
    if (!(background && 'blur' in background) || this.#photo.width === 0) return;
    paintBlur(this.#backdrop, this.#photo, this.#cutout, background.blur * scale);
    this.#backdrop.hidden = false;
  }

  /** @param {boolean} shown whether what was removed shows faintly */
  set ghost(shown) { this.#ghost.hidden = !shown; }

  /**
   * Show the untouched photo up to a column.
   * @param {number} column proxy pixels from the left edge; may be a fraction, or outside
   */
  compare(column) {
    const { width } = this.#photo;
    this.#photo.style.clipPath = `inset(0 ${Math.min(width, Math.max(0, width - column))}px 0 0)`;
    this.#photo.hidden = column <= 0;
  }

  /**
   * Place the picture in its window.
   * @param {number} left CSS pixels
   * @param {number} top
   * @param {number} scale CSS pixels for a pixel of the proxy
   * @param {boolean} crisp whether pixels show as squares
   */
  place(left, top, scale, crisp) {
    this.element.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
    this.checks.style.transform = `translate(${left}px, ${top}px)`;
    this.checks.style.width = `${this.#photo.width * scale}px`;
    this.checks.style.height = `${this.#photo.height * scale}px`;
    this.element.classList.toggle('crisp', crisp);
  }

  #forgetImage() {
    if (this.#image.src) URL.revokeObjectURL(this.#image.src);
    this.#image.removeAttribute('src');
    this.#image.hidden = true;
  }
}

/** @param {HTMLCanvasElement} canvas */
function context(canvas) {
  const made = canvas.getContext('2d');
  if (!made) {
    throw new Error('the browser gives no canvas to draw the picture on; close other pages and load this one again');
  }
  return made;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 */
function setSize(canvas, width, height) {
  canvas.width = width;
  canvas.height = height;
}
