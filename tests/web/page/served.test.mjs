// The page behind a server that stands in for `nss-wgpu serve`: no GPU, and every state of the server.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { PATIENCE, launch } from '../harness.mjs';
import { WEB, choose, photo, reads, saved, states, text, until } from './pages.mjs';
import { StandIn } from './stand_in.mjs';

const { NSS_FOLDER: FOLDER } = process.env;
let browser, server, page;
let port = 0;
before(async () => {
  browser = await launch({ webgpu: false });
  page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on('console', message => { if (message.type() === 'error') page.messages.push(message.text()); });
  page.on('pageerror', error => page.messages.push(`pageerror: ${error}`));
  await page.setViewport({ width: 1400, height: 900 });
});
after(() => browser.close());

// Each test has a server of its own at the one address, whose modules the browser has, and a page that remembers nothing.
beforeEach(async () => {
  server = new StandIn(WEB);
  server.port = port;
  await server.start();
  ({ port } = server);
});
afterEach(async () => {
  if (page.url() !== 'about:blank') await page.evaluate(() => { localStorage.clear(); sessionStorage.clear(); });
  await page.goto('about:blank');
  await server.stop().catch(() => undefined);
});

/** Open the page by an address. */
async function arrive(fragment = '#token=right', prepare = async () => {}) {
  page.messages = [];
  await prepare(page);
  await page.goto(server.url + fragment);
  return page;
}

/** Open the page, and wait until photos can be added. */
async function open(fragment, prepare) {
  await arrive(fragment, prepare);
  await page.waitForSelector('#columns:not([hidden])');
  return page;
}

const photos = (...names) => names.map(name => photo(FOLDER, name));
const numbered = count => Array.from({ length: count }, (_, index) => `photo${index + 1}.png`);
const posted = () => server.asked.filter(({ method, path: name }) => method === 'POST' && /jobs\?/.test(name));
const below = words => page.evaluate(label => {
  [...document.querySelectorAll('#photos .actions button')].find(each => each.textContent === label).click();
}, words);
const notice = code => page.waitForSelector(`#notice[data-code="${code}"]:not([hidden])`);

test('a photo is cut by the server, and the page says by whom', async () => {
  await open();
  assert.equal(await text(page, '#promise'), 'It happens on the computer that runs nss-wgpu: this one. No photo leaves it.');
  assert.equal(page.url(), server.url, 'the token is still to be seen');
  await choose(page, ...photos('cat.png'));
  await states(page, 'done');
  await reads(page, '#save .about', 'cat.png, 48 × 32. Cut out in 0.40 s by U²-Netp on this computer: Test Graphics 9.');
  assert.equal(await text(page, '.model-state'), 'Ready on this computer: Test Graphics 9');
  const [{ path: address, headers }] = posted();
  assert.equal(address, '/api/v1/jobs?model=u2netp&name=cat.png&keep-photo=true');
  assert.equal(headers.accept, 'application/x-nss-mask');
  assert.equal(headers['content-type'], 'image/png');
  for (const each of server.asked) {
    assert.deepEqual([each.headers.cookie, each.headers.referer], [undefined, undefined]);
    assert.doesNotMatch(each.path, /right/);
  }
  assert.equal(await text(page, '#offline'), '');
  assert.equal(await page.evaluate(async () => (await navigator.serviceWorker.getRegistrations()).length), 0);
  assert.deepEqual(page.messages, []);
});

test('what is saved is made here, of the photo and the server’s mask', async () => {
  await open();
  const session = await browser.target().createCDPSession();
  const downloads = path.join(FOLDER, 'served');
  await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: downloads });
  await choose(page, ...photos('cat.png'));
  await states(page, 'done');
  await page.waitForSelector('#save button[data-format="png"]');
  await page.click('#save button[data-format="png"]');
  const file = await saved(downloads, 'cat.cutout.png');
  assert.deepEqual([file.readUInt32BE(16), file.readUInt32BE(20)], [48, 32]);
  assert.equal(file.subarray(1, 4).toString(), 'PNG');
  fs.rmSync(downloads, { recursive: true });
});

test('several photos are sent at once, as many as the server takes, in their order', async () => {
  server.held = true;
  await open();
  await choose(page, ...photos(...numbered(10)));
  await until(() => posted().length === 8 && server.count('GET', /events/) > 0);
  await new Promise(done => setTimeout(done, 200));
  assert.deepEqual(posted().map(each => new URL(each.path, server.url).searchParams.get('name')), numbered(8));
  assert.equal(server.count('GET', /events/), 1);
  await states(page, ...Array(10).fill('waiting'));
  server.release();
  await states(page, ...Array(10).fill('done'));
});

test('one that fails says why, and the others go on', async () => {
  await open();
  await choose(page, ...photos('a.png', 'bad.png', 'c.png'));
  await states(page, 'done', 'failed', 'done');
  assert.equal(await text(page, '.queue .message:not([hidden])'), 'bad.png: is damaged; take another.');
});

