// GIF89a: the first picture, and which of its colours is transparent.
import { ImageError } from '../image_error.mjs';

const [EXTENSION, CONTROL, PICTURE, END] = [0x21, 0xf9, 0x2c, 0x3b];

/**
 * @param {import('./reader.mjs').Reader} reader
 * @param {string} name of the photo, for a message
 * @returns {Promise<import('./reader.mjs').Container>}
 */
export async function readGif(reader, name) {
  const damaged = () => new ImageError(`${name}: truncated or damaged GIF image; take another copy of it`);
  const bytes = await reader.bytes(0, reader.size);
  /** @param {number} at */
  const table = at => bytes[at] & 0x80 ? 3 << (bytes[at] & 7) + 1 : 0;
  /** @param {number} at the end of a chain of blocks */
  const behind = at => {
    while (bytes[at]) at += bytes[at] + 1;
    return at + 1;
  };
  let control = 0, pictures = 0;
  for (let at = 13 + table(10); at < bytes.length && bytes[at] !== END;) {
    if (bytes[at] === EXTENSION) {
      if (bytes[at + 1] === CONTROL && !pictures) control = at + 3;
      at = behind(at + 2);
    } else if (bytes[at] === PICTURE) {
      pictures += 1;
      at = behind(at + 11 + table(at + 9));
    } else break;
  }
  if (!pictures) throw damaged();
  let colours = reader.blob, alpha = null;
  if (control && bytes[control] & 1) {
    alpha = reader.blob;
    const flags = Uint8Array.of(bytes[control] & ~1); // no colour is transparent
    colours = new Blob([reader.blob.slice(0, control), flags, reader.blob.slice(control + 1)], { type: 'image/gif' });
  }
  return {
    format: 'GIF', width: bytes[6] | bytes[7] << 8, height: bytes[8] | bytes[9] << 8, stored: 'RGB', orientation: 1,
    icc: null, notes: pictures > 1 ? ['animated: first frame used'] : [], colours, alpha, frame: null,
  };
}
