// The browser's part of tools/web_compare.py, which says in JOB what to compare: one line of JSON for each.
import fs from 'node:fs';
import path from 'node:path';
import { launch, serve, visit } from '../tests/web/harness.mjs';

const { names, runs, flags, models, packages } = JSON.parse(process.env.JOB);
const ROOT = path.join(import.meta.dirname, '..');
const TRANSFORMERS = '@huggingface/transformers';

/** Where transformers.js has its own onnxruntime-web, of another version, or the one beside it. */
const own = name => [`${TRANSFORMERS}/node_modules/${name}`, name]
  .find(folder => fs.existsSync(path.join(packages, folder)));
const imports = {
  'onnxruntime-common': `/packages/${own('onnxruntime-common')}/dist/esm/index.js`,
  'onnxruntime-web/webgpu': `/packages/${own('onnxruntime-web')}/dist/ort.webgpu.min.mjs`,
};
const PAGE = `<!doctype html><link rel="icon" href="data:,">
<script type="importmap">${JSON.stringify({ imports })}</script>`;

/** Opens the model and gives a function that runs it: in the page, each with what it imports alone. */
const CONTESTANTS = {
  async ours(folder) {
    const { open } = await import('/runner/index.mjs');
    const { input, output } = globalThis.names, model = await open(`/models/${folder}`, { allowSoftware: true });
    return async x => (await model.run({ [input]: x }, { read: [output] }))[output];
  },
  async onnxruntime(provider) {
    const folder = '/packages/onnxruntime-web/dist/';
    const ort = await import(`${folder}ort.${provider}.min.mjs`);
    Object.assign(ort.env.wasm, { wasmPaths: folder, numThreads: 1 });
    const { input, output, shape } = globalThis.names;
    const file = '/models/hub/onnx/model.onnx';
    const session = await ort.InferenceSession.create(file, { executionProviders: [provider] });
    const tensor = x => new ort.Tensor('float32', x, shape);
    return async x => (await session.run({ [input]: tensor(x) }, [output]))[output].getData();
  },
  async transformers(wasmPaths) {
    const { AutoModel, Tensor, env } = await import('/packages/@huggingface/transformers/dist/transformers.web.min.js');
    Object.assign(env, { allowRemoteModels: false, allowLocalModels: true, localModelPath: '/models/' });
    env.useBrowserCache = false;
    Object.assign(env.backends.onnx.wasm, { wasmPaths, numThreads: 1 });
    const { input, output, shape } = globalThis.names;
    const model = await AutoModel.from_pretrained('hub', { device: 'webgpu', dtype: 'fp32' });
    return async x => (await model({ [input]: new Tensor('float32', x, shape) }))[output].data;
  },
};
const CALLS = {
  ours: ['ours', 'f32'],
  'ours f16': ['ours', 'f16'],
  'onnxruntime-web webgpu': ['onnxruntime', 'webgpu'],
  'onnxruntime-web wasm': ['onnxruntime', 'wasm'],
  'transformers.js webgpu': ['transformers', `/packages/${own('onnxruntime-web')}/dist/`],
};

const server = await serve(
  { '/runner/': path.join(ROOT, 'web/runner'), '/models/': models, '/packages/': packages },
  { answer: (request, response) => request.url === '/page' && Boolean(response.end(PAGE)) });

/** Bytes of the files that were asked for since the last call, of code and of the model. */
function shipped() {
  const sizes = { code: 0, model: 0 };
  for (const url of new Set(server.requests.splice(0))) {
    const name = new URL(url, server.url).pathname;
    const [, top, ...rest] = name.split('/');
    const folder = { runner: path.join(ROOT, 'web/runner'), models, packages }[top];
    const file = folder && path.join(folder, ...rest);
    if (!file || /input\.bin|expected\.bin|names\.json/.test(name) || !fs.existsSync(file)) continue;
    sizes[top === 'models' ? 'model' : 'code'] += fs.statSync(file).size;
  }
  return sizes;
}

/** In the page: what a contestant takes, and how far off it is; or what fails. */
async function measure(contestant, argument, runs) {
  const floats = async url => new Float32Array(await (await fetch(url)).arrayBuffer());
  const [x, expected] = [await floats('/models/input.bin'), await floats('/models/expected.bin')];
  globalThis.names = await (await fetch('/models/names.json')).json();
  try {
    const start = performance.now(), run = await contestant(argument), open = performance.now() - start, times = [];
    let output, difference = 0;
    for (let count = 0; count < runs; count += 1) {
      const begin = performance.now();
      output = await run(x);
      times.push(performance.now() - begin);
    }
    for (let index = 0; index < expected.length; index += 1) {
      const own = Math.abs(output[index] - expected[index]);
      if (!(own <= difference)) difference = own;
    }
    return { open, runs: times, difference };
  } catch (error) {
    return { failed: String(error?.message ?? error).replace(/\s+/g, ' ').slice(0, 500) };
  }
}

for (const name of names) {
  const browser = await launch({ flags });
  try {
    const page = await visit(browser, `${server.url}page`);
    const [contestant, argument] = CALLS[name];
    const source = `({ ${CONTESTANTS[contestant]} }).${contestant}`; // methods, as they are written above
    const result = await page.evaluate(`(${measure})(${source}, ${JSON.stringify(argument)}, ${runs})`);
    console.log(JSON.stringify({ name, ...shipped(), ...result }));
  } catch (error) {
    console.log(JSON.stringify({ name, ...shipped(), failed: error.message.slice(0, 300) }));
  } finally {
    await browser.close();
  }
}
await server.close();
