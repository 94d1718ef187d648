// ICC profiles as files carry them: bytes, which are never interpreted but for the colour space that they are for.
import { joined } from './bytes.mjs';
import { latin } from './orientation.mjs';

/** Bytes beyond which a profile is not taken: cameras' have 4 KB, those of printers 3 MB. */
export const LARGEST_PROFILE = 1 << 24;

/**
 * The profile of a JPEG file, which is cut into APP2 segments (ICC.1:2022, annex B.4).
 * @param {Uint8Array[]} segments the content of those that begin with "ICC_PROFILE\0", that included
 * @returns {Uint8Array | null} null where there is none, or some of it is missing
 */
export function joinProfile(segments) {
  const parts = segments.filter(each => each.length > 14).sort((a, b) => a[12] - b[12]);
  if (!parts.length || parts[0][13] !== parts.length || parts.some((part, i) => part[12] !== i + 1)) return null;
  return joined(parts.map(part => part.subarray(14)));
}

/**
 * What becomes of the profile of a file whose pixels are handed on as RGB. A profile for anything else but RGB cannot
 * describe them any longer, and no conversion by it is made here.
 * @param {Uint8Array | null} profile
 * @param {'RGB' | 'grey' | 'CMYK'} stored what the file holds
 * @returns {{ icc: Uint8Array | null, notes: string[] }} the profile of the RGB pixels, and what to tell of it
 */
export function profileOfRgb(profile, stored) {
  const space = profile && profile.length >= 128 ? latin(profile, 16, 4) : '';
  if (stored === 'CMYK') return { icc: null, notes: ['CMYK converted to RGB without a profile'] };
  if (!profile) return { icc: null, notes: [] };
  if (stored === 'grey' && space === 'GRAY') {
    return { icc: null, notes: ['greyscale converted to RGB without a profile'] };
  }
  if (space !== 'RGB ') return { icc: null, notes: ['ICC profile dropped: not for RGB'] };
  return { icc: profile, notes: [] };
}
