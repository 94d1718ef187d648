// The parts of the page that speak with a server, by themselves.
import assert from 'node:assert/strict';
import test from 'node:test';
import { events } from '../../../web/page/event_stream.mjs';
import { Queue, StopsAll } from '../../../web/page/queue.mjs';
import { ServerJobs } from '../../../web/page/server_jobs.mjs';
import { Turns, pause, unlessAborted } from '../../../web/page/waiting.mjs';
import { coded } from '../../../web/page/words.mjs';

const body = (...parts) => new ReadableStream({
  start(controller) {
    for (const part of parts) controller.enqueue(new TextEncoder().encode(part));
    controller.close();
  },
});
const all = async stream => { const found = []; for await (const each of stream) found.push(each); return found; };
const later = () => new Promise(done => setTimeout(done, 5));

test('events are read however they are cut into pieces', async () => {
  const text = ': alive\n\nid: 7\ndata: {"a":\ndata: 1}\n\nevent: other\r\ndata:two\r\n\r\nid: 8\n\ndata: cut off';
  const expected = [{ id: '7', data: '{"a":\n1}' }, { id: '7', data: 'two' }];
  for (let size = 1; size < text.length; size += 1) {
    const parts = text.match(new RegExp(`[^]{1,${size}}`, 'g'));
    assert.deepEqual(await all(events(body(...parts))), expected);
  }
  const ä = new TextEncoder().encode('data: ä\n\n');
  const halves = new ReadableStream({
    start(controller) { controller.enqueue(ä.slice(0, 7)); controller.enqueue(ä.slice(7)); controller.close(); },
  });
  assert.deepEqual(await all(events(halves)), [{ id: '', data: 'ä' }]);
});

test('one who stops reading events lets go of the connection', async () => {
  let cancelled = false;
  const stream = new ReadableStream({
    pull: controller => controller.enqueue(new TextEncoder().encode('data: 1\n\n')), cancel: () => { cancelled = true; },
  });
  for await (const event of events(stream)) { assert.equal(event.data, '1'); break; }
  assert.equal(cancelled, true);
});

test('waiting is given up at once', async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const waits = [pause(1e6, signal), unlessAborted(new Promise(() => {}), signal)];
  controller.abort();
  for (const each of waits) await assert.rejects(each, { name: 'AbortError' });
  await assert.rejects(unlessAborted(Promise.resolve(1), signal), { name: 'AbortError' });
  assert.equal(await unlessAborted(Promise.resolve(1), new AbortController().signal), 1);
});

test('turns are taken one at a time, and one that is given up is passed over', async () => {
  const turns = new Turns(), { signal } = new AbortController(), gone = new AbortController();
  const order = [];
  let open = () => {};
  const first = turns.take(signal, () => new Promise(done => { open = done; }));
  const second = turns.take(gone.signal, async () => order.push('second'));
  const third = turns.take(signal, async () => order.push('third'));
  gone.abort();
  await assert.rejects(second, { name: 'AbortError' });
  assert.deepEqual(order, []);
  open();
  await Promise.all([first, third]);
  assert.deepEqual(order, ['third']);
  await assert.rejects(turns.take(signal, async () => { throw new Error('no'); }));
  assert.equal(await turns.take(signal, async () => 4), 4);
});

const photos = (...names) => names.map(name => ({ name, blob: new Blob([name]) }));
const settled = async queue => { while (queue.running) await later(); };

test('a wider queue works on several at a time, and goes on when it is made wider', async () => {
  let at = 0, most = 0;
  const ends = [];
  const queue = new Queue(async () => {
    most = Math.max(most, ++at);
    await new Promise(done => ends.push(done));
    at -= 1;
  });
  queue.width = 2;
  queue.add(photos('a', 'b', 'c', 'd', 'e'));
  assert.equal(at, 2);
  queue.width = 4;
  assert.equal(at, 4);
  while (queue.running) { ends.shift()?.(); await later(); }
  assert.equal(most, 4);
});

test('one that waits within its turn is not begun twice, and is not failed by another', async () => {
  let begun = 0;
  const ends = [];
  const queue = new Queue(async (item, { state }) => {
    begun += 1;
    state('waiting');
    if (item.name === 'b') throw new StopsAll(new Error('no token'));
    await new Promise(done => ends.push(done));
  });
  queue.width = 2;
  queue.add(photos('a', 'b', 'c'));
  await later();
  assert.deepEqual(queue.items.map(item => item.state), ['waiting', 'failed', 'failed']);
  ends[0]();
  await settled(queue);
  assert.equal(begun, 2);
  assert.equal(queue.items[0].state, 'done');
});

