// What is kept of a model while it opens, with a Cache API of a few lines.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { beforeEach, test } from 'node:test';
import { isKept, keepingFetch } from '../../../web/page/kept.mjs';

const BASE = 'https://host/site/';
const WEIGHTS = 'weights';
const model = {
  folder: 'models/m/',
  files: [{
    path: 'models/m/w.bin', bytes: WEIGHTS.length, sha256: createHash('sha256').update(WEIGHTS).digest('hex'),
  }],
};
let entries, answers;

beforeEach(() => {
  entries = new Map();
  answers = [];
  const cache = {
    match: async url => entries.get(url)?.clone(),
    put: async (url, response) => { entries.set(url, response); },
  };
  globalThis.caches = { open: async () => cache, has: async () => true, match: cache.match };
  globalThis.fetch = async () => answers.shift() ?? Promise.reject(new TypeError('no network'));
});

test('what came is kept, and then taken from the device', async () => {
  answers = [new Response(WEIGHTS)];
  const files = keepingFetch(model, BASE, true);
  assert.equal(await (await files.fetch('models/m/w.bin')).text(), WEIGHTS);
  await files.settled();
  assert.equal(await isKept(model, BASE), true);
  assert.equal(await (await files.fetch('models/m/w.bin')).text(), WEIGHTS);
});

test('what is another file is not kept, so that the next try fetches it', async () => {
  answers = [new Response('<!doctype html>', { headers: { 'content-type': 'text/html' } }), new Response(WEIGHTS)];
  const files = keepingFetch(model, BASE, true);
  assert.match(await (await files.fetch('models/m/w.bin')).text(), /doctype/);
  await files.settled();
  assert.equal(await isKept(model, BASE), false);
  assert.equal(await (await files.fetch('models/m/w.bin')).text(), WEIGHTS);
});

test('without the agreement nothing is kept', async () => {
  answers = [new Response(WEIGHTS)];
  const files = keepingFetch(model, BASE, false);
  await files.fetch('models/m/w.bin');
  await files.settled();
  assert.equal(entries.size, 0);
});
