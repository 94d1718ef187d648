/**
 * What can be undone: a row of states, each the list of all strokes at that time. A list is never changed.
 *
 * @typedef {import('../image/strokes.mjs').Stroke} Stroke
 */

export class History {
  /** @type {(readonly Stroke[])[]} */
  #states = [[]];
  #at = 0;

  /** The strokes in effect, the first one first. */
  get strokes() { return this.#states[this.#at]; }

  get canUndo() { return this.#at > 0; }

  get canRedo() { return this.#at < this.#states.length - 1; }

  /**
   * Begin with strokes that were made earlier; each of them can be undone.
   * @param {readonly Stroke[]} strokes
   */
  open(strokes) {
    this.#states = Array.from({ length: strokes.length + 1 }, (_, count) => strokes.slice(0, count));
    this.#at = strokes.length;
  }

  /** @param {Stroke} stroke */
  add(stroke) { this.#push([...this.strokes, stroke]); }

  /**
   * Take all strokes away, which can be undone as well.
   * @returns {Stroke[] | null} those that went
   */
  clear() {
    if (this.strokes.length === 0) return null;
    this.#push([]);
    return [...this.#states[this.#at - 1]];
  }

  /** @returns {Stroke[] | null} the strokes that came or went; null where there is nothing to undo */
  undo() { return this.canUndo ? this.#go(-1) : null; }

  /** @returns {Stroke[] | null} */
  redo() { return this.canRedo ? this.#go(1) : null; }

  /** @param {Stroke[]} strokes */
  #push(strokes) {
    this.#states.splice(this.#at + 1, Infinity, strokes);
    this.#at += 1;
  }

  /** @param {1 | -1} step */
  #go(step) {
    const before = this.strokes;
    this.#at += step;
    const after = this.strokes;
    const common = Math.min(before.length, after.length);
    return [...before.slice(common), ...after.slice(common)];
  }
}
