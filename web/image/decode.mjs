// From a file to a photo: upright RGBA bytes, straight and exact, in the file's own colours. Works in a worker.
//
// PNG is decoded here, since no browser hands out its samples unchanged. All other formats are decoded by the browser,
// from a copy of the file without metadata and without alpha, so that nothing is turned, converted or multiplied; the
// alpha is read from the file as it is, where multiplying by it does no harm to it.
import { identify, readContainer } from './containers/identify.mjs';
import { readPng } from './containers/png.mjs';
import { Reader } from './containers/reader.mjs';
import { readWebp } from './containers/webp.mjs';
import { profileOfRgb } from './icc.mjs';
import { ImageError } from './image_error.mjs';
import { placement } from './orientation.mjs';
import { decodePixels } from './png_pixels.mjs';

export { ImageError };

/** How many pixels a photo may have: as many as browsers let a canvas have, 2^28. Its RGBA bytes take 1 GiB. */
const MAX_PIXELS = 2 ** 28;

/** Pixels read from a canvas at a time, and the longest side of that canvas. */
const TILE = 1 << 22, LONGEST_TILE = 1 << 14;

/**
 * An upright picture.
 * @typedef {object} Photo
 * @property {string} name what to call it in a message
 * @property {number} width
 * @property {number} height
 * @property {Uint8ClampedArray<ArrayBuffer>} rgba straight (never multiplied by alpha), row by row, in the colour space
 *   of `icc`
 * @property {boolean} opaque every alpha is 255
 * @property {Uint8Array | null} icc the profile of the colours, byte for byte; null means sRGB
 * @property {string[]} notes what was done to the picture that its owner may want to know, a short phrase each
 */

/**
 * Decode a photo.
 *
 * EXIF or XMP orientation is applied. Greyscale, palettes and CMYK become RGB, without a profile; 16 bits become 8 by
 * rounding; of an animation the first picture is taken. JPEG, PNG, GIF, BMP and WebP come out as `nss.photos` has them.
 *
 * @param {Blob} blob the file; its content decides what it is, not its type or name
 * @param {{ name?: string, signal?: AbortSignal }} [options]
 * @returns {Promise<Photo>}
 * @throws {ImageError} in one sentence: not an image, of a format that this browser lacks, damaged, empty, too large
 * @throws {DOMException} AbortError
 */
export async function decode(blob, { name = 'photo', signal } = {}) {
  signal?.throwIfAborted();
  if (!blob.size) throw new ImageError(`${name}: the file is empty (0 bytes); choose another one`);
  try {
    const reader = new Reader(blob);
    const format = identify((await reader.bytes(0, 64)).slice(), name);
    if (format === 'PNG') return await decodePng(reader, name, signal);
    return await decodeByBrowser(reader, format, name, signal);
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof DOMException && (error.name === 'NotReadableError' || error.name === 'NotFoundError')) {
      throw new ImageError(`${name}: cannot be read, or changed meanwhile; choose it again`, { cause: error });
    }
    throw error;
  }
}

/** @param {string} name @param {number} width @param {number} height */
function checkSize(name, width, height) {
  if (width < 1 || height < 1) throw new ImageError(`${name}: has no pixels: it is ${width} x ${height}`);
  if (width * height > MAX_PIXELS) {
    const most = Math.floor(MAX_PIXELS / 1e6);
    throw new ImageError(`${name}: ${width} x ${height} pixels are more than ${most} megapixels; reduce it first`);
  }
}

/** @param {string} name @param {number} width @param {number} height @returns {Uint8ClampedArray<ArrayBuffer>} RGBA */
function allocate(name, width, height) {
  try {
    return new Uint8ClampedArray(4 * width * height);
  } catch (cause) {
    const message = `${name}: there is not enough memory for ${width} x ${height} pixels; reduce the photo first`;
    throw new ImageError(message, { cause });
  }
}

/**
 * @param {Reader} reader
 * @param {string} name
 * @param {AbortSignal} [signal]
 * @returns {Promise<Photo>}
 */
