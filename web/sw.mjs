// The service worker: keeps the page's files on the device, so that it opens without network, and replaces them as one.
//
// Each version of the site has a cache of its own, named by the hash of site.json and filled before anyone reads it.
// The cache "nss-page" holds two pointers: `current`, which every request is answered from, and `next`, which is whole
// and waits until no page of the site is open: a page never sees modules of two versions. Models are not kept here; the
// page keeps those the visitor agreed to (page/kept.mjs).
import { sha256 as digest } from './runner/sha256.mjs';

const worker = /** @type {any} */ (self); // ServiceWorkerGlobalScope, which TypeScript's DOM library lacks
const SCOPE = /** @type {string} */ (worker.registration?.scope ?? new URL('./', self.location.href).href);
// An origin may hold several sites: no path has a blank, so that none's prefix is the beginning of another's.
const PREFIX = `nss-page-${new URL(SCOPE).pathname} `;
const POINTERS = 'nss-page';

// A module worker takes its policy from the answer's headers, not from the page's <meta>.
const POLICY = "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; img-src 'self' blob: "
  + "data:; style-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'";

worker.addEventListener('install', (/** @type {any} */ event) => {
  worker.skipWaiting();
  event.waitUntil((async () => {
    await stage();
    if (!await pointer('current')) await adopt();
  })());
});

worker.addEventListener('activate', (/** @type {any} */ event) => event.waitUntil(worker.clients.claim()));

worker.addEventListener('fetch', (/** @type {any} */ event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (url.protocol === 'blob:' || url.protocol === 'data:') return;
  // Nothing of this page has business elsewhere, whatever asked for it; links to licences are followed by the browser.
  if (url.origin !== self.location.origin) {
    if (request.mode !== 'navigate') event.respondWith(Response.error());
    return;
  }
  if (request.method !== 'GET' || !url.href.startsWith(SCOPE)) return;
  if (request.mode === 'navigate') {
    event.respondWith(navigate(event));
    // Without network the page is as it was.
    event.waitUntil(stage().catch(() => undefined));
  } else {
    event.respondWith(answer(request));
  }
});

/**
 * The page itself, of the newest version that is whole, if no other page of the site is open.
 * @param {any} event
 */
async function navigate(event) {
  const own = new Set([event.resultingClientId, event.replacesClientId, event.clientId]);
  const open = await worker.clients.matchAll({ type: 'window', includeUncontrolled: true });
  const others = open.filter((/** @type {any} */ { id, url }) => !own.has(id) && url.startsWith(SCOPE));
  if (!others.length) await adopt();
  return answer(event.request);
}

/**
 * From the current version, or, what it does not have, from the host.
 * @param {Request} request
 */
async function answer(request) {
  const name = await pointer('current');
  const url = new URL(request.url);
  url.search = url.hash = '';
  if (url.href === SCOPE) url.pathname += 'index.html';
  const kept = name && await caches.has(name) ? await (await caches.open(name)).match(url.href) : undefined;
  return kept ?? fetch(request);
}

/** @type {Promise<void>|null} */
let staging = null;

/** Fetch the version that the host has now, all of it or nothing; one at a time. */
function stage() {
  staging ??= fill().finally(() => { staging = null; });
  return staging;
}

async function fill() {
  const listed = await fetch(new URL('site.json', SCOPE), { cache: 'no-store' });
  if (!listed.ok) throw new Error(`the host answers ${listed.status} for site.json`);
  const text = await listed.arrayBuffer();
  const name = PREFIX + (await digest(text)).slice(0, 16);
  const current = await pointer('current');
  if (name === current) return point('next', null);
  if (name === await pointer('next')) return;
  const { files, api } = JSON.parse(new TextDecoder().decode(text));
  if (api) return leave();
  const old = current ? await caches.open(current) : null;
  const cache = await caches.open(name);
  try {
    await Promise.all(files.map((/** @type {{path: string, sha256: string}} */ file) => keep(cache, old, file)));
    await cache.put(new URL('site.json', SCOPE).href, new Response(text, { headers: headers('application/json', '') }));
  } catch (error) {
    await caches.delete(name);
    throw error;
  }
  await point('next', name);
}

/** Leave this address to `nss-wgpu serve`, which has it now: what was kept of the static site is no page of it. */
async function leave() {
  await worker.registration.unregister();
  const old = (await caches.keys()).filter(name => name.startsWith(PREFIX));
  await Promise.all(old.map(name => caches.delete(name)));
  await point('current', null);
  await point('next', null);
  const pages = await worker.clients.matchAll({ type: 'window', includeUncontrolled: true });
  for (const page of pages) if (page.url.startsWith(SCOPE)) page.postMessage('served');
}

/**
 * Put one file into the cache: from the version before, where it is the same there, or from the host.
 * @param {Cache} cache
 * @param {Cache|null} old
 * @param {{path: string, sha256: string}} file
 */
async function keep(cache, old, { path, sha256 }) {
  const url = new URL(path, SCOPE).href;
  const before = await old?.match(url);
  if (before?.headers.get('x-sha256') === sha256) return cache.put(url, before);
  const response = await fetch(url, { cache: 'no-cache' });
  if (!response.ok) throw new Error(`the host answers ${response.status} for ${path}`);
  const bytes = await response.arrayBuffer();
  if (await digest(bytes) !== sha256) throw new Error(`${path} is not the file that site.json names`);
  await cache.put(url, new Response(bytes, { headers: headers(response.headers.get('content-type') ?? '', sha256) }));
}

/**
 * @param {string} type
 * @param {string} sha256
 */
function headers(type, sha256) {
  return {
    'content-type': type, 'x-sha256': sha256, 'content-security-policy': POLICY, 'x-content-type-options': 'nosniff',
  };
}

/** Make the next version the current one, and let go of all others. */
async function adopt() {
  const next = await pointer('next');
  if (!next) return;
  await point('current', next);
  await point('next', null);
  const old = (await caches.keys()).filter(name => name.startsWith(PREFIX) && name !== next);
  await Promise.all(old.map(name => caches.delete(name)));
}

/** @param {'current'|'next'} name */
async function pointer(name) {
  const found = await (await caches.open(POINTERS)).match(new URL(name, SCOPE).href);
  return found ? found.text() : null;
}

/**
 * @param {'current'|'next'} name
 * @param {string|null} value
 */
async function point(name, value) {
  const cache = await caches.open(POINTERS);
  const url = new URL(name, SCOPE).href;
  if (value === null) await cache.delete(url);
  else await cache.put(url, new Response(value));
}
