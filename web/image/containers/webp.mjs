// WebP (RFC 9649): chunks of a RIFF file.
import { ImageError } from '../image_error.mjs';
import { latin, orientation } from '../orientation.mjs';

const ALPHA_FLAG = 0x10; // both in VP8X's flags, and in the fifth byte of a VP8L stream

/** @typedef {{ kind: string, start: number, size: number }} Chunk `start` is where its content begins */

/**
 * @param {import('./reader.mjs').Reader} reader
 * @param {string} name of the photo, for a message
 * @returns {Promise<import('./reader.mjs').Container>}
 */
export async function readWebp(reader, name) {
  const top = await chunks(reader, 12, reader.size, name);
  /** @param {string} kind */
  const content = async kind => {
    const chunk = top.find(each => each.kind === kind);
    return chunk ? (await reader.bytes(chunk.start, chunk.size)).slice() : null;
  };
  const canvas = await content('VP8X');
  const animation = top.find(each => each.kind === 'ANMF');
  const notes = top.filter(each => each.kind === 'ANMF').length > 1 ? ['animated: first frame used'] : [];
  let parts = top, frame = null;
  if (animation) {
    const head = await reader.bytes(animation.start, 16);
    if (head.length < 16) throw damaged(name, 'its frame has no header');
    frame = { left: 2 * u24(head, 0), top: 2 * u24(head, 3), width: u24(head, 6) + 1, height: u24(head, 9) + 1 };
    parts = await chunks(reader, animation.start + 16, animation.start + animation.size, name);
  }
  const pixels = parts.find(each => each.kind === 'VP8 ' || each.kind === 'VP8L');
  if (!pixels) throw damaged(name, 'it has no pixels');
  const head = (await reader.bytes(pixels.start, 10)).slice();
  if (head.length < 10) throw damaged(name, 'its pixels have no header');
  const lossless = pixels.kind === 'VP8L';
  const size = lossless
    ? { width: (head[1] | (head[2] & 0x3f) << 8) + 1, height: (head[2] >> 6 | head[3] << 2 | (head[4] & 15) << 10) + 1 }
    : { width: (head[6] | head[7] << 8) & 0x3fff, height: (head[8] | head[9] << 8) & 0x3fff };
  const whole = canvas && animation ? { width: u24(canvas, 4) + 1, height: u24(canvas, 7) + 1 } : size;
  if (frame && frame.width === whole.width && frame.height === whole.height) frame = null;
  const stream = reader.blob.slice(pixels.start, pixels.start + pixels.size);
  const plane = parts.find(each => each.kind === 'ALPH');
  /** @type {Blob | null} */ let alpha = null;
  let colours = file([[pixels.kind, [stream]]]);
  if (lossless && head[4] & ALPHA_FLAG) {
    alpha = colours;
    const first = head.slice(0, 5);
    first[4] &= ~ALPHA_FLAG; // the samples stay as they are; the decoder is told that nothing is to be multiplied
    colours = file([['VP8L', [first, stream.slice(5)]]]);
  } else if (!lossless && plane) {
    const extended = new Uint8Array(10);
    extended[0] = ALPHA_FLAG;
    for (const [at, side] of [[4, size.width - 1], [7, size.height - 1]]) {
      extended.set([side & 255, side >> 8 & 255, side >> 16 & 255], at);
    }
    const levels = reader.blob.slice(plane.start, plane.start + plane.size);
    alpha = file([['VP8X', [extended]], ['ALPH', [levels]], ['VP8 ', [stream]]]);
  }
  return {
    format: 'WebP', ...whole, stored: 'RGB', orientation: orientation(await content('EXIF'), await content('XMP ')),
    icc: await content('ICCP'), notes, colours, alpha, frame,
  };
}

/**
 * @param {import('./reader.mjs').Reader} reader
 * @param {number} at
 * @param {number} end
 * @param {string} name
 * @returns {Promise<Chunk[]>}
 */
async function chunks(reader, at, end, name) {
  const found = [];
  while (at + 8 <= end) {
    const head = await reader.bytes(at, 8);
    const kind = latin(head, 0, 4);
    const size = (head[4] | head[5] << 8 | head[6] << 16 | head[7] << 24) >>> 0;
    if (at + 8 + size > end) {
      if (found.some(each => each.kind === 'VP8 ' || each.kind === 'VP8L')) break; // something behind the pixels is cut
      throw damaged(name, 'a chunk ends behind the file');
    }
    found.push({ kind, start: at + 8, size });
    at += 8 + size + size % 2;
  }
  return found;
}

/**
 * A WebP file of chunks.
 * @param {[string, (Uint8Array | Blob)[]][]} content kind and content of each
 * @returns {Blob}
 */
export function file(content) {
  /** @type {(Uint8Array | Blob)[]} */ const parts = [];
  let total = 4;
  for (const [kind, pieces] of content) {
    const size = pieces.reduce((sum, piece) => sum + (piece instanceof Blob ? piece.size : piece.length), 0);
    parts.push(header(kind, size), ...pieces);
    if (size % 2) parts.push(new Uint8Array(1));
    total += 8 + size + size % 2;
  }
  const form = new TextEncoder().encode('WEBP');
  return new Blob(/** @type {BlobPart[]} */ ([header('RIFF', total), form, ...parts]), { type: 'image/webp' });
}

/** @param {string} kind @param {number} size @returns {Uint8Array} */
function header(kind, size) {
  const bytes = new Uint8Array(8);
  bytes.set(new TextEncoder().encode(kind));
  new DataView(bytes.buffer).setUint32(4, size, true);
  return bytes;
}

/** @param {Uint8Array} bytes @param {number} at */
function u24(bytes, at) {
  return bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16;
}

/** @param {string} name @param {string} reason */
function damaged(name, reason) {
  return new ImageError(`${name}: truncated or damaged WebP image (${reason}); take another copy of it`);
}
