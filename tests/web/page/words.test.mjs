import assert from 'node:assert/strict';
import test from 'node:test';
import { count, duration, sentence, size } from '../../../web/page/words.mjs';

test('sizes have two digits that matter', () => {
  assert.deepEqual([0, 999, 1000, 2_450_000, 9_960_000, 88_400_000, 999_600_000, 1.02e9].map(size),
    ['0 bytes', '999 bytes', '1.0 kB', '2.5 MB', '10.0 MB', '88 MB', '1.0 GB', '1.0 GB']);
});

test('times go from hundredths to minutes', () => {
  assert.deepEqual([13, 870, 4210, 31_400, 125_000].map(duration), ['0.01 s', '0.87 s', '4.2 s', '31 s', '2 min 5 s']);
});

test('an error becomes a sentence, and a file keeps its name', () => {
  assert.equal(sentence(new Error('the photo is empty; take another')), 'The photo is empty; take another.');
  assert.equal(sentence(new Error('a.png is no photo.')), 'a.png is no photo.');
  assert.equal(sentence('gone'), 'gone.');
});

test('one photo, two photos', () => {
  assert.deepEqual([count(1, 'photo'), count(0, 'photo')], ['1 photo', '0 photos']);
  assert.equal(count(2, 'entry', 'entries'), '2 entries');
});
