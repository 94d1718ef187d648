// A model that is open: runs, one after the other, and a device that is opened anew where it was lost.
import { BoundModel, stagedBytes, untilAborted } from './bound.mjs';
import { openDevice } from './device.mjs';
import { RunnerError } from './errors.mjs';
import { Submissions } from './submissions.mjs';
import { checkInput, checkOutput, fromStorage, toStorage } from './tensors.mjs';

/**
 * @typedef {import('./tensors.mjs').TypedArray} TypedArray
 * @typedef {import('./header.mjs').Place} Place
 * @typedef {{device: GPUDevice, encoder: GPUCommandEncoder,
 *   place: (name: string) => import('./bound.mjs').BoundPlace}} Stage
 *   what hooks record into: `place` says where an input or output of the model lies
 * @typedef {{header: import('./header.mjs').Header, base: URL, fetch: import('./network.mjs').Fetch,
 *   allowSoftware: boolean, powerPreference: GPUPowerPreference}} Source
 * @typedef {object} RunOptions
 * @property {AbortSignal} [signal] the run rejects with its reason at once, and stops behind what the GPU is at
 * @property {import('./bound.mjs').OnProgress} [onProgress] commands that have been computed
 * @property {(stage: Stage) => void} [before] records work of the GPU in front of the model's
 * @property {(stage: Stage) => void | (() => Promise<unknown>)} [after] records work behind it, in the same submission;
 *   what it returns is called when that is submitted, and waited for: what it reads of the GPU is part of the run
 * @property {string[]} [read] the outputs to read back, by default all
 */

/** Commands of the first part, and of the first two, which are submitted by themselves. */
const GROWING = [12, 48];

/** A model that is open. */
export class Model {
  /** @type {BoundModel} */
  #bound;
  #source;
  #submissions;
  #turns = Promise.resolve();
  #closed = new AbortController();

  /**
   * @param {BoundModel} bound
   * @param {Source} source
   * @param {Record<string, number>} timings
   */
  constructor(bound, source, timings) {
    const { inputs, outputs, origin, metadata, precision, plan } = source.header;
    const told = (/** @type {Place} */ { name, dtype, shape }) => Object.freeze({ name, dtype, shape: [...shape] });
    this.#bound = bound;
    this.#source = source;
    this.#submissions = new Submissions(plan.commands, bound.device.adapter.software);
    /** The model's inputs, in its order: NumPy's names of types, and extents. */
    this.inputs = inputs.map(told);
    this.outputs = outputs.map(told);
    /** The ONNX model that was compiled; "" where nobody said. */
    this.origin = origin;
    /** What whoever exported the model wrote beside it. */
    this.metadata = metadata;
    this.precision = precision;
    /** Milliseconds: header, device, download, shaders, open; and run, of the last one. */
    this.timings = timings;
  }

  /** The adapter that the model is on. */
  get adapter() {
    return this.#bound.device.adapter;
  }

