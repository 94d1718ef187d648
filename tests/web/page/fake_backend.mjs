// A backend that needs no GPU: the mask is an ellipse. It stands in for the worker where the page itself is tested.
//
// A photo's name says what becomes of it: "bad…" fails, "slow…" takes until it is cancelled, "lost…" fails with the code
// of a lost device. `?check=CODE` in the address is what `check` finds, `?open=CODE` what opening meets, once, and
// `?hold=download,shaders,cut` the steps that stay until a test lets them go.

import { thumbnail } from '/page/picture.mjs';

const parameters = new URL(location.href).searchParams;

/** Milliseconds that a step takes. */
const PACE = 5;

const ADAPTER = { description: 'Test Graphics 1' };

export const MODELS = [
  { name: 'u2netp', title: 'U²-Netp', summary: 'Small and quick. The one to begin with.', licence: 'Apache-2.0',
    licence_url: 'https://www.apache.org/licenses/LICENSE-2.0', commercial: 'yes', origin: 'a test', weights: 'f16',
    bytes: 2_500_000, size: [320, 320], folder: 'models/u2netp/', default: true },
  { name: 'isnet', title: 'IS-Net', summary: 'Finer edges, for larger photos.', licence: 'Apache-2.0',
    licence_url: 'https://www.apache.org/licenses/LICENSE-2.0', commercial: 'yes', origin: 'a test', weights: 'f16',
    bytes: 88_000_000, size: [1024, 1024], folder: 'models/isnet/' },
  { name: 'rmbg-1.4', title: 'RMBG-1.4', summary: 'IS-Net trained on other photos.', licence: 'BRIA RMBG-1.4',
    licence_url: 'https://bria.ai/bria-huggingface-model-license-agreement/', commercial: 'no', origin: 'a test',
    weights: 'int8',
    bytes: 44_000_000, size: [1024, 1024], folder: 'models/rmbg/' },
  { name: 'rmbg-2.0', title: 'RMBG-2.0', summary: 'The finest, for strong graphics cards.', licence: 'CC BY-NC 4.0',
    licence_url: 'https://creativecommons.org/licenses/by-nc/4.0/', commercial: 'ask', origin: 'a test', weights: 'f16',
    bytes: 465_000_000, size: [1024, 1024], folder: 'models/rmbg2/' },
];

export class FakeBackend {
  calls = [];
  photos = new Map();
  stopped = new Set();
  openFails = parameters.get('open');
  /** Steps that stay where they are for as long as they are in here. */
  held = new Set(parameters.get('hold')?.split(','));
  next = 1;

  constructor() {
    globalThis.fake = this;
    const kept = new Set();
    this.keeping = {
      available: true,
      isKept: async model => kept.has(model.name),
      keep: async (model, { onProgress }) => {
        onProgress(model.bytes / 2, model.bytes);
        await this.wait();
        kept.add(model.name);
      },
      forget: async model => kept.delete(model.name),
      room: async () => 100_000_000,
    };
  }

  async check() {
    const code = parameters.get('check');
    return code && !this.allowed ? { code, canGoOn: code === 'software' } : null;
  }

  allow() {
    this.allowed = true;
  }

  async site() {
    if (parameters.has('nosite')) throw new Error('the host answers 404 for site.json; write the site anew');
    return { version: '0.0', models: MODELS };
  }

  async open(model, { keep, signal, onProgress }) {
    this.calls.push(['open', model.name, keep]);
    for (const stage of ['download', 'shaders']) {
      const total = stage === 'download' ? model.bytes : 40;
      for (let part = 1; part <= 4; part += 1) {
        onProgress({ stage, done: total * part / 4, total });
        await this.wait(signal, part === 4 ? stage : undefined);
      }
    }
    const code = this.openFails;
    this.openFails = null;
    if (code) throw Object.assign(new Error(`the model cannot be opened for the reason ${code}; try again`), { code });
    return { adapter: ADAPTER };
  }

  async cut(blob, { name, signal, onProgress }) {
    this.calls.push(['cut', name]);
    onProgress({ words: 'Cutting out', done: 1, total: 2 });
    await this.wait(signal, 'cut');
    if (name.startsWith('slow')) await this.until(signal);
    const unreadable = new Error(`${name} is not a photo that the page can read; save it as JPEG or PNG`);
    if (name.startsWith('bad')) throw unreadable;
    if (name.startsWith('lost')) {
      throw Object.assign(new Error('the graphics card was lost twice; try again'), { code: 'device-lost' });
    }
    const bitmap = await createImageBitmap(blob).catch(() => { throw unreadable; });
    const id = String(this.next++);
    const { width, height } = bitmap;
    this.photos.set(id, { blob, width, height });
    return {
      id, width, height, bitmap, mask: ellipse(width, height), adapter: ADAPTER, milliseconds: 41, notices: [],
    };
  }

  async mask(id, settings) {
    this.calls.push(['mask', id, settings]);
    const { width, height } = this.photos.get(id);
    return ellipse(width, height);
  }

  async render(id, settings, strokes, { format, signal }) {
    this.calls.push(['render', id, format, strokes.length, settings]);
    await this.wait(signal);
    if (parameters.has('norender')) throw new Error('the picture does not fit into memory; choose a smaller photo');
    if (parameters.has('slowrender')) await this.until(signal);
    const { blob, width, height } = this.photos.get(id);
    const canvas = new OffscreenCanvas(width, height);
    thumbnail(canvas, await createImageBitmap(blob), ellipse(width, height));
    return canvas.convertToBlob({ type: format === 'webp' ? 'image/webp' : 'image/png' });
  }

  release(id) {
    this.photos.delete(id);
  }

  close() {}

  /** @private */
  async wait(signal, step) {
    do {
      signal?.throwIfAborted();
      await new Promise((resolve, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
        setTimeout(resolve, PACE);
      });
    } while (this.held.has(step));
  }

  /** @private */
  until(signal) {
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
    });
  }
}

function ellipse(width, height) {
  const levels = new Uint8Array(width * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const distance = Math.hypot((x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1);
      levels[y * width + x] = Math.round(255 * Math.min(1, Math.max(0, (0.85 - distance) * 20)));
    }
  }
  return { width, height, levels };
}
