// The list of photos, as a visitor works with it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { choose, photo, reads, stage, states, text } from './pages.mjs';

const FOLDER = process.env.NSS_FOLDER;
let here;
before(async () => { here = await stage(); });
after(() => here.close());

const focused = page => page.evaluate(() => {
  const { activeElement: element } = document;
  return element?.getAttribute('aria-label') ?? element?.id;
});
/** Click the button below the queue that says it. */
const below = (page, words) => page.evaluate(label => {
  [...document.querySelectorAll('#photos .actions button')].find(each => each.textContent === label).click();
}, words);
/** Let a step of the backend go on that the address had it hold. */
const go = (page, step) => page.evaluate(name => globalThis.fake.held.delete(name), step);
const live = page => page.$eval('#live', region => region.textContent.trim());
/** Click a button of the row by the beginning of its name for screen readers. */
const press = (page, row, label) => page.click(`.queue li:nth-child(${row}) button[aria-label^="${label}"]`);

test('each photo says what it is doing, and the first that is done is shown', async () => {
  const page = await here.open('?hold=download,shaders,cut');
  await choose(page, photo(FOLDER, 'first.png'));
  await reads(page, '.state', /^Loading U²-Netp: .* of 2.5 MB/);
  await go(page, 'download');
  await reads(page, '.state', /^Preparing your graphics card: \d+ of 40/);
  assert.equal(await page.$eval('.queue progress', bar => bar.hidden), false);
  await go(page, 'shaders');
  await reads(page, '.state', 'Cutting out');
  await go(page, 'cut');
  await states(page, 'done');
  await page.waitForSelector('#result:not([hidden])');
  assert.equal(await page.$eval('.queue .open', button => button.getAttribute('aria-pressed')), 'true');
  assert.match(await page.$eval('#save .about', about => about.textContent),
    /^first\.png, 48 × 32\. Cut out in 0\.04 s by U²-Netp on Test Graphics 1\.$/);
  assert.deepEqual(page.messages, []);
  await page.close();
});

test('one photo that fails says why, and the others go on', async () => {
  const page = await here.open();
  await choose(page, photo(FOLDER, 'good.png'), photo(FOLDER, 'bad.png'), photo(FOLDER, 'fine.png'));
  await states(page, 'done', 'failed', 'done');
  assert.equal(await page.$eval('.queue li:nth-child(2) .message', each => each.textContent),
    'bad.png is not a photo that the page can read; save it as JPEG or PNG.');
  assert.equal(await page.$eval('#photos .summary', each => each.textContent), '2 done, 1 failed');
  await press(page, 2, 'Try again: bad.png');
  await states(page, 'done', 'failed', 'done');
  assert.equal(await page.evaluate(() => globalThis.fake.calls.filter(([, name]) => name === 'bad.png').length), 2);
  await page.close();
});

test('50 photos wait, and are cancelled all at once', async () => {
  const page = await here.open();
  const slow = photo(FOLDER, 'slow.png');
  await choose(page, ...Array.from({ length: 50 }, () => slow));
  await page.waitForFunction(() => document.querySelector('.queue li')?.dataset.state === 'working');
  assert.equal(await page.$eval('#photos .summary', each => each.textContent), '0 of 50 done');
  await below(page, 'Cancel all');
  await states(page, ...Array(50).fill('cancelled'));
  assert.equal(await live(page), '50 photos cancelled.');
  assert.equal(await page.evaluate(() => globalThis.fake.calls.filter(([what]) => what === 'cut').length), 1);
  // The page goes on.
  await choose(page, photo(FOLDER, 'later.png'));
  await states(page, ...Array(50).fill('cancelled'), 'done');
  await page.close();
});

test('one photo is cancelled while it is in work; the next begins', async () => {
  const page = await here.open();
  await choose(page, photo(FOLDER, 'slow.png'), photo(FOLDER, 'next.png'));
  await page.waitForFunction(() => document.querySelector('.queue li')?.dataset.state === 'working');
  await press(page, 1, 'Cancel');
  await states(page, 'cancelled', 'done');
  await page.close();
});

test('cancelling the photo that opens the model leaves the opening to the next', async () => {
  const page = await here.open('?hold=download');
  await choose(page, photo(FOLDER, 'one.png'), photo(FOLDER, 'two.png'));
  await page.waitForFunction(() => document.querySelector('.state')?.textContent.startsWith('Loading'));
  await press(page, 1, 'Cancel');
  await states(page, 'cancelled', 'opening');
  await go(page, 'download');
  await states(page, 'cancelled', 'done');
  assert.equal(await page.evaluate(() => globalThis.fake.calls.filter(([what]) => what === 'open').length), 1);
  await page.close();
});

test('a model that cannot be opened fails all that wait, once, and all are tried again', async () => {
  const page = await here.open('?open=network');
  await choose(page, photo(FOLDER, 'one.png'), photo(FOLDER, 'two.png'));
  await states(page, 'failed', 'failed');
  assert.match(await text(page, '.queue .message'), /^The model cannot be opened for the reason network/);
  assert.equal(await page.$eval('#notice', each => each.hidden), true);
  await below(page, 'Try failed again');
  await states(page, 'done', 'done');
  await page.close();
});

test('removing keeps the focus in the list, and the memory is given back', async () => {
  const page = await here.open();
  await choose(page, photo(FOLDER, 'one.png'), photo(FOLDER, 'two.png'));
  await states(page, 'done', 'done');
  await page.focus('.queue li:nth-child(1) button[aria-label="Remove one.png"]');
  await page.keyboard.press('Enter');
  await states(page, 'done');
  assert.equal(await focused(page), 'Remove two.png');
  await page.waitForFunction(() => document.querySelector('#save .about').textContent.startsWith('two.png'));
  await page.keyboard.press('Enter');
  assert.equal(await focused(page), 'files');
  assert.equal(await page.evaluate(() => globalThis.fake.photos.size), 0);
  assert.equal(await page.$eval('#result', each => each.hidden), true);
  await page.close();
});

test('another photo is shown by keyboard, each with its own strokes', async () => {
  const page = await here.open();
  await choose(page, photo(FOLDER, 'one.png'), photo(FOLDER, 'two.png'));
  await states(page, 'done', 'done');
  await page.focus('.queue li:nth-child(2) .open');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelector('#save .about').textContent.startsWith('two.png'));
  const pressed = await page.$$eval('.queue .open', all => all.map(each => each.getAttribute('aria-pressed')));
  assert.deepEqual(pressed, ['false', 'true']);
  assert.equal(await page.evaluate(() => document.activeElement.textContent.startsWith('two.png')), true);
  await page.close();
});

test('thumbnails show the subject alone', async () => {
  const page = await here.open();
  await choose(page, photo(FOLDER, 'one.png'));
  await states(page, 'done');
  const [corner, middle] = await page.$eval('.thumb', canvas => {
    const context = canvas.getContext('2d');
    const top = Math.floor((canvas.height - canvas.width * 32 / 48) / 2);
    const alpha = (x, y) => context.getImageData(x, y, 1, 1).data[3];
    return [alpha(1, top + 1), alpha(canvas.width / 2, canvas.height / 2)];
  });
  assert.deepEqual([corner, middle], [0, 255]);
  await page.close();
});
