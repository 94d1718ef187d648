// What the page says where it cannot work: each condition made for real where a browser can be brought to it.
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { PATIENCE, launch, serve } from '../harness.mjs';
import { WEB, choose, photo, stage, states } from './pages.mjs';

const FOLDER = process.env.NSS_FOLDER;
let browser, gpu, server, fake;
before(async () => {
  [server, fake, gpu] = await Promise.all([serve({ '/': WEB }), stage(), launch()]);
  ({ browser } = fake);
});
after(() => Promise.all([gpu.close(), fake.close(), server.close()]));

async function notice(page, code) {
  await page.waitForSelector(`#notice[data-code="${code}"]:not([hidden])`);
  return page.$eval('#notice', each => ({
    title: each.querySelector('h2').textContent, text: each.textContent, helps: each.querySelectorAll('li').length,
    button: each.querySelector('button')?.textContent ?? null,
  }));
}

async function visit(which, url, prepare = async () => {}) {
  const page = await which.newPage();
  page.setDefaultTimeout(PATIENCE);
  await prepare(page);
  await page.goto(url);
  return page;
}

test('opened as a file, where browsers run no modules, the page says what helps', async () => {
  const page = await visit(browser, pathToFileURL(path.join(WEB, 'index.html')).href);
  await page.waitForFunction(() => getComputedStyle(document.getElementById('not-started')).visibility === 'visible');
  const text = await page.$eval('#not-started', each => each.textContent);
  assert.match(text, /python -m http\.server/);
  assert.match(text, /nss-wgpu remove photo\.jpg/);
  assert.equal(await page.$eval('#columns', each => each.hidden), true);
  await page.close();
});

test('the words for a page that does not start are not seen while one starts', async () => {
  const page = await fake.browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.setRequestInterception(true);
  const held = new Promise(done => page.on('request', request => {
    if (request.url().endsWith('main.mjs')) done(request);
    else request.continue();
  }));
  const going = page.goto(fake.server.url);
  const request = await held;
  await page.waitForFunction(() => document.readyState === 'interactive'
    && [...document.querySelectorAll('link[rel=stylesheet]')].every(link => link.sheet));
  const seen = await page.$eval('#not-started', each => {
    const [late] = each.getAnimations();
    late.pause();
    return [0, 1400, 1600].map(time => {
      late.currentTime = time;
      return getComputedStyle(each).visibility;
    });
  });
  assert.deepEqual(seen, ['hidden', 'hidden', 'visible']);
  request.continue();
  await going;
  await page.close();
});

test('over plain http it asks for https', async () => {
  const page = await visit(browser, server.url.replace('127.0.0.1', 'photos.test'));
  const { text, button } = await notice(page, 'insecure');
  assert.match(text, /https:\/\//);
  assert.match(text, /nss-wgpu remove photo\.jpg/);
  assert.equal(button, null);
  await page.close();
});

test('without WebGPU it names browsers that have it', async () => {
  const page = await visit(browser, server.url, each => each.evaluateOnNewDocument(() => {
    Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined });
  }));
  const { text } = await notice(page, 'no-webgpu');
  assert.match(text, /Chrome or Edge 113/);
  assert.match(text, /nss-wgpu/);
  await page.close();
});

test('without an adapter it speaks of drivers and settings', async () => {
  const page = await visit(browser, server.url);
  const { text, helps, button } = await notice(page, 'no-adapter');
  assert.match(text, /graphics driver/);
  assert.match(text, /chrome:\/\/flags/);
  assert.match(text, /nss-wgpu/);
  assert.equal(helps, 3);
  assert.equal(button, null, 'there is nothing to go on with');
  await page.close();
});

test('with a software adapter alone it refuses, unless it is told to go on', async () => {
  const page = await visit(gpu, server.url);
  const { title, text, button } = await notice(page, 'software');
  assert.equal(title, 'No graphics card, only a slow stand-in');
  assert.match(text, /nss-wgpu/);
  assert.equal(button, 'Go on all the same');
  assert.equal(await page.$eval('#columns', each => each.hidden), true);
  await page.close();
  // The page of this test has no site.json; that of the fake backend has models.
  const other = await fake.open('?check=software');
  await other.focus('#notice button');
  await other.keyboard.press('Enter');
  await other.waitForSelector('#columns:not([hidden])');
  assert.equal(await other.$eval('#notice', each => each.hidden), true);
  await other.waitForFunction(() => document.activeElement.id === 'files');
  await other.close();
});

test('a site without its list of models says what is missing', async () => {
  const page = await fake.open('?nosite');
  const { text } = await notice(page, 'site');
  assert.match(text, /The host answers 404 for site\.json/);
  assert.match(text, /nss-wgpu export-web/);
  await page.close();
});

for (const code of ['limits', 'features', 'out-of-memory', 'device-lost', 'software', 'no-adapter']) {
  test(`a model that meets "${code}" when it is opened says so on top, and can be tried again`, async () => {
    const page = await fake.open(`?open=${code}`);
    await choose(page, photo(FOLDER, 'one.png'));
    await states(page, 'failed');
    const { text } = await notice(page, code);
    assert.match(text, new RegExp(`The model cannot be opened for the reason ${code}; try again\\.`));
    assert.match(text, /nss-wgpu/);
    await page.click('.queue li button[aria-label="Try again: one.png"]');
    await states(page, 'done');
    assert.equal(await page.$eval('#notice', each => each.hidden), true, 'what is over is not said any longer');
    await page.close();
  });
}

test('a graphics card that is lost over one photo is opened anew for the next', async () => {
  const page = await fake.open();
  await choose(page, photo(FOLDER, 'lost.png'), photo(FOLDER, 'next.png'));
  await states(page, 'failed', 'done');
  assert.equal(await page.evaluate(() => globalThis.fake.calls.filter(([what]) => what === 'open').length), 2);
  await page.close();
});
