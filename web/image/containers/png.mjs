// PNG (ISO 15948, third edition): its chunks.
import { crc32 } from '../crc.mjs';
import { LARGEST_PROFILE } from '../icc.mjs';
import { ImageError } from '../image_error.mjs';
import { latin, orientation } from '../orientation.mjs';
import { partsOf } from '../streams.mjs';

const SIGNATURE = 8;
const READ = ['IHDR', 'PLTE', 'tRNS', 'iCCP', 'eXIf', 'iTXt', 'acTL'];
const LONGEST = 1 << 26;
/** @type {Record<number, { channels: number, depths: number[] }>} by colour type */
const TYPES = {
  0: { channels: 1, depths: [1, 2, 4, 8, 16] },
  2: { channels: 3, depths: [8, 16] },
  3: { channels: 1, depths: [1, 2, 4, 8] },
  4: { channels: 2, depths: [8, 16] },
  6: { channels: 4, depths: [8, 16] },
};

/**
 * What a PNG file says of itself.
 * @typedef {object} PngHeader
 * @property {number} width
 * @property {number} height
 * @property {number} depth bits a sample
 * @property {number} type 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA
 * @property {number} channels samples a pixel
 * @property {boolean} interlaced
 * @property {Uint8Array | null} palette red, green, blue of each entry
 * @property {Uint8Array | null} transparency the content of tRNS
 * @property {Uint8Array | null} icc
 * @property {string[]} notes
 * @property {number} orientation 1 to 8
 * @property {[number, number][]} data where compressed pixels are: first byte and length of each piece
 */

/**
 * @param {import('./reader.mjs').Reader} reader
 * @param {string} name of the photo, for a message
 * @returns {Promise<PngHeader>}
 */
export async function readPng(reader, name) {
  /** @type {Record<string, Uint8Array>} */ const chunks = {};
  /** @type {[number, number][]} */ const data = [];
  for (let at = SIGNATURE; at + 8 <= reader.size;) {
    const head = await reader.bytes(at, 8);
    const length = new DataView(head.buffer, head.byteOffset, 8).getUint32(0), kind = latin(head, 4, 4);
    if (kind === 'IDAT') {
      data.push([at + 8, Math.min(length, reader.size - at - 8)]);
    } else if (READ.includes(kind) && length <= LONGEST && !(kind in chunks && kind !== 'iTXt')) {
      const whole = (await reader.bytes(at + 4, length + 8)).slice();
      if (whole.length < length + 8) throw damaged(name, `it ends within the chunk "${kind}"`);
      const content = whole.subarray(4, 4 + length);
      if (crc32(whole.subarray(0, 4 + length)) !== new DataView(whole.buffer).getUint32(4 + length)) {
        if (kind === 'IHDR' || kind === 'PLTE') throw damaged(name, `the check sum of the chunk "${kind}" is wrong`);
      } else if (kind !== 'iTXt' || latin(content, 0, 18) === 'XML:com.adobe.xmp\0') {
        chunks[kind] = content;
      }
    }
    if (kind === 'IEND') break;
    at += 12 + length;
  }
  const header = chunks.IHDR;
  if (!header || header.length < 13) throw damaged(name, 'it has no header');
  const view = new DataView(header.buffer, header.byteOffset, 13);
  const [depth, type] = [header[8], header[9]];
  if (!TYPES[type]?.depths.includes(depth) || header[10] || header[11] || header[12] > 1) {
    throw damaged(name, `${depth} bits of colour type ${type} are unknown`);
  }
  if (type === 3 && !chunks.PLTE) throw damaged(name, 'it has no palette');
  if (!data.length) throw damaged(name, 'it has no pixels');
  const icc = chunks.iCCP ? await profile(chunks.iCCP) : null;
  const notes = 'acTL' in chunks ? ['animated: first frame used'] : [];
  if (depth === 16) notes.push('16-bit reduced to 8');
  if (chunks.iCCP && !icc) notes.push('damaged ICC profile dropped');
  return {
    width: view.getUint32(0), height: view.getUint32(4), depth, type, channels: TYPES[type].channels,
    interlaced: header[12] === 1, palette: type === 3 ? chunks.PLTE : null, transparency: chunks.tRNS ?? null,
    icc, notes, orientation: orientation(chunks.eXIf ?? null, chunks.iTXt ?? null), data,
  };
}

/**
 * The profile in an iCCP chunk: a name, 0, the method (0), then the profile as zlib compresses it.
 * @param {Uint8Array} chunk
 * @returns {Promise<Uint8Array | null>} null where it is damaged or larger than any profile
 */
async function profile(chunk) {
  const name = chunk.indexOf(0);
  if (name < 0) return null;
  const parts = [];
  let total = 0;
  try {
    const packed = new Blob([/** @type {BlobPart} */ (chunk.subarray(name + 2))]);
    for await (const part of partsOf(packed.stream().pipeThrough(new DecompressionStream('deflate')))) {
      total += part.length;
      if (total > LARGEST_PROFILE) return null;
      parts.push(part);
    }
  } catch {
    return null;
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** @param {string} name @param {string} reason @returns {ImageError} */
export function damaged(name, reason) {
  return new ImageError(`${name}: truncated or damaged PNG image (${reason}); take another copy of it`);
}
