// A compiled model on a device: its buffers, its weights, its pipelines, and a bind group for each command.
import { RunnerError, said, size } from './errors.mjs';
import { storedBytes } from './checks.mjs';
import { uploadWeights } from './weights.mjs';

/**
 * @typedef {{pipeline: GPUComputePipeline, group: GPUBindGroup, grid: [number, number, number]}} BoundCommand
 * @typedef {{buffer: GPUBuffer, offset: number, bytes: number, storage: import('./header.mjs').Storage,
 *   shape: number[]}} BoundPlace where an input or output lies on the device; offset and size in bytes
 * @typedef {{stage: 'download'|'shaders'|'run', done: number, total: number}} Progress
 *   bytes of the weights as they are stored, programs, or commands
 * @typedef {(progress: Progress) => void} OnProgress
 */

/** The bytes of an input or output in the copies by which it comes and goes. */
export function stagedBytes(/** @type {import('./header.mjs').Place} */ place) {
  return Math.max(8, Math.ceil(storedBytes(place) / 8) * 8);
}

/** A model that is ready to run on `device`. */
export class BoundModel {
  /**
   * Upload the weights while the programs compile, and bind all commands.
   *
   * Raises RunnerError: 'network', 'damaged', 'out-of-memory', 'gpu', 'device-lost'; and what the signal gives as its
   * reason.
   * @param {import('./device.mjs').Device} device which is closed where this fails
   * @param {{header: import('./header.mjs').Header, base: URL, fetch: import('./network.mjs').Fetch,
   *   signal?: AbortSignal, onProgress?: OnProgress}} options
   */
  static async open(device, { header, base, fetch, signal: given, onProgress }) {
    const failed = new AbortController(); // one part that fails ends the others
    const signal = given ? AbortSignal.any([given, failed.signal]) : failed.signal;
    const start = performance.now();
    const self = new BoundModel(device, header);
    try {
      await self.#allocate();
      let done = 0;
      onProgress?.({ stage: 'shaders', done, total: header.plan.programs.length });
      const compiled = Promise.all(header.plan.programs.map(async (program, index) => {
        const pipeline = await self.#compile(program, index, signal);
        if (!signal.aborted) onProgress?.({ stage: 'shaders', done: done += 1, total: header.plan.programs.length });
        return pipeline;
      })).then(pipelines => {
        self.timings.shaders = performance.now() - start;
        return pipelines;
      });
      const uploaded = uploadWeights({
        device, header, base, fetch, signal, buffers: self.buffers,
        onBytes: (bytes, total) => { if (!signal.aborted) onProgress?.({ stage: 'download', done: bytes, total }); },
      }).then(() => { self.timings.download = performance.now() - start; });
      const [pipelines] = await device.waitFor(untilAborted(Promise.all([compiled, uploaded]), signal));
      await self.#bind(pipelines);
      if (device.lost !== null) throw device.lossError();
      return self;
    } catch (error) {
      failed.abort(error);
      // what the browser says of a device that is gone names other reasons
      const reason = !given?.aborted && await device.causes(error) ? device.lossError() : error;
      device.close();
      throw reason;
    }
  }

