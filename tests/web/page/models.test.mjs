// The model is chosen by size and licence, and kept where the visitor agrees.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { choose, photo, reads, stage, states } from './pages.mjs';

const FOLDER = process.env.NSS_FOLDER;
let here;
before(async () => { here = await stage(); });
after(() => here.close());

const calls = (page, what) => page.evaluate(name => globalThis.fake.calls.filter(([call]) => call === name), what);
const hint = page => page.$eval('.keep .hint', each => each.textContent);

test('each model says its size and its licence; those not for commerce say so', async () => {
  const page = await here.open();
  await page.click('#model summary');
  const options = await page.$$eval('.option', all => all.map(option => ({
    title: option.querySelector('.title').textContent, bytes: option.querySelector('.bytes').textContent,
    warning: option.querySelector('.warning')?.textContent ?? '', licence: option.querySelector('a').textContent,
    checked: option.querySelector('input').checked,
  })));
  assert.deepEqual(options, [
    { title: 'U²-Netp', bytes: '2.5 MB', warning: '', licence: 'Apache-2.0', checked: true },
    { title: 'IS-Net', bytes: '88 MB', warning: '', licence: 'Apache-2.0', checked: false },
    { title: 'RMBG-1.4', bytes: '44 MB', warning: 'Not for commercial use', licence: 'BRIA RMBG-1.4', checked: false },
    {
      title: 'RMBG-2.0', bytes: '465 MB', warning: 'Commercial use by agreement only', licence: 'CC BY-NC 4.0',
      checked: false,
    },
  ]);
  await page.close();
});

test('nothing is loaded before there is a photo; then the chosen model is', async () => {
  const page = await here.open();
  await page.click('#model summary');
  await page.focus('#model-u2netp');
  await page.keyboard.press('ArrowDown');
  assert.equal(await page.$eval('#model-isnet', each => each.checked), true);
  assert.deepEqual(await calls(page, 'open'), []);
  await choose(page, photo(FOLDER, 'a.png'));
  await states(page, 'done');
  assert.deepEqual(await calls(page, 'open'), [['open', 'isnet', false]]);
  assert.match(await page.$eval('.model-state', each => each.textContent), /^Ready on Test Graphics 1$/);
  await page.close();
});

test('a photo is cut again with another model', async () => {
  const page = await here.open();
  await choose(page, photo(FOLDER, 'a.png'));
  await states(page, 'done');
  await page.click('#model summary');
  await page.click('#model-isnet');
  await page.click('.queue li button[aria-label="Again with the chosen model: a.png"]');
  await page.waitForFunction(() => document.querySelector('#save .about').textContent.includes('by IS-Net'));
  await page.close();
});

test('a model is kept when the visitor agrees, and removed when asked', async () => {
  const page = await here.open();
  await page.click('#model summary');
  assert.equal(await hint(page), 'There is room for 100 MB.');
  await page.click('#keep');
  await page.waitForFunction(() => document.querySelector('.keep .hint').textContent === 'It is on this device.');
  await page.click('.keep button');
  await page.waitForFunction(() => document.querySelector('.keep .hint').textContent === 'There is room for 100 MB.');
  assert.equal(await page.$eval('#keep', each => each.checked), false);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'keep');
  await page.close();
});

test('a model larger than the room there is is not kept', async () => {
  const page = await here.open();
  await page.click('#model summary');
  await page.click('label[for="model-rmbg-2.0"]');
  await page.waitForFunction(() => document.querySelector('label[for="keep"]').textContent.includes('465 MB'));
  await page.click('#keep');
  await reads(page, '.keep .hint', /needs 465 MB: free some space first/);
  assert.equal(await page.$eval('#keep', each => each.checked), false);
  await page.close();
});
