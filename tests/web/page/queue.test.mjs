import assert from 'node:assert/strict';
import test from 'node:test';
import { Queue, StopsAll } from '../../../web/page/queue.mjs';

const photos = (...names) => names.map(name => ({ name, blob: new Blob([name]) }));
const states = queue => queue.items.map(item => item.state);
const settled = async queue => { while (queue.running) await new Promise(done => setTimeout(done, 1)); };

/** Work that waits for `go(name)`, and minds cancellation. */
function held() {
  const doors = new Map();
  const work = (item, { signal }) => new Promise((resolve, reject) => {
    doors.set(item.name, () => resolve({ of: item.name }));
    signal.addEventListener('abort', () => reject(signal.reason));
  });
  return { work, go: name => doors.get(name)(), doors };
}

test('photos are worked on one at a time, in their order', async () => {
  let at = 0, most = 0;
  const order = [];
  const queue = new Queue(async item => {
    most = Math.max(most, ++at);
    await new Promise(done => setTimeout(done, 1));
    order.push(item.name);
    at -= 1;
  });
  queue.add(photos('a', 'b'));
  queue.add(photos('c'));
  await settled(queue);
  assert.deepEqual(order, ['a', 'b', 'c']);
  assert.equal(most, 1);
  assert.deepEqual(states(queue), ['done', 'done', 'done']);
});

test('one that fails has its sentence, and the others go on', async () => {
  const queue = new Queue(async item => { if (item.name === 'b') throw new Error('it is no photo; take another'); });
  queue.add(photos('a', 'b', 'c'));
  await settled(queue);
  assert.deepEqual(states(queue), ['done', 'failed', 'done']);
  assert.equal(queue.items[1].message, 'It is no photo; take another.');
});

test('an error that all would meet is met once, and all can be tried again', async () => {
  let tries = 0;
  let broken = true;
  const queue = new Queue(async () => { tries += 1; if (broken) throw new StopsAll(new Error('no network')); });
  queue.add(photos('a', 'b', 'c'));
  await settled(queue);
  assert.equal(tries, 1);
  assert.deepEqual(states(queue), ['failed', 'failed', 'failed']);
  broken = false;
  queue.retryFailed();
  await settled(queue);
  assert.deepEqual(states(queue), ['done', 'done', 'done']);
});

test('cancelling the one in work lets the next begin', async () => {
  const { work, go } = held();
  const queue = new Queue(work);
  queue.add(photos('a', 'b'));
  queue.cancel(queue.items[0]);
  await new Promise(done => setTimeout(done, 5));
  assert.deepEqual(states(queue), ['cancelled', 'opening']);
  go('b');
  await settled(queue);
  assert.deepEqual(states(queue), ['cancelled', 'done']);
});

test('cancelling all of 50 begins none of them', async () => {
  const { work, doors } = held();
  const queue = new Queue(work);
  queue.add(photos(...Array.from({ length: 50 }, (_, index) => String(index))));
  queue.cancelAll();
  await settled(queue);
  assert.deepEqual([...doors.keys()], ['0']);
  const { cancelled, open, all } = queue.counts();
  assert.deepEqual([cancelled, open, all], [50, 0, 50]);
});

test('a result that nobody wants any more is given back', async () => {
  let finish;
  const given = [];
  const queue = new Queue(() => new Promise(resolve => { finish = resolve; }), result => given.push(result));
  queue.add(photos('a'));
  queue.cancel(queue.items[0]); // the work does not mind it
  finish('late');
  await settled(queue);
  assert.deepEqual(given, ['late']);
  assert.deepEqual(states(queue), ['cancelled']);
  queue.retry(queue.items[0]);
  finish('second');
  await settled(queue);
  queue.remove(queue.items[0]);
  assert.deepEqual(given, ['late', 'second']);
});

test('trying again while the cancelled run still ends does not take its result', async () => {
  const ends = [];
  const queue = new Queue(() => new Promise(resolve => { ends.push(resolve); }));
  queue.add(photos('a'));
  queue.cancel(queue.items[0]);
  queue.retry(queue.items[0]);
  assert.equal(ends.length, 1, 'the second run waits for the first');
  ends[0]('first');
  await new Promise(done => setTimeout(done, 5));
  ends[1]('second');
  await settled(queue);
  assert.equal(queue.items[0].result, 'second');
});

test('progress of a photo reaches whoever listens', async () => {
  const queue = new Queue(async (_, { progress, state }) => {
    state('working');
    progress({ words: 'Half', done: 1, total: 2 });
  });
  const seen = [];
  queue.addEventListener('change', event => seen.push([event.detail.state, event.detail.progress?.words]));
  queue.add(photos('a'));
  await settled(queue);
  assert.deepEqual(seen, [['opening', undefined], ['working', undefined], ['working', 'Half'], ['done', undefined]]);
});
