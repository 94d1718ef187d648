// What one device holds for the image stages: pipelines, tables and bind groups of the last kinds of photos, and
// scratch buffers that all of them share. A queue runs in order, so what one photo leaves in a buffer is done with
// when the next one's commands write it.
import { NotOnGpu } from './not_on_gpu.mjs';
import { Staging } from './staging.mjs';
import { ALIGNMENT, gridOf } from './steps.mjs';

/** @typedef {import('./kernels.mjs').Kernel} Kernel */
/** @typedef {import('./steps.mjs').Operand} Operand */
/** @typedef {import('./steps.mjs').Step} Step */

/** Kinds of photos whose tables stay on the device: sizes, and what is done to them. */
const KEPT = 8;

/** Multiplications and additions of a photo's stages: a tenth of a second for a slow GPU, which nothing interrupts. */
const MOST_WORK = 10e9;

/** The least size of a binding in bytes. */
const LEAST_BINDING = 16;

/** @typedef {{ pipeline: GPUComputePipeline, group: GPUBindGroup, grid: [number, number] }} Command */

/**
 * @typedef {object} Entry
 * @property {Step[]} steps
 * @property {GPUBuffer} uniforms
 * @property {GPUBuffer} tables
 * @property {number[]} offsets of each step's numbers in `uniforms`
 * @property {Map<Operand, number>} places of tables in `tables`
 * @property {Command[] | null} commands null until they are bound
 * @property {GPUBuffer[]} bound the buffers of others that they hold
 */

export class DeviceStages {
  /** @type {Map<Kernel, GPUComputePipeline>} */
  #pipelines = new Map();
  /** The one used last is last. @type {Map<string, Entry>} */
  #entries = new Map();
  /** @type {Map<string, GPUBuffer>} */
  #scratch = new Map();

  /** @param {GPUDevice} device */
  constructor(device) {
    this.device = device;
    this.staging = new Staging(device);
  }

