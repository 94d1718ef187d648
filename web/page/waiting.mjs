// Waiting that can be given up.

/**
 * Wait so long.
 * @param {number} milliseconds
 * @param {AbortSignal} [signal] ends it with its reason
 * @returns {Promise<void>}
 */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => { clearTimeout(timer); reject(signal?.reason); };
    const timer = setTimeout(() => { signal?.removeEventListener('abort', stop); resolve(); }, milliseconds);
    signal?.addEventListener('abort', stop, { once: true });
  });
}

/**
 * What a promise gives, unless the signal comes first: the promise goes on without this caller.
 * @template Value
 * @param {Promise<Value>} promise
 * @param {AbortSignal} signal
 * @returns {Promise<Value>}
 */
export async function unlessAborted(promise, signal) {
  signal.throwIfAborted();
  /** @type {() => void} */
  let stop = () => {};
  const stopped = new Promise((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop);
  });
  try {
    return await /** @type {Promise<Value>} */ (Promise.race([promise, stopped]));
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** Lets one in at a time, in the order of their coming. */
export class Turns {
  /** @type {Promise<unknown>} */
  #last = Promise.resolve();

  /**
   * @template Value
   * @param {AbortSignal} signal whoever gives up while others are before it does not wait for them
   * @param {() => Promise<Value>} work
   * @returns {Promise<Value>}
   */
  take(signal, work) {
    const mine = this.#last.then(() => {
      signal.throwIfAborted();
      return work();
    });
    this.#last = mine.catch(() => undefined);
    return unlessAborted(mine, signal);
  }
}
