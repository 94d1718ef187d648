// Requests to `nss-wgpu serve`, with the token, and what it says where it refuses one.

import { token } from './token.mjs';
import { pause, unlessAborted } from './waiting.mjs';
import { coded, isAbort } from './words.mjs';

/** How long, in milliseconds, it is left alone before it is asked again whether it is there: at first, and at most. */
const FIRST = 500, LONGEST = 10_000;

/** What the page can do something about, or says on top; other statuses have the server's sentence alone. */
const CODES = /** @type {Record<number, string>} */ ({
  401: 'token', 403: 'refused', 404: 'gone', 421: 'address', 503: 'busy',
});

/**
 * @typedef {object} Request
 * @property {string} [method]
 * @property {Blob} [body]
 * @property {Record<string, string>} [headers]
 * @property {AbortSignal} [signal]
 */

/**
 * Errors have a `code`: one of `CODES`, 'unexpected' or 'unreachable'; that of 503 has `seconds`, after which to ask again, or 0
 * where it says none. Fires 'away' each time it was found that the server is not there, and 'back' when it is again.
 */
export class ServerCalls extends EventTarget {
  /** @type {Promise<void>|null} */
  #coming = null;

  /**
   * @param {string} base address of the site
   * @param {string} api path of the interface
   * @param {string} server what to call the server in a sentence, in its middle
   */
  constructor(base, api, server) {
    super();
    this.api = new URL(api, base);
    this.health = new URL('healthz', base);
    this.server = server;
  }

  /**
   * The answer, if it is a success.
   * @param {string} path behind that of the interface
   * @param {Request} [request]
   */
  async answer(path, { method = 'GET', body, headers = {}, signal } = {}) {
    const response = await this.heard(fetch(new URL(path, this.api), {
      method, body, signal, cache: 'no-store', credentials: 'omit', redirect: 'error',
      headers: { ...headers, authorization: `Bearer ${token()}` },
    }));
    if (response.ok) return response;
    const { detail } = await response.json().catch(() => ({}));
    throw Object.assign(
      coded(CODES[response.status] ?? 'unexpected', detail ?? `${this.server} answers ${response.status} to ${method} ${path}`),
      { seconds: Number(response.headers.get('retry-after')) });
  }

  /**
   * The JSON of an answer.
   * @param {string} path
   * @param {Request} [request]
   * @returns {Promise<any>}
   */
  async json(path, request) {
    return this.heard((await this.answer(path, request)).json());
  }

  /**
   * What comes of the server: where its connection breaks, the error says so.
   * @template Value
   * @param {Promise<Value>} promise
   * @returns {Promise<Value>}
   */
  async heard(promise) {
    try {
      return await promise;
    } catch (error) {
      if (isAbort(error)) throw error;
      throw coded('unreachable', `${this.server} does not answer (${error instanceof Error ? error.message : error})`);
    }
  }

  /**
   * Wait until the server is there again; all who wait ask it together.
   * @param {AbortSignal} signal
   */
  back(signal) {
    this.#coming ??= this.#ask().finally(() => { this.#coming = null; });
    return unlessAborted(this.#coming, signal);
  }

  async #ask() {
    for (let wait = FIRST; ; wait = Math.min(2 * wait, LONGEST)) {
      await pause(wait);
      if (await fetch(this.health, { cache: 'no-store', credentials: 'omit' }).then(({ ok }) => ok, () => false)) break;
      this.dispatchEvent(new Event('away'));
    }
    this.dispatchEvent(new Event('back'));
  }
}
