/**
 * The picture on the page, and what a visitor does with it: look at it closely, compare it with the photo, and erase
 * and restore with a brush. Nothing is final: the brush's strokes are a list, which is drawn here on a picture of at
 * most 4096 pixels a side, and again on the photo when the file is made.
 */
import { Brush } from './brush.mjs';
import { element } from './dom.mjs';
import { listen } from './gestures.mjs';
import { onKey } from './keys.mjs';
import { Layers } from './layers.mjs';
import { Painting } from './painting.mjs';
import { Toolbar, percent } from './toolbar.mjs';
import { View } from './view.mjs';

/**
 * @typedef {import('../image/strokes.mjs').Stroke} Stroke
 * @typedef {import('./proxy_mask.mjs').Levels} Levels
 * @typedef {import('./layers.mjs').Background} Background
 * @typedef {import('./toolbar.mjs').Tool} Tool
 */

/** From this zoom on a pixel of the photo is shown as a square. */
const CRISP = 2;

/** How long, in milliseconds, the brush rests before it is said where it is. */
const REST = 300;

const HINT = 'Drag the line to compare with the photo. Pinch, or turn the wheel with Ctrl, to zoom.';
const KEYS = 'V views, E erases, R restores. In view, arrows move the picture; with a brush they move the brush, with '
  + 'Shift in larger steps, and Space paints while it is held. [ and ] change its size. + and - zoom, 0 shows all, '
  + '1 is 100 %. Ctrl Z undoes, Ctrl Shift Z redoes.';

export class Editor extends EventTarget {
  #view = new View();
  #brush = new Brush();
  #layers = new Layers();
  #painting = new Painting(this.#layers, () => { this.#refresh(); this.dispatchEvent(new Event('strokes')); });
  #photo = { width: 0, height: 0 };
  /** @type {Tool} */
  #tool = 'view';
  #compare = 0;
  #ghost = true;
  #background = /** @type {Background} */ (null);
  /** Whether the brush is led by the keyboard, and its ring shown without a pointer. */
  #byKeys = false;
  #spaceHeld = false;
  #frame = 0;
  #sayTimer = 0;
  #resizing;
  #closing = new AbortController();