  /**
   * Compute the outputs. Runs of one model take turns; an input is read when it is the run's turn, and not changed.
   *
   * A device that is lost is opened again once in a run: hooks are then called again, with another device and other
   * buffers.
   *
   * Raises RunnerError: 'input', 'nan', 'out-of-memory', 'gpu', 'device-lost', 'closed', and where the device is
   * opened again what `open` raises; and what the signal gives as its reason.
   * @param {Record<string, TypedArray>} inputs by name; those that `before` writes are left out
   * @param {RunOptions} [options]
   * @returns {Promise<Record<string, TypedArray>>} the outputs that were asked for, by name
   */
  async run(inputs, options = {}) {
    const { signal, before, read } = options, { header } = this.#source;
    for (const name of Object.keys(inputs)) {
      if (!header.inputs.some(place => place.name === name)) {
        throw new RunnerError('input', `the model has no input '${name}': it has ${names(header.inputs)}`);
      }
    }
    for (const place of header.inputs) {
      if (inputs[place.name] !== undefined) checkInput(place, inputs[place.name]);
      else if (!before && place.buffer !== null) {
        throw new RunnerError('input', `input '${place.name}' is missing: give it`);
      }
    }
    for (const name of read ?? []) {
      if (!header.outputs.some(place => place.name === name)) {
        throw new RunnerError('input', `the model has no output '${name}': it has ${names(header.outputs)}`);
      }
    }
    const stop = signal ? AbortSignal.any([signal, this.#closed.signal]) : this.#closed.signal;
    const turn = this.#turns.then(() => this.#attempts(inputs, options, stop));
    this.#turns = turn.then(() => {}, () => {});
    return untilAborted(turn, stop);
  }

  /**
   * @param {Record<string, TypedArray>} inputs
   * @param {RunOptions} options
   * @param {AbortSignal} signal
   */
  async #attempts(inputs, options, signal) {
    for (let reopened = false; ; reopened = true) {
      signal.throwIfAborted();
      const bound = this.#bound;
      if (bound.device.lost === null) {
        try {
          return await this.#once(bound, inputs, options, signal);
        } catch (error) {
          if (signal.aborted || !(await bound.device.causes(error))) throw error;
        }
      }
      if (reopened) throw bound.device.lossError();
      const { header, base, fetch, allowSoftware, powerPreference } = this.#source;
      const device = await openDevice(header.plan.needs, { allowSoftware, powerPreference });
      const next = await BoundModel.open(device, { header, base, fetch, signal, onProgress: options.onProgress });
      if (signal.aborted) next.close();
      else this.#bound = next;
      this.#submissions = new Submissions(header.plan.commands, device.adapter.software);
    }
  }

  /**
   * @param {BoundModel} bound
   * @param {Record<string, TypedArray>} inputs
   * @param {RunOptions} options
   * @param {AbortSignal} signal
   * @returns {Promise<Record<string, TypedArray>>}
   */
  async #once(bound, inputs, { onProgress, before, after, read }, signal) {
    const { device, header } = bound, { handle } = device, submissions = this.#submissions;
    const start = performance.now(), count = bound.commands.length;
    const outputs = header.outputs.filter(place => read?.includes(place.name) ?? true);
    const memory = outputs.length ? bound.results : undefined;
    /** @type {ReturnType<NonNullable<RunOptions['after']>>} */
    let finish = undefined;
    submissions.begin();
    try {
      for (let first = 0, end = 0; ; first = end) {
        end = submissions.end(first);
        const isLast = end === count, submitTime = performance.now();
        const submitted = device.guarded('running the model', () => {
          if (first === 0) this.#write(bound, inputs);
          for (const [begin, stop] of parts(first, end)) {
            const encoder = handle.createCommandEncoder();
            const stage = { device: handle, encoder, place: (/** @type {string} */ name) => bound.place(name) };
            if (begin === 0) before?.(stage);
            bound.encode(encoder, begin, stop);
            if (stop === count) {
              finish = after?.(stage);
              this.#copyResults(bound, encoder, outputs);
            }
            handle.queue.submit([encoder.finish()]);
          }
        });
        /** @type {Promise<unknown>[]} */
        const work = [submitted];
        if (isLast && memory) work.push(memory.mapAsync(GPUMapMode.READ));
        if (isLast) work.push(submitted.then(() => (typeof finish === 'function' ? finish() : undefined)));
        if (!isLast || !memory) work.push(handle.queue.onSubmittedWorkDone());
        await device.waitFor(Promise.all(work));
        submissions.finished(first, end, performance.now() - submitTime);
        if (device.lost !== null) throw device.lossError();
        signal.throwIfAborted();
        onProgress?.({ stage: 'run', done: end, total: count });
        if (isLast) break;
      }
      const results = memory ? this.#take(memory, outputs) : {};
      this.timings.run = performance.now() - start;
      return results;
    } finally {
      memory?.unmap(); // also where mapping it is still under way
    }
  }

  /** @param {BoundModel} bound @param {Record<string, TypedArray>} inputs */
  #write(bound, inputs) {
    for (const place of bound.header.inputs) {
      const array = inputs[place.name];
      if (array === undefined || place.buffer === null || !array.length) continue;
      const { buffer, byteOffset, byteLength } = toStorage(place, array);
      bound.device.handle.queue.writeBuffer(bound.buffers[place.buffer], place.offset, buffer, byteOffset, byteLength);
    }
  }

  /** @param {BoundModel} bound @param {GPUCommandEncoder} encoder @param {Place[]} outputs */
  #copyResults(bound, encoder, outputs) {
    let at = 0;
    for (const place of outputs) {
      const { buffer, offset } = bound.place(place.name), bytes = stagedBytes(place);
      encoder.copyBufferToBuffer(buffer, offset, /** @type {GPUBuffer} */ (bound.results), at, bytes);
      at += bytes;
    }
  }

  /** @param {GPUBuffer} memory that is mapped @param {Place[]} outputs */
  #take(memory, outputs) {
    /** @type {Record<string, TypedArray>} */
    const results = {};
    const bytes = memory.getMappedRange();
    let at = 0;
    for (const place of outputs) {
      results[place.name] = fromStorage(place, bytes, at);
      checkOutput(place, results[place.name]);
      at += stagedBytes(place);
    }
    return results;
  }

  /** Free the device. Runs that are under way or wait reject, with the code 'closed'. */
  close() {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort(new RunnerError('closed', 'the model was closed: open it again'));
    this.#bound.close();
  }
}

/**
 * The commands from `first` to `end` in parts that grow: the GPU computes one while the browser checks and records the
 * next, which for the 278 of IS-Net takes 2 ms.
 * @param {number} first @param {number} end
 */
function parts(first, end) {
  const cuts = [first, ...GROWING.map(count => first + count).filter(cut => cut < end), end];
  return cuts.slice(1).map((cut, index) => [cuts[index], cut]);
}

/** @param {Place[]} places */
function names(places) {
  return places.map(place => `'${place.name}'`).join(', ');
}
