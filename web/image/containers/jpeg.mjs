// JPEG (ITU-T T.81): its segments up to the first scan.
import { joined } from '../bytes.mjs';
import { joinProfile } from '../icc.mjs';
import { ImageError } from '../image_error.mjs';
import { latin, orientation } from '../orientation.mjs';

// Table B.1: the frames coded by Huffman's method, and the bits that a block takes at least there: a DC and an AC code
// in sequence, and a DC code where blocks without AC coefficients are counted in runs.
/** @type {Record<number, number>} */
const BITS_OF_BLOCK = { 0xc0: 2, 0xc1: 2, 0xc2: 1 };
const [APP1, APP2, SOS, EOI] = [0xe1, 0xe2, 0xda, 0xd9];
const XMP = 'http://ns.adobe.com/xap/1.0/\0', EXIF = 'Exif\0\0', ICC = 'ICC_PROFILE\0';

/**
 * @param {import('./reader.mjs').Reader} reader
 * @param {string} name of the photo, for a message
 * @returns {Promise<import('./reader.mjs').Container>}
 */
export async function readJpeg(reader, name) {
  /** @type {Blob[]} */ const kept = [];
  /** @type {Uint8Array[]} */ const exif = [], profile = [];
  /** @type {Uint8Array | null} */ let xmp = null;
  let width = 0, height = 0, components = 0;
  let at = 2, keptFrom = 0;
  for (;;) {
    const head = await reader.bytes(at, 4);
    if (head.length < 4 || head[0] !== 0xff) throw damaged(name, `no marker at byte ${at.toLocaleString('en')}`);
    const marker = head[1];
    if (marker === 0xff) { at += 1; continue; } // fill bytes
    if (marker === SOS || marker === EOI) break;
    const size = head[2] << 8 | head[3], end = at + 2 + size;
    if (size < 2 || end > reader.size) throw damaged(name, 'a segment ends behind the file');
    const content = (await reader.bytes(at + 4, size - 2)).slice();
    if (marker === APP1 || marker === APP2) {
      // what would have a decoder turn or convert the pixels is kept from it
      if (at > keptFrom) kept.push(reader.blob.slice(keptFrom, at));
      keptFrom = end;
      if (marker === APP1 && latin(content, 0, 6) === EXIF) exif.push(content.subarray(exif.length ? 6 : 0));
      if (marker === APP1 && latin(content, 0, XMP.length) === XMP) xmp ??= content.subarray(XMP.length);
      if (marker === APP2 && latin(content, 0, 12) === ICC) profile.push(content);
    } else if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker) && size >= 8) {
      height = content[1] << 8 | content[2];
      width = content[3] << 8 | content[4];
      components = content[5];
      checkBytes(name, marker, width, height, content, reader.size);
    }
    at = end;
  }
  if (!width || !height) throw damaged(name, `it has no pixels: ${width} x ${height}`);
  kept.push(reader.blob.slice(keptFrom));
  return {
    format: 'JPEG', width, height, stored: components === 1 ? 'grey' : components === 4 ? 'CMYK' : 'RGB',
    orientation: orientation(exif.length ? joined(exif) : null, xmp), icc: joinProfile(profile), notes: [],
    colours: new Blob(/** @type {BlobPart[]} */ (kept), { type: 'image/jpeg' }), alpha: null, frame: null,
  };
}

/**
 * Refuse a file whose bytes cannot hold its pixels, however plain they are: decoders make up what is missing, in grey.
 * @param {string} name
 * @param {number} marker
 * @param {number} width
 * @param {number} height
 * @param {Uint8Array} frame the content of the frame's segment
 * @param {number} size bytes of the file
 */
function checkBytes(name, marker, width, height, frame, size) {
  /** @type {[number, number][]} */ const sampling = [];
  for (let at = 7; at < frame.length; at += 3) sampling.push([frame[at] >> 4, frame[at] & 15]);
  const bits = BITS_OF_BLOCK[marker];
  if (!bits || !sampling.length || !sampling.every(([h, v]) => h && v)) return;
  const widest = Math.max(...sampling.map(([h]) => h)), highest = Math.max(...sampling.map(([, v]) => v));
  let blocks = 0;
  for (const [h, v] of sampling) {
    blocks += Math.floor(width * h / (8 * widest)) * Math.floor(height * v / (8 * highest));
  }
  const least = Math.floor(blocks * bits / 8);
  if (size < least) {
    throw damaged(name, `${width} x ${height} pixels take at least ${least.toLocaleString('en')} bytes, and it has `
      + size.toLocaleString('en'));
  }
}

/** @param {string} name @param {string} reason */
function damaged(name, reason) {
  return new ImageError(`${name}: truncated or damaged JPEG image (${reason}); take another copy of it`);
}
