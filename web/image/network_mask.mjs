// From a network's output, in whatever form, to one mask at the network's size.
//
// A mask is one channel of height and width behind a batch of one; axes of one element may be left out. The channel
// axis is the first or the last of three: where the shape does not settle that, the model's layout does. An integer map
// without channels holds a mask, or the index of each pixel's class: the latter where `range` is 1, there is no
// activation, and `channel` is 1 or more, and then the mask is 1 where that class is.
import { ImageError } from './image_error.mjs';
import { arrayRows, resampledRows } from './resample.mjs';

/** @typedef {import('./photo.mjs').Mask} Mask */
/** @typedef {import('./photo.mjs').Photo} Photo */
/** @typedef {import('./prepare.mjs').Interface} Interface */

/** How far the mask's height over width may be from the input's, as a factor: what is further off is no mask. */
const SHAPE_RATIO = 2;

/** The least maximum of a mask in which something is found. */
const THRESHOLD = 0.5;

/** How the note on a mask begins in which nothing is found. */
export const NOTHING = 'nothing was found in this photo';

/** How far a mask may leave 0 to 1 by rounding. */
const SLACK = 0.01;

/** What the values of a mask must differ by to differ in a file of 8 bits. */
const ONE_LEVEL = 0.5 / 255;

const INTEGERS = /^u?int(8|16|32|64)$/;
const NUMBERS = /^(bool|u?int(8|16|32|64)|float(16|32|64))$/;

/**
 * How an output holds its channels, each of height x width.
 * @typedef {{ height: number, width: number, count: number, last: boolean }} Form
 */

/**
 * The mask that an output holds.
 * @param {ArrayLike<number> | ArrayLike<bigint>} output
 * @param {readonly number[]} shape of the output
 * @param {string} dtype the model's type of its elements, by NumPy's name
 * @param {Interface} face says which channel it is, what activation is applied, and the value of full foreground
 * @param {{ name?: string }} [options] `name`: what to call the photo in an error
 * @returns {Mask} at the network's own size; where the network leaves 0 to 1, so does it
 * @throws {ImageError} the output holds no such mask, holds NaN or infinite values, or is of one value between 0 and 1
 */
export function networkMask(output, shape, dtype, face, { name = 'the photo' } = {}) {
  const form = formOf(shape, dtype, face);
  const { height, width, count, last } = form;
  const size = height * width;
  if (output.length !== size * count) {
    throw new ImageError(`the model gives ${output.length} numbers for an output of [${shape.join(', ')}]`);
  }
  for (let at = 0; at < output.length; at++) {
    if (!Number.isFinite(Number(output[at]))) {
      throw new ImageError(
        `${name}: the network gave NaN or infinite values for this photo; a photo of one colour can do that`);
    }
  }
  const step = last ? count : 1;
  const plane = last ? 1 : size;
  const channel = face.channel < 0 ? face.channel + count : face.channel;
  const data = new Float32Array(size);
  if (isClassMap(dtype, form, face)) {
    for (let at = 0; at < size; at++) data[at] = Number(output[at]) === face.channel ? 1 : 0;
  } else if (face.activation === 'softmax') {
    for (let at = 0; at < size; at++) data[at] = softmax(output, at * step, plane, count, channel);
  } else {
    for (let at = 0, from = channel * plane; at < size; at++, from += step) data[at] = Number(output[from]);
    if (face.activation === 'sigmoid') {
      // by tanh, so that any finite number is one
      for (let at = 0; at < size; at++) data[at] = Math.tanh(data[at] * 0.5) * 0.5 + 0.5;
    }
  }
  if (face.range !== 1 && !isClassMap(dtype, form, face)) {
    const range = Math.fround(face.range);
    for (let at = 0; at < size; at++) data[at] /= range;
  }
  checkStructure(data, name);
  return { width, height, data };
}

/**
 * One channel's part of a pixel's softmax.
 * @param {ArrayLike<number> | ArrayLike<bigint>} logits
 * @param {number} at of the first channel
 * @param {number} step from one channel to the next
 * @param {number} count
 * @param {number} channel
 */
function softmax(logits, at, step, count, channel) {
  let highest = -Infinity;
  for (let index = 0; index < count; index++) highest = Math.max(highest, Number(logits[at + index * step]));
  let sum = 0;
  for (let index = 0; index < count; index++) sum += Math.exp(Number(logits[at + index * step]) - highest);
  return Math.exp(Number(logits[at + channel * step]) - highest) / sum;
}

/**
 * @param {Float32Array} mask
 * @param {string} name
 */
function checkStructure(mask, name) {
  let minimum = Infinity;
  let maximum = -Infinity;
  for (let at = 0; at < mask.length; at++) {
    if (mask[at] < minimum) minimum = mask[at];
    if (mask[at] > maximum) maximum = mask[at];
  }
  if (maximum - minimum < ONE_LEVEL && maximum > ONE_LEVEL && minimum < 1 - ONE_LEVEL) {
    const value = Number(maximum.toPrecision(3));
    throw new ImageError(`${name}: the network found no structure in this photo: its mask is ${value} everywhere`);
  }
}

/**
 * How an output of this shape and dtype holds its mask.
 * @param {readonly number[]} shape
 * @param {string} dtype
 * @param {Interface} face
 * @returns {Form}
 * @throws {ImageError} it holds none
 */