async function decodePng(reader, name, signal) {
  const header = await readPng(reader, name);
  checkSize(name, header.width, header.height);
  const place = placement(header.orientation, header.width, header.height);
  const rgba = allocate(name, header.width, header.height);
  await decodePixels(reader.blob, header, place, rgba, name, signal);
  const { icc, notes } = profileOfRgb(header.icc, header.type === 0 || header.type === 4 ? 'grey' : 'RGB');
  const opaque = (header.type < 4 && !header.transparency) || isOpaque(rgba);
  const { width, height } = place;
  return { name, width, height, rgba, opaque, icc, notes: [...header.notes, ...notes] };
}

/**
 * @param {Reader} reader
 * @param {'JPEG' | 'WebP' | 'AVIF' | 'HEIC' | 'GIF' | 'BMP'} format
 * @param {string} name
 * @param {AbortSignal} [signal]
 * @returns {Promise<Photo>}
 */
async function decodeByBrowser(reader, format, name, signal) {
  const file = await readContainer(reader, format, name);
  if (file.width || format === 'JPEG') checkSize(name, file.width, file.height);
  signal?.throwIfAborted();
  const bitmap = await open(file.colours, format, name);
  const size = file.frame ? file : bitmap, frame = file.frame ?? { left: 0, top: 0, ...sizeOf(bitmap) };
  /** @type {Uint8ClampedArray<ArrayBuffer>} */ let rgba;
  /** @type {import('./orientation.mjs').Placement} */ let place;
  try {
    signal?.throwIfAborted();
    checkSize(name, size.width, size.height);
    place = placement(file.orientation, size.width, size.height);
    rgba = allocate(name, size.width, size.height);
    const pixels = new Uint32Array(rgba.buffer);
    eachTile(bitmap, frame, 'opaque', signal, (tile, left, top, width, height) => {
      const colours = new Uint32Array(tile.buffer);
      scatter(place, left, top, width, height, (at, from) => { pixels[at] = colours[from]; });
    });
  } finally {
    bitmap.close(); // before the next one: each takes as much memory as the photo
  }
  if (file.alpha) {
    let levels = await open(file.alpha, format, name), channel = file.alphaChannel ?? 3;
    if (channel !== 3 && (levels.width !== frame.width || levels.height !== frame.height)) {
      levels.close(); // a smaller picture than the photo, or one that lies otherwise
      [levels, channel] = [await open(reader.blob, format, name), 3];
    }
    try {
      eachTile(levels, frame, channel === 3 ? 'alpha' : 'opaque', signal, (tile, left, top, width, height) => {
        scatter(place, left, top, width, height, (at, from) => { rgba[4 * at + 3] = tile[4 * from + channel]; });
      });
    } finally {
      levels.close();
    }
  }
  const { icc, notes } = profileOfRgb(file.icc, file.stored);
  if (!await readsExactly()) {
    notes.push('this browser alters the pixels that a page reads, against fingerprinting: colours may be a little off');
  }
  if (file.alpha && format === 'WebP' && !await keepsHiddenColours()) {
    notes.push('this browser changes the colours of WebP images where they are nearly transparent');
  }
  const { width, height } = place;
  return { name, width, height, rgba, opaque: isOpaque(rgba), icc, notes: [...file.notes, ...notes] };
}

/** @param {{ width: number, height: number }} picture */
function sizeOf({ width, height }) {
  return { width, height };
}

/** @param {Blob} blob @param {string} format @param {string} name @returns {Promise<ImageBitmap>} */
async function open(blob, format, name) {
  try {
    return await createImageBitmap(blob, {
      colorSpaceConversion: 'none', imageOrientation: 'from-image',
    });
  } catch (cause) {
    const reason = format === 'HEIC' ? 'this browser does not decode HEIC images; save it as JPEG first'
      : `truncated or damaged ${format} image, or too large for this browser; take another copy, or reduce it first`;
    throw new ImageError(`${name}: ${reason}`, { cause });
  }
}

