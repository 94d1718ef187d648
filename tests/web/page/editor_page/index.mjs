// The page of these tests: the editor and the settings as the real page mounts them, and photos made here.
import { Editor } from '/page/editor.mjs';
import { SettingsPanel } from '/page/settings.mjs';

const editor = new Editor(document.getElementById('editor'));
const settings = new SettingsPanel(document.getElementById('settings'));
const events = { strokes: 0, change: 0, problem: [] };
editor.addEventListener('strokes', () => { events.strokes += 1; });
editor.addEventListener('problem', event => events.problem.push(event.detail));
settings.addEventListener('change', () => { events.change += 1; });

/** A photo in which every pixel tells where it is: red is x, green is y, each modulo 256. */
function chart(width, height) {
  const image = new ImageData(width, height);
  for (let at = 0; at < width * height; at += 1) {
    image.data.set([at % width & 255, Math.floor(at / width) & 255, 90, 255], 4 * at);
  }
  return image;
}

/** A mask of these columns at 1, and the rest at 0. */
function columns(width, height, from, to) {
  const levels = new Uint8Array(width * height);
  for (let at = 0; at < levels.length; at += 1) levels[at] = at % width >= from && at % width < to ? 255 : 0;
  return { width, height, levels };
}

/** Show a chart; `proxy` is by how much the bitmap is smaller than the photo. */
async function showChart({ width = 200, height = 120, proxy = 1, from = 0, to = width / 2, strokes = [] } = {}) {
  const [w, h] = [width / proxy, height / proxy];
  window.photoSize = { width, height };
  editor.show({
    bitmap: await createImageBitmap(chart(w, h)), width, height, mask: columns(w, h, from / proxy, to / proxy), strokes,
  });
}

/** Show a photo with a soft oval cut out of it. */
async function showPhoto(url, strokes = []) {
  const bitmap = await createImageBitmap(await (await fetch(url)).blob());
  const { width, height } = bitmap;
  window.photoSize = { width, height };
  const levels = new Uint8ClampedArray(width * height);
  for (let at = 0; at < levels.length; at += 1) {
    const x = (at % width) / width - 0.45, y = Math.floor(at / width) / height - 0.62;
    levels[at] = 255 * (0.5 + (0.44 - Math.hypot(x * 1.15, y * 0.72)) * 30);
  }
  editor.show({ bitmap, width, height, mask: { width, height, levels: new Uint8Array(levels.buffer) }, strokes });
}

/** Bytes as text, which goes to the tests ten times faster than numbers. */
function base64(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** The pixels of the cut-out's own canvas, RGBA. */
function cutout() {
  const canvas = document.querySelector('canvas.cutout');
  const { width, height } = canvas;
  return { width, data: base64(canvas.getContext('2d').getImageData(0, 0, width, height).data) };
}

/** The pixels of a PNG in base64: a screenshot's. */
async function decode(png) {
  const bytes = Uint8Array.from(atob(png), each => each.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext('2d');
  context.drawImage(bitmap, 0, 0);
  const { width, height, data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  return { width, height, data: base64(data) };
}

Object.assign(window, { editor, settings, events, chart, columns, showChart, showPhoto, cutout, decode, ready: true });
