// In the page: a network of one product a pixel on a device of its own, with the runner's run(), and cases that are cut
// out by it.
import { GpuStages, NotOnGpu } from '/image/gpu/index.mjs';

const ARRAYS = { float32: Float32Array, uint8: Uint8Array, int32: Int32Array };

/**
 * y[c] = sum over k of weights[c][k] * x[k] + bias[c], and up to `ramp` more from left to right; both of 1 x C x H x W,
 * or of 1 x H x W x C.
 */
export class TinyNetwork {
  static async open(description) {
    const adapter = await navigator.gpu.requestAdapter();
    return new TinyNetwork(await adapter.requestDevice(), description);
  }

  constructor(device, { height, width, layout, dtype, weights, bias, ramp, outputDtype = 'float32' }) {
    this.device = device;
    this.errors = [];
    device.addEventListener('uncapturederror', event => this.errors.push(event.error.message));
    const shape = channels => (layout === 'NHWC' ? [1, height, width, channels] : [1, channels, height, width]);
    this.inputs = [{ name: 'x', dtype, shape: shape(weights[0].length) }];
    this.outputs = [{ name: 'y', dtype: outputDtype, shape: shape(weights.length) }];
    this.pixels = height * width;
    const [read, write] = [dtype === 'uint8' ? 'u32' : 'f32', outputDtype === 'float32' ? 'f32' : 'i32'];
    this.storage = { x: read, y: write };
    // the network's tensors lie at no multiple of the alignment of bindings
    const at = (channels, c) => (layout === 'NHWC' ? `i * ${channels} + ${c}` : `${c} * ${this.pixels} + i`);
    const sums = weights.map((row, c) => {
      const terms = row.map((weight, k) => `${weight.toFixed(6)} * f32(x[2 + ${at(row.length, k)}])`);
      return `y[2 + ${at(weights.length, c)}] = ${write}(${terms.join(' + ')} + ${bias[c].toFixed(6)} + ramp);`;
    });
    const module = device.createShaderModule({ code: `
      @group(0) @binding(0) var<storage, read> x: array<${read}>;
      @group(0) @binding(1) var<storage, read_write> y: array<${write}>;
      @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        let i = i32(id.x);
        let ramp = ${ramp.toFixed(6)} * f32(i % ${width}) / ${width}.0;
        if (i < ${this.pixels}) { ${sums.join('\n')} }
      }` });
    this.pipeline = device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
    this.#allocate();
  }

