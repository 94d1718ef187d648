// In the page that tools/web_bench.py opens: what one model takes, posted to /result as JSON, in milliseconds.
import { GpuStages } from '/web/image/gpu/index.mjs';
import { open } from '/web/runner/index.mjs';

const WARM_UP = 5;
const query = new URLSearchParams(location.search);
const [width, height] = query.get('photo').split('x').map(Number);
const runs = Number(query.get('runs'));

const rounded = value => Math.round(value * 100) / 100;
const sorted = values => [...values].sort((a, b) => a - b);
const median = values => rounded(sorted(values)[values.length >> 1]);
const figures = values => (
  { median: median(values), least: rounded(Math.min(...values)), most: rounded(Math.max(...values)) });

/** Words of noise, by xorshift: what getRandomValues gives at once is too little. */
function noise(words, seed) {
  let state = seed * 2654435761 + 1 | 0;
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state;
  }
}

/** A device has timestamps where its adapter does: the runner asks only for what a model needs. */
function haveTimestamps() {
  const request = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = function (descriptor = {}) {
    if (!this.features.has('timestamp-query')) return request.call(this, descriptor);
    const requiredFeatures = [...descriptor.requiredFeatures ?? [], 'timestamp-query'];
    return request.call(this, { ...descriptor, requiredFeatures });
  };
}

/** Reads the GPU's clock at four places of a run: before and behind what comes before the network, and behind it. */
class Clock {
  #device;

