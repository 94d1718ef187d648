// Which format a file has: its content decides, never its name or its type.
import { ImageError } from '../image_error.mjs';
import { latin } from '../orientation.mjs';
import { readHeif } from './avif.mjs';
import { readGif } from './gif.mjs';
import { readJpeg } from './jpeg.mjs';
import { readWebp } from './webp.mjs';

// ISO/IEC 23008-12 annex B and 23000-22: the brands of images, and of sequences, coded as each, or as anything
const AVIF = ['avif', 'avis'];
const HEVC = ['heic', 'heix', 'heim', 'heis', 'hevc', 'hevx', 'hevm', 'hevs'];
const ANY_CODEC = ['mif1', 'msf1', 'miaf'];
const READ = 'PNG, JPEG, WebP, AVIF, GIF and BMP are read';

/**
 * The format of a file that begins so; null where it is none that a browser decodes.
 * @param {Uint8Array} head its first 64 bytes, or all it has
 * @param {string} name of the photo, for a message
 * @returns {'JPEG' | 'PNG' | 'WebP' | 'AVIF' | 'HEIC' | 'GIF' | 'BMP'}
 */
export function identify(head, name) {
  const text = latin(head, 0, 64);
  if (text.startsWith('\x89PNG\r\n\x1a\n')) return 'PNG';
  if (text.startsWith('\xff\xd8\xff')) return 'JPEG';
  if (text.startsWith('RIFF') && text.slice(8, 12) === 'WEBP') return 'WebP';
  if (text.startsWith('GIF87a') || text.startsWith('GIF89a')) return 'GIF';
  if (text.slice(4, 8) === 'ftyp') {
    const size = new DataView(head.buffer, head.byteOffset, head.length).getUint32(0);
    const brands = [text.slice(8, 12), ...(text.slice(16, Math.min(size, 64)).match(/.{4}/gs) ?? [])];
    const anyCodec = ANY_CODEC.includes(brands[0]);
    if (AVIF.includes(brands[0]) || (anyCodec && brands.some(each => AVIF.includes(each)))) return 'AVIF';
    if (anyCodec || HEVC.includes(brands[0])) return 'HEIC';
  }
  if (text.startsWith('BM') && [12, 16, 40, 52, 56, 64, 108, 124].includes(head[14])) return 'BMP';
  if (/^(II[*+]\0|MM\0[*+])/.test(text)) throw foreign(name, 'a TIFF image');
  if (/^(\0\0\0\x0cjP {2}|\xff\x4f\xff\x51)/.test(text)) throw foreign(name, 'a JPEG 2000 image');
  if (/^P[1-6]\s/.test(text)) throw foreign(name, 'a PPM image');
  if (/^(\xef\xbb\xbf)?\s*<(\?xml|!--|!DOCTYPE svg|svg)/i.test(text)) {
    throw new ImageError(`${name}: is a drawing (SVG) or another text, not a photo; save it as PNG first`);
  }
  throw new ImageError(`${name}: is not an image that this page knows (${READ})`);
}

/** @param {string} name @param {string} kind */
function foreign(name, kind) {
  return new ImageError(`${name}: is ${kind}, which browsers do not decode; save it as PNG or JPEG first, or use the `
    + 'command nss-wgpu');
}

/**
 * What a file of a format that the browser decodes says of itself.
 * @param {import('./reader.mjs').Reader} reader
 * @param {'JPEG' | 'WebP' | 'AVIF' | 'HEIC' | 'GIF' | 'BMP'} format
 * @param {string} name
 * @returns {Promise<import('./reader.mjs').Container>}
 */
export async function readContainer(reader, format, name) {
  if (format === 'JPEG') return readJpeg(reader, name);
  if (format === 'WebP') return readWebp(reader, name);
  if (format === 'GIF') return readGif(reader, name);
  if (format === 'BMP') return readBmp(reader);
  return readHeif(reader, format);
}

/** @param {import('./reader.mjs').Reader} reader @returns {Promise<import('./reader.mjs').Container>} */
async function readBmp(reader) {
  const head = await reader.bytes(0, 26);
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const old = head[14] === 12; // OS/2's header has sides of 16 bits
  return {
    format: 'BMP',
    width: head.length < 26 ? 0 : old ? view.getUint16(18, true) : view.getInt32(18, true),
    height: head.length < 26 ? 0 : Math.abs(old ? view.getUint16(20, true) : view.getInt32(22, true)),
    stored: 'RGB', orientation: 1, icc: null, notes: [], colours: reader.blob, alpha: null, frame: null,
  };
}
