// The whole page with the browser's own backend: a photo is dropped, and its cut-out is saved. On SwiftShader, by the
// site that the command wrote.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launch, serve } from '../harness.mjs';
import { number, reads, saved, states } from './pages.mjs';

const { NSS_SITE: SITE, NSS_PHOTO: PHOTO, NSS_FOLDER: FOLDER } = process.env;
let browser, server, page;
const elsewhere = [];

before(async () => {
  [server, browser] = await Promise.all([serve({ '/': SITE }), launch()]);
  page = await browser.newPage();
  page.setDefaultTimeout(240_000);
  await page.setViewport({ width: 1400, height: 900 });
  const session = await browser.target().createCDPSession();
  await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: FOLDER });
});
after(async () => { await browser.close(); await server.close(); });

test('a photo that is dropped becomes a PNG, a WebP and a mask in the visitor’s folder', async () => {
  page.on('request', request => {
    const url = request.url();
    if (!url.startsWith(server.url) && !/^(blob|data):/.test(url)) elsewhere.push(url);
  });
  const problems = [];
  page.on('pageerror', error => problems.push(String(error)));
  page.on('console', message => { if (message.type() === 'error') problems.push(message.text()); });
  await page.goto(server.url);
  // Without a graphics card the page says so first, and goes on if it is told to.
  await page.waitForSelector('#notice[data-code="software"] button');
  await page.click('#notice button');
  await page.waitForSelector('#columns:not([hidden])');
  await page.evaluate((name, base64) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(base64), each => each.charCodeAt(0))], name, { type: 'image/png' }));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
  }, path.basename(PHOTO), fs.readFileSync(PHOTO).toString('base64'));
  await page.waitForFunction(() => ['done', 'failed'].includes(document.querySelector('.queue li')?.dataset.state));
  assert.equal(await page.$eval('.queue .message', each => each.textContent), '');
  await states(page, 'done');
  await page.waitForFunction(() => /SwiftShader/i.test(document.querySelector('#save .about').textContent));
  for (const [format, suffix] of [['png', 'cutout.png'], ['webp', 'cutout.webp'], ['mask', 'mask.png']]) {
    await page.click(`#save button[data-format="${format}"]`);
    const name = `${path.parse(PHOTO).name}.${suffix}`;
    await reads(page, '#save .saving', `${name} is saved.`);
    assert.ok((await saved(FOLDER, name)).length > 100);
  }
  // Settings as options of the command: --expand 1.5 --feather 1 --hidden zero.
  const about = () => page.$eval('#result', each => each.getAttribute('aria-busy'));
  for (const [label, value] of [['Expand', '1.5'], ['Feather', '1']]) {
    const input = await page.$(number(label));
    await input.click({ count: 3 });
    await input.type(value);
    await page.keyboard.press('Tab');
  }
  await page.select('#settings select', 'zero');
  await new Promise(done => setTimeout(done, 500)); // a change is told when it has come to rest
  while (await about()) await new Promise(done => setTimeout(done, 20));
  fs.renameSync(path.join(FOLDER, `${path.parse(PHOTO).name}.cutout.png`), path.join(FOLDER, 'plain.png'));
  await page.$eval('#save .saving', each => { each.textContent = ''; });
  await page.click('#save button[data-format="png"]');
  await saved(FOLDER, `${path.parse(PHOTO).name}.cutout.png`);
  assert.deepEqual(problems, []);
  if (process.env.NSS_SCREENSHOT) await page.screenshot({ path: process.env.NSS_SCREENSHOT });
});

test('nothing was asked of any other host, and nothing can be', async () => {
  assert.deepEqual(elsewhere, []);
  const refused = await page.evaluate(async () => {
    const seen = new Promise(done => {
      document.addEventListener('securitypolicyviolation', event => done(event.blockedURI), { once: true });
    });
    const answer = await fetch('https://example.com/photo', { method: 'POST', body: 'photo', mode: 'no-cors' })
      .then(() => 'sent', () => 'refused');
    return [answer, await seen];
  });
  assert.deepEqual(refused, ['refused', 'https://example.com/photo']);
  const worker = page.workers().find(each => each.url().endsWith('page/worker.mjs'));
  assert.equal(await worker.evaluate(() => fetch('https://example.com/photo', { mode: 'no-cors' })
    .then(() => 'sent', () => 'refused')), 'refused');
});

test('a photo of one pixel, and files that are no photos, end in a sentence or a file', async () => {
  const before = await page.$$eval('.queue li', all => all.length);
  await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(1, 1);
    canvas.getContext('2d').fillRect(0, 0, 1, 1);
    const pixel = await canvas.convertToBlob();
    const data = new DataTransfer();
    for (const [name, content] of [['notes.png', 'no photo'], ['empty.jpg', ''], ['pixel.png', pixel]]) {
      data.items.add(new File([content], name));
    }
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
  });
  await page.waitForFunction(count => {
    const rows = [...document.querySelectorAll('.queue li')];
    return rows.length === count + 3 && rows.every(row => ['done', 'failed'].includes(row.dataset.state));
  }, {}, before);
  const rows = await page.$$eval('.queue li', all => all.map(row => [
    row.dataset.state, row.querySelector('.message').textContent,
  ]));
  for (const [index, name] of [[before, 'notes.png'], [before + 1, 'empty.jpg']]) {
    assert.equal(rows[index][0], 'failed');
    assert.match(rows[index][1], new RegExp(`^${name}.*[a-z)]\\.$`));
  }
  // The network may find nothing in one pixel.
  if (rows[before + 2][0] === 'failed') assert.match(rows[before + 2][1], /^pixel\.png: .*\.$/);
});
