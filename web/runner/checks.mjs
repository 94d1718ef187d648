// Whether a plan stays within its buffers, its uniforms and what it says it needs, wherever it comes from.
import { damaged } from './fields.mjs';
import { RunnerError } from './errors.mjs';

/** Bytes of an element in a buffer, by the name of its type. */
export const STORAGE_BYTES = { f32: 4, f16: 2, i32: 4, u32: 4 };

/** Offsets of bindings are multiples of this, in bytes. */
export const ALIGNMENT = 256;

/** The limits that every implementation of WebGPU guarantees, by WebGPU's names in kebab case; bytes or counts. */
const DEFAULT_LIMITS = new Map(Object.entries({
  'max-buffer-size': 256 * 2 ** 20,
  'max-storage-buffer-binding-size': 128 * 2 ** 20,
  'max-storage-buffers-per-shader-stage': 8,
  'max-compute-workgroup-storage-size': 16384,
  'max-compute-invocations-per-workgroup': 256,
  'max-compute-workgroup-size-x': 256,
  'max-compute-workgroups-per-dimension': 65535,
  'max-uniform-buffer-binding-size': 65536,
}));

const COPY_BYTES = 8;
const DECLARATION =
  /@group\(0\)[ \t\n\r]*@binding\(([0-9]+)\)[ \t\n\r]*var<(uniform|storage,[ \t\n\r]*read(?:_write)?)>/g;

/**
 * @typedef {import('./header.mjs').Plan} Plan
 * @typedef {import('./header.mjs').Place} Place
 * @typedef {'read'|'read_write'} Access
 */

/**
 * Raise RunnerError, which names the command or tensor, where anything is out of its range.
 * @param {Plan} plan
 * @param {Place[]} inputs
 * @param {Place[]} outputs
 * @returns {Access[][]} how each program uses its storage buffers, in the order of their bindings
 */
export function check(plan, inputs, outputs) {
  for (const [name, places] of /** @type {[string, Place[]][]} */ ([['input', inputs], ['output', outputs]])) {
    if (new Set(places.map(place => place.name)).size !== places.length) throw damaged(`two ${name}s have one name`);
  }
  if (!outputs.length) throw damaged('it has no output');
  if (plan.constantBuffers > plan.buffers.length) throw damaged('it has more constant buffers than buffers');
  const largest = limit(plan, 'max-buffer-size');
  plan.buffers.forEach((bytes, index) => {
    if (bytes > largest || bytes % 4) {
      throw damaged(`buffer ${index} has ${bytes} bytes: no whole words up to the ${largest} that it needs`);
    }
  });
  for (const place of [...inputs, ...outputs]) checkPlace(place, plan.buffers);
  for (const { name, buffer } of inputs) {
    if (buffer !== null && buffer < plan.constantBuffers) {
      throw damaged(`input '${name}' lies in a buffer of constants`);
    }
  }
  for (const { name, buffer } of outputs) if (buffer === null) throw damaged(`output '${name}' lies in no buffer`);
  const accesses = plan.programs.map(storageAccesses);
  plan.commands.forEach((command, index) => {
    try {
      checkCommand(command, plan, accesses);
    } catch (error) {
      if (!(error instanceof RangeProblem)) throw error;
      throw damaged(`command ${index} ('${command.label.slice(0, 80)}'): ${error.message}`);
    }
  });
  return accesses;
}

class RangeProblem extends Error {}

/**
 * The bytes of an input or output as it is stored.
 * @param {Place} place
 */
export function storedBytes(place) {
  if (place.shape.includes(0)) return 0; // whatever the others are, whose product may be infinite
  return place.shape.reduce((product, extent) => product * extent, 1) * STORAGE_BYTES[place.storage];
}

/**
 * What a device has that offers what the plan needs: WebGPU guarantees the rest.
 * @param {Plan} plan
 * @param {string} name
 */
function limit(plan, name) {
  return plan.needs.limits.get(name) ?? /** @type {number} */ (DEFAULT_LIMITS.get(name));
}

/** @param {Place} place @param {number[]} buffers */
function checkPlace(place, buffers) {
  const bytes = storedBytes(place), { name, buffer, offset } = place;
  if (!(bytes <= Number.MAX_SAFE_INTEGER)) throw damaged(`'${name}' has more bytes than anyone can count`);
  if (buffer === null) return;
  if (buffer >= buffers.length) throw damaged(`'${name}' lies in buffer ${buffer}, which does not exist`);
  if (offset % 4) throw damaged(`'${name}' begins within a word, at byte ${offset}`);
  if (offset + Math.ceil(bytes / COPY_BYTES) * COPY_BYTES > buffers[buffer]) {
    throw damaged(`'${name}' goes beyond buffer ${buffer}`);
  }
}

