/**
 * A photo, a model or a setting with which nothing can be made. The message is one sentence, and begins with the photo's
 * name where it is about one.
 */
export class ImageError extends Error {
  /** @param {string} message @param {{ cause?: unknown }} [options] */
  constructor(message, options) {
    super(message, options);
    this.name = 'ImageError';
  }
}
