// The service worker's side of the page: after the first visit it works without network.

/**
 * Register sw.mjs, and call `ready` when the page is on this device. Where there are no service workers nothing
 * happens: the page works, with network.
 * @param {() => void} ready
 */
export async function stayOffline(ready) {
  if (!('serviceWorker' in navigator)) return;
  try {
    await navigator.serviceWorker.register('sw.mjs', { type: 'module', updateViaCache: 'none' });
    await navigator.serviceWorker.ready;
    ready();
  } catch (error) {
    console.info(`The page does not work without network: ${error instanceof Error ? error.message : error}`);
  }
}

/**
 * Wait until the service worker answers the page's requests, at most so long.
 * @param {number} milliseconds
 */
export async function controlled(milliseconds) {
  const workers = 'serviceWorker' in navigator ? navigator.serviceWorker : null;
  if (!workers || workers.controller || !await workers.getRegistration().catch(() => undefined)) return;
  await new Promise(resolve => {
    workers.addEventListener('controllerchange', resolve, { once: true });
    setTimeout(resolve, milliseconds);
  });
}
