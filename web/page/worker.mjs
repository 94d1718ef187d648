// The worker of the page: answers the calls of backend.mjs, so that the page itself never waits.

import { Cutter } from './cutter.mjs';

const cutter = new Cutter();
/** @type {Map<number, AbortController>} */
const running = new Map();

/**
 * @type {Record<string, (values: any, options: {signal: AbortSignal, onProgress: (progress: any) => void})
 *   => Promise<any>>}
 */
const METHODS = {
  open: (values, options) => cutter.open(values, options),
  cut: (values, options) => cutter.cut(values, options),
  adopt: (values, options) => cutter.adopt(values, options),
  mask: (values, options) => cutter.mask(values, options),
  render: (values, options) => cutter.render(values, options),
};

self.onmessage = async ({ data }) => {
  if (data.abort) return running.get(data.abort)?.abort();
  if (data.release) return cutter.release(data.release);
  const { call, method, values } = data;
  const controller = new AbortController();
  running.set(call, controller);
  try {
    const result = await METHODS[method](values, {
      signal: controller.signal,
      onProgress: progress => postMessage({ call, progress }),
    });
    const transfer = [result?.bitmap, result?.mask?.levels?.buffer, result?.levels?.buffer].filter(Boolean);
    postMessage({ call, result }, { transfer });
  } catch (thrown) {
    const error = /** @type {any} */ (inWords(thrown));
    const code = typeof error?.code === 'string' ? error.code : undefined; // DOMExceptions have numbers
    postMessage({ call, error: { name: error?.name ?? 'Error', message: String(error?.message ?? error), code } });
  } finally {
    running.delete(call);
  }
};

/**
 * What browsers say of memory that they do not have is no sentence: Chromium has "Array buffer allocation failed".
 * @param {unknown} thrown
 */
function inWords(thrown) {
  const isMemory = thrown instanceof RangeError && /allocat|memory|array (buffer )?length/i.test(thrown.message);
  return isMemory ? new Error('there is not enough memory for this photo; close other tabs and programs, or reduce it first') : thrown;
}