test('cancelling and removing reach the server', async () => {
  server.held = true;
  await open();
  await choose(page, ...photos('a.png', 'b.png', 'c.png'));
  await until(() => server.jobs.size === 3);
  await page.click('.queue li:nth-child(2) button[aria-label="Cancel b.png"]');
  await until(() => server.jobs.size === 2);
  assert.deepEqual([...server.jobs.values()].map(job => job.name), ['a.png', 'c.png']);
  await below('Cancel all');
  await until(() => server.jobs.size === 0);
  await states(page, 'cancelled', 'cancelled', 'cancelled');
  server.release();
  await page.click('.queue li:nth-child(1) button[aria-label="Try again: a.png"]');
  await states(page, 'done', 'cancelled', 'cancelled');
  assert.equal(server.jobs.size, 1);
  await page.click('.queue li:nth-child(1) button[aria-label="Remove a.png"]');
  await until(() => server.jobs.size === 0);
});

test('a job that is cancelled while it is sent is gone from the server too', async () => {
  server.held = true;
  let answer;
  server.late = new Promise(done => { answer = done; });
  await open();
  await choose(page, ...photos(...numbered(8)));
  await until(() => server.jobs.size === 1);
  await below('Cancel all');
  await states(page, ...Array(8).fill('cancelled'));
  assert.equal(server.count('DELETE', /jobs/), 0, 'of a job that the page does not know yet');
  answer();
  await until(() => server.jobs.size === 0);
  assert.equal(posted().length, 1);
});

test('after a reload the photos are there, those that wait and those that are done, and go on', async () => {
  await open();
  await choose(page, ...photos('done.png', 'bad.png'));
  await states(page, 'done', 'failed');
  server.held = true;
  await choose(page, ...photos('later.png', 'last.png'));
  await until(() => server.jobs.size === 4);
  await page.reload();
  await states(page, 'done', 'failed', 'waiting', 'waiting');
  assert.equal(await text(page, '.queue .message:not([hidden])'), 'bad.png: is damaged; take another.');
  await page.waitForFunction(() => document.querySelector('#save .about')?.textContent.startsWith('done.png'));
  server.release();
  await states(page, 'done', 'failed', 'done', 'done');
  assert.equal(posted().length, 4, 'a photo was sent again');
  // What failed is tried again with the photo that the server kept.
  await page.click('.queue li:nth-child(2) button[aria-label="Try again: bad.png"]');
  await until(() => posted().length === 5);
  await states(page, 'done', 'failed', 'done', 'done');
  await until(() => server.jobs.size === 4); // without the one that failed before
  await below('Remove all');
  await until(() => server.jobs.size === 0);
  await page.reload();
  await page.waitForSelector('#columns:not([hidden])');
  await states(page);
});

test('jobs of other programs are left alone', async () => {
  const headers = { authorization: 'Bearer right' };
  await fetch(`${server.url}api/v1/jobs?name=other.png`, { method: 'POST', headers, body: 'x' });
  await open();
  await states(page);
});

test('a server that is busy is asked again when it said', async () => {
  await open();
  server.busy = Infinity;
  await choose(page, ...photos('a.png', 'b.png'));
  await reads(page, '.queue .state', 'This computer is busy');
  assert.equal(await page.$eval('.queue li', row => row.dataset.state), 'waiting');
  const asked = posted().length;
  await until(() => posted().length > asked);
  server.busy = 0;
  await states(page, 'done', 'done');
});

test('a photo that is too large to be kept is cut all the same', async () => {
  server.keeps = false;
  await open();
  await choose(page, ...photos('a.png'));
  await states(page, 'done');
  assert.deepEqual([...server.jobs.values()].map(job => job.photo), [false]);
});

test('over plain http, from another computer, the page works and names the server', async () => {
  const other = await browser.newPage();
  try {
    other.setDefaultTimeout(PATIENCE);
    await other.goto(`${server.url.replace('127.0.0.1', 'photos.test')}#token=right`);
    await other.waitForSelector('#columns:not([hidden])');
    assert.equal(await other.evaluate(() => isSecureContext), false);
    assert.equal(await text(other, '#promise'),
      'It happens on photos.test, the computer that runs nss-wgpu. Photos go there, and nowhere else.');
    await choose(other, ...photos('a.png'));
    await states(other, 'done');
    await reads(other, '#save .about', /by U²-Netp on photos\.test: Test Graphics 9\.$/);
    await other.click('#model summary');
    await other.click('#place-browser');
    await other.waitForSelector('#notice[data-code="insecure"]:not([hidden])');
    assert.equal(await other.$eval('#place-computer', each => each.checked), true);
  } finally {
    await other.close();
  }
});

test('a photo that is larger than the server takes is not sent', async () => {
  await open();
  const large = path.join(FOLDER, 'large.png');
  fs.writeFileSync(large, Buffer.alloc((1 << 20) + 1));
  await choose(page, large);
  await states(page, 'failed');
  assert.equal(await text(page, '.queue .message'),
    'large.png: 1.0 MB are more than the 1.0 MB that this computer takes; reduce it first.');
  assert.equal(posted().length, 0);
});

