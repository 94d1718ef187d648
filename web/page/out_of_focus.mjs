/**
 * The photo out of focus, as a preview of what the file gets: computed at a reduced size, since a Gaussian that wide
 * leaves nothing that a finer grid would show. What the subject covers is filled from around it first, so that it has
 * no glow.
 */

/** The photo is blurred at the size at which the standard deviation is this many pixels, as in the file. */
const SIGMA = 4;

/** The longer side at most, in pixels, of what is computed while somebody waits. */
const LARGEST = 1024;

/** Alpha below this, of 255, is background. */
const COVERED = 5;

/**
 * @param {HTMLCanvasElement} target receives the blurred photo, at a size of its own
 * @param {HTMLCanvasElement} photo
 * @param {HTMLCanvasElement} cutout the photo with the mask as its alpha, of the same size
 * @param {number} sigma the standard deviation in pixels of `photo`, above 0
 */
export function paintBlur(target, photo, cutout, sigma) {
  const reduction = Math.max(1, sigma / SIGMA, Math.max(photo.width, photo.height) / LARGEST);
  const width = Math.max(1, Math.round(photo.width / reduction));
  const height = Math.max(1, Math.round(photo.height / reduction));
  const image = reduced(photo, width, height);
  const alpha = reduced(cutout, width, height).data;
  const planes = [0, 1, 2].map(() => new Float32Array(width * height));
  const weight = new Float32Array(width * height);
  for (let at = 0; at < weight.length; at += 1) {
    weight[at] = alpha[4 * at + 3] < COVERED ? 1 : 0;
    for (let channel = 0; channel < 3; channel += 1) planes[channel][at] = image.data[4 * at + channel];
  }
  if (weight.includes(1)) fill(planes, weight, width, height);
  const kernel = gaussian(sigma * height / photo.height);
  planes.forEach((plane, channel) => {
    const blurred = blurRows(blurRows(plane, width, height, kernel), height, width, kernel);
    for (let at = 0; at < weight.length; at += 1) image.data[4 * at + channel] = blurred[at];
  });
  for (let at = 3; at < image.data.length; at += 4) image.data[at] = 255;
  target.width = width;
  target.height = height;
  target.getContext('2d')?.putImageData(image, 0, 0);
}

/**
 * @param {HTMLCanvasElement} source
 * @param {number} width
 * @param {number} height
 */
function reduced(source, width, height) {
  const small = new OffscreenCanvas(width, height);
  const context = small.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('the browser gives no canvas to blur on; close other pages and load this one again');
  context.imageSmoothingQuality = 'high';
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/**
 * Continue colours to where the weight is 0: by averages over squares of twice the size, again and again, until each
 * has something to show.
 * @param {Float32Array[]} planes changed in place
 * @param {Float32Array} weight 0 or above, one at least above 0
 * @param {number} width
 * @param {number} height
 */
function fill(planes, weight, width, height) {
  if (weight.every(each => each > 0)) return;
  const halfWidth = (width + 1) >> 1, halfHeight = (height + 1) >> 1;
  const coarse = planes.map(() => new Float32Array(halfWidth * halfHeight));
  const total = new Float32Array(halfWidth * halfHeight);
  const half = (/** @type {number} */ at) => (Math.floor(at / width) >> 1) * halfWidth + ((at % width) >> 1);
  weight.forEach((each, at) => {
    total[half(at)] += each;
    planes.forEach((plane, channel) => { coarse[channel][half(at)] += each * plane[at]; });
  });
  coarse.forEach(plane => plane.forEach((sum, at) => { if (total[at] > 0) plane[at] = sum / total[at]; }));
  fill(coarse, total, halfWidth, halfHeight);
  weight.forEach((each, at) => {
    if (each === 0) planes.forEach((plane, channel) => { plane[at] = coarse[channel][half(at)]; });
  });
}

/** @param {number} sigma */
function gaussian(sigma) {
  const reach = Math.ceil(3 * sigma);
  const values = Array.from({ length: 2 * reach + 1 }, (_, at) => Math.exp(-((at - reach) ** 2) / (2 * sigma * sigma)));
  const sum = values.reduce((a, b) => a + b);
  return Float32Array.from(values, value => value / sum);
}

/**
 * Blur along rows, the edge's value going on outside, and turn the result: called twice it blurs a picture.
 * @param {Float32Array} plane width x height, row by row
 * @param {number} width
 * @param {number} height
 * @param {Float32Array} kernel
 * @returns {Float32Array} height x width
 */
function blurRows(plane, width, height, kernel) {
  const reach = (kernel.length - 1) / 2;
  const out = new Float32Array(plane.length);
  const row = new Float32Array(width + 2 * reach);
  for (let y = 0; y < height; y += 1) {
    row.fill(plane[y * width], 0, reach);
    row.set(plane.subarray(y * width, (y + 1) * width), reach);
    row.fill(plane[(y + 1) * width - 1], reach + width);
    for (let x = 0; x < width; x += 1) {
      let sum = 0;
      for (let tap = 0; tap < kernel.length; tap += 1) sum += kernel[tap] * row[x + tap];
      out[x * height + y] = sum;
    }
  }
  return out;
}