/**
 * Read a bitmap piece by piece.
 * @param {ImageBitmap} bitmap
 * @param {{ left: number, top: number, width: number, height: number }} frame where it belongs in the picture
 * @param {'opaque' | 'alpha'} content what is wanted: the colours of an opaque picture, or the alpha of another one
 * @param {AbortSignal | undefined} signal
 * @param {(rgba: Uint8ClampedArray, left: number, top: number, width: number, height: number) => void} take gets each
 *   piece, and where in the picture it belongs
 */
function eachTile(bitmap, frame, content, signal, take) {
  const across = Math.min(frame.width, LONGEST_TILE);
  const down = Math.min(frame.height, LONGEST_TILE, Math.ceil(TILE / across));
  const canvas = new OffscreenCanvas(across, down);
  const context = canvas.getContext('2d', {
    // a lossless WebP that claims to be opaque keeps its alpha in the bytes that Chromium decodes: a canvas with alpha
    // would divide the colours by it
    alpha: content === 'alpha', willReadFrequently: true, colorSpace: 'srgb',
  });
  if (!context) throw new ImageError('this browser gives the page no canvas to read photos with; close other tabs');
  context.globalCompositeOperation = 'copy';
  context.imageSmoothingEnabled = false;
  for (let top = 0; top < frame.height; top += down) {
    for (let left = 0; left < frame.width; left += across) {
      signal?.throwIfAborted();
      const width = Math.min(across, frame.width - left), height = Math.min(down, frame.height - top);
      context.drawImage(bitmap, left, top, width, height, 0, 0, width, height);
      const { data } = context.getImageData(0, 0, width, height);
      take(data, frame.left + left, frame.top + top, width, height);
    }
  }
}

/**
 * Call `put` with the place of each pixel of a tile in the upright picture, and its place in the tile.
 * @param {import('./orientation.mjs').Placement} place
 * @param {number} left
 * @param {number} top
 * @param {number} width
 * @param {number} height
 * @param {(at: number, from: number) => void} put
 */
function scatter(place, left, top, width, height, put) {
  for (let y = 0, from = 0; y < height; y++) {
    let at = place.origin + place.column * left + place.row * (top + y);
    for (let x = 0; x < width; x++, from++, at += place.column) put(at, from);
  }
}

/** @param {Uint8ClampedArray} rgba @returns {boolean} */
function isOpaque(rgba) {
  for (let at = 3; at < rgba.length; at += 4) if (rgba[at] !== 255) return false;
  return true;
}

/** @type {Promise<boolean> | undefined} */
let exact;

/** Whether a canvas gives back the bytes that were put into it: some browsers add noise. */
function readsExactly() {
  exact ??= (async () => {
    const side = 64, known = new ImageData(side, side);
    for (let at = 0; at < known.data.length; at++) known.data[at] = at % 4 === 3 ? 255 : (at * 2654435761 >>> 16) & 255;
    const bitmap = await createImageBitmap(known, { colorSpaceConversion: 'none' });
    const frame = { left: 0, top: 0, width: side, height: side };
    let same = true;
    eachTile(bitmap, frame, 'opaque', undefined, tile => {
      same = known.data.every((value, at) => value === tile[at]);
    });
    bitmap.close();
    return same;
  })();
  return exact;
}

/** A lossless WebP of four pixels of the colour 200, 100, 50, with alpha 0, 1, 127 and 255. */
const HIDDEN = 'UklGRiYAAABXRUJQVlA4TBkAAAAvAwAAEB8wZIM8MgISguMyPQ5EGCWP6H8AAA==';

/** @type {Promise<boolean> | undefined} */
let hidden;

/** Whether this browser decodes the colours of a lossless WebP whose alpha is kept from it. */
function keepsHiddenColours() {
  hidden ??= (async () => {
    const file = await readWebp(new Reader(new Blob([Uint8Array.from(atob(HIDDEN), each => each.charCodeAt(0))])), '');
    const bitmap = await open(file.colours, 'WebP', '');
    let same = true;
    eachTile(bitmap, { left: 0, top: 0, width: 4, height: 1 }, 'opaque', undefined, tile => {
      same = tile.every((value, at) => at % 4 === 3 || value === [200, 100, 50][at % 4]);
    });
    bitmap.close();
    return same;
  })();
  return hidden;
}
