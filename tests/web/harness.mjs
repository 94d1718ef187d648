// A folder served on loopback, and Debian's Chromium driven on it: what the tests of web/ share.
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream';
import puppeteer from 'puppeteer-core';

export const CHROMIUM = process.env.CHROMIUM || '/usr/bin/chromium';

/** Milliseconds that a page may take for a step: another worker may have both cores compile shaders meanwhile. */
export const PATIENCE = Number(process.env.NSS_PATIENCE ?? 100_000);

const TYPES = {
  '.css': 'text/css', '.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json', '.mjs': 'text/javascript',
  '.png': 'image/png', '.jpg': 'image/jpeg', '.svg': 'image/svg+xml', '.txt': 'text/plain', '.webmanifest': 'application/manifest+json',
};

/**
 * Serve folders as one origin, each under its prefix ('/' for the root), as any static host does.
 * @param {Record<string, string>} folders prefix → folder; the longest prefix that fits wins
 * @param {{headers?: Record<string, string>, answer?: (request: http.IncomingMessage, response: http.ServerResponse) => boolean|Promise<boolean>}} [options]
 *   `answer` may answer a request itself, and returns true then, or a promise of it: that is how tests break things
 */
export async function serve(folders, { headers = {}, answer } = {}) {
  const requests = [];
  const prefixes = Object.keys(folders).sort((a, b) => b.length - a.length);
  const server = http.createServer(async (request, response) => {
    requests.push(request.url);
    if (await answer?.(request, response)) return;
    const name = decodeURIComponent(new URL(request.url, 'http://host').pathname);
    const prefix = prefixes.find(each => name.startsWith(each));
    let file = prefix === undefined ? undefined : path.join(folders[prefix], name.slice(prefix.length));
    if (file && fs.statSync(file, { throwIfNoEntry: false })?.isDirectory()) file = path.join(file, 'index.html');
    if (name === '/' && !(file && fs.existsSync(file))) {
      response.writeHead(200, { 'content-type': 'text/html', ...headers });
      return response.end('<!doctype html><title>test</title><link rel="icon" href="data:,">');
    }
    if (!file || !path.resolve(file).startsWith(path.resolve(folders[prefix])) || !fs.existsSync(file)) {
      response.writeHead(404, headers);
      return response.end();
    }
    const type = TYPES[path.extname(file)] || 'application/octet-stream';
    response.writeHead(200, { 'content-type': type, 'content-length': fs.statSync(file).size, ...headers });
    // A page that goes away, or a folder that a test takes away, ends the answer and nothing else.
    pipeline(fs.createReadStream(file), response, () => {});
  });
  await new Promise(done => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    requests,
    close: () => new Promise(done => { server.close(done).closeAllConnections(); }), // which no new one follows
  };
}

/**
 * Chromium with WebGPU on SwiftShader: the one that all files share, where that of `NSS_TEST_BROWSERS` is there (see
 * browsers.mjs) and no flags are wanted, or one of its own.
 */
export async function launch({ flags = [], webgpu = true } = {}) {
  const shared = process.env.NSS_TEST_BROWSERS;
  return shared && !flags.length ? borrow(shared + (webgpu ? 'webgpu' : 'plain')) : start({ flags, webgpu });
}

/** A shared browser, whose `close` leaves it as it was: without the pages, and what they had stored. */
async function borrow(url) {
  const answer = await fetch(url);
  const endpoint = await answer.text();
  if (!answer.ok) throw new Error(`Chromium does not start: ${endpoint}`);
  const browser = await puppeteer.connect({ browserWSEndpoint: endpoint, protocolTimeout: 600_000 });
  const before = await browser.pages();
  browser.close = async () => {
    const own = browser.browserContexts().filter(context => context !== browser.defaultBrowserContext());
    for (const context of own) await context.close();
    for (const page of await browser.pages()) if (!before.includes(page)) await forget(page);
    await browser.disconnect();
  };
  return browser;
}

/** Close a page with what its origin holds: a server to come may have the same port. */
async function forget(page) {
  const { origin } = new URL(page.url());
  if (origin !== 'null') {
    const session = await page.createCDPSession();
    await session.send('Storage.clearDataForOrigin', { origin, storageTypes: 'all' });
  }
  await page.close();
}

/** Start Chromium, without one word to a network beyond loopback, where all names under `.test` lead. */
export async function start({ flags = [], webgpu = true } = {}) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'nss-chromium-'));
  const browser = await puppeteer.launch({
    executablePath: CHROMIUM,
    headless: true,
    userDataDir: profile,
    timeout: PATIENCE,
    protocolTimeout: 600_000,
    args: [
      '--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
      '--disable-sync', '--disable-dev-shm-usage', '--host-resolver-rules=MAP *.test 127.0.0.1',
      ...(webgpu ? ['--enable-unsafe-webgpu'] : []), ...flags,
    ],
  });
  const close = browser.close.bind(browser);
  browser.close = async () => { await close(); fs.rmSync(profile, { recursive: true, force: true }); };
  return browser;
}

/** A page of that address; what it logs and throws is kept in `page.messages`, and printed where `NSS_WEB_VERBOSE` is set. */
export async function visit(browser, url) {
  const page = await browser.newPage();
  page.setDefaultTimeout(300_000);
  page.messages = [];
  const keep = text => { page.messages.push(text); if (process.env.NSS_WEB_VERBOSE) console.error(text); };
  page.on('console', message => keep(`${message.type()}: ${message.text()}`));
  page.on('pageerror', error => keep(`pageerror: ${error}`));
  await page.goto(url);
  return page;
}
