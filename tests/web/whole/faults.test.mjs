// What goes wrong on the page, with the browser's own backend: the visitor reads a sentence, and the page goes on. The
// site has a network of two convolutions, which opens soon; a good photo becomes the same file each time. Each test
// leaves the page to the next as it is: opening the model anew takes most of the time here.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { until } from '../page/pages.mjs';
import { watch } from './broken_gpu.mjs';
import { Visitor } from './visitor.mjs';

const { NSS_SITE: SITE, NSS_PHOTOS: PHOTOS, NSS_FOLDER: FOLDER } = process.env;
const photo = name => path.join(PHOTOS, name);
/** Bytes of `{"sha256":"…",`. */
const FIRST_LINE = 77;
/** What the server gives in place of a file, by the end of its name: null for an
 * end of the connection, undefined for no answer. @type {Record<string, (bytes: Buffer) => Buffer|null|undefined>} */
let wrong = {};
/** Answers that do not come. */
const held = [];
let visitor;

function answer(request, response) {
  const name = new URL(request.url, 'http://host').pathname;
  const end = Object.keys(wrong).find(each => name.startsWith('/models/') && name.endsWith(each));
  if (end === undefined) return false;
  const body = wrong[end](fs.readFileSync(path.join(SITE, name)));
  if (body === null) request.socket.destroy();
  else if (body) response.writeHead(200, { 'content-length': body.length }).end(body);
  else held.push(response);
  return true;
}

before(async () => {
  visitor = await Visitor.arrive({ site: SITE, downloads: path.join(FOLDER, 'downloads'), answer });
});
after(() => visitor?.leave());
beforeEach(async () => {
  wrong = {};
  // The service worker goes on to wait for what the page has given up, and the browser asks for no file twice at a time.
  for (const response of held.splice(0)) response.destroy();
  await visitor.clear();
});

