// The visitor chooses this browser, on SwiftShader; and the service worker of a static site that had the address before.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launch } from '../harness.mjs';
import { Visitor } from '../whole/visitor.mjs';
import { Serving } from './serving.mjs';

const { NSS_FOLDER: FOLDER, NSS_MODEL: MODEL, NSS_PHOTO: PHOTO, NSS_SITE: SITE } = process.env;
const SERVED = { models: [MODEL], options: JSON.parse(process.env.NSS_INTERFACE) };
let serving, visitor, page;

before(async () => {
  serving = await Serving.start(SERVED);
  visitor = await Visitor.at(serving.address, { downloads: path.join(FOLDER, 'downloads') });
  ({ page } = visitor);
  await page.waitForSelector('#columns:not([hidden])');
});
after(async () => { await visitor?.leave(); await serving?.stop(); });

test('this browser cuts photos with models that the server makes for it, and sends none', async () => {
  await page.click('#model summary');
  await page.focus('#place-computer');
  await page.keyboard.press('ArrowDown');
  await page.waitForSelector('#notice[data-code="software"] button');
  assert.equal(await page.$eval('#place-computer', each => each.checked), true, 'nobody has gone on yet');
  await page.click('#notice button');
  await page.waitForFunction(() => /in this browser$/.test(document.querySelector('#model .now').textContent));
  assert.equal(await page.$eval('#place-browser', each => each.checked), true);
  assert.match(await page.$eval('#promise', each => each.textContent), /^It happens in this browser/);
  await visitor.drop(PHOTO);
  const { state, message } = await visitor.last();
  assert.deepEqual([state, message], ['done', '']);
  assert.match(await page.$eval('#save .about', each => each.textContent), /in this browser: .*SwiftShader/i);
  fs.renameSync(await visitor.save('png'), path.join(FOLDER, 'by_browser.png'));
  assert.deepEqual(await serving.jobs(), []);
  // The same photo by this computer.
  await page.click('#place-computer');
  await page.click('.queue button[aria-label^="Again with the chosen model"]');
  await page.waitForFunction(() => /on this computer: /.test(document.querySelector('#save .about').textContent));
  fs.renameSync(await visitor.save('png'), path.join(FOLDER, 'by_computer.png'));
  assert.equal((await serving.jobs()).length, 1);
  assert.deepEqual([visitor.problems, visitor.elsewhere], [[], []]);
});

test('a static site that had this address before leaves it to the server', async () => {
  const browser = await launch({ webgpu: false });
  try {
    await serving.stop();
    const site = http.createServer((request, response) => {
      const name = new URL(request.url, serving.url).pathname.replace(/\/$/, '/index.html');
      const file = path.join(SITE, name);
      if (!fs.existsSync(file)) return response.writeHead(404).end();
      const types = { '.html': 'text/html', '.mjs': 'text/javascript', '.css': 'text/css', '.json': 'application/json' };
      response.writeHead(200, { 'content-type': types[path.extname(file)] ?? 'application/octet-stream' });
      response.end(fs.readFileSync(file));
    });
    await new Promise(done => site.listen(serving.port, '127.0.0.1', done));
    const first = await browser.newPage();
    await first.goto(serving.url);
    await first.waitForFunction(() => /opens without network/.test(document.getElementById('offline').textContent));
    site.closeAllConnections();
    await new Promise(done => site.close(done));
    serving = await Serving.start({ ...SERVED, port: serving.port });
    await first.goto('about:blank');
    await first.goto(serving.address);
    await first.waitForSelector('#columns:not([hidden]) #place-computer');
    assert.equal(first.url(), serving.url);
    const left = await first.evaluate(async () => [
      (await navigator.serviceWorker.getRegistrations()).length, navigator.serviceWorker.controller,
      (await caches.keys()).filter(name => name.startsWith('nss-page-')),
    ]);
    assert.deepEqual(left, [0, null, []]);
  } finally {
    await browser.close();
  }
});
