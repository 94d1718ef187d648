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
    alpha: null, alphaChannel: 3, frame: null,
  };
  const box = await metaBox(reader);
  if (!box) return found;
  const bytes = (await reader.bytes(box.start, box.end - box.start)).slice();
  const top = boxes(bytes, 4, bytes.length);
  const described = top.find(each => each.kind === 'iprp');
  if (!described) return found;
  const inner = boxes(bytes, described.start, described.end);
  const container = inner.find(box => box.kind === 'ipco');
  if (!container) return found;
  const properties = boxes(bytes, container.start, container.end);
  const main = top.find(box => box.kind === 'pitm');
  if (!main) return found;
  const used = associations(bytes, inner.filter(box => box.kind === 'ipma'));
  const view = new DataView(bytes.buffer);
  for (const index of used.get(item(bytes, main)) ?? []) {
    const property = properties[index - 1];
    if (property?.kind === 'ispe' && property.end - property.start >= 12) {
      found.width = view.getUint32(property.start + 4);
      found.height = view.getUint32(property.start + 8);
    }
    if (property?.kind === 'colr' && ['prof', 'rICC'].includes(latin(bytes, property.start, 4))) {
      found.icc = bytes.slice(property.start + 4, property.end);
    }
  }
  const alpha = properties.findIndex(box => box.kind === 'auxC'
    && ALPHA.some(name => latin(bytes, box.start + 4, name.length) === name));
  const [picture] = [...used].find(([, numbers]) => numbers.includes(alpha + 1)) ?? [];
  if (alpha >= 0 && picture !== undefined && !sequence) {
    // another name for what it is: a decoder that knows no such picture takes the file for an opaque one
    bytes[properties[alpha].start + 4] = 'x'.charCodeAt(0);
    /** @param {Uint8Array} meta */
    const file = meta => new Blob(
      [reader.blob.slice(0, box.start), /** @type {BlobPart} */ (meta), reader.blob.slice(box.end)], { type });
    found.colours = file(bytes);
    // the alpha as a picture of its own: as alpha, Chromium takes it for video levels, 16 to 235
    const swapped = bytes.slice();
    setItem(swapped, main, picture);
    found.alpha = file(swapped);
    found.alphaChannel = 0;
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

/** @param {Uint8Array} bytes @param {Box} main @returns {number} the item that is the picture */
function item(bytes, main) {
  const view = new DataView(bytes.buffer);
  return bytes[main.start] ? view.getUint32(main.start + 4) : view.getUint16(main.start + 4);
}

/** @param {Uint8Array} bytes @param {Box} main @param {number} number of the item that is to be the picture */
function setItem(bytes, main, number) {
  const view = new DataView(bytes.buffer);
  if (bytes[main.start]) view.setUint32(main.start + 4, number);
  else view.setUint16(main.start + 4, number);
}

/**
 * The numbers of the properties that each item has, from 1 (ISO/IEC 23008-12, 9.3).
 * @param {Uint8Array} bytes
 * @param {Box[]} tables
 * @returns {Map<number, number[]>}
 */
function associations(bytes, tables) {
  const view = new DataView(bytes.buffer), found = new Map();
  for (const { start, end } of tables) {
    const wideItems = bytes[start] >= 1, wideNumbers = Boolean(bytes[start + 3] & 1);
    let entries = view.getUint32(start + 4), at = start + 8;
    for (; entries > 0 && at + 4 <= end; entries--) {
      const id = wideItems ? view.getUint32(at) : view.getUint16(at);
      at += wideItems ? 4 : 2;
      const numbers = [];
      for (let count = bytes[at++]; count > 0 && at + (wideNumbers ? 2 : 1) <= end; count--) {
        numbers.push(wideNumbers ? view.getUint16(at) & 0x7fff : bytes[at] & 0x7f);
        at += wideNumbers ? 2 : 1;
      }
      found.set(id, numbers);
    }
  }
  return found;
}
