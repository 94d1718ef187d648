// How the pixels of a file lie: EXIF 2.32, tag 0x0112, or else XMP's tiff:Orientation; 1 (upright) to 8.
const ORIENTATION = 0x0112;
/** @type {Record<number, number>} TIFF's types of whole numbers, and their bytes */
const SIZES = { 1: 1, 3: 2, 4: 4 };

/**
 * The orientation that the metadata of a photo gives it: EXIF says it, or else XMP.
 * @param {Uint8Array | null} exif the block, with or without "Exif\0\0" before its TIFF header
 * @param {Uint8Array | null} [xmp] the packet
 * @returns {number} 1 to 8; 1 where nothing says so, or nonsense
 */
export function orientation(exif, xmp = null) {
  const number = (exif && fromExif(exif)) ?? (xmp && fromXmp(xmp)) ?? 1;
  return number >= 1 && number <= 8 ? number : 1;
}

/** @param {Uint8Array} exif @returns {number | null} the value of the tag; null where it is not there */
function fromExif(exif) {
  let start = 0;
  while (latin(exif, start, 6) === 'Exif\0\0') start += 6;
  const header = latin(exif, start, 4), little = header === 'II*\0';
  if (!little && header !== 'MM\0*') return null;
  const view = new DataView(exif.buffer, exif.byteOffset + start, exif.length - start);
  if (view.byteLength < 8) return null;
  const directory = view.getUint32(4, little);
  if (directory + 2 > view.byteLength) return null;
  const entries = view.getUint16(directory, little);
  for (let entry = 0, at = directory + 2; entry < entries && at + 12 <= view.byteLength; entry++, at += 12) {
    if (view.getUint16(at, little) !== ORIENTATION) continue;
    const size = SIZES[view.getUint16(at + 2, little)];
    if (!size || view.getUint32(at + 4, little) < 1) return 1;
    if (size === 1) return view.getUint8(at + 8);
    return size === 2 ? view.getUint16(at + 8, little) : view.getUint32(at + 8, little);
  }
  return null;
}

/** @param {Uint8Array} xmp @returns {number | null} */
function fromXmp(xmp) {
  const found = /tiff:Orientation(?:="|>)([0-9])/.exec(new TextDecoder().decode(xmp));
  return found ? Number(found[1]) : null;
}

/** @param {Uint8Array} bytes @param {number} start @param {number} length @returns {string} a character a byte */
export function latin(bytes, start, length) {
  return String.fromCharCode(...bytes.subarray(start, start + length));
}

/**
 * Where the pixels of a file belong in the upright picture: the one of column x and row y at
 * `origin + x * column + y * row`, counted in pixels.
 * @typedef {{ width: number, height: number, origin: number, column: number, row: number }} Placement
 *
 * @param {number} number the orientation, 1 to 8
 * @param {number} width of what the file holds
 * @param {number} height of what the file holds
 * @returns {Placement} `width` and `height` are those of the upright picture
 */
export function placement(number, width, height) {
  const last = width * height - 1;
  const upright = { width, height }, turned = { width: height, height: width };
  switch (number) {
    case 2: return { ...upright, origin: width - 1, column: -1, row: width };
    case 3: return { ...upright, origin: last, column: -1, row: -width };
    case 4: return { ...upright, origin: last - (width - 1), column: 1, row: -width };
    case 5: return { ...turned, origin: 0, column: height, row: 1 };
    case 6: return { ...turned, origin: height - 1, column: height, row: -1 };
    case 7: return { ...turned, origin: last, column: -height, row: -1 };
    case 8: return { ...turned, origin: last - (height - 1), column: -height, row: 1 };
    default: return { ...upright, origin: 0, column: 1, row: width };
  }
}