/** @param {import('./header.mjs').Program} program @returns {Access[]} */
function storageAccesses({ kernel, wgsl }) {
  const name = kernel.slice(0, 80), declared = new Map();
  for (const [, number, kind] of wgsl.matchAll(DECLARATION)) {
    declared.set(Number(number), kind.replace(/storage,\s*/, ''));
  }
  const kinds = Array.from({ length: declared.size }, (_, number) => declared.get(number));
  if (declared.size !== wgsl.split('@binding(').length - 1 || kinds.includes(undefined)) {
    throw damaged(`the bindings of program '${name}' are not declared in order, each once`);
  }
  if (kinds[0] !== 'uniform' || kinds.lastIndexOf('uniform')) {
    throw damaged(`the bindings of program '${name}' are not a uniform and then storage`);
  }
  return kinds.slice(1);
}

/** @param {import('./header.mjs').Command} command @param {Plan} plan @param {Access[][]} accesses */
function checkCommand(command, plan, accesses) {
  const { program, uniform, uniformBytes, bindings, grid } = command;
  if (program >= accesses.length) throw new RangeProblem(`program ${program} does not exist`);
  const declared = accesses[program];
  if (declared.length !== bindings.length) {
    throw new RangeProblem(`${bindings.length} bindings, where its program declares ${declared.length}`);
  }
  if (declared.length > limit(plan, 'max-storage-buffers-per-shader-stage')) {
    throw new RangeProblem(`${declared.length} bindings are more than it needs`);
  }
  if (uniform % ALIGNMENT || uniformBytes % 4) throw new RangeProblem('its uniform is not aligned');
  if (uniformBytes > limit(plan, 'max-uniform-buffer-binding-size')) {
    throw new RangeProblem('its uniform is more than it needs');
  }
  if (uniform + uniformBytes > plan.uniforms.length) throw new RangeProblem('its uniform goes beyond the uniforms');
  const longest = limit(plan, 'max-compute-workgroups-per-dimension');
  if (grid.some(extent => extent > longest)) {
    throw new RangeProblem(`its grid ${grid.join(' x ')} is not within ${longest}`);
  }
  const read = new Set(), written = new Set();
  bindings.forEach(({ buffer, offset, size }, index) => {
    const range = `a binding of ${size} bytes at ${offset}`;
    if (buffer >= plan.buffers.length) throw new RangeProblem(`buffer ${buffer} does not exist`);
    if (offset % ALIGNMENT || size % 4) throw new RangeProblem(`${range} is not aligned`);
    if (size > limit(plan, 'max-storage-buffer-binding-size')) throw new RangeProblem(`${range} is more than it needs`);
    if (offset + size > plan.buffers[buffer]) throw new RangeProblem(`${range} goes beyond buffer ${buffer}`);
    (declared[index] === 'read' ? read : written).add(buffer);
  });
  for (const buffer of written) {
    if (read.has(buffer)) throw new RangeProblem(`it reads and writes buffer ${buffer}`);
    if (buffer < plan.constantBuffers) throw new RangeProblem(`it writes buffer ${buffer}, which holds constants`);
  }
}

/**
 * Raise RunnerError, which names all that is missing, where an adapter cannot run what needs `needs`.
 *
 * A limit at or below WebGPU's default is not asked for: a device has the defaults without being asked.
 * @param {import('./header.mjs').Needs} needs
 * @param {{limits: object, features: {has(name: string): boolean}, info: {subgroupMinSize?: number, subgroupMaxSize?:
 * number}}} adapter
 * @returns {{requiredLimits: Record<string, number>, requiredFeatures: GPUFeatureName[]}}
 */
export function requirements(needs, adapter) {
  /** @type {Record<string, number>} */
  const requiredLimits = {};
  const offered = /** @type {Record<string, number|undefined>} */ (adapter.limits);
  const lacks = [];
  for (const [name, least] of needs.limits) {
    if (least <= (DEFAULT_LIMITS.get(name) ?? 0)) continue;
    const camel = name.replace(/-(.)/g, (_, letter) => letter.toUpperCase()), most = offered[camel];
    if (most === undefined || most < least) lacks.push(`${camel} of ${least} (it has ${most ?? 'none'})`);
    else requiredLimits[camel] = least;
  }
  if (lacks.length) {
    throw new RunnerError(
      'limits',
      `this GPU cannot hold the model, which needs ${lacks.join(', ')}: take a smaller model`
    );
  }
  const missing = needs.features.filter(feature => !adapter.features.has(feature));
  if (missing.length) {
    throw new RunnerError(
      'features',
      `this GPU or browser lacks ${missing.join(', ')}, which the model needs: export it for WebGPU's defaults`
    );
  }
  const { subgroupMinSize: smallest, subgroupMaxSize: greatest } = adapter.info;
  if (needs.subgroupLanes && (smallest !== needs.subgroupLanes || greatest !== needs.subgroupLanes)) {
    throw new RunnerError(
      'features',
      `the model needs subgroups of ${needs.subgroupLanes}, which this GPU has not: export it for WebGPU's ` +
      'defaults'
    );
  }
  return { requiredLimits, requiredFeatures: /** @type {GPUFeatureName[]} */ (needs.features) };
}