  #open(device) {
    this.#device = device;
    this.queries = device.createQuerySet({ type: 'timestamp', count: 4 });
    this.resolved = device.createBuffer({ size: 32, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC });
    this.results = device.createBuffer({ size: 32, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  }

  mark({ device, encoder }, index) {
    if (device !== this.#device) this.#open(device);
    encoder.beginComputePass({ timestampWrites: { querySet: this.queries, endOfPassWriteIndex: index } }).end();
  }

  finish({ encoder }) {
    encoder.resolveQuerySet(this.queries, 0, 4, this.resolved, 0);
    encoder.copyBufferToBuffer(this.resolved, 0, this.results, 0, 32);
  }

  async read() {
    await this.results.mapAsync(GPUMapMode.READ);
    const times = [...new BigUint64Array(this.results.getMappedRange())].map(Number);
    this.results.unmap();
    const [input, network, composition] = times.slice(1).map((time, index) => (time - times[index]) / 1e6);
    return { input, network, composition };
  }
}

/** A model whose runs tell the clock. */
function clocked(model, clock) {
  return {
    inputs: model.inputs,
    outputs: model.outputs,
    run: (inputs, { before, after, ...rest }) => model.run(inputs, {
      ...rest,
      before: stage => { clock.mark(stage, 0); before(stage); clock.mark(stage, 1); },
      after: stage => {
        clock.mark(stage, 2);
        const finish = after(stage);
        clock.mark(stage, 3);
        clock.finish(stage);
        return finish;
      },
    }),
  };
}

async function times(count, work) {
  const found = [];
  for (let at = 0; at < count + WARM_UP; at++) {
    const milliseconds = await work(at);
    if (at >= WARM_UP) found.push(milliseconds);
  }
  return found;
}

async function timed(work) {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** The input that all places get. */
async function numbers() {
  return new Float32Array(await (await fetch('/input/x.bin')).arrayBuffer());
}

/** Hand an output over, to be compared. */
function tell(output) {
  return fetch('/output', { method: 'POST', body: output });
}

async function network(model) {
  const [input] = model.inputs;
  const x = await numbers();
  let outputs;
  const run = options => timed(async () => { outputs = await model.run({ [input.name]: x }, options); });
  const first = await run();
  await tell(outputs[model.outputs[0].name]);
  return {
    first: rounded(first),
    run: figures(await times(runs, () => run())),
    // what is left of it without the input's way up and the outputs' way down
    computed: figures(await times(runs, () => timed(() => model.run({}, { read: [], before() {} })))),
  };
}

/** From decoded pixels to the cut-out's bytes, a fresh photo of noise each, whatever the network makes of that. */
async function cutOuts(model, face, kernels) {
  const stages = new GpuStages(kernels);
  const rgba = new Uint8ClampedArray(4 * width * height), into = new Uint8Array(rgba.length);
  const words = new Uint32Array(rgba.buffer);
  const photo = { name: 'noise', width, height, rgba, opaque: true, icc: null };
  const cut = (on, options) => at => {
    noise(words, at + 1);
    for (let pixel = 0; pixel < words.length; pixel++) words[pixel] |= 0xff000000;
    return timed(() => stages.cut(on, photo, face, {}, { unchecked: true, ...options }));
  };
  const start = await cut(model, { mask: false, into })(99);
  const report = {
    first: rounded(start),
    cut: figures(await times(runs, cut(model, { mask: false, into }))),
    cut_into_new_memory: figures(await times(runs, cut(model, { mask: false }))),
    cut_with_mask: figures(await times(runs, cut(model, {}))),
  };
  const clock = new Clock(), parts = [];
  try {
    const on = clocked(model, clock);
    const timedCut = cut(on, { mask: false, into });
    await times(runs, async at => { await timedCut(at); parts.push(await clock.read()); });
    const kept = parts.slice(WARM_UP);
    report.gpu = Object.fromEntries(Object.keys(kept[0]).map(key => [key, figures(kept.map(part => part[key]))]));
  } catch (error) {
    report.gpu = String(error.message ?? error);
  }
  return report;
}

async function measure() {
  haveTimestamps();
  const start = performance.now();
  const model = await open(query.get('model'), { allowSoftware: query.has('software') });
  const report = { adapter: model.adapter, open: rounded(performance.now() - start) };
  report.opening = Object.fromEntries(Object.entries(model.timings).map(([key, value]) => [key, rounded(value)]));
  report.inputs = model.inputs;
  report.network = await network(model);
  const [input] = model.inputs, planar = input.shape.at(-3) <= 4;
  const face = model.metadata?.interface ?? {
    input: input.name, layout: planar ? 'NCHW' : 'NHWC', dtype: input.dtype, channels: 'RGB',
    size: planar ? input.shape.slice(-2) : input.shape.slice(-3, -1), filter: 'bilinear-antialias',
    scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225],
    output: 0, channel: 0, activation: 'none', range: 1, inputs: {},
  };
  try {
    report.photo = { width, height, ...await cutOuts(model, face, await (await fetch('/kernels.json')).json()) };
  } catch (error) {
    report.photo = `${error.name}: ${error.message}`;
  }
  model.close();
  return report;
}

/** The same by onnxruntime-web, whose inputs may leave extents open: the batch is 1 then, and photos are 1024 a side. */
async function measurePeer() {
  const start = performance.now();
  const ort = await import('/peer/ort.webgpu.min.mjs');
  ort.env.wasm.wasmPaths = '/peer/';
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(query.get('peer'), {
    executionProviders: ['webgpu'], graphOptimizationLevel: 'all',
  });
  const report = { open: rounded(performance.now() - start), version: ort.env.versions.web };
  const [{ name, shape }] = session.inputMetadata;
  const extents = shape.map((extent, axis) => (typeof extent === 'number' ? extent : [1, 3, 1024, 1024][axis]));
  const x = new ort.Tensor('float32', await numbers(), extents);
  let output;
  const run = () => timed(async () => {
    const outputs = await session.run({ [name]: x }, [session.outputNames[0]]);
    output = await outputs[session.outputNames[0]].getData();
  });
  report.inputs = [{ name, shape: extents }];
  report.first = rounded(await run());
  await tell(output);
  report.run = figures(await times(runs, run));
  return report;
}

const report = await (query.has('peer') ? measurePeer() : measure()).catch(error => ({ error: `${error.name}: ${error.message}` }));
await fetch('/result', { method: 'POST', body: JSON.stringify(report) });