export function formOf(shape, dtype, face) {
  const gives = `the model gives ${face.output} of ${dtype}[${shape.join(', ')}]`;
  if (!NUMBERS.test(dtype)) throw new ImageError(`${gives}, which are no numbers; another 'output' is the mask`);
  const axes = [...shape];
  while (axes.length > 4 && axes[0] === 1) axes.shift();
  if (axes.length === 4) {
    if (axes[0] !== 1) throw new ImageError(`${gives}, ${axes[0]} masks and not one; another 'output' is the mask`);
    axes.shift();
  }
  if (axes.length === 2) axes.unshift(1);
  if (axes.length !== 3) {
    throw new ImageError(`${gives}, not one mask of height and width; another 'output' is the mask`);
  }
  const [first, middle, last] = axes;
  const forms = [
    { height: middle, width: last, count: first, last: false },
    { height: first, width: middle, count: last, last: true },
  ].filter(form => Math.min(form.height, form.width) > 1 && form.count && hasShape(form, face, SHAPE_RATIO));
  if (!forms.length) {
    throw new ImageError(`${gives}, not one mask of the photo's height and width; another 'output' is the mask`);
  }
  const form = forms.length === 1 || compare(rank(forms[0], face), rank(forms[1], face)) <= 0 ? forms[0] : forms[1];
  const { count } = form;
  if (count === 1 && face.activation === 'softmax') {
    throw new ImageError(`${gives}, and softmax over one channel is 1 everywhere; 'activation' is none or sigmoid`);
  }
  if (!(face.channel >= -count && face.channel < count) && !isClassMap(dtype, form, face)) {
    const channels = count === 1 ? '1 channel' : `${count} channels, 0 to ${count - 1}`;
    throw new ImageError(`${gives}, ${channels}: there is no ${face.channel}; another 'channel' is the foreground`);
  }
  return form;
}

/**
 * The lowest is what it is: one channel, the input's shape, fewer channels than pixels a side, the layout.
 * @param {Form} form
 * @param {Interface} face
 */
function rank(form, face) {
  return [
    form.count !== 1,
    !hasShape(form, face, 1),
    form.count >= Math.min(form.height, form.width),
    form.last !== (face.layout === 'NHWC'),
  ];
}

/**
 * @param {boolean[]} one
 * @param {boolean[]} other
 */
function compare(one, other) {
  const at = one.findIndex((value, index) => value !== other[index]);
  return at < 0 ? 0 : Number(one[at]) - Number(other[at]);
}

/**
 * Whether a mask of this height and width has the input's shape, to a factor and one pixel.
 * @param {Form} form
 * @param {Interface} face
 * @param {number} ratio
 */
function hasShape(form, face, ratio) {
  if (!Array.isArray(face.size)) return true;
  const proportional = (form.width * face.size[0]) / face.size[1];
  return proportional / ratio - 1 <= form.height && form.height <= proportional * ratio + 1;
}

/**
 * @param {string} dtype
 * @param {Form} form
 * @param {Interface} face
 */
function isClassMap(dtype, form, face) {
  return INTEGERS.test(dtype) && form.count === 1 && face.range === 1 && face.activation === 'none' && face.channel > 0;
}

/**
 * The note on a mask in which nothing is found; null where something is.
 * @param {Mask} mask as the network gave it, before it is refined; of a size other than the photo's it is judged as it
 *   is once enlarged
 * @param {Photo} [photo] what its own alpha hides cannot be found; without one, the mask alone is judged
 */
export function nothingFound(mask, photo) {
  const same = !photo || (mask.width === photo.width && mask.height === photo.height);
  const alpha = photo && !photo.opaque ? photo.rgba : null;
  if (!alpha && surelyReaches(mask, photo ?? mask)) return null;
  const own = arrayRows(mask.data, mask.height, mask.width, 1);
  const rows = same || !photo ? own : resampledRows(own, photo.height, photo.width, 'bilinear-antialias');
  let largest = 0;
  let visible = !alpha;
  for (let y = 0; y < rows.height; y++) {
    const row = rows.row(y);
    const at = 4 * y * rows.width + 3;
    for (let x = 0; x < rows.width; x++) {
      if (alpha && alpha[at + 4 * x] === 0) continue;
      visible = true;
      if (row[x] > largest) largest = row[x];
    }
  }
  if (!visible) return `${NOTHING}: it is wholly transparent`;
  return largest >= THRESHOLD ? null : `${NOTHING}: the largest mask value is ${largest.toFixed(3)}`;
}

/**
 * The note on a network's mask that leaves 0 to 1 by more than rounding; null for one that is a mask.
 * @param {Mask} mask
 */
export function rangeNote({ data }) {
  const isWithin = data.every(value => value >= -SLACK && value <= 1 + SLACK);
  return isWithin ? null : "the model's output is no mask in 0..1; clipped";
}

/**
 * Whether the largest value reaches the threshold once enlarged; false where that is not clear. Where a mask is
 * enlarged, some pixel lies within half a pixel from the centre of the largest value, so that this counts there with
 * that much less of its weight.
 * @param {Mask} mask
 * @param {{ width: number, height: number }} photo
 */
function surelyReaches({ data, width, height }, photo) {
  if (width > photo.width || height > photo.height) return false;
  let least = 0;
  let most = 0;
  for (let at = 0; at < data.length; at++) {
    if (data[at] < least) least = data[at];
    if (data[at] > most) most = data[at];
  }
  const weight = (1 - height / photo.height / 2) * (1 - width / photo.width / 2);
  return most * weight + least * (1 - weight) >= THRESHOLD + 1e-5;
}
