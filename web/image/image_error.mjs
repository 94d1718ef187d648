/** What is wrong with a photo, or with what is to be written of it, in one sentence that begins with its name. */
export class ImageError extends Error {
  /** @param {string} message @param {{ cause?: unknown }} [options] */
  constructor(message, options) {
    super(message, options);
    this.name = 'ImageError';
  }
}