/** Hold what the row of a photo says to a sentence. */
async function says(file, sentence) {
  await visitor.drop(file);
  const { state, message } = await visitor.last();
  assert.equal(state, 'failed', message);
  assert.match(message, sentence);
  assert.match(message, /^[A-Z0-9a-z][^\n]*\.$/);
  assert.doesNotMatch(message, /undefined|\[object|null\b/);
}

/** @type {Buffer|undefined} */
let first;
/** A good photo is cut, and its PNG is what it was the first time, which Python looks at. */
async function goesOn() {
  await visitor.clear();
  await visitor.drop(photo('good.png'));
  const { state, message } = await visitor.last();
  assert.deepEqual([state, message], ['done', '']);
  await visitor.show('good.png');
  const file = await visitor.save('png');
  const bytes = fs.readFileSync(file);
  fs.rmSync(file);
  if (!first) fs.writeFileSync(path.join(FOLDER, 'good.cutout.png'), first = bytes);
  assert.ok(bytes.equals(first), 'another file than the first time');
  assert.equal(await visitor.notice(), null);
}

/** Drop 50 photos, and cancel all of them when it has come to this. */
async function fifty(reached) {
  const bytes = fs.readFileSync(photo('larger.png'));
  await visitor.drop(...Array.from({ length: 50 }, (_, index) => ({ name: `${index}.png`, bytes })));
  await reached();
  // Not by the mouse, which waits for a frame: SwiftShader may draw none before it has cut the last photo.
  await visitor.page.$eval('#photos button::-p-text(Cancel all)', button => button.click());
  assert.equal((await visitor.through()).length, 50);
}

/** A function run in the page's worker. */
const inWorker = work => visitor.worker().evaluate(work);

test('files of the model that are not what they should be', async () => {
  wrong = { 'model.json': bytes => {
    // Behind the first line stands what its SHA-256 is of.
    const rest = Buffer.from(bytes.toString('utf8', FIRST_LINE).replace('"format":2', '"format":3'));
    return Buffer.concat([Buffer.from(`{"sha256":"${crypto.hash('sha256', rest, 'hex')}",`), rest]);
  } };
  await says(
    photo('good.png'),
    /^The model has version 3 of the format, and this page reads version 2: export it again\.$/);
  wrong = { 'model.json': bytes => bytes.subarray(0, bytes.length >> 1) };
  await says(photo('good.png'), /model\.json cannot be used: it is damaged/);
  wrong = { 'model.json': () => Buffer.from('<title>Not found</title>') };
  await says(photo('good.png'), /no compiled model/);
  wrong = { '.bin': bytes => bytes.subarray(0, bytes.length - 256) };
  await says(photo('good.png'), /\.bin ends after/);
  wrong = { '.bin': bytes => { bytes[bytes.length >> 1] ^= 1; return bytes; } };
  await says(photo('good.png'), /\.bin is damaged, its SHA-256/);
  wrong = { '.bin': () => null };
  await says(photo('good.png'), /\.bin does not come/);
});

test('50 photos are queued and cancelled while the model opens', async () => {
  wrong = { '.bin': () => undefined };
  await fifty(() => until(() => held.length > 0));
  assert.deepEqual([...new Set((await visitor.rows()).map(row => row.state))], ['cancelled']);
});

test('the GPU has no memory for the model, or for the photo', async () => {
  await inWorker(watch);
  await inWorker(() => { gpuOfTest.bytes = 1000; });
  await says(photo('good.png'), /no memory left for the model, which takes/);
  assert.equal((await visitor.notice()).code, 'out-of-memory');
  await inWorker(() => { gpuOfTest.bytes = Infinity; });
  await goesOn();
  // What the photo takes and the model does not: the processor does it, and nobody notices.
  await inWorker(() => { gpuOfTest.bytes = 200_000; });
  await visitor.clear();
  await visitor.drop(photo('larger.png'));
  assert.equal((await visitor.last()).state, 'done');
  assert.ok(await inWorker(() => gpuOfTest.refused) > 1);
  await inWorker(() => { gpuOfTest.bytes = Infinity; });
  // The processor's own memory.
  await inWorker(() => {
    const { Float32Array } = globalThis;
    globalThis.Float32Array = new Proxy(Float32Array, {
      construct: (target, values, self) => {
        if (values[0] > 200_000) throw new RangeError('Array buffer allocation failed');
        return Reflect.construct(target, values, self);
      },
    });
    globalThis.giveBack = () => { globalThis.Float32Array = Float32Array; };
  });
  await says(photo('larger.png'), /^There is not enough memory for this photo; .* or reduce it first\.$/);
  await inWorker(() => giveBack());
});

test('the GPU is lost in mid-run: once it is taken up again, twice is said', async () => {
  const opened = await inWorker(() => { gpuOfTest.losses = 1; return gpuOfTest.opened; });
  await goesOn();
  assert.equal(await inWorker(() => gpuOfTest.opened), opened + 1);
  await inWorker(() => { gpuOfTest.losses = 2; });
  await says(photo('larger.png'), /the GPU was lost/i);
  const { code, text } = await visitor.notice();
  assert.equal(code, 'device-lost');
  assert.match(text, /went away[^]*the GPU was lost/i);
  await goesOn();
});

test('photos that are none', async () => {
  const good = fs.readFileSync(photo('good.jpg'));
  await says({ name: 'words.jpg', bytes: Buffer.from('no photo') }, /words\.jpg/);
  await says({ name: 'empty.jpg', bytes: Buffer.alloc(0) }, /empty\.jpg: the file is empty/);
  await says({ name: 'cut.png', bytes: fs.readFileSync(photo('good.png')).subarray(0, 120) }, /cut\.png/);
  await says({ name: 'cut.jpg', bytes: good.subarray(0, 200) }, /cut\.jpg/);
  await says(photo('vast.png'), /vast\.png: 20000 x 20000 pixels are more than 268 megapixels/);
  await goesOn();
});

test('a photo of one pixel, and one of 6 megapixels or more', async () => {
  await visitor.drop(photo('pixel.png'));
  assert.deepEqual(await visitor.last(), { name: 'pixel.png', state: 'done', message: '' });
  await visitor.show('pixel.png');
  fs.renameSync(await visitor.save('png'), path.join(FOLDER, 'pixel.cutout.png'));
  await visitor.clear();
  await visitor.drop(photo('large.png'));
  assert.deepEqual(await visitor.last(), { name: 'large.png', state: 'done', message: '' });
  await visitor.show('large.png');
  fs.renameSync(await visitor.save('png'), path.join(FOLDER, 'large.cutout.png'));
  await goesOn();
});

test('50 photos are queued and cancelled while the first of them are cut', async () => {
  await inWorker(() => { gpuOfTest.reads = 5; });
  await fifty(() => inWorker(() => gpuOfTest.held));
  const states = (await visitor.rows()).map(row => row.state);
  assert.equal(states[0], 'done');
  assert.ok(states.filter(each => each === 'cancelled').length >= 45, states.join());
  assert.ok(!states.includes('failed'), states.join());
  await inWorker(() => { gpuOfTest.release(); });
  await goesOn();
});

test('the worker stops: what it held is added again, and the next photo has another worker', async () => {
  await visitor.drop(photo('good.png'));
  await visitor.last();
  await visitor.show('good.png');
  const stopped = visitor.worker();
  const gone = new Promise(done => visitor.page.on('workerdestroyed', worker => { if (worker === stopped) done(); }));
  await stopped.evaluate(() => { setTimeout(() => { throw new Error('a test'); }); });
  await gone;
  await assert.rejects(visitor.save('png'), /not saved: This photo is not held any more; add it again\./);
  await visitor.drop(photo('larger.png'));
  assert.deepEqual(await visitor.last(), { name: 'larger.png', state: 'done', message: '' });
  await assert.rejects(visitor.save('png'), /not saved: This photo is not held any more; add it again\./);
  await goesOn();
});
