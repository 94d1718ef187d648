// Files for the visitor: one format of one photo, or a ZIP of all.

import { zip } from '../image/zip.mjs';

/** @typedef {'png'|'webp'|'mask'} Format */

/** What the files are called: as the command calls them. */
const SUFFIX = { png: '.cutout.png', webp: '.cutout.webp', mask: '.mask.png' };

/**
 * "beach.jpg" → "beach.cutout.png".
 * @param {string} name
 * @param {Format} format
 */
export function fileName(name, format) {
  const stem = name.replace(/^.*[/\\]/, '').replace(/\.[^.]+$/, '');
  return `${stem || 'photo'}${SUFFIX[format]}`;
}

/**
 * Have the browser save it.
 * @param {Blob} blob
 * @param {string} name
 */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // Browsers read it after the click; a minute later the largest is read.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/**
 * All photos that are done, one behind the other, in a ZIP.
 * @param {import('./queue.mjs').Item[]} items
 * @param {(item: import('./queue.mjs').Item) => Promise<Blob>} render
 * @param {Format} format
 * @param {{signal: AbortSignal, onProgress: (done: number, total: number) => void}} options
 * @returns {Promise<{blob: Blob, failed: {name: string, error: unknown}[]}>} what failed is left out
 */
export async function zipOfAll(items, render, format, { signal, onProgress }) {
  const entries = [];
  const failed = [];
  for (const [index, item] of items.entries()) {
    signal.throwIfAborted();
    onProgress(index, items.length);
    try {
      entries.push({ name: fileName(item.name, format), blob: await render(item) });
    } catch (error) {
      signal.throwIfAborted();
      failed.push({ name: item.name, error });
    }
  }
  onProgress(items.length, items.length);
  if (!entries.length) throw failed[0]?.error ?? new Error('no photo is done yet; wait for the first');
  return { blob: await zip(entries), failed };
}
