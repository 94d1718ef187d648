// The page without network, by the site that the command wrote: kept whole, replaced whole, models only where agreed.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { PATIENCE, launch, serve } from '../harness.mjs';
import { reads, until } from './pages.mjs';

const { NSS_SITE, NSS_FOLDER } = process.env;
const site = path.join(NSS_FOLDER, 'site');
let browser, server, context, page;
let down = false;
/** What the site's list waits for, which the service worker asks the host for at each visit. */
let list = Promise.resolve();

before(async () => {
  const answer = async request => {
    if (request.url === '/site.json') await list;
    if (down) request.socket.destroy();
    return down;
  };
  [server, browser] = await Promise.all([serve({ '/': site }, { answer }), launch()]);
});
after(async () => { await browser.close(); await server.close(); });

// Each test is a first visit, to a site of its own.
beforeEach(async () => {
  await context?.close();
  down = false;
  fs.rmSync(site, { recursive: true, force: true });
  fs.cpSync(NSS_SITE, site, { recursive: true });
  context = await browser.createBrowserContext();
  page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(server.url);
  await page.waitForFunction(() => /opens without network/.test(document.getElementById('offline').textContent));
});

const title = () => page.$eval('h1', each => each.textContent);

/** Go on without a graphics card, to where photos are added. */
async function begin() {
  await page.waitForSelector('#notice[data-code="software"] button');
  await page.click('#notice button');
  await page.waitForSelector('#columns:not([hidden])');
}

/** Write another headline into the site, and its hash into site.json, or a wrong one. */
function publish(headline, { right = true, folder = site } = {}) {
  const file = path.join(folder, 'index.html');
  const text = fs.readFileSync(file, 'utf8').replace(/<h1>.*<\/h1>/, `<h1>${headline}</h1>`);
  fs.writeFileSync(file, text);
  const list = JSON.parse(fs.readFileSync(path.join(folder, 'site.json'), 'utf8'));
  const entry = list.files.find(each => each.path === 'index.html');
  entry.sha256 = right ? createHash('sha256').update(text).digest('hex') : '0'.repeat(64);
  entry.bytes = Buffer.byteLength(text);
  list.version = headline;
  fs.writeFileSync(path.join(folder, 'site.json'), JSON.stringify(list));
}

/** Hold the site's list back: what looks for another version finds the one there is when this is called off. */
function hold() {
  let go = () => {};
  list = new Promise(done => { go = done; });
  return go;
}

/** The cache that a pointer of the service worker names; null where it names none. */
const pointer = name => page.evaluate(async which => {
  const found = await (await caches.open('nss-page')).match(new URL(which, location.href).href);
  return found ? found.text() : null;
}, name);

test('after the first visit it opens without network, with its policy, and says that no model was kept', async () => {
  down = true;
  await page.reload();
  await begin();
  await page.evaluate(() => document.querySelector('#model details').setAttribute('open', ''));
  const policy = await page.evaluate(async () => {
    const { headers } = await fetch('page/worker.mjs');
    return headers.get('content-security-policy');
  });
  assert.equal(policy, await page.$eval('meta[http-equiv="Content-Security-Policy"]', each => each.content),
    'the policy of sw.mjs and that of index.html differ');
  // A model that was not kept says so, and the page goes on.
  await (await page.$('#files')).uploadFile(process.env.NSS_SMALL_PHOTO);
  await page.waitForFunction(() => document.querySelector('.queue li')?.dataset.state === 'failed');
  assert.match(await page.$eval('.queue .message', each => each.textContent), /model\.json/);
  assert.equal(await page.$eval('.queue .message', each => /[a-z]\.$/.test(each.textContent)), true);
});

