// The page behind the server, in a browser without WebGPU: from photos that are dropped to files that are saved.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { saved } from '../page/pages.mjs';
import { Visitor } from '../whole/visitor.mjs';
import { holdMasks } from './masks.mjs';
import { Serving, until } from './serving.mjs';

const { NSS_FOLDER: FOLDER, NSS_MODEL: MODEL, NSS_SLOW: SLOW, NSS_PHOTO: PHOTO, NSS_BATCH: BATCH } = process.env;
const DOWNLOADS = path.join(FOLDER, 'downloads');
const batch = fs.readdirSync(BATCH).sort().map(name => path.join(BATCH, name));
const names = batch.map(file => path.basename(file));
let serving, visitor, page;

before(async () => {
  serving = await Serving.start({ models: [MODEL, SLOW], options: ['--jobs', '1'] });
  visitor = await Visitor.at(serving.address, {
    downloads: DOWNLOADS, webgpu: false,
    prepare: each => each.evaluateOnNewDocument(() => {
      Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined });
    }),
  });
  ({ page } = visitor);
  await page.waitForSelector('#columns:not([hidden])');
});
// All photos are removed, here and on the server.
afterEach(async () => {
  await visitor.clear();
  await until(async () => !(await serving.jobs()).length);
});
after(async () => { await visitor?.leave(); await serving?.stop(); });

const below = words => page.evaluate(label => {
  [...document.querySelectorAll('#photos .actions button')].find(each => each.textContent === label).click();
}, words);
const states = async () => (await visitor.rows()).map(row => row.state);
const posted = async () => (await serving.requests())['/api/v1/jobs 202'] ?? 0;

test('a photo is dropped, cut out by this computer, and saved', async () => {
  await visitor.drop(PHOTO);
  const { state, message } = await visitor.last();
  assert.deepEqual([state, message], ['done', '']);
  const name = path.basename(PHOTO);
  await visitor.show(name);
  assert.match(await page.$eval('#save .about', each => each.textContent),
    new RegExp(`^${name.replace('.', '\\.')}, 451 × 300\\. Cut out in [\\d.]+ m?s by .* on this computer: .*threads?`));
  for (const format of ['png', 'webp', 'mask']) {
    const file = await visitor.save(format);
    fs.renameSync(file, path.join(FOLDER, `saved.${format}${path.extname(file)}`));
  }
  await visitor.set({ Smooth: 2.5, Feather: 1.5, 'Crop to the subject': true, 'Space around it': 7 });
  fs.renameSync(await visitor.save('png'), path.join(FOLDER, 'edges.png'));
  await visitor.reset();
});

test('a batch is cut out and saved as a ZIP', async () => {
  await visitor.drop(...batch);
  const rows = await visitor.through();
  assert.deepEqual(rows.map(row => [row.name, row.state]), names.map(name => [name, 'done']));
  await page.click('#all-save');
  await page.waitForFunction(() => /saved|failed/.test(document.querySelector('.all .saving').textContent));
  assert.equal(await page.$eval('.all .saving', each => each.textContent), `cutouts.zip with ${batch.length} photos is saved.`);
  await saved(DOWNLOADS, 'cutouts.zip');
  assert.equal(await posted(), 1 + batch.length);
});

test('one photo is cancelled, and the others go on', async () => {
  await page.click('#model summary');
  await page.click(`#model-${path.basename(SLOW, '.onnx')}`);
  const sendMasks = await holdMasks(page, 1);
  await visitor.drop(...batch.slice(0, 6));
  await until(async () => (await serving.jobs()).length === 6);
  await page.click(`.queue button[aria-label="Cancel ${names[5]}"]`);
  await until(async () => (await serving.jobs()).length === 5);
  await sendMasks();
  await visitor.through();
  assert.deepEqual(await states(), ['done', 'done', 'done', 'done', 'done', 'cancelled']);
});

test('all are cancelled, here and on the server', async () => {
  const sendMasks = await holdMasks(page, 1);
  await visitor.drop(...batch);
  await until(async () => (await states()).includes('done'));
  await below('Cancel all');
  await visitor.through();
  assert.deepEqual((await states()).sort(), [...Array(batch.length - 1).fill('cancelled'), 'done']);
  await sendMasks();
  await until(async () => (await serving.jobs()).length === 1);
});

test('the page is loaded anew in mid-batch: the jobs are still there, and go on', async () => {
  const before = await posted();
  const sendMasks = await holdMasks(page, 1);
  await visitor.drop(...batch);
  await until(async () => (await serving.jobs()).length === batch.length && (await states()).includes('done'));
  await page.reload({ waitUntil: 'domcontentloaded' });
  await sendMasks();
  await page.waitForFunction(count => document.querySelectorAll('.queue li').length === count, {}, batch.length);
  const rows = await visitor.through();
  assert.deepEqual(rows.map(row => [row.name, row.state]), names.map(name => [name, 'done']));
  assert.equal(await posted(), before + batch.length);
  // They are what they were: shown, and saved.
  await visitor.show(names[3]);
  assert.match(await page.$eval('#save .about', each => each.textContent), /by served-160\.onnx on this computer/);
  fs.renameSync(await visitor.save('png'), path.join(FOLDER, 'reloaded.png'));
});

test('a photo that is none says so', async () => {
  await visitor.drop({ name: 'broken.jpg', bytes: fs.readFileSync(PHOTO).subarray(0, 200) });
  const { state, message } = await visitor.last();
  assert.equal(state, 'failed');
  assert.match(message, /^broken\.jpg: /);
});

test('nothing was logged, no other host was asked, and the token is in no address', async () => {
  assert.deepEqual([visitor.problems, visitor.elsewhere], [[], []]);
  assert.equal(page.url(), serving.url);
  assert.equal(serving.said.includes('raceback'), false, serving.said);
});
