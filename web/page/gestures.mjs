/**
 * What fingers, pens and mice do on the picture, as three gestures: paint, pan, and zoom by two fingers or the wheel.
 *
 * @typedef {{ x: number, y: number }} Place CSS pixels from the window's upper left corner
 * @typedef {object} Gestures
 * @property {() => boolean} paints whether a press paints; else it pans
 * @property {() => boolean} pans whether a press pans even so: Space is held
 * @property {(place: Place) => void} hover the pointer is over the picture, and nothing is pressed
 * @property {() => void} leave
 * @property {(place: Place) => void} begin a stroke begins
 * @property {(places: Place[]) => void} paint it goes on, through these places
 * @property {() => void} finish
 * @property {() => void} abandon it was none: a second finger came
 * @property {(dx: number, dy: number) => void} pan
 * @property {(factor: number, place: Place) => void} zoom
 * @property {(place: Place) => void} toggle pressed twice: between all of the picture and 100 %
 */

const LEFT = 0, MIDDLE = 1;

/** How much one line of a wheel zooms. */
const WHEEL = 0.002;

/**
 * Listen on an element until the signal is aborted.
 * @param {HTMLElement} target its `touch-action` has to leave the gestures to it
 * @param {Gestures} gestures
 * @param {AbortSignal} [signal]
 */
export function listen(target, gestures, signal) {
  /** @type {Map<number, Place>} the pointers that are down */
  const down = new Map();
  /** @type {'none' | 'paint' | 'pan' | 'pinch'} */
  let doing = 'none';

  const place = (/** @type {MouseEvent} */ event) => {
    const box = target.getBoundingClientRect();
    return { x: event.clientX - box.left - target.clientLeft, y: event.clientY - box.top - target.clientTop };
  };
  const on = (/** @type {string} */ type, /** @type {(event: any) => void} */ listener) => {
    target.addEventListener(type, listener, { signal, passive: false });
  };

  on('pointerdown', (/** @type {PointerEvent} */ event) => {
    if (event.pointerType === 'mouse' && event.button !== LEFT && event.button !== MIDDLE) return;
    if (event.button === MIDDLE) event.preventDefault();
    target.setPointerCapture(event.pointerId);
    down.set(event.pointerId, place(event));
    if (down.size > 1) {
      if (doing === 'paint') gestures.abandon();
      doing = down.size === 2 ? 'pinch' : 'none';
    } else if (gestures.paints() && !gestures.pans() && event.button === LEFT) {
      doing = 'paint';
      gestures.begin(place(event));
    } else doing = 'pan';
  });

  on('pointermove', (/** @type {PointerEvent} */ event) => {
    const before = down.get(event.pointerId);
    const now = place(event);
    if (!before) return gestures.hover(now);
    if (doing === 'paint') {
      // Browsers hand over one event a frame, and keep the places in between with it.
      const events = event.getCoalescedEvents?.() ?? [];
      gestures.paint((events.length ? events : [event]).map(place));
    } else if (doing === 'pan') gestures.pan(now.x - before.x, now.y - before.y);
    else if (doing === 'pinch') pinch(event.pointerId, before, now);
    down.set(event.pointerId, now);
  });

  /**
   * @param {number} id of the finger that moved
   * @param {Place} before
   * @param {Place} now
   */
  const pinch = (id, before, now) => {
    const other = [...down].find(([each]) => each !== id)?.[1];
    if (!other) return;
    const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
    const distance = Math.hypot(before.x - other.x, before.y - other.y);
    gestures.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    if (distance > 1) gestures.zoom(Math.hypot(now.x - other.x, now.y - other.y) / distance, middle);
  };

  const up = (/** @type {PointerEvent} */ event) => {
    if (!down.delete(event.pointerId)) return;
    if (doing === 'paint') {
      if (event.type === 'pointercancel') gestures.abandon();
      else gestures.finish();
    }
    // A finger that stays after a pinch does nothing more: it would jump.
    doing = 'none';
  };
  on('pointerup', up);
  on('pointercancel', up);
  on('pointerleave', () => { if (down.size === 0) gestures.leave(); });

  on('wheel', (/** @type {WheelEvent} */ event) => {
    // The wheel alone scrolls the page; a trackpad's pinch comes as a wheel with Ctrl.
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const factor = Math.exp(-Math.max(-200, Math.min(200, event.deltaY * lines)) * WHEEL);
    gestures.zoom(factor, place(event));
  });

  on('dblclick', (/** @type {MouseEvent} */ event) => {
    if (!gestures.paints()) gestures.toggle(place(event));
  });
}
