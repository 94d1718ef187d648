// The service worker's side of the page: after the first visit it works without network.

/**
 * Register sw.mjs, and call `ready` when the page is on this device. Where there are no service workers nothing
 * happens: the page works, with network.
 * @param {() => void} ready
 */
export async function stayOffline(ready) {
  if (!('serviceWorker' in navigator)) return;
  // sw.mjs says it where `nss-wgpu serve` has this address now; photos that are here already are not given up for that.
  navigator.serviceWorker.addEventListener('message', ({ data }) => {
    if (data === 'served' && document.body.classList.contains('empty')) location.reload();
  });
  try {
    await navigator.serviceWorker.register('sw.mjs', { type: 'module', updateViaCache: 'none' });
    await navigator.serviceWorker.ready;
    ready();
  } catch (error) {
    console.info(`The page does not work without network: ${error instanceof Error ? error.message : error}`);
  }
}

/**
 * Take away the service worker of a static site that had this address before: it would answer in the server's place,
 * from what it kept.
 * @param {string} base address of the page
 * @returns {Promise<boolean>} whether the page is loaded anew, since it came from there itself
 */
export async function leaveOffline(base) {
  if (!('serviceWorker' in navigator)) return false;
  const { controller } = navigator.serviceWorker;
  const registrations = await navigator.serviceWorker.getRegistrations().catch(() => []);
  const own = registrations.find(({ scope }) => scope === base);
  if (own && !await own.unregister().catch(() => false)) return false;
  if (own) await forgetPages(base);
  if (controller?.scriptURL !== new URL('sw.mjs', base).href) return false;
  location.reload();
  return true;
}

/**
 * Delete what sw.mjs has kept of the site: its caches' names are those of sw.mjs.
 * @param {string} base
 */
async function forgetPages(base) {
  const prefix = `nss-page-${new URL(base).pathname} `;
  const names = (await caches.keys()).filter(name => name.startsWith(prefix));
  await Promise.all(names.map(name => caches.delete(name)));
  const pointers = await caches.open('nss-page');
  await Promise.all(['current', 'next'].map(name => pointers.delete(new URL(name, base).href)));
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
