// A server that is stopped, and started again, under a page that stays open.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, afterEach, beforeEach, test } from 'node:test';
import { Visitor } from '../whole/visitor.mjs';
import { holdMasks } from './masks.mjs';
import { Serving, until } from './serving.mjs';

const { NSS_FOLDER: FOLDER, NSS_MODEL: MODEL, NSS_BATCH: BATCH } = process.env;
const batch = fs.readdirSync(BATCH).sort().map(name => path.join(BATCH, name));
const OPTIONS = { downloads: path.join(FOLDER, 'downloads'), webgpu: false };
const TOKEN = 'a-token-of-this-test-0123456789';
let serving, visitor;

beforeEach(() => { serving = visitor = undefined; });
afterEach(async () => { await visitor?.leave(); await serving?.stop(); });
after(() => fs.rmSync(path.join(FOLDER, 'token'), { force: true }));

const notice = code => visitor.page.waitForSelector(`#notice[data-code="${code}"]:not([hidden])`);
/**
 * Drop so many photos, and wait until all are at the server, and the first is done; no other is until the masks that are
 * held are sent.
 */
async function begin(count) {
  const sendMasks = await holdMasks(visitor.page, 1);
  await visitor.drop(...batch.slice(0, count));
  await until(async () => (
    (await serving.jobs()).length === count && (await visitor.rows()).some(row => row.state === 'done')));
  return sendMasks;
}

test('stopped in mid-batch it finishes what runs; started again with the same token the rest goes on', async () => {
  serving = await Serving.start({ models: [MODEL], options: ['--jobs', '1'], token: TOKEN });
  assert.equal(serving.token, TOKEN);
  visitor = await Visitor.at(serving.address, OPTIONS);
  await visitor.page.waitForSelector('#columns:not([hidden])');
  const sendMasks = await begin(6);
  assert.equal(await serving.stop(), 0, serving.said);
  await sendMasks();
  await notice('unreachable');
  const open = (await visitor.rows()).filter(row => row.state === 'waiting' || row.state === 'working');
  assert.equal(open.length, 5, JSON.stringify(await visitor.rows()));
  serving = await Serving.start({ models: [MODEL], options: ['--jobs', '1'], token: TOKEN, port: serving.port });
  const rows = await visitor.through();
  assert.deepEqual(rows.map(row => row.state), Array(6).fill('done'));
  assert.equal(await visitor.notice(), null);
  assert.equal((await serving.jobs()).length, open.length);
});

test('with an old token the page asks for the printed address, and goes on with the same photos there', async () => {
  serving = await Serving.start({ models: [MODEL], options: ['--jobs', '1'] });
  visitor = await Visitor.at(`${serving.url}#token=${'x'.repeat(43)}`, OPTIONS);
  await notice('token');
  assert.match((await visitor.notice()).text, /Open the address that nss-wgpu serve printed/);
  await visitor.page.goto(serving.address);
  await visitor.page.waitForSelector('#columns:not([hidden])');
  assert.equal(await visitor.notice(), null);
  const sendMasks = await begin(5);
  const old = serving;
  await serving.stop();
  await sendMasks();
  await notice('unreachable');
  serving = await Serving.start({ models: [MODEL], options: ['--jobs', '1'], port: serving.port });
  assert.notEqual(serving.token, old.token);
  await notice('token');
  await visitor.page.goto(serving.address);
  const rows = await visitor.through();
  assert.deepEqual(rows.map(row => row.state), Array(5).fill('done'), JSON.stringify(rows));
  assert.equal(await visitor.notice(), null);
});