test('a job is forgotten when its photo is cancelled, removed, or cut anew; not when it failed', async () => {
  const forgotten = [];
  const queue = new Queue(async (item, { job }) => {
    job(`job of ${item.name}`);
    if (item.name === 'bad') throw new Error('no');
    if (item.name === 'slow') await new Promise(() => {});
  });
  queue.addEventListener('forget', event => forgotten.push(event.detail));
  queue.width = 9;
  queue.add(photos('a', 'bad', 'slow', 'd'));
  queue.add([{ name: 'old', blob: null, job: 'old job', state: 'failed', message: 'No.' }]);
  await later();
  const [a, bad, slow, d, old] = queue.items;
  assert.equal(old.state, 'failed');
  queue.cancel(slow);
  queue.remove(d);
  a.result = {};
  queue.retry(a);
  queue.retry(bad);
  await later();
  queue.remove(old);
  assert.deepEqual(forgotten, ['job of slow', 'job of d', 'job of a', 'old job']);
});

/** A server's calls: `stream(push, end)` is what each connection does, `jobs` what is listed. */
function calls(connections, { jobs = () => [] } = {}) {
  return {
    asked: [], backs: 0,
    async answer(path, { headers, signal }) {
      const connection = connections.shift();
      this.asked.push(headers['last-event-id'] ?? null);
      if (connection instanceof Error) throw connection;
      return {
        body: new ReadableStream({
          start(controller) {
            signal.addEventListener('abort', () => controller.error(signal.reason));
            connection(values => controller.enqueue(new TextEncoder().encode(
              `id: ${values.at ?? 1}\ndata: ${JSON.stringify(values)}\n\n`)), () => controller.close());
          },
        }),
      };
    },
    async json() { return { jobs: jobs() }; },
    async back(signal) { this.backs += 1; await later(); signal.throwIfAborted(); },
  };
}
const waiting = { signal: new AbortController().signal, onChange: () => {} };

test('jobs end by one stream, which is there while somebody waits', async () => {
  let push;
  const server = calls([each => { push = each; }, each => { push = each; }], {
    jobs: () => ['a', 'b'].map(id => ({ id, state: 'running' })),
  });
  const jobs = new ServerJobs(server);
  const changes = [];
  const both = [
    jobs.ended('a', { ...waiting, onChange: job => changes.push(job.state) }), jobs.ended('b', waiting),
  ];
  await later();
  push({ id: 'b', state: 'done' });
  push({ id: 'c', state: 'done' }); // that of a request whose answer is on its way
  push({ id: 'a', state: 'failed' });
  assert.deepEqual((await Promise.all(both)).map(job => job.state), ['failed', 'done']);
  assert.equal((await jobs.ended('c', waiting)).state, 'done');
  assert.equal(changes[0], 'running');
  assert.equal(server.asked.length, 1);
  await later();
  assert.equal(await jobs.ended('d', waiting), null, 'a server that does not list it knows it no longer');
  assert.equal(server.asked.length, 2);
});

test('a connection that breaks is made again from where it was; what ended meanwhile is in the list', async () => {
  let listed = [{ id: 'a', state: 'running' }];
  const server = calls([
    (push, end) => { push({ id: 'a', state: 'running', at: 41 }); setTimeout(end, 1); },
    coded('unreachable', 'not there'), coded('busy', 'stopping'),
    () => {},
  ], { jobs: () => listed });
  const ended = new ServerJobs(server).ended('a', waiting);
  await later();
  listed = [{ id: 'a', state: 'done' }];
  assert.equal((await ended).state, 'done');
  assert.deepEqual(server.asked, [null, '41', '41', '41']);
});

test('a refusal ends all waits, a removal elsewhere is a cancellation, and what the server gave up is neither', async () => {
  const jobs = new ServerJobs(calls([coded('token', 'old')]));
  await assert.rejects(jobs.ended('a', waiting), { code: 'token' });
  const running = { jobs: () => [{ id: 'a', state: 'running' }] };
  const others = new ServerJobs(calls([push => setTimeout(() => push({ id: 'a', state: 'removed' }), 2)], running));
  await assert.rejects(others.ended('a', waiting), { name: 'AbortError' });
  const stopping = new ServerJobs(calls([push => setTimeout(() => push({ id: 'a', state: 'cancelled' }), 2)], running));
  assert.equal(await stopping.ended('a', waiting), null);
});
