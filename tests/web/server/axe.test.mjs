// No violation of the rules of axe-core on the page behind the server, in both colour schemes, wide and narrow.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launch } from '../harness.mjs';
import { choose } from '../page/pages.mjs';
import { Serving, until } from './serving.mjs';

const { NSS_FOLDER: FOLDER, NSS_MODEL: MODEL, NSS_PHOTO: PHOTO } = process.env;
const AXE = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
let serving, browser;
before(async () => {
  [serving, browser] = await Promise.all([Serving.start({ models: [MODEL, 'u2netp'] }), launch({ webgpu: false })]);
});
after(async () => { await browser?.close(); await serving?.stop(); });

async function violations(page) {
  await page.evaluate(AXE); // through DevTools, which no policy of the page's stops
  return page.evaluate(async () => {
    const { violations: found } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
    return found.map(({ id, nodes }) => [id, nodes.map(({ html, failureSummary }) => [html, failureSummary])]);
  });
}

for (const [scheme, width] of /** @type {const} */ ([['light', 1400], ['dark', 360]])) {
  test(`${scheme}, ${width} pixels wide`, async () => {
    const page = await browser.newPage();
    page.setDefaultTimeout(60_000);
    await page.setViewport({ width, height: 900 });
    await page.emulateMediaFeatures([
      { name: 'prefers-color-scheme', value: scheme }, { name: 'prefers-reduced-motion', value: 'reduce' },
    ]);
    const check = async name => {
      assert.deepEqual(await violations(page), [], name);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'it scrolls sideways');
    };
    await page.goto(serving.url);
    await page.waitForSelector('#notice[data-code="token"]:not([hidden])');
    await check('no token');
    await page.goto(serving.address);
    await page.waitForSelector('#columns:not([hidden])');
    await page.click('#model summary');
    assert.match(await page.$eval('label[for=model-u2netp]', each => each.textContent), /^U²-Netp/);
    await check('empty');
    await choose(page, PHOTO, path.join(FOLDER, 'none.png'));
    await page.waitForFunction(() => (
      [...document.querySelectorAll('.queue li')].map(row => row.dataset.state).join() === 'done,failed'));
    await page.waitForFunction(() => document.querySelector('#save .about').textContent);
    await check('result');
    await page.evaluate(() => {
      [...document.querySelectorAll('#photos .actions button')].find(each => each.textContent === 'Remove all').click();
    });
    await until(async () => !(await serving.jobs()).length);
    await page.close();
  });
}
