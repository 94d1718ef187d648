/**
 * Where a picture lies in the window that shows it: zoom and place, without any element.
 *
 * Three units: photo pixels; CSS pixels from the window's upper left corner; and the zoom, which is how many pixels of
 * the screen one pixel of the photo takes. At a zoom of 1 (100 %) the two kinds of pixels coincide, on dense screens
 * too.
 */

/** What the buttons + and - go through. */
const ZOOMS = [1 / 32, 1 / 16, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1, 1.5, 2, 3, 4, 6, 8, 12, 16];

const LARGEST = ZOOMS[ZOOMS.length - 1];

export class View {
  /** The photo's size in its pixels. */
  #picture = { width: 1, height: 1 };
  /** The window's size in CSS pixels, and how far its corner is from a pixel of the screen. */
  #window = { width: 1, height: 1, x: 0, y: 0 };
  /** Pixels of the screen for one CSS pixel. */
  #density = 1;
  #zoom = 1;
  #left = 0;
  #top = 0;

  /** Whether the whole picture is shown, and goes on to be when the window's size changes. */
  fitted = true;

  /** CSS pixels from the window's left edge to the picture's; where both meet pixels of the screen. */
  get left() { return this.#snapped(this.#left + this.#window.x) - this.#window.x; }

  get top() { return this.#snapped(this.#top + this.#window.y) - this.#window.y; }

  /** Pixels of the screen for one of the photo. */
  get zoom() { return this.#zoom; }

  /** CSS pixels for one pixel of the photo. */
  get scale() { return this.#zoom / this.#density; }

  /** The zoom at which all of the picture is seen; 1 for a picture smaller than the window. */
  get fitting() {
    const { width, height } = this.#window;
    return Math.min(1, width * this.#density / this.#picture.width, height * this.#density / this.#picture.height);
  }

  /**
   * Take another photo, and show all of it.
   * @param {number} width
   * @param {number} height
   */
  open(width, height) {
    this.#picture = { width, height };
    this.fit();
  }

  /**
   * Take the window's size; what was in its middle stays there.
   * @param {number} width CSS pixels
   * @param {number} height
   * @param {number} density pixels of the screen for a CSS pixel
   * @param {{ x: number, y: number }} [corner] the window's place on the page, in CSS pixels
   */
  resize(width, height, density, corner = { x: 0, y: 0 }) {
    const [x, y] = this.toPhoto(this.#window.width / 2, this.#window.height / 2);
    this.#window = { width: Math.max(1, width), height: Math.max(1, height), x: corner.x, y: corner.y };
    this.#density = density;
    if (this.fitted) this.fit();
    else {
      this.#left = width / 2 - x * this.scale;
      this.#top = height / 2 - y * this.scale;
      this.#settle();
    }
  }

  fit() {
    this.#zoom = this.fitting;
    this.fitted = true;
    this.#settle();
  }

  /**
   * Zoom, with the place (x, y) of the window staying where it is.
   * @param {number} zoom
   * @param {number} [x] CSS pixels; the window's middle by default
   * @param {number} [y]
   */
  zoomTo(zoom, x = this.#window.width / 2, y = this.#window.height / 2) {
    const photoX = (x - this.#left) / this.scale, photoY = (y - this.#top) / this.scale;
    this.#zoom = Math.min(LARGEST, Math.max(Math.min(this.fitting, 1), zoom));
    this.fitted = this.#zoom === this.fitting;
    this.#left = x - photoX * this.scale;
    this.#top = y - photoY * this.scale;
    this.#settle();
  }

  /**
   * The next of `ZOOMS`, inwards (1) or outwards (-1).
   * @param {1 | -1} direction
   */
  step(direction) {
    const zooms = direction > 0 ? ZOOMS : [...ZOOMS].reverse();
    this.zoomTo(zooms.find(zoom => (zoom - this.#zoom) * direction > 1e-6 * zoom) ?? this.#zoom);
  }

  /**
   * Move the picture by CSS pixels, as far as there is more of it to see.
   * @param {number} dx
   * @param {number} dy
   */
  pan(dx, dy) {
    this.#left += dx;
    this.#top += dy;
    this.#settle();
  }

  /**
   * Move the picture until a place of the photo is inside of the window, `margin` CSS pixels from its edges.
   * @param {number} photoX
   * @param {number} photoY
   * @param {number} margin
   */
  reveal(photoX, photoY, margin) {
    const [x, y] = this.toWindow(photoX, photoY);
    const shift = (/** @type {number} */ at, /** @type {number} */ size) => {
      const room = Math.min(margin, size / 2);
      return Math.max(0, room - at) - Math.max(0, at - (size - room));
    };
    this.pan(shift(x, this.#window.width), shift(y, this.#window.height));
  }

  /**
   * A place of the window in photo pixels; outside of the photo too.
   * @param {number} x
   * @param {number} y
   * @returns {[number, number]}
   */
  toPhoto(x, y) {
    return [(x - this.left) / this.scale, (y - this.top) / this.scale];
  }

  /**
   * @param {number} photoX
   * @param {number} photoY
   * @returns {[number, number]}
   */
  toWindow(photoX, photoY) {
    return [photoX * this.scale + this.left, photoY * this.scale + this.top];
  }

  /** The part of the window that the picture takes, in CSS pixels. */
  get visible() {
    const right = this.left + this.#picture.width * this.scale, bottom = this.top + this.#picture.height * this.scale;
    return {
      left: Math.max(0, this.left), right: Math.min(this.#window.width, right),
      top: Math.max(0, this.top), bottom: Math.min(this.#window.height, bottom),
    };
  }

  /** Centre a picture that is smaller than the window, and keep a larger one from leaving it. */
  #settle() {
    const { width, height } = this.#window;
    const settled = (/** @type {number} */ at, /** @type {number} */ size, /** @type {number} */ room) => (
      size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, at)));
    this.#left = settled(this.#left, this.#picture.width * this.scale, width);
    this.#top = settled(this.#top, this.#picture.height * this.scale, height);
  }

  /** @param {number} at CSS pixels */
  #snapped(at) { return Math.round(at * this.#density) / this.#density; }
}
