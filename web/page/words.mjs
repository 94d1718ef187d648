// Numbers in words.

/**
 * A size as shops state it: powers of 1000.
 * @param {number} bytes
 */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/**
 * A time with two digits that matter.
 * @param {number} milliseconds
 */
export function duration(milliseconds) {
  const seconds = milliseconds / 1000;
  if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/**
 * "1 photo", "2 photos".
 * @param {number} number
 * @param {string} one
 * @param {string} [many]
 */
export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/**
 * What went wrong, as one sentence for a visitor: the error's own, which begins small and has no full stop.
 * @param {unknown} error
 */
export function sentence(error) {
  const text = String(error instanceof Error || error instanceof DOMException ? error.message : error).trim();
  const full = /[.!?]$/.test(text) ? text : `${text}.`;
  // A sentence may begin with a file's name, which stays as it is.
  return /^[a-z]+[\s,:]/.test(full) ? full.charAt(0).toUpperCase() + full.slice(1) : full;
}

/**
 * An error with a code.
 * @param {string} code
 * @param {string} message
 */
export function coded(code, message) {
  return Object.assign(new Error(message), { code });
}

/** @param {unknown} error */
export const isAbort = error => error instanceof Error && error.name === 'AbortError';
