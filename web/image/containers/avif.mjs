// AVIF and HEIC (ISO/IEC 23008-12 in 14496-12's boxes): the size, the profile and the alpha of the main picture.
// The container says how the photo is turned (irot, imir): the browser does that, and EXIF does not count.
import { latin } from '../orientation.mjs';

const ALPHA = ['urn:mpeg:mpegB:cicp:systems:auxiliary:alpha', 'urn:mpeg:hevc:2015:auxid:1'];

/** @typedef {{ kind: string, start: number, end: number }} Box `start` is where its content begins */

/**
 * @param {import('./reader.mjs').Reader} reader
 * @param {'AVIF' | 'HEIC'} format
 * @returns {Promise<import('./reader.mjs').Container>}
 */
export async function readHeif(reader, format) {
  const type = format === 'AVIF' ? 'image/avif' : 'image/heic';
  const sequence = latin(await reader.bytes(8, 4), 0, 4) === 'avis';
  /** @type {import('./reader.mjs').Container} */
  const found = {
    format, width: 0, height: 0, stored: 'RGB', orientation: 1, icc: null,
    notes: sequence ? ['animated: first frame used'] : [], colours: reader.blob.slice(0, reader.size, type),
    alpha: null, frame: null,
  };
  const meta = await metaBox(reader);
  if (!meta) return found;
  const bytes = (await reader.bytes(meta.start, meta.end - meta.start)).slice();
  const top = boxes(bytes, 4, bytes.length);
  const property = top.find(box => box.kind === 'iprp');
  if (!property) return found;
  const inner = boxes(bytes, property.start, property.end);
  const container = inner.find(box => box.kind === 'ipco');
  if (!container) return found;
  const properties = boxes(bytes, container.start, container.end);
  const used = associations(bytes, inner.filter(box => box.kind === 'ipma'), primary(bytes, top));
  const view = new DataView(bytes.buffer);
  for (const index of used) {
    const box = properties[index - 1];
    if (box?.kind === 'ispe' && box.end - box.start >= 12) {
      found.width = view.getUint32(box.start + 4);
      found.height = view.getUint32(box.start + 8);
    }
    if (box?.kind === 'colr' && ['prof', 'rICC'].includes(latin(bytes, box.start, 4))) {
      found.icc = bytes.slice(box.start + 4, box.end);
    }
  }
  const alpha = properties.filter(box => box.kind === 'auxC'
    && ALPHA.some(name => latin(bytes, box.start + 4, name.length) === name));
  if (alpha.length && !sequence) {
    // another name for what it is: a decoder that knows no such picture takes the file for an opaque one
    for (const box of alpha) bytes[box.start + 4] = 'x'.charCodeAt(0);
    found.alpha = found.colours;
    found.colours = new Blob([reader.blob.slice(0, meta.start), bytes, reader.blob.slice(meta.end)], { type });
  }
  return found;
}

/** @param {import('./reader.mjs').Reader} reader @returns {Promise<Box | null>} */
async function metaBox(reader) {
  for (let at = 0; at + 8 <= reader.size;) {
    const head = await reader.bytes(at, 16);
    if (head.length < 8) return null;
    const view = new DataView(head.buffer, head.byteOffset, head.length);
    let size = view.getUint32(0), start = at + 8;
    if (size === 1 && head.length === 16) {
      size = Number(view.getBigUint64(8));
      start += 8;
    }
    const end = size === 0 ? reader.size : at + size;
    if (end > reader.size || end < start) return null;
    if (latin(head, 4, 4) === 'meta') return end - start > 1 << 26 ? null : { kind: 'meta', start, end };
    at = end;
  }
  return null;
}

/** @param {Uint8Array} bytes @param {number} at @param {number} end @returns {Box[]} */
function boxes(bytes, at, end) {
  const view = new DataView(bytes.buffer), found = [];
  while (at + 8 <= end) {
    const size = view.getUint32(at) || end - at;
    if (size < 8 || at + size > end) break;
    found.push({ kind: latin(bytes, at + 4, 4), start: at + 8, end: at + size });
    at += size;
  }
  return found;
}

/** @param {Uint8Array} bytes @param {Box[]} top @returns {number} the item that is the picture */
function primary(bytes, top) {
  const box = top.find(each => each.kind === 'pitm');
  if (!box) return 0;
  const view = new DataView(bytes.buffer);
  return bytes[box.start] ? view.getUint32(box.start + 4) : view.getUint16(box.start + 4);
}

/**
 * The numbers of the properties that an item has, from 1 (ISO/IEC 23008-12, 9.3).
 * @param {Uint8Array} bytes
 * @param {Box[]} tables
 * @param {number} item
 * @returns {number[]}
 */
function associations(bytes, tables, item) {
  const view = new DataView(bytes.buffer), found = [];
  for (const { start, end } of tables) {
    const wideItems = bytes[start] >= 1, wideNumbers = Boolean(bytes[start + 3] & 1);
    let entries = view.getUint32(start + 4), at = start + 8;
    for (; entries > 0 && at + 5 <= end; entries--) {
      const id = wideItems ? view.getUint32(at) : view.getUint16(at);
      at += wideItems ? 4 : 2;
      for (let count = bytes[at++]; count > 0 && at + 1 <= end; count--) {
        const index = wideNumbers ? view.getUint16(at) & 0x7fff : bytes[at] & 0x7f;
        at += wideNumbers ? 2 : 1;
        if (id === item) found.push(index);
      }
    }
  }
  return found;
}
