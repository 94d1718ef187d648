// Archives for Python's zipfile to open.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { crc32 } from '../../../web/image/crc.mjs';
import { distinct, headers, zip } from '../../../web/image/zip.mjs';

const FOLDER = process.env.ARCHIVES;
const DATE = new Date(2026, 10, 29, 13, 5, 42);

test('files of every kind of name', async () => {
  const contents = ['one', '', 'two', 'third', 'x'.repeat(200_000)];
  const names = ['a.png', 'empty', 'a.png', 'Größe 写真.png', '../folder/long.bin'];
  const blob = await zip(names.map((name, at) => ({ name, blob: new Blob([contents[at]]) })), { date: DATE });
  assert.equal(blob.type, 'application/zip');
  fs.writeFileSync(path.join(FOLDER, 'small.zip'), Buffer.from(await blob.arrayBuffer()));
});

test('more files than 16 bits count', () => {
  const entries = Array.from({ length: 65_536 }, (_, at) => ({ name: `${at}`, size: 0, crc: 0 }));
  const { locals, end } = headers(entries, DATE);
  fs.writeFileSync(path.join(FOLDER, 'many.zip'), Buffer.concat([...locals, end]));
});

test('files of more than 4 GiB, and behind them', () => {
  const tail = new TextEncoder().encode('behind 5 GiB');
  const entries = [
    { name: 'large', size: 5 * 2 ** 30, crc: 0 }, { name: 'small', size: tail.length, crc: crc32(tail) },
  ];
  const { locals, end } = headers(entries, DATE);
  const file = fs.openSync(path.join(FOLDER, 'large.zip'), 'w'); // with a hole where the large file is
  let at = 0;
  for (const [index, local] of locals.entries()) {
    fs.writeSync(file, local, 0, local.length, at);
    at += local.length;
    if (index === 1) fs.writeSync(file, tail, 0, tail.length, at);
    at += entries[index].size;
  }
  fs.writeSync(file, end, 0, end.length, at);
  fs.closeSync(file);
});

test('an archive of nothing', async () => {
  const blob = await zip([], { date: DATE });
  fs.writeFileSync(path.join(FOLDER, 'empty.zip'), Buffer.from(await blob.arrayBuffer()));
});

test('names are told apart as the strictest system does', () => {
  assert.deepEqual(
    distinct(['a.png', 'A.PNG', 'a (2).png', '.hidden', '.hidden', 'a/b:c', 'é', 'e\u0301', '..', '']),
    ['a.png', 'A (2).PNG', 'a (2) (2).png', '.hidden', '.hidden (2)', 'a_b_c', 'é', 'e\u0301 (2)', '_', 'file'],
  );
});

test('stops when it is told to', async () => {
  const files = [{ name: 'a', blob: new Blob([new Uint8Array(10)]) }];
  await assert.rejects(zip(files, { signal: AbortSignal.abort() }), { name: 'AbortError' });
});