  /**
   * @param {import('./device.mjs').Device} device
   * @param {import('./header.mjs').Header} header
   */
  constructor(device, header) {
    this.device = device;
    this.header = header;
    /** @type {GPUBuffer[]} */
    this.buffers = [];
    /** @type {BoundCommand[]} */
    this.commands = [];
    /** Milliseconds until the weights were uploaded, and until the programs were compiled, both from one moment. */
    this.timings = { download: 0, shaders: 0 };
    /** @type {GPUBuffer|undefined} */
    this.uniforms = undefined;
    /** Where outputs are read. @type {GPUBuffer|undefined} */
    this.results = undefined;
    /** @type {GPUBindGroupLayout[]} */
    this.layouts = header.accesses.map(accesses => this.#layout(accesses));
  }

  /** @param {('read'|'read_write')[]} accesses */
  #layout(accesses) {
    /** @type {GPUBufferBindingType[]} */
    const types = ['uniform'];
    for (const access of accesses) types.push(access === 'read' ? 'read-only-storage' : 'storage');
    return this.device.handle.createBindGroupLayout({
      entries: types.map((type, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } })),
    });
  }

  async #allocate() {
    const { device: { handle }, header: { plan, outputs } } = this;
    const { STORAGE, UNIFORM, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
    const all = size(plan.buffers.reduce((sum, bytes) => sum + bytes, 0));
    await this.device.guarded(`the model, which takes ${all} of it`, () => {
      this.buffers = plan.buffers.map((bytes, index) => handle.createBuffer({
        label: index < plan.constantBuffers ? 'weights' : 'activations',
        size: Math.max(bytes, 4), usage: STORAGE | COPY_SRC | COPY_DST,
      }));
      this.uniforms = handle.createBuffer({
        label: 'parameters', size: Math.max(plan.uniforms.length, 4), usage: UNIFORM | COPY_DST,
      });
      handle.queue.writeBuffer(this.uniforms, 0, plan.uniforms);
      const bytes = outputs.reduce((sum, place) => sum + stagedBytes(place), 0);
      this.results = handle.createBuffer({ label: 'results', size: bytes, usage: MAP_READ | COPY_DST });
    });
  }

  /** @param {import('./header.mjs').Program} program @param {number} index @param {AbortSignal} signal */
  async #compile({ kernel, wgsl }, index, signal) {
    const { device: { handle } } = this, label = `${kernel} (program ${index})`;
    const module = handle.createShaderModule({ code: wgsl, label });
    try {
      const layout = handle.createPipelineLayout({ bindGroupLayouts: [this.layouts[index]] });
      return await handle.createComputePipelineAsync({ label, layout, compute: { module, entryPoint: 'main' } });
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      const { messages } = await module.getCompilationInfo();
      const first = messages.find(message => message.type === 'error');
      const reason = first ? `line ${first.lineNum}: ${first.message.split('\n', 1)[0]}` : said(error);
      throw new RunnerError('gpu', `the browser's WebGPU refuses the shader ${label}: ${reason}`, { cause: error });
    }
  }

  /** @param {GPUComputePipeline[]} pipelines */
  async #bind(pipelines) {
    const { device: { handle }, header: { plan } } = this, uniforms = /** @type {GPUBuffer} */ (this.uniforms);
    this.commands = await this.device.guarded('the commands of the model', () => plan.commands.map(command => {
      const { program, uniform, uniformBytes, bindings, grid, label } = command;
      const entries = bindings.map(({ buffer, offset, size }, index) => (
        { binding: index + 1, resource: { buffer: this.buffers[buffer], offset, size } }));
      entries.push({ binding: 0, resource: { buffer: uniforms, offset: uniform, size: uniformBytes } });
      const group = handle.createBindGroup({ label, layout: this.layouts[program], entries });
      return { pipeline: pipelines[program], group, grid };
    }));
  }

  /**
   * Where an input or output lies. Raises RunnerError 'input' where there is none of that name, or nothing reads it.
   * @param {string} name
   * @returns {BoundPlace}
   */
  place(name) {
    const { inputs, outputs } = this.header, place = [...inputs, ...outputs].find(each => each.name === name);
    if (!place) throw new RunnerError('input', `the model has no input or output '${name}'`);
    if (place.buffer === null) throw new RunnerError('input', `nothing in the model reads input '${name}'`);
    const { offset, storage, shape } = place;
    return { buffer: this.buffers[place.buffer], offset, bytes: storedBytes(place), storage, shape };
  }

  /**
   * Record commands.
   * @param {GPUCommandEncoder} encoder
   * @param {number} first
   * @param {number} end
   */
  encode(encoder, first, end) {
    if (first === end) return;
    const pass = encoder.beginComputePass();
    /** @type {GPUComputePipeline|undefined} */
    let current;
    for (const { pipeline, group, grid } of this.commands.slice(first, end)) {
      if (pipeline !== current) pass.setPipeline(current = pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(...grid);
    }
    pass.end();
  }

  close() {
    for (const buffer of [...this.buffers, this.uniforms, this.results]) buffer?.destroy();
    this.device.close();
  }
}

/**
 * What a promise gives. Rejects with the signal's reason as soon as it is aborted; the promise is then left to itself.
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal|undefined} signal
 * @returns {Promise<T>}
 */
export function untilAborted(promise, signal) {
  if (!signal) return promise;
  promise.catch(() => {}); // its end may come when nobody waits for it any more
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
