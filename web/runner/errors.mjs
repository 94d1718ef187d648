// What goes wrong, each with a code for programs and one sentence for people.

/**
 * @typedef {'no-webgpu'|'no-adapter'|'software'|'limits'|'features'|'format'|'damaged'|'network'|'out-of-memory'|
 *   'device-lost'|'gpu'|'nan'|'input'|'closed'} Code
 */

/** An error of the runner: `message` is one sentence, `code` one of `Code`. What was cancelled is an AbortError. */
export class RunnerError extends Error {
  /**
   * @param {Code} code
   * @param {string} message
   * @param {{cause?: unknown}} [options]
   */
  constructor(code, message, options) {
    super(message, options);
    this.name = 'RunnerError';
    /** @type {Code} */
    this.code = code;
  }
}

/**
 * What an exception says, in one line.
 * @param {unknown} error
 */
export function said(error) {
  return String(error instanceof Error || error instanceof DOMException ? error.message : error).split('\n', 1)[0];
}

/**
 * Bytes as people read them.
 * @param {number} bytes
 */
export function size(bytes) {
  return bytes < 1e6 ? `${bytes.toLocaleString('en')} bytes` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
