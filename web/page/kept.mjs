// Model files that the visitor has agreed to keep on this device: in the Cache API, each under its address and hash.
import { sha256 as digest } from '../runner/sha256.mjs';

/**
 * @typedef {{path: string, bytes: number, sha256: string}} SiteFile
 * @typedef {object} Model one of site.json
 * @property {string} name
 * @property {string} title
 * @property {string} summary
 * @property {string} licence
 * @property {string} licence_url
 * @property {'yes'|'no'|'ask'} commercial
 * @property {string} origin
 * @property {'f32'|'f16'|'int8'} weights
 * @property {number} bytes of the download
 * @property {[number, number]} size height and width of the network's mask
 * @property {string} folder
 * @property {string} [device] that a server has opened it on
 * @property {string} [precision] in which the server computes
 * @property {boolean} [default]
 * @property {SiteFile[]} [files]
 */

const CACHE = 'nss-models';

/**
 * @param {URL|string} url
 * @param {string} sha256
 */
function key(url, sha256) {
  const made = new URL(url);
  made.search = `?sha256=${sha256}`;
  return made.href;
}

/**
 * The files of a model as addresses. Paths in site.json begin at the site or at the model's folder.
 * @param {Model} model
 * @param {string} base address of the site
 * @returns {Map<string, SiteFile>}
 */
function addresses(model, base) {
  const folder = new URL(model.folder, base);
  return new Map((model.files ?? []).map(file => [
    new URL(file.path, file.path.startsWith(model.folder) ? base : folder).href, file,
  ]));
}

/** Whether this browser keeps anything: not outside of https and localhost, nor in some private windows. */
export const canKeep = () => typeof caches !== 'undefined';

/**
 * Whether every file of the model is here.
 * @param {Model} model
 * @param {string} base
 */
export async function isKept(model, base) {
  const files = addresses(model, base);
  if (!canKeep() || files.size === 0 || !await caches.has(CACHE)) return false;
  const cache = await caches.open(CACHE);
  const found = await Promise.all([...files].map(([url, file]) => cache.match(key(url, file.sha256))));
  return found.every(Boolean);
}

/**
 * Remove all that is kept of the model, of earlier versions too; how many files that were.
 * @param {Model} model
 * @param {string} base
 */
export async function forget(model, base) {
  if (!canKeep() || !await caches.has(CACHE)) return 0;
  const folder = new URL(model.folder, base).href;
  const cache = await caches.open(CACHE);
  const old = (await cache.keys()).filter(request => request.url.startsWith(folder));
  await Promise.all(old.map(request => cache.delete(request)));
  return old.length;
}

/**
 * Bytes that this site may still keep; null where the browser does not say.
 * @returns {Promise<number|null>}
 */
export async function room() {
  const estimate = await navigator.storage?.estimate?.().catch(() => null);
  if (!estimate?.quota) return null;
  return Math.max(0, estimate.quota - (estimate.usage ?? 0));
}

/**
 * A `fetch` for the runner that takes a model's files from this device where they are kept, and keeps them where the
 * visitor agreed. The runner checks sizes and hashes of what it gets, wherever it came from.
 * @param {Model} model
 * @param {string} base
 * @param {boolean} keep
 * @returns {{fetch: (url: string|URL, options?: {signal?: AbortSignal}) => Promise<Response>,
 *   settled: () => Promise<unknown>}} `settled` waits until what is being kept is on the device
 */
export function keepingFetch(model, base, keep) {
  const files = addresses(model, base);
  /** @type {Promise<unknown>[]} */
  const writing = [];
  return {
    fetch: async (url, { signal } = {}) => {
      const address = new URL(url, base).href;
      const file = files.get(address);
      if (!file || !canKeep()) return fetch(address, { signal, cache: 'no-cache' });
      const kept = await caches.match(key(address, file.sha256), { cacheName: CACHE });
      if (kept) return kept;
      const response = await fetch(address, { signal, cache: 'no-cache' });
      if (!keep || !response.ok) return response;
      const copy = response.clone();
      // What cannot be kept (a full disk, a private window) must not stop what is under way: `isKept` says how it is.
      writing.push(put(address, file, copy).catch(() => undefined));
      return response;
    },
    settled: () => Promise.all(writing),
  };
}

/**
 * Fetch and keep what is not here yet. Raises where a file cannot be had, or is not the one that site.json names.
 * @param {Model} model
 * @param {string} base
 * @param {{signal?: AbortSignal, onProgress?: (done: number, total: number) => void}} [options] progress in bytes
 */
export async function keepAll(model, base, { signal, onProgress = () => {} } = {}) {
  const files = addresses(model, base);
  const cache = await caches.open(CACHE);
  await navigator.storage?.persist?.().catch(() => false);
  const total = [...files.values()].reduce((sum, file) => sum + file.bytes, 0);
  let done = 0;
  for (const [url, file] of files) {
    signal?.throwIfAborted();
    if (!await cache.match(key(url, file.sha256))) {
      const response = await fetch(url, { signal, cache: 'no-cache' });
      if (!response.ok) throw new Error(`the host answers ${response.status} for ${file.path}; try again later`);
      const bytes = await response.arrayBuffer();
      if (await digest(bytes) !== file.sha256) {
        throw new Error(`${file.path} is not the file that the site names; load the page again`);
      }
      const headers = { 'content-length': String(bytes.byteLength) };
      await cache.put(key(url, file.sha256), new Response(bytes, { headers }));
    }
    done += file.bytes;
    onProgress(done, total);
  }
}

/**
 * Keep what came, if it is the file: a host may have answered with another page, or have a newer file there.
 * @param {string} url
 * @param {SiteFile} file
 * @param {Response} response
 */
async function put(url, { sha256 }, response) {
  const bytes = await response.arrayBuffer();
  if (await digest(bytes) !== sha256) return;
  const headers = { 'content-length': String(bytes.byteLength) };
  await (await caches.open(CACHE)).put(key(url, sha256), new Response(bytes, { headers }));
}
