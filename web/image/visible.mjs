// A photo with transparency as its network gets it: without what the photo's own alpha hides. Under alpha 0 files hold
// any colour; a black logo over hidden black is a black photo to a network. So the photo is laid over one colour unlike
// those that are visible.

/** @typedef {import('./photo.mjs').Photo} Photo */
/** @typedef {import('./resample.mjs').Rows} Rows */

/** Colours to lay a photo over; of equally good ones the first is taken. @type {readonly (readonly number[])[]} */
const BACKDROPS = [[128, 200, 255], [255, 255, 255], [128, 128, 128], [255, 200, 128], [0, 128, 128], [0, 0, 0]];

/** Levels of the channel that differs most, up to which a colour is taken for like the backdrop. */
const NEAR = 64;

/** The part of what is visible that may be like the backdrop without counting. */
const FEW = 0.01;

/**
 * The photo, four channels, as it looks over a backdrop; the fourth is its own alpha, 255 for an opaque photo.
 *
 * The colour of a pixel counts as far as its alpha says, in the choice of the backdrop too: two photos that differ only
 * under alpha 0 give the same bytes.
 * @param {Photo} photo
 * @returns {Rows}
 */
export function visibleRows(photo) {
  const { rgba, width, height, opaque } = photo;
  const length = 4 * width;
  if (opaque) return { height, width, channels: 4, row: y => rgba.subarray(y * length, (y + 1) * length) };
  const [red, green, blue] = backdrop(photo);
  const out = new Uint8Array(length);
  return {
    height,
    width,
    channels: 4,
    row(y) {
      for (let x = 0, from = y * length; x < length; x += 4, from += 4) {
        const alpha = rgba[from + 3];
        const rest = 255 - alpha;
        out[x] = ((rgba[from] * alpha + red * rest + 127) / 255) | 0;
        out[x + 1] = ((rgba[from + 1] * alpha + green * rest + 127) / 255) | 0;
        out[x + 2] = ((rgba[from + 2] * alpha + blue * rest + 127) / 255) | 0;
        out[x + 3] = alpha;
      }
      return out;
    },
  };
}

/**
 * The colour of `BACKDROPS` that the smallest part of what is visible is like.
 * @param {Photo} photo
 */
export function backdrop({ rgba }) {
  const weights = new Float64Array(16 ** 3);
  for (let at = 0; at < rgba.length; at += 4) {
    weights[((rgba[at] >> 4) << 8) + ((rgba[at + 1] >> 4) << 4) + (rgba[at + 2] >> 4)] += rgba[at + 3];
  }
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (!total) return BACKDROPS[0];
  const likeness = BACKDROPS.map(colour => {
    let like = 0;
    for (let bin = 0; bin < weights.length; bin++) {
      const far = [bin >> 8, (bin >> 4) & 15, bin & 15].some((level, i) => Math.abs(level * 16 + 8 - colour[i]) > NEAR);
      if (!far) like += weights[bin];
    }
    return Math.max(like / total, FEW);
  });
  return BACKDROPS[likeness.indexOf(Math.min(...likeness))];
}
