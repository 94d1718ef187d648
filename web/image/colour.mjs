// Colours from one ICC profile to another, where both are of matrix and curves, as those of cameras, phones and screens
// are (ICC.1:2022, annex F): relative colorimetric, by way of D50. Black
// is taken for no light, as it is in these.

/** @typedef {(level: number) => number} Curve from a level to its light, 0 to 1 each */

/**
 * A profile of red, green and blue.
 * @typedef {object} Profile
 * @property {Curve[]} curves one for each colour
 * @property {number[]} matrix row by row: from the light of red, green and blue to X, Y and Z
 */

/** What sRGB is to ICC: IEC 61966-2-1, its primaries adapted to D50. @type {Profile} */
const SRGB = {
  curves: Array(3).fill(
    (/** @type {number} */ level) => (level >= 0.04045 ? ((level + 0.055) / 1.055) ** 2.4 : level / 12.92)),
  matrix: [0.43607, 0.38515, 0.14307, 0.22249, 0.71687, 0.06061, 0.01392, 0.09708, 0.7141],
};

const NOTE = "the colours of the background could not be converted to the photo's profile";

/**
 * What converts colours, four bytes a pixel of which the last is left alone, in place; null where nothing is to do.
 * @param {Uint8Array | null} source a profile; null is sRGB
 * @param {Uint8Array | null} target
 * @param {string[]} notes receives a line where they cannot be converted
 * @returns {((rgba: Uint8ClampedArray) => void) | null}
 */
export function toProfile(source, target, notes) {
  if (isSame(source, target)) return null;
  const from = source ? parse(source) : SRGB;
  const to = target ? parse(target) : SRGB;
  const inverse = to && inverseOf(to.matrix);
  if (!from || !to || !inverse) {
    notes.push(NOTE);
    return null;
  }
  const matrix = product(inverse, from.matrix);
  const light = from.curves.map(curve => Float64Array.from({ length: 256 }, (_, level) => curve(level / 255)));
  const bounds = to.curves.map(thresholds);
  return rgba => {
    for (let at = 0; at < rgba.length; at += 4) {
      const red = light[0][rgba[at]];
      const green = light[1][rgba[at + 1]];
      const blue = light[2][rgba[at + 2]];
      for (let i = 0; i < 3; i++) {
        const value = matrix[3 * i] * red + matrix[3 * i + 1] * green + matrix[3 * i + 2] * blue;
        rgba[at + i] = levelOf(value, bounds[i]);
      }
    }
  };
}

/**
 * @param {Uint8Array | null} one
 * @param {Uint8Array | null} other
 */
function isSame(one, other) {
  if (!one || !other) return one === other;
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

/**
 * The light above which each level from 1 on is nearer than the one before it.
 * @param {Curve} curve
 */
function thresholds(curve) {
  return Float64Array.from({ length: 255 }, (_, level) => curve((level + 0.5) / 255));
}

/**
 * The level nearest to a light: how many thresholds it reaches.
 * @param {number} light
 * @param {Float64Array} bounds ascending
 */
function levelOf(light, bounds) {
  let low = 0;
  let high = bounds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (light >= bounds[middle]) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * A profile of matrix and curves; null for bytes that are none.
 * @param {Uint8Array} bytes
 * @returns {Profile | null}
 */
export function parse(bytes) {
  try {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    /** @param {number} at */
    const word = at => String.fromCharCode(...bytes.subarray(at, at + 4));
    if (word(36) !== 'acsp' || word(16) !== 'RGB ' || word(20) !== 'XYZ ') return null;
    /** @type {Map<string, number>} */
    const tags = new Map();
    for (let index = 0; index < Math.min(view.getUint32(128), 200); index++) {
      tags.set(word(132 + 12 * index), view.getUint32(136 + 12 * index));
    }
    // where there are tables they count, and the matrix is but for those who cannot read them
    if (['A2B0', 'A2B1', 'B2A0', 'B2A1'].some(tag => tags.has(tag))) return null;
    const columns = ['r', 'g', 'b'].map(colour => {
      const at = tags.get(`${colour}XYZ`) ?? NaN;
      return [8, 12, 16].map(offset => fixed(view, at + offset));
    });
    const curves = ['r', 'g', 'b'].map(colour => curveOf(view, tags.get(`${colour}TRC`) ?? NaN, word));
    return { curves, matrix: [0, 1, 2].flatMap(row => columns.map(column => column[row])) };
  } catch {
    return null; // it ends before what it speaks of
  }
}

/**
 * @param {DataView} view
 * @param {number} at of a number with 16 bits behind the point
 */
function fixed(view, at) {
  if (Number.isNaN(at)) throw new RangeError('there is no such tag');
  return view.getInt32(at) / 65536;
}

/**
 * A curve of type "curv" or "para" (ICC.1:2022, 10.6 and 10.18).
 * @param {DataView} view
 * @param {number} at
 * @param {(at: number) => string} word
 * @returns {Curve}
 * @throws {RangeError} it is none
 */
function curveOf(view, at, word) {
  if (Number.isNaN(at)) throw new RangeError('there is no such tag');
  if (word(at) === 'curv') {
    const count = view.getUint32(at + 8);
    if (count === 0) return level => level;
    if (count === 1) {
      const gamma = view.getUint16(at + 12) / 256;
      return level => level ** gamma;
    }
    if (count > 65536) throw new RangeError('a curve of more points than levels');
    const points = Float64Array.from({ length: count }, (_, point) => view.getUint16(at + 12 + 2 * point) / 65535);
    return level => {
      const place = level * (count - 1);
      const first = Math.min(Math.floor(place), count - 2);
      return points[first] + (points[first + 1] - points[first]) * (place - first);
    };
  }
  if (word(at) !== 'para') throw new RangeError('no curve');
  const type = view.getUint16(at + 8);
  const lengths = [1, 3, 4, 5, 7];
  if (!(type in lengths)) throw new RangeError('no curve');
  const [g, a = 1, b = 0, c = 0, d = 0, e = 0, f = 0] = Array.from(
    { length: lengths[type] }, (_, index) => fixed(view, at + 12 + 4 * index));
  switch (type) {
    case 0: return level => level ** g;
    case 1: return level => (a * level + b >= 0 ? (a * level + b) ** g : 0);
    case 2: return level => (a * level + b >= 0 ? (a * level + b) ** g : 0) + c;
    default: return level => (level >= d ? (a * level + b) ** g + e : c * level + f);
  }
}

/**
 * @param {number[]} one 3 x 3
 * @param {number[]} other 3 x 3
 */
function product(one, other) {
  return one.map((_, at) => {
    const [row, column] = [3 * Math.floor(at / 3), at % 3];
    return one[row] * other[column] + one[row + 1] * other[column + 3] + one[row + 2] * other[column + 6];
  });
}

/**
 * @param {number[]} m 3 x 3
 * @returns {number[] | null} null where it has no inverse
 */
function inverseOf([a, b, c, d, e, f, g, h, i]) {
  const determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  if (!(Math.abs(determinant) > 1e-9)) return null;
  return [
    e * i - f * h, c * h - b * i, b * f - c * e,
    f * g - d * i, a * i - c * g, c * d - a * f,
    d * h - e * g, b * g - a * h, a * e - b * d,
  ].map(value => value / determinant);
}
