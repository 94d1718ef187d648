// ZIP (PKWARE's APPNOTE 6.3.9) of files that are compressed already: stored, not copied.
import { joined } from './bytes.mjs';
import { crc32 } from './crc.mjs';
import { partsOf } from './streams.mjs';

const [LOCAL, CENTRAL, END, END64, LOCATOR64] = [0x04034b50, 0x02014b50, 0x06054b50, 0x06064b50, 0x07064b50];
const UTF8 = 1 << 11;
const [LARGE, MANY] = [0xffffffff, 0xffff];
const [PLAIN, ZIP64] = [20, 45]; // versions that are needed to extract

/** @typedef {{ name: string, size: number, crc: number }} Entry `size` in bytes, `crc` the CRC-32 of the content */

/**
 * Pack files into an archive. Names that are taken already get a number: `a.png`, `a (2).png`.
 * @param {{ name: string, blob: Blob }[]} files
 * @param {{ date?: Date, signal?: AbortSignal }} [options] `date` is that of all files, in local time
 * @returns {Promise<Blob>} refers to the files, and copies none of them
 */
export async function zip(files, { date = new Date(), signal } = {}) {
  const names = distinct(files.map(({ name }) => name));
  /** @type {Entry[]} */ const entries = [];
  for (const [index, { blob }] of files.entries()) {
    let crc = 0;
    for await (const part of partsOf(blob.stream())) {
      signal?.throwIfAborted();
      crc = crc32(part, crc);
    }
    entries.push({ name: names[index], size: blob.size, crc });
  }
  const { locals, end } = headers(entries, date);
  /** @type {Blob[]} */ const parts = [];
  for (const [index, { blob }] of files.entries()) parts.push(new Blob([locals[index]]), blob);
  return new Blob([...parts, new Blob([end])], { type: 'application/zip' });
}

/**
 * Names of which no two are the same on any system: case and Unicode's forms do not count.
 * @param {string[]} names
 * @returns {string[]}
 */
export function distinct(names) {
  /** @param {string} name */
  const key = name => name.normalize('NFC').toLowerCase();
  const taken = new Set();
  return names.map(given => {
    // a path would leave the folder that is extracted to, and Windows refuses the others
    const name = given.replace(/[\\/:*?"<>|\u0000-\u001f]/g, '_').replace(/^\.+$/, '_') || 'file';
    const dot = name.lastIndexOf('.') > 0 ? name.lastIndexOf('.') : name.length;
    let free = name;
    for (let count = 2; taken.has(key(free)); count++) free = `${name.slice(0, dot)} (${count})${name.slice(dot)}`;
    taken.add(key(free));
    return free;
  });
}

/**
 * What stands before each file, and behind the last. Sizes, offsets and counts that their fields cannot hold go into
 * ZIP64's.
 * @param {Entry[]} entries
 * @param {Date} date
 * @returns {{ locals: Uint8Array<ArrayBuffer>[], end: Uint8Array<ArrayBuffer> }}
 */
export function headers(entries, date) {
  const time = date.getHours() << 11 | date.getMinutes() << 5 | date.getSeconds() >> 1;
  const year = Math.min(Math.max(date.getFullYear(), 1980), 2107);
  const day = year - 1980 << 9 | date.getMonth() + 1 << 5 | date.getDate();
  const locals = [], directory = [];
  let offset = 0;
  for (const { name, size, crc } of entries) {
    const bytes = new TextEncoder().encode(name);
    if (bytes.length > MANY) throw new RangeError(`a name of ${bytes.length} bytes is too long for a ZIP file`);
    const wide = size >= LARGE, far = offset >= LARGE;
    const version = wide || far ? ZIP64 : PLAIN;
    const extra = wide ? fields([2, 1], [2, 16], [8, size], [8, size]) : new Uint8Array(0);
    const stored = wide ? LARGE : size;
    const common = /** @type {[number, number][]} */ ([
      [2, version], [2, UTF8], [2, 0], [2, time], [2, day], [4, crc], [4, stored], [4, stored], [2, bytes.length],
    ]);
    const local = joined([fields([4, LOCAL], ...common, [2, extra.length]), bytes, extra]);
    /** @type {[number, number][]} */ const large = [];
    if (wide) large.push([8, size], [8, size]);
    if (far) large.push([8, offset]);
    const more = large.length ? fields([2, 1], [2, 8 * large.length], ...large) : new Uint8Array(0);
    directory.push(fields([4, CENTRAL], [2, ZIP64], ...common, [2, more.length], [2, 0], [2, 0], [2, 0], [4, 0],
      [4, far ? LARGE : offset]), bytes, more);
    locals.push(local);
    offset += local.length + size;
  }
  const listed = joined(directory), count = entries.length;
  const parts = [listed];
  if (count >= MANY || offset >= LARGE || listed.length >= LARGE) {
    parts.push(fields([4, END64], [8, 44], [2, ZIP64], [2, ZIP64], [4, 0], [4, 0], [8, count], [8, count],
      [8, listed.length], [8, offset]));
    parts.push(fields([4, LOCATOR64], [4, 0], [8, offset + listed.length], [4, 1]));
  }
  const shown = Math.min(count, MANY);
  parts.push(fields([4, END], [2, 0], [2, 0], [2, shown], [2, shown], [4, Math.min(listed.length, LARGE)],
    [4, Math.min(offset, LARGE)], [2, 0]));
  return { locals, end: joined(parts) };
}

/**
 * Little-endian numbers one behind the other.
 * @param {...[number, number]} numbers bytes (2, 4 or 8) and value of each
 * @returns {Uint8Array<ArrayBuffer>}
 */
function fields(...numbers) {
  const bytes = new Uint8Array(numbers.reduce((sum, [size]) => sum + size, 0)), view = new DataView(bytes.buffer);
  let at = 0;
  for (const [size, value] of numbers) {
    if (size === 2) view.setUint16(at, value, true);
    else if (size === 4) view.setUint32(at, value, true);
    else view.setBigUint64(at, BigInt(value), true);
    at += size;
  }
  return bytes;
}