  /**
   * Build the editor in an element, which it fills. There is nothing to see before `show`.
   * @param {HTMLElement} root
   */
  constructor(root) {
    super();
    this.toolbar = new Toolbar({
      tool: tool => this.setTool(tool),
      size: size => { this.#brush.size = size; this.#refresh(); },
      hardness: hardness => { this.#brush.hardness = hardness; this.#refresh(); },
      ghost: shown => { this.#ghost = shown; this.#refresh(); },
      undo: () => this.undo(),
      redo: () => this.redo(),
      clear: () => this.clear(),
      compare: value => { this.compare = value; },
      step: direction => { this.#view.step(direction); this.#refresh(); },
      fit: () => { this.#view.fit(); this.#refresh(); },
      actual: () => { this.#view.zoomTo(1); this.#refresh(); },
    });
    this.toolbar.hint.textContent = HINT;
    const keys = element('p', { class: 'unseen', id: 'editor-keys' }, KEYS);
    this.status = element('p', { class: 'unseen', role: 'status' });
    this.handle = element('div', { class: 'handle', 'aria-hidden': 'true' }, element('div', { class: 'grip' }));
    this.window = element('div', {
      class: 'window', tabindex: 0, role: 'application', 'aria-label': 'Picture',
      'aria-roledescription': 'picture editor', 'aria-describedby': keys.id,
    }, this.#layers.checks, this.#layers.element, this.#brush.ring, this.handle);
    this.element = element('div', { class: 'editor' },
      this.toolbar.above, this.toolbar.details, this.window, this.toolbar.below, keys, this.status);
    this.element.hidden = true;
    root.append(this.element);
    this.#listen();
    this.#resizing = new ResizeObserver(() => this.#measure());
    this.#resizing.observe(this.window);
    this.#watchDensity();
  }

  /**
   * Show a cut-out.
   * @param {object} picture
   * @param {ImageBitmap} picture.bitmap the photo, at most 4096 pixels a side; it may be closed afterwards
   * @param {number} picture.width of the photo itself, in pixels
   * @param {number} picture.height
   * @param {Levels} picture.mask refined (and inverted, if asked for), without strokes, of any size
   * @param {readonly Stroke[]} [picture.strokes] made earlier, in photo pixels
   */
  show({ bitmap, width, height, mask, strokes = [] }) {
    this.#photo = { width, height };
    this.#painting.open(bitmap, Math.max(bitmap.width, bitmap.height) / Math.max(width, height), strokes);
    this.#brush.open(width, height);
    this.element.hidden = false;
    this.window.style.setProperty('--aspect', `${width} / ${height}`);
    this.#view.open(width, height);
    this.#measure();
    this.setMask(mask);
    this.setBackground(this.#background);
  }

  /** Show nothing, and let go of the photo. */
  hide() {
    this.element.hidden = true;
    this.#brush.stroke = null;
    this.#painting.close();
  }

  /** Listen no more, and leave the page. */
  close() {
    this.hide();
    this.#resizing.disconnect();
    this.#closing.abort();
    clearTimeout(this.#sayTimer);
    cancelAnimationFrame(this.#frame);
    this.element.remove();
  }

  /**
   * Take another mask of the same photo, such as after a change of the settings; the strokes stay, and one that
   * is being drawn goes on.
   * @param {Levels} mask refined (and inverted, if asked for), without strokes
   */
  setMask(mask) {
    this.#painting.setMask(mask);
    this.#refresh();
  }

  /**
   * Show what the cut-out is put on.
   * @param {Background} background
   */
  setBackground(background) {
    this.#background = background;
    if (!this.#painting.isOpen) return;
    this.#layers.setBackground(background, this.#painting.scale).catch(error => {
      const detail = error instanceof Error ? error.message : String(error);
      this.dispatchEvent(new CustomEvent('problem', { detail }));
    });
  }

  /** The strokes in effect, the first one first, in photo pixels. */
  get strokes() { return [...this.#painting.strokes]; }

  /** How much of the picture is the untouched photo, in percent from its left edge. */
  get compare() { return this.#compare; }

  set compare(value) {
    this.#compare = Math.min(100, Math.max(0, value));
    this.#refresh();
  }

  /** @returns {Tool} */
  get tool() { return this.#tool; }

  /** @param {Tool} tool */
  setTool(tool) {
    this.#abandon();
    this.#tool = tool;
    if (tool !== 'view') this.#brush.mode = tool;
    this.#byKeys = this.#byKeys && tool !== 'view';
    this.#brush.ring.hidden = !this.#byKeys;
    this.#refresh();
  }

  undo() { this.#travel('undo', 'Undone'); }

  redo() { this.#travel('redo', 'Done again'); }

  /** Take all strokes away; undoing brings them back. */
  clear() { this.#travel('clear', 'Removed'); }

  /**
   * Have a screen reader say it.
   * @param {string} words
   */
  say(words) {
    clearTimeout(this.#sayTimer);
    // The same words again are said only where the text differs.
    this.status.textContent = words === this.status.textContent ? `${words}\u00a0` : words;
  }

  /**
   * @param {'undo' | 'redo' | 'clear'} which
   * @param {string} done
   */
  #travel(which, done) {
    this.#abandon();
    const some = this.#painting.travel(which);
    const count = this.#painting.strokes.length;
    const strokes = `${count} ${count === 1 ? 'stroke' : 'strokes'}`;
    this.say(some ? `${done}; ${strokes} on the picture.` : `There is nothing to ${which}.`);
  }

  #begin() {
    if (!this.#painting.isOpen || this.#brush.stroke) return;
    this.#painting.begin(this.#brush.begin());
    this.#later();
  }

  /** Draw what the stroke has gained, once a frame. */
  #later() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#painting.draw();
      this.#brush.place(this.#view);
    });
  }

  #finish() {
    this.#brush.stroke = null;
    return this.#painting.finish();
  }

  #abandon() {
    this.#brush.stroke = null;
    this.#painting.abandon();
  }

  /** Measure again when the page comes to a denser screen, or is zoomed: sizes may stay the same then. */
  #watchDensity() {
    const { signal } = this.#closing;
    matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`).addEventListener('change', () => {
      this.#measure();
      if (!signal.aborted) this.#watchDensity();
    }, { once: true, signal });
  }

  #measure() {
    const { clientWidth: width, clientHeight: height, clientLeft, clientTop } = this.window;
    if (!width || !height) return;
    const box = this.window.getBoundingClientRect();
    this.#view.resize(width, height, window.devicePixelRatio, {
      x: box.left + clientLeft + window.scrollX, y: box.top + clientTop + window.scrollY,
    });
    this.#refresh();
  }

  /** Show how things are. */
  #refresh() {
    const { left, top, scale, zoom, fitted, visible } = this.#view;
    const proxy = this.#painting.scale;
    this.#layers.place(left, top, scale / proxy, zoom >= CRISP);
    const line = visible.left + (visible.right - visible.left) * this.#compare / 100;
    this.#layers.compare(this.#compare === 0 ? 0 : (line - left) / scale * proxy);
    this.#layers.ghost = this.#tool === 'restore' && this.#ghost;
    this.handle.style.transform = `translate(${line}px, ${visible.top}px)`;
    this.handle.style.height = `${visible.bottom - visible.top}px`;
    this.handle.hidden = this.#tool !== 'view';
    this.handle.classList.toggle('at-left', line < 22);
    this.handle.classList.toggle('at-right', line > this.window.clientWidth - 22);
    this.window.dataset.tool = this.#tool;
    this.window.toggleAttribute('data-fitted', fitted);
    this.#brush.place(this.#view);
    this.toolbar.update({
      tool: this.#tool, size: this.#brush.size, largest: this.#brush.largest, hardness: this.#brush.hardness,
      ghost: this.#ghost, canUndo: this.#painting.canUndo, canRedo: this.#painting.canRedo,
      strokes: this.#painting.strokes.length, compare: this.#compare, zoom, fitted,
    });
  }

  #listen() {
    const paintsNow = () => this.#tool !== 'view';
    const to = (/** @type {{ x: number, y: number }} */ { x, y }) => {
      this.#brush.move(...this.#view.toPhoto(x, y));
    };
    const byPointer = () => {
      this.#byKeys = false;
      this.#brush.ring.hidden = !paintsNow();
    };
    listen(this.window, {
      paints: paintsNow,
      pans: () => this.#spaceHeld,
      hover: place => {
        // A mouse that is pushed while Space paints leaves the stroke alone.
        if (this.#brush.stroke) return;
        byPointer();
        to(place);
        this.#later();
      },
      leave: () => { if (!this.#byKeys) this.#brush.ring.hidden = true; },
      begin: place => { this.#finish(); byPointer(); to(place); this.#begin(); },
      paint: places => { places.forEach(to); this.#later(); },
      finish: () => this.#finish(),
      abandon: () => this.#abandon(),
      pan: (dx, dy) => { this.#view.pan(dx, dy); this.#refresh(); },
      zoom: (factor, { x, y }) => { this.#view.zoomTo(this.#view.zoom * factor, x, y); this.#refresh(); },
      toggle: ({ x, y }) => {
        if (this.#view.fitted) this.#view.zoomTo(1, x, y);
        else this.#view.fit();
        this.#refresh();
      },
    });

    this.handle.addEventListener('pointerdown', event => {
      event.stopPropagation();
      this.handle.setPointerCapture(event.pointerId);
    });
    this.handle.addEventListener('pointermove', event => {
      event.stopPropagation();
      if (!this.handle.hasPointerCapture(event.pointerId)) return;
      const { left, right } = this.#view.visible;
      const x = event.clientX - this.window.getBoundingClientRect().left - this.window.clientLeft;
      this.compare = (x - left) / Math.max(1, right - left) * 100;
    });

    onKey(this.element, this.window, {
      tool: tool => { this.setTool(tool); this.#showByKeys(); this.say(`${TOOLS[tool]}.`); },
      size: direction => {
        this.#brush.step(direction);
        this.#refresh();
        this.say(`Brush of ${this.#brush.size} pixels.`);
      },
      zoom: how => {
        if (how === 'fit') this.#view.fit();
        else if (how === 'actual') this.#view.zoomTo(1);
        else this.#view.step(how);
        this.#refresh();
        this.say(`Zoom ${percent(this.#view.zoom)}.`);
      },
      undo: () => this.undo(),
      redo: () => this.redo(),
      arrow: (x, y, step) => {
        if (paintsNow()) this.#moveBrush(x * step, y * step);
        else { this.#view.pan(-x * step * 5, -y * step * 5); this.#refresh(); }
      },
      press: () => {
        if (!paintsNow() || !this.#byKeys) this.#spaceHeld = true;
        else this.#begin();
        this.window.toggleAttribute('data-held', this.#spaceHeld);
      },
      release: () => {
        this.#spaceHeld = false;
        this.window.removeAttribute('data-held');
        if (!this.#byKeys || !this.#finish()) return;
        this.say(`${this.#tool === 'erase' ? 'Erased' : 'Restored'} at ${this.#where()}.`);
      },
      escape: () => this.#abandon(),
      focus: () => this.#showByKeys(),
    });
    this.window.addEventListener('blur', () => {
      if (this.#byKeys) this.#finish();
      this.#spaceHeld = false;
      this.window.removeAttribute('data-held');
      this.#byKeys = false;
      this.#brush.ring.hidden = true;
    });
  }

  #showByKeys() {
    if (this.#tool === 'view') return;
    this.#byKeys = true;
    this.#brush.ring.hidden = false;
  }

  /**
   * Lead the brush by the keyboard.
   * @param {number} dx CSS pixels, at least one pixel of the photo
   * @param {number} dy
   */
  #moveBrush(dx, dy) {
    this.#showByKeys();
    const { width, height } = this.#photo;
    const step = (/** @type {number} */ by) => Math.sign(by) * Math.max(1, Math.round(Math.abs(by) / this.#view.scale));
    const x = Math.min(width, Math.max(0, this.#brush.position.x + step(dx)));
    const y = Math.min(height, Math.max(0, this.#brush.position.y + step(dy)));
    this.#brush.move(x, y);
    this.#view.reveal(x, y, 24);
    this.#refresh();
    this.#later();
    clearTimeout(this.#sayTimer);
    this.#sayTimer = window.setTimeout(() => this.say(`${this.#where()}: ${this.#what()}.`), REST);
  }

  #where() {
    const { x, y } = this.#brush.position;
    return `${Math.round(x)} from the left, ${Math.round(y)} from the top`;
  }

  #what() {
    const { x, y } = this.#brush.position;
    const kept = Math.round(this.#painting.shownAt(x, y) * 100);
    return kept === 100 ? 'kept' : kept === 0 ? 'removed' : `${kept} % kept`;
  }
}

const TOOLS = { view: 'View', erase: 'Erase', restore: 'Restore' };