test('a model is kept when the visitor agrees, is there without network, and is removed when asked, or is refused', async () => {
  await begin();
  const kept = () => page.evaluate(async () => {
    const requests = await (await caches.open('nss-models')).keys();
    return requests.map(({ url }) => new URL(url).pathname);
  });
  assert.deepEqual(await kept(), [], 'nothing is kept before');
  await page.evaluate(() => document.querySelector('#model details').setAttribute('open', ''));
  await page.click('#keep');
  await page.waitForFunction(() => document.querySelector('.keep .hint').textContent === 'It is on this device.');
  const model = JSON.parse(fs.readFileSync(path.join(site, 'site.json'), 'utf8')).models[0];
  assert.deepEqual((await kept()).sort(), model.files.map(file => `/${file.path}`).sort());
  down = true;
  await page.reload();
  await begin();
  assert.equal(await page.$eval('#keep', each => each.checked), true, 'the choice is not remembered');
  await page.waitForFunction(() => document.querySelector('.keep .hint').textContent === 'It is on this device.');
  await page.evaluate(() => document.querySelector('#model details').setAttribute('open', ''));
  await page.click('.keep button');
  await page.waitForFunction(() => /^There is room/.test(document.querySelector('.keep .hint').textContent));
  assert.deepEqual(await kept(), []);
  // A file that is not the one that the site names is not kept.
  down = false;
  const { files } = JSON.parse(fs.readFileSync(path.join(site, 'site.json'), 'utf8')).models[0];
  fs.writeFileSync(path.join(site, files.find(each => each.path.endsWith('.bin')).path), 'not this');
  await page.click('#keep');
  await reads(page, '.keep .hint', /is not the file that the site names/);
  assert.equal(await page.$eval('#keep', each => each.checked), false);
});

test('another version takes the place of the first as a whole, at the visit after it was found', async () => {
  const first = await title(), found = hold();
  publish('Second');
  await page.reload();
  assert.equal(await title(), first);
  found();
  await until(() => pointer('next'));
  await page.reload();
  assert.equal(await title(), 'Second');
  await page.waitForFunction(async () => {
    const names = await caches.keys();
    return names.filter(name => name.startsWith('nss-page-')).length === 1;
  });
  down = true;
  await page.reload();
  assert.equal(await title(), 'Second');
});

test('another version waits while a page of the first is open', async () => {
  const first = await title(), found = hold();
  const other = await context.newPage();
  await other.goto(server.url);
  publish('Second');
  await page.reload();
  found();
  await until(() => pointer('next'));
  await page.reload();
  assert.equal(await title(), first);
  await other.close();
  await page.reload();
  assert.equal(await title(), 'Second');
});

test('a version with a file that is not what it names is never taken', async () => {
  const first = await title();
  publish('Broken', { right: false });
  const asked = server.requests.length;
  await page.reload();
  await until(() => server.requests.slice(asked).includes('/index.html'));
  await new Promise(done => setTimeout(done, 200));
  await page.reload();
  assert.equal(await title(), first);
  assert.equal(await pointer('next'), null);
});

test('two sites of one origin, one in a folder of the other, leave each other alone', async () => {
  const inner = path.join(site, '-x'), ready = /opens without network/;
  fs.cpSync(NSS_SITE, inner, { recursive: true });
  await begin();
  await page.evaluate(() => document.querySelector('#model details').setAttribute('open', ''));
  await page.click('#keep');
  await reads(page, '.keep .hint', 'It is on this device.');
  const found = hold(); // by the visit of the inner one, too, which comes by the outer one's service worker
  const other = await context.newPage();
  await other.goto(`${server.url}-x/`);
  await reads(other, '#offline', ready);
  await other.waitForSelector('#notice[data-code="software"] button');
  await other.click('#notice button');
  await other.waitForSelector('#columns:not([hidden])');
  assert.equal(await other.$eval('#keep', each => each.checked), false, 'what was agreed to on the other site');
  publish('Inner', { folder: inner });
  await other.reload();
  const staged = () => other.evaluate(async () => Boolean(await (await caches.open('nss-page')).match(
    new URL('next', location.href).href)));
  await until(staged);
  await other.reload();
  assert.equal(await other.$eval('h1', each => each.textContent), 'Inner', 'a page of the other site held it back');
  await other.close();
  publish('Outer');
  await page.reload();
  found();
  await until(() => pointer('next'));
  await page.reload();
  assert.equal(await title(), 'Outer');
  down = true;
  await page.goto(`${server.url}-x/`);
  assert.equal(await title(), 'Inner', 'the update of one took the files of the other');
});