  /**
   * The commands of some steps, bound to what lies on the device now.
   * @param {string} key equal where the steps are
   * @param {() => Step[]} make gives them
   * @throws {NotOnGpu} a limit of the device is too small
   */
  commands(key, make) {
    let entry = this.#entries.get(key);
    if (entry) this.#entries.delete(key);
    else entry = this.#open(make());
    this.#entries.set(key, entry);
    for (const [old, { uniforms, tables }] of this.#entries) {
      if (this.#entries.size <= KEPT) break;
      uniforms.destroy();
      tables.destroy();
      this.#entries.delete(old);
    }
    for (const { operands } of entry.steps) {
      for (const operand of operands) {
        if ('scratch' in operand) this.scratch(operand.scratch, operand.bytes);
      }
    }
    const others = this.#others(entry);
    if (!entry.commands || others.some((buffer, index) => buffer !== entry.bound[index])) {
      entry.commands = this.#bind(entry);
      entry.bound = others;
    }
    return entry.commands;
  }

  /**
   * The scratch buffer of that name, of so many bytes at least; what it held is lost where it grows.
   * @param {string} name
   * @param {number} bytes
   * @throws {NotOnGpu} they are too many
   */
  scratch(name, bytes) {
    const held = this.#scratch.get(name);
    if (held && held.size >= bytes) return held;
    const { maxBufferSize, maxStorageBufferBindingSize } = this.device.limits;
    const most = Math.min(maxBufferSize, maxStorageBufferBindingSize);
    if (bytes > most) {
      throw new NotOnGpu(`a photo of this size takes ${bytes} bytes in one piece, and the GPU allows ${most}`);
    }
    held?.destroy();
    const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
    const buffer = this.device.createBuffer({
      label: name, size: Math.max(bytes, LEAST_BINDING), usage: STORAGE | COPY_SRC | COPY_DST,
    });
    this.#scratch.set(name, buffer);
    return buffer;
  }

  /**
   * Free the scratch buffers where they hold more than so many bytes; what was submitted is still done.
   * @param {number} most
   */
  trim(most) {
    const buffers = [...this.#scratch.values()];
    if (buffers.reduce((sum, { size }) => sum + size, 0) <= most) return;
    for (const buffer of buffers) buffer.destroy();
    this.#scratch.clear();
  }

  /** Free all memory; what was submitted is still done. */
  destroy() {
    for (const { uniforms, tables } of this.#entries.values()) {
      uniforms.destroy();
      tables.destroy();
    }
    this.trim(-1);
    this.staging.destroy();
    this.#entries.clear();
  }

  /**
   * @param {Step[]} steps
   * @returns {Entry}
   */
  #open(steps) {
    const work = steps.reduce((sum, step) => sum + step.work, 0);
    if (work > MOST_WORK) throw new NotOnGpu(`it takes ${work} operations, and ${MOST_WORK} are allowed`);
    const uniforms = new Blocks();
    const tables = new Blocks();
    const offsets = steps.map(({ numbers }) => uniforms.add(numbers));
    /** @type {Map<Operand, number>} */
    const places = new Map();
    for (const operand of steps.flatMap(({ operands }) => operands)) {
      if ('table' in operand) places.set(operand, tables.add(operand.table));
    }
    const { maxStorageBufferBindingSize: most } = this.device.limits;
    if (tables.bytes > most) {
      throw new NotOnGpu(`tables of ${tables.bytes} bytes are more than the GPU allows, ${most}`);
    }
    return {
      steps,
      offsets,
      places,
      uniforms: uniforms.upload(this.device, GPUBufferUsage.UNIFORM),
      tables: tables.upload(this.device, GPUBufferUsage.STORAGE),
      commands: null,
      bound: [],
    };
  }

  /**
   * The buffers that an entry's operands lie in, but for its own.
   * @param {Entry} entry
   */
  #others({ steps }) {
    return steps.flatMap(({ operands }) => operands.flatMap(operand => {
      if ('place' in operand) return [operand.place.buffer];
      return 'scratch' in operand ? [/** @type {GPUBuffer} */ (this.#scratch.get(operand.scratch))] : [];
    }));
  }

  /**
   * @param {Entry} entry
   * @returns {Command[]}
   */
  #bind(entry) {
    const longest = this.device.limits.maxComputeWorkgroupsPerDimension;
    return entry.steps.map((step, index) => {
      const pipeline = this.#pipeline(step.kernel);
      const size = Math.ceil(step.numbers.byteLength / 16) * 16;
      const resources = [
        { buffer: entry.uniforms, offset: entry.offsets[index], size },
        ...step.operands.map(operand => this.#resource(operand, entry)),
      ];
      const group = this.device.createBindGroup({
        layout: pipeline.getBindGroupLayout(0),
        entries: resources.map((resource, binding) => ({ binding, resource })),
      });
      return { pipeline, group, grid: gridOf(step, longest) };
    });
  }

  /**
   * @param {Operand} operand
   * @param {Entry} entry
   * @returns {GPUBufferBinding}
   */
  #resource(operand, { tables, places }) {
    if ('table' in operand) {
      return { buffer: tables, offset: places.get(operand), size: Math.max(operand.table.byteLength, LEAST_BINDING) };
    }
    if ('scratch' in operand) {
      const buffer = /** @type {GPUBuffer} */ (this.#scratch.get(operand.scratch));
      return { buffer, offset: 0, size: Math.max(operand.bytes, LEAST_BINDING) };
    }
    const { buffer, offset, shape } = operand.place;
    const skipped = offset % ALIGNMENT;
    const bytes = 4 * shape.reduce((product, extent) => product * extent, 1);
    return { buffer, offset: offset - skipped, size: skipped + bytes };
  }

  /** @param {Kernel} kernel */
  #pipeline(kernel) {
    let pipeline = this.#pipelines.get(kernel);
    if (!pipeline) {
      const module = this.device.createShaderModule({ label: kernel.kernel, code: kernel.wgsl });
      const compute = { module, entryPoint: 'main' };
      pipeline = this.device.createComputePipeline({ label: kernel.kernel, layout: 'auto', compute });
      this.#pipelines.set(kernel, pipeline);
    }
    return pipeline;
  }
}

/** Arrays one behind the other, each at a multiple of the alignment of bindings. */
class Blocks {
  bytes = 0;
  /** @type {[number, Int32Array | Float32Array][]} */
  #parts = [];

  /**
   * @param {Int32Array | Float32Array} data
   * @returns {number} where it begins, in bytes
   */
  add(data) {
    const offset = this.bytes;
    this.#parts.push([offset, data]);
    this.bytes += Math.ceil(data.byteLength / ALIGNMENT) * ALIGNMENT;
    return offset;
  }

  /**
   * @param {GPUDevice} device
   * @param {number} usage
   */
  upload(device, usage) {
    const buffer = device.createBuffer({ size: Math.max(this.bytes, ALIGNMENT), usage, mappedAtCreation: true });
    const content = new Uint8Array(buffer.getMappedRange());
    for (const [offset, data] of this.#parts) {
      content.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
    }
    buffer.unmap();
    return buffer;
  }
}
