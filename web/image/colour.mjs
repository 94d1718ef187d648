// Colours from one ICC profile to another.

/**
 * What converts colours, four bytes a pixel of which the last is left alone, in place; null where nothing is to do.
 * @param {Uint8Array | null} source a profile; null is sRGB
 * @param {Uint8Array | null} target
 * @param {string[]} notes receives a line where they cannot be converted
 * @returns {((rgba: Uint8ClampedArray) => void) | null}
 */
export function toProfile(source, target, notes) {
  const same = source === target || (source && target && source.length === target.length &&
    source.every((byte, at) => byte === target[at]));
  if (!same) notes.push("the colours of the background could not be converted to the photo's profile");
  return null;
}
