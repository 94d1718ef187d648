// How photos come in: dropped anywhere on the page, chosen, or pasted.

import { byId } from './dom.mjs';

/** @typedef {{name: string, blob: Blob}} Incoming */

/**
 * @param {(photos: Incoming[]) => void} take
 */
export function listen(take) {
  const input = /** @type {HTMLInputElement} */ (byId('files'));
  let pasted = 0;
  if (/Mac|iP(hone|ad)/.test(navigator.platform)) byId('paste-key').textContent = '⌘';
  /** @param {Iterable<File>} files */
  const named = files => [...files].map(file => ({ name: file.name || 'photo', blob: file }));

  input.addEventListener('change', () => {
    take(named(input.files ?? []));
    input.value = ''; // the same file may be chosen again
  });

  // Leaving one child for another fires 'dragleave' too: the depth tells when the pointer left the page.
  let depth = 0;
  const dragging = () => document.body.classList.toggle('dragging', depth > 0);
  /** @param {DragEvent} event */
  const hasFiles = event => [...(event.dataTransfer?.types ?? [])].includes('Files');
  document.addEventListener('dragenter', event => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth += 1;
    dragging();
  });
  document.addEventListener('dragleave', event => {
    if (!hasFiles(event)) return;
    depth = Math.max(0, depth - 1);
    dragging();
  });
  document.addEventListener('dragover', event => {
    if (!hasFiles(event) || !event.dataTransfer) return;
    event.preventDefault(); // otherwise the browser opens the file in place of the page
    event.dataTransfer.dropEffect = 'copy';
  });
  document.addEventListener('drop', event => {
    depth = 0;
    dragging();
    // A field of the settings takes a dropped file itself.
    if (event.defaultPrevented || !hasFiles(event)) return;
    event.preventDefault();
    take(named(event.dataTransfer?.files ?? []));
  });

  document.addEventListener('paste', event => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    // Clipboards call every picture image.png.
    take(files.map(file => ({
      name: /^image\.\w+$/.test(file.name) || !file.name ? `pasted-${++pasted}.png` : file.name, blob: file,
    })));
  });
}
