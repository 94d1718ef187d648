/**
 * Runs a compiled model on WebGPU. Plain ES modules: nothing is imported from elsewhere, and nothing is evaluated.
 *
 *   const model = await open('models/u2netp/');
 *   const outputs = await model.run({ image: new Float32Array(3 * 320 * 320) });
 *   model.close();
 */
import { BoundModel, untilAborted } from './bound.mjs';
import { openDevice, requireSecureContext } from './device.mjs';
import { decode, MAX_BYTES } from './header.mjs';
import { Model } from './model.mjs';
import { readFile } from './network.mjs';

export { RunnerError } from './errors.mjs';
export { Model } from './model.mjs';

/**
 * @typedef {object} OpenOptions
 * @property {import('./bound.mjs').OnProgress} [onProgress] bytes of weights and programs, while both go on
 * @property {AbortSignal} [signal] opening rejects with its reason, and downloads end
 * @property {import('./network.mjs').Fetch} [fetch] how files are fetched, by default as the page does
 * @property {boolean} [allowSoftware] whether an adapter that computes on the processor will do
 * @property {GPUPowerPreference} [powerPreference]
 */

/**
 * Open a model: its header is read and checked, a device opened that has what it needs, and its weights uploaded, each
 * file held to its SHA-256, while its programs compile.
 *
 * Raises RunnerError, whose `code` is one of 'no-webgpu', 'no-adapter', 'software', 'limits', 'features', 'format',
 * 'damaged', 'network', 'out-of-memory', 'device-lost', 'gpu'; and what the signal gives as its reason, by default an
 * AbortError.
 * @param {string | URL} url of the model's folder; a relative one belongs to the page, and in a worker to its script
 * @param {OpenOptions} [options]
 * @returns {Promise<Model>}
 */
export async function open(url, options = {}) {
  const { onProgress, signal, allowSoftware = false, powerPreference = 'high-performance' } = options;
  const fetch = options.fetch ?? ((address, init) => globalThis.fetch(address, init));
  signal?.throwIfAborted();
  requireSecureContext();
  const start = performance.now(), base = folder(url);
  const unaborted = signal ?? new AbortController().signal;
  const header = await untilAborted(
    readFile(fetch, new URL('model.json', base), { signal: unaborted, most: MAX_BYTES }).then(decode), signal);
  const headerTime = performance.now() - start;
  const device = await openDevice(header.plan.needs, { allowSoftware, powerPreference });
  const deviceTime = performance.now() - start - headerTime;
  const bound = await BoundModel.open(device, { header, base, fetch, signal, onProgress });
  return new Model(bound, { header, base, fetch, allowSoftware, powerPreference }, {
    header: headerTime, device: deviceTime, ...bound.timings, open: performance.now() - start,
  });
}

/** @param {string | URL} url @returns {URL} with a slash at the end of its path */
function folder(url) {
  const base = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
  base.search = base.hash = '';
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  return base;
}