  #allocate() {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const [x, y] = [this.inputs, this.outputs].map(([{ shape }]) =>
      this.device.createBuffer({ size: 256 + 8 + 4 * shape.reduce((a, b) => a * b), usage }));
    this.buffers = { x, y };
    this.group = this.device.createBindGroup({
      layout: this.pipeline.getBindGroupLayout(0),
      entries: [x, y].map((buffer, binding) => ({ binding, resource: { buffer, offset: 256 } })),
    });
  }

  async run(inputs, { signal, before, after }) {
    signal?.throwIfAborted();
    const encoder = this.device.createCommandEncoder();
    const place = name => ({
      buffer: this.buffers[name], offset: 256 + 8, bytes: this.buffers[name].size - 264, storage: this.storage[name],
      shape: [...this.inputs, ...this.outputs].find(each => each.name === name).shape,
    });
    const stage = { device: this.device, encoder, place };
    before(stage);
    const pass = encoder.beginComputePass();
    pass.setPipeline(this.pipeline);
    pass.setBindGroup(0, this.group);
    pass.dispatchWorkgroups(Math.ceil(this.pixels / 64));
    pass.end();
    const finish = after(stage);
    this.device.queue.submit([encoder.finish()]);
    await finish();
    return {};
  }

  /** What the network was given. */
  async given() {
    const [{ shape, dtype }] = this.inputs;
    const bytes = 4 * shape.reduce((a, b) => a * b);
    const copy = this.device.createBuffer({ size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(this.buffers.x, 264, copy, 0, bytes);
    this.device.queue.submit([encoder.finish()]);
    await copy.mapAsync(GPUMapMode.READ);
    return new (dtype === 'uint8' ? Uint32Array : Float32Array)(copy.getMappedRange().slice(0));
  }
}

const networks = new Map();

/** One network for each description. */
export function network(description) {
  const key = JSON.stringify(description);
  if (!networks.has(key)) networks.set(key, TinyNetwork.open(description));
  return networks.get(key);
}

let loaded;

/** The cases of the folder, and the stages over the kernels in it. */
export function load() {
  return loaded ??= (async () => {
    const read = async name => (await fetch(`/cases/${name}.json`)).json();
    const [cases, kernels] = await Promise.all(['cases', 'kernels'].map(read));
    const bytes = await (await fetch('/cases/data.bin')).arrayBuffer();
    const revive = value => {
      if (typeof value?.at !== 'number') return value;
      const type = ARRAYS[value.dtype];
      const count = value.shape.reduce((a, b) => a * b, 1);
      return { data: new type(bytes.slice(value.at, value.at + count * type.BYTES_PER_ELEMENT)), shape: value.shape };
    };
    return {
      cases: cases.map(each => Object.fromEntries(Object.entries(each).map(([key, value]) => [key, revive(value)]))),
      stages: new GpuStages(kernels),
      kernels,
    };
  })();
}

export function photoOf({ data, shape }, opaque, icc = null) {
  return { name: 'photo.png', height: shape[0], width: shape[1], rgba: data, opaque, icc };
}

/** The largest difference, and what part of the numbers differ; infinite where one is no number. */
function apart(one, other) {
  if (one.length !== other.length) return { most: Infinity, part: 1 };
  let most = 0, count = 0;
  for (let at = 0; at < one.length; at++) {
    const difference = Math.abs(one[at] - other[at]);
    if (!(difference <= most)) most = difference >= 0 ? difference : Infinity;
    if (difference !== 0) count++;
  }
  return { most, part: count / one.length };
}

const channel = (rgba, first, count) => rgba.filter((_, at) => at % 4 >= first && at % 4 < first + count);

/** How far the case of that name is from what nss made of it. */
export async function run(name) {
  const { cases, stages } = await load();
  const each = cases.find(found => found.name === name);
  const photo = photoOf(each.photo, each.opaque);
  const before = photo.rgba.slice();
  const model = await network(each.network);
  const cut = await stages.cut(model, photo, each.interface, each.settings);
  const input = apart(await model.given(), each.input.data);
  const result = {
    input: input.most,
    mask: apart(cut.networkMask.data, each.mask.data).most,
    maskSize: [cut.networkMask.height, cut.networkMask.width],
    colours: apart(channel(cut.data, 0, 3), channel(each.rgba.data, 0, 3)),
    alpha: apart(channel(cut.data, 3, 1), channel(each.rgba.data, 3, 1)),
    untouched: apart(before, photo.rgba).most === 0,
    range: cut.range,
    extremes: [Math.min(...each.mask.data), Math.max(...each.mask.data)],
    errors: model.errors,
  };
  // once more, into memory of its own and without the mask
  const into = new Uint8Array(photo.rgba.length);
  const again = await stages.cut(model, photo, each.interface, each.settings, { mask: false, into });
  result.again = again.data === into && again.networkMask === null && apart(into, cut.data).most === 0;
  return result;
}

/** The model on a device that says other limits. */
function limited(model, limits) {
  const device = new Proxy(model.device, {
    get(target, key) {
      if (key === 'limits') return limits;
      return typeof target[key] === 'function' ? target[key].bind(target) : target[key];
    },
  });
  return {
    inputs: model.inputs,
    outputs: model.outputs,
    run: (inputs, { before, after, ...rest }) => model.run(inputs, {
      ...rest, before: stage => before({ ...stage, device }), after: stage => after({ ...stage, device }),
    }),
  };
}

/** Whether the case comes out the same on a device that says other limits, and where nothing is kept on that. */
export async function sameWithin(name, limits) {
  const { cases, kernels } = await load();
  const each = cases.find(found => found.name === name);
  const model = await network(each.network);
  const cut = (stages, on) => stages.cut(on, photoOf(each.photo, each.opaque), each.interface, each.settings);
  const small = new GpuStages(kernels, { keep: 0 }), other = limited(model, limits);
  const [first, ...others] = await Promise.all(
    [cut(new GpuStages(kernels), model), ...[1, 2, 3].map(() => cut(small, other))]);
  others.push(await cut(small, other));
  return others.every(({ data }) => apart(first.data, data).most === 0) && model.errors.length === 0;
}

/** What is thrown for these cases one after the other, of one network; null where nothing is. */
export async function inTurn(names) {
  const { cases, stages } = await load();
  const found = [];
  for (const name of names) {
    const each = cases.find(other => other.name === name);
    const cut = stages.cut(await network(each.network), photoOf(each.photo, each.opaque), each.interface);
    found.push(await cut.then(() => null, error => error.message));
  }
  return found;
}

/** What is thrown for the case of that name with changes: its class and message. */
export async function thrown(name, { settings, photo: changed = {}, interface: face = {}, options = {}, limits } = {}) {
  const { cases, kernels } = await load();
  const each = cases.find(found => found.name === name);
  const photo = { ...photoOf(each.photo, each.opaque), ...changed };
  if (changed.icc) photo.icc = Uint8Array.from(changed.icc);
  const model = await network(each.network);
  if (options.aborted) options = { signal: AbortSignal.abort() };
  const shown = limits ? limited(model, limits) : model;
  try {
    await new GpuStages(kernels).cut(shown, photo, { ...each.interface, ...face }, settings ?? each.settings, options);
  } catch (error) {
    return `${error instanceof NotOnGpu ? 'NotOnGpu' : error.name}: ${error.message}`;
  }
  return null;
}

/** A compiled model by the runner: the case, and once more behind a device that was lost; how far both are from nss. */
export async function throughTheRunner(name) {
  const { open } = await import('/runner/index.mjs');
  const { cases, stages } = await load();
  const each = cases.find(found => found.name === name);
  const photo = photoOf(each.photo, each.opaque);
  const opened = await open('/cases/model/', { allowSoftware: true });
  const devices = new Set();
  let last;
  const model = {
    inputs: opened.inputs,
    outputs: opened.outputs,
    run: (inputs, { before, ...rest }) => opened.run(inputs, {
      ...rest, before: stage => { devices.add(last = stage.device); before(stage); },
    }),
  };
  const cuts = [];
  const cut = async () => cuts.push(await stages.cut(model, photo, each.interface, each.settings));
  await Promise.all([cut(), cut()]); // which take turns
  last.destroy();
  await last.lost;
  await cut();
  const controller = new AbortController();
  const stopped = stages.cut(model, photo, each.interface, each.settings, { signal: controller.signal });
  controller.abort();
  const error = await stopped.catch(reason => reason.name);
  await cut();
  opened.close();
  return {
    devices: devices.size,
    error,
    alpha: cuts.map(({ data }) => apart(channel(data, 3, 1), channel(each.rgba.data, 3, 1)).most),
    mask: cuts.map(({ networkMask }) => apart(networkMask.data, each.mask.data).most),
  };
}
