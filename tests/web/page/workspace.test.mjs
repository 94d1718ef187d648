// The photo that is shown, with the settings of all and the strokes of its own.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { choose, number, photo, reads, stage, states } from './pages.mjs';

const FOLDER = process.env.NSS_FOLDER;
let here;
before(async () => { here = await stage(); });
after(() => here.close());

const calls = (page, what) => page.evaluate(name => globalThis.fake.calls.filter(([call]) => call === name), what);
const shows = (page, name) => reads(page, '#save .about', new RegExp(`^${name}`));
/** Wait until the backend was called more often than that. */
const calledAfter = (page, what, times) => page.waitForFunction(
  (name, least) => globalThis.fake.calls.filter(([call]) => call === name).length > least, {}, what, times);

/** Save as PNG, and what the backend was asked for. */
async function render(page) {
  const before = (await calls(page, 'render')).length;
  await page.click('#save button[data-format="png"]');
  await calledAfter(page, 'render', before);
  await page.waitForSelector('#save [data-format="png"][aria-disabled="false"]');
  return (await calls(page, 'render')).at(-1);
}

test('settings change the preview and what is saved, of every photo', async () => {
  const page = await here.open();
  await choose(page, photo(FOLDER, 'one.png'), photo(FOLDER, 'two.png'));
  await states(page, 'done', 'done');
  await shows(page, 'one.png');
  const input = await page.$(number('Feather'));
  await input.click({ count: 3 });
  await input.type('1.5');
  await page.keyboard.press('Tab');
  // Of a 1 that rests before the rest of it is typed there is a preview, too.
  await page.waitForFunction(() => (
    globalThis.fake.calls.findLast(([call]) => call === 'mask')[2].refinement.feather === 1.5));
  const [, , , , settings] = await render(page);
  assert.equal(settings.refinement.feather, 1.5);
  await page.click('.queue li:nth-child(2) .open');
  await shows(page, 'two.png');
  assert.equal((await calls(page, 'mask')).at(-1)[2].refinement.feather, 1.5);
  await page.close();
});

test('strokes stay with their photo, and are in what is saved', async () => {
  const page = await here.open();
  await choose(page, photo(FOLDER, 'one.png'), photo(FOLDER, 'two.png'));
  await states(page, 'done', 'done');
  await shows(page, 'one.png');
  await page.evaluate(() => document.querySelector('#editor input[value="erase"]').click());
  const box = await (await page.$('canvas.cutout')).boundingBox();
  await page.mouse.move(box.x + box.width / 2 - 5, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2 + 5, box.y + box.height / 2, { steps: 3 });
  await page.mouse.up();
  assert.equal((await render(page))[3], 1);
  await page.click('.queue li:nth-child(2) .open');
  await shows(page, 'two.png');
  assert.equal((await render(page))[3], 0);
  await page.click('.queue li:nth-child(1) .open');
  await shows(page, 'one.png');
  assert.equal((await render(page))[3], 1);
  await page.close();
});

test('of many photos only the one that is shown is held for the screen', async () => {
  const page = await here.open();
  await page.evaluate(() => {
    globalThis.open = 0;
    const make = globalThis.createImageBitmap;
    globalThis.createImageBitmap = async (...given) => { globalThis.open += 1; return make(...given); };
    const { close } = ImageBitmap.prototype;
    ImageBitmap.prototype.close = function closed() { if (this.width) globalThis.open -= 1; return close.call(this); };
  });
  await choose(page, ...Array.from({ length: 12 }, (_, index) => photo(FOLDER, `${index}.png`)));
  await states(page, ...Array(12).fill('done'));
  for (const row of [5, 9, 1]) {
    await page.click(`.queue li:nth-child(${row}) .open`);
    await shows(page, `${row - 1}.png`);
  }
  assert.equal(await page.evaluate(() => globalThis.open), 1);
  await page.close();
});

test('on the narrowest phone nothing leaves its frame, and nothing the page', async () => {
  const page = await here.open('', { width: 320, height: 640 });
  await choose(page, photo(FOLDER, 'one.png'));
  await states(page, 'done');
  await page.waitForSelector('#result:not([hidden])');
  const outside = await page.evaluate(() => [...document.querySelectorAll('.segments label, main button, main select')].filter(each => {
    const { left, right, width } = each.getBoundingClientRect();
    const frame = (each.closest('.segments') ?? document.documentElement).getBoundingClientRect();
    return width && (left < frame.left - 1 || right > frame.right + 1);
  }).map(each => each.textContent));
  assert.deepEqual(outside, []);
  await page.close();
});
