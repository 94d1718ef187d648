// Files as they arrive in the visitor's folder.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { choose, photo, reads, saved, stage, states } from './pages.mjs';

const FOLDER = process.env.NSS_FOLDER;
let here;
before(async () => { here = await stage(); });
after(() => here.close());

/** A page whose downloads go into a folder of its own. */
async function open(search) {
  const page = await here.open(search);
  const folder = fs.mkdtempSync(path.join(FOLDER, 'saved-'));
  const session = await page.createCDPSession();
  await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: folder });
  return { page, folder };
}

const PNG = [0x89, 0x50, 0x4e, 0x47];
const RIFF = [0x52, 0x49, 0x46, 0x46];

test('PNG, WebP and mask are saved under the names that the command gives', async () => {
  const { page, folder } = await open();
  await choose(page, photo(FOLDER, 'my.beach.png'));
  await states(page, 'done');
  await page.waitForSelector('#save button[data-format="png"]');
  for (const [format, name, start] of [
    ['png', 'my.beach.cutout.png', PNG], ['webp', 'my.beach.cutout.webp', RIFF], ['mask', 'my.beach.mask.png', PNG],
  ]) {
    await page.click(`#save button[data-format="${format}"]`);
    const bytes = await saved(folder, name);
    assert.deepEqual([...bytes.subarray(0, 4)], start);
    await reads(page, '#save .saving', `${name} is saved.`);
    const size = await page.evaluate(async base64 => {
      const bitmap = await createImageBitmap(new Blob([Uint8Array.from(atob(base64), each => each.charCodeAt(0))]));
      return [bitmap.width, bitmap.height];
    }, bytes.toString('base64'));
    assert.deepEqual(size, [48, 32]);
  }
  await page.close();
});

test('all photos that are done are saved in one ZIP', async () => {
  const { page, folder } = await open();
  await choose(page, photo(FOLDER, 'one.png'), photo(FOLDER, 'bad.png'), photo(FOLDER, 'two.png'));
  await states(page, 'done', 'failed', 'done');
  await page.select('#all-format', 'mask');
  await page.click('#all-save');
  const bytes = await saved(folder, 'cutouts.zip');
  assert.deepEqual([...bytes.subarray(0, 4)], [0x50, 0x4b, 3, 4]);
  assert.deepEqual(['one.mask.png', 'two.mask.png'].map(name => bytes.includes(name)), [true, true]);
  assert.equal(bytes.includes('bad'), false);
  await reads(page, '.all .saving', 'cutouts.zip with 2 photos is saved.');
  await page.close();
});

test('a file that cannot be made says why, and the page goes on', async () => {
  const { page } = await open('?norender');
  await choose(page, photo(FOLDER, 'one.png'));
  await states(page, 'done');
  await page.click('#save button[data-format="png"]');
  await page.waitForFunction(() => document.querySelector('#save .saving').textContent
    === 'The picture does not fit into memory; choose a smaller photo.');
  const disabled = await page.$eval('#save [data-format="png"]', each => each.getAttribute('aria-disabled'));
  assert.equal(disabled, 'false');
  await page.close();
});

test('writing is cancelled, and the focus comes back', async () => {
  const { page } = await open('?slowrender');
  await choose(page, photo(FOLDER, 'one.png'));
  await states(page, 'done');
  await page.focus('#save button[data-format="png"]');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelector('#save .saving').textContent === 'Writing one.cutout.png');
  await page.click('.saving-row button');
  await page.waitForFunction(() => document.querySelector('#save .saving').textContent === 'Cancelled.');
  assert.equal(await page.evaluate(() => document.activeElement.dataset.format), 'png');
  await page.close();
});
