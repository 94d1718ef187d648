// A classifier in a page: a picture is drawn on a canvas of the model's size, and the scores are listed, best first.
import { open } from '../../runner/index.mjs';

const picture = /** @type {HTMLInputElement} */ (document.getElementById('picture'));
const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById('canvas'));
const state = /** @type {HTMLElement} */ (document.getElementById('state'));
const scores = /** @type {HTMLElement} */ (document.getElementById('scores'));

/**
 * What the model takes: float32 [1, 3, height, width], from 0 to 1.
 * @param {ImageBitmap} bitmap
 * @param {number[]} shape
 */
function pixels(bitmap, [, channels, height, width]) {
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('this browser draws on no canvas');
  [canvas.width, canvas.height] = [width, height];
  context.drawImage(bitmap, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height), plane = height * width;
  return Float32Array.from({ length: channels * plane }, (_, index) => (
    data[index % plane * 4 + Math.floor(index / plane)] / 255));
}

/** @param {unknown} error */
function show(error) {
  state.textContent = error instanceof Error ? error.message : String(error);
}

try {
  // without a GPU, ?software runs it on the processor: this model is small enough
  const model = await open('model/', { allowSoftware: new URLSearchParams(location.search).has('software') });
  const classes = /** @type {string[]} */ (model.metadata.classes), [input] = model.inputs, [output] = model.outputs;
  state.textContent = `Ready, on ${model.adapter.vendor || 'the GPU'}.`;
  picture.disabled = false;
  picture.addEventListener('change', async () => {
    const [file] = picture.files ?? [];
    if (!file) return;
    try {
      const bitmap = await createImageBitmap(file);
      const results = await model.run({ [input.name]: pixels(bitmap, input.shape) });
      const ranked = classes.map((name, index) => ({ name, score: Number(results[output.name][index]) }));
      ranked.sort((one, other) => other.score - one.score);
      scores.replaceChildren(...ranked.slice(0, 5).map(({ name, score }) => {
        const item = document.createElement('li');
        item.textContent = `${name}: ${(100 * score).toFixed(1)} %`;
        return item;
      }));
      state.textContent = `${file.name}: ${ranked[0].name}, in ${Math.round(model.timings.run)} ms.`;
    } catch (error) {
      show(error);
    }
  });
} catch (error) {
  show(error);
}
