// Files of a model over the network, of a size that is known before they come.
import { RunnerError, said, size } from './errors.mjs';

/**
 * @typedef {(url: string, options: {signal: AbortSignal}) => Promise<Response>} Fetch
 */

/**
 * The bytes of a file.
 *
 * Raises RunnerError: 'network' where it does not come, 'damaged' where it has not the `exact` size, 'format' where
 * it has more than `most`; and what the signal gives as its reason.
 * @param {Fetch} fetch
 * @param {URL} url
 * @param {{signal: AbortSignal, exact?: number, most?: number, onBytes?: (count: number) => void}} options sizes in
 *   bytes; `onBytes` is told of each piece
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function readFile(fetch, url, { signal, exact, most = exact ?? 0, onBytes }) {
  const name = url.pathname.split('/').pop();
  /** @type {Uint8Array[]} */
  const pieces = [];
  let bytes = 0, page = false;
  try {
    const response = await fetch(url.href, { signal });
    if (!response.ok) {
      throw new RunnerError('network', `the server answers ${response.status} for ${name}: check the model's address`);
    }
    page = /^text\/html\b/.test(response.headers.get('content-type') ?? '');
    const reader = response.body?.getReader();
    for (;;) {
      const { done, value } = await reader?.read() ?? { done: true, value: undefined };
      if (done) break;
      bytes += value.length;
      if (bytes > most) {
        reader?.cancel().catch(() => {});
        throw exact === undefined
          ? new RunnerError('format', `${name} has more than ${size(most)}: it is no compiled model`)
          : new RunnerError('damaged', `${name} has more than its ${size(exact)}: download the model again`);
      }
      pieces.push(value);
      onBytes?.(value.length);
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (error instanceof RunnerError) throw error;
    throw new RunnerError(
      'network',
      `${name} does not come (${said(error)}): check the connection, and try again`,
      { cause: error },
    );
  }
  if (exact !== undefined && bytes !== exact) {
    if (page) {
      throw new RunnerError('network', `the server answers with a page in the place of ${name}: is the file there?`);
    }
    throw new RunnerError('damaged', `${name} ends after ${size(bytes)} of ${size(exact)}: download the model again`);
  }
  const content = new Uint8Array(bytes);
  let at = 0;
  for (const piece of pieces) {
    content.set(piece, at);
    at += piece.length;
  }
  return content;
}