for (const [how, fragment] of [['no token', ''], ['an old token', '#token=old']]) {
  test(`with ${how} the page asks for the printed address, and goes on when that is opened`, async () => {
    await arrive(fragment);
    await notice('token');
    assert.match(await text(page, '#notice'), /Open the address that nss-wgpu serve printed when it started/);
    assert.equal(await page.$eval('#columns', each => each.hidden), true);
    await page.goto(`${server.url}#token=right`);
    await page.waitForSelector('#columns:not([hidden])');
    assert.equal(await page.$eval('#notice', each => each.hidden), true);
    assert.equal(page.url(), server.url);
  });
}

for (const [status, code] of [[403, 'refused'], [421, 'address'], [503, 'busy']]) {
  test(`an answer of ${status} is said`, async () => {
    server.refusal = status;
    await arrive();
    await notice(code);
    assert.match(await text(page, '#notice'), /The server has its reasons; open the printed address\./);
  });
}

test('a server that stops is waited for: photos that wait are sent again, those that are done stay', async () => {
  await open();
  await choose(page, ...photos('done.png'));
  await states(page, 'done');
  server.held = true;
  await choose(page, ...photos('b.png', 'c.png'));
  await until(() => server.jobs.size === 3);
  await reads(page, '.queue li:last-child .state', 'Waiting'); // it knows that it has a job, and is no longer sending
  await server.stop();
  await notice('unreachable');
  await states(page, 'done', 'waiting', 'waiting');
  server.held = false;
  await server.restart({ token: 'right' });
  await states(page, 'done', 'done', 'done');
  assert.equal(await page.$eval('#notice', each => each.hidden), true);
  assert.deepEqual([...server.jobs.values()].map(job => job.name), ['b.png', 'c.png']);
});

test('a server that comes back with another token: the new address goes on with the same photos', async () => {
  server.held = true;
  await open();
  await choose(page, ...photos('a.png', 'b.png'));
  await until(() => server.jobs.size === 2);
  await server.stop();
  await notice('unreachable');
  server.held = false;
  await server.restart({ token: 'new' });
  await notice('token');
  await states(page, 'failed', 'failed');
  await page.goto(`${server.url}#token=new`);
  await states(page, 'done', 'done');
  assert.equal(await page.$eval('#notice', each => each.hidden), true);
});

test('an old token that is refused when the new one is there is no failure: the photo is sent again', async () => {
  await open();
  let refuse;
  server.late = new Promise(done => { refuse = done; });
  server.token = 'new';
  await choose(page, ...photos('a.png'));
  await until(() => posted().length === 1);
  await page.goto(`${server.url}#token=new`);
  await until(() => page.evaluate(() => Object.values(sessionStorage).includes('new')));
  refuse();
  await states(page, 'done');
  assert.equal(posted().length, 2);
});

test('this browser cannot be chosen without a graphics card, and the page says why', async () => {
  await open();
  await page.click('#model summary');
  await page.focus('#place-computer');
  await page.keyboard.press('ArrowDown');
  await notice('no-adapter');
  assert.equal(await page.$eval('#place-computer', each => each.checked), true);
  await choose(page, ...photos('a.png'));
  await states(page, 'done');
});

test('the browser that was chosen is remembered, and why its models are not to be had is said', async t => {
  const adapter = async each => {
    const { identifier } = await each.evaluateOnNewDocument(() => {
      const info = { vendor: 'test', architecture: 'nine', description: 'Test Graphics of this browser' };
      Object.defineProperty(Navigator.prototype, 'gpu', { get: () => ({ requestAdapter: async () => ({ info }) }) });
    });
    t.after(() => each.removeScriptToEvaluateOnNewDocument(identifier)); // other tests have a page without one
  };
  await open(undefined, adapter);
  await page.click('#model summary');
  await page.click('#place-browser');
  await reads(page, '.place-state', 'The models cannot be made for browsers; use this computer.');
  assert.equal(await page.$eval('#place-computer', each => each.checked), true);
  const site = path.join(FOLDER, 'browser');
  fs.mkdirSync(site);
  fs.writeFileSync(path.join(site, 'site.json'), JSON.stringify({ format: 1, version: '0.0', files: [], models: [{
    name: 'u2netp', title: 'U²-Netp', summary: 'Small.', licence: 'Apache-2.0', licence_url: '', commercial: 'yes',
    weights: 'f32', bytes: 4_600_000, size: [64, 64], folder: 'models/u2netp/', default: true, files: [],
  }] }));
  server.browser = site;
  await page.click('#place-browser');
  await reads(page, '#promise', 'It happens in this browser, on its own graphics card. No photo leaves it.');
  assert.equal(await text(page, '#model .now'), 'U²-Netp, 4.6 MB, in this browser');
  assert.equal(await page.$eval('.keep', each => each.hidden), true);
  await page.reload();
  await page.waitForFunction(() => document.querySelector('#place-browser')?.checked);
  await reads(page, '#promise', /^It happens in this browser/);
  await page.click('#model summary');
  await page.click('#place-computer');
  await reads(page, '#model .now', 'U²-Netp, on this computer');
  fs.rmSync(site, { recursive: true });
});
