// model.json: all of a compiled model but its weights, behind the SHA-256 of itself. docs/compiled.md has the format.
import { check, STORAGE_BYTES } from './checks.mjs';
import { RunnerError } from './errors.mjs';
import { array, damaged, Fields, integer, parse } from './fields.mjs';
import { segmentUnits } from './segments.mjs';
import { sha256 } from './sha256.mjs';

/** The version of the format; this reads no other. */
export const FORMAT = 2;

/** Bytes that a header may have. */
export const MAX_BYTES = 64 << 20;

const MAX_AXES = 32;

/** The types that inputs and outputs may have, by NumPy's names. */
const DTYPES = /** @type {const} */ ([
  'bool', 'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64', 'float16', 'float32', 'float64',
]);

/** Those that inputs may have besides: integers of four bits, each in a byte. */
const INPUT_DTYPES = /** @type {const} */ ([...DTYPES, 'int4', 'uint4']);

const START = /^\{"sha256":"([0-9a-f]{64})",$/;
const START_BYTES = 77;
const STORAGES = /** @type {(keyof typeof STORAGE_BYTES)[]} */ (Object.keys(STORAGE_BYTES));

/**
 * @typedef {typeof INPUT_DTYPES[number]} Dtype
 * @typedef {keyof typeof STORAGE_BYTES} Storage
 * @typedef {'raw'|'f16'|'q8'} Encoding
 * @typedef {{name: string, dtype: Dtype, shape: number[], storage: Storage, buffer: number|null, offset: number}} Place
 *   an input or output, and where it lies: `buffer` is null for an input that nothing reads, `offset` is in bytes
 * @typedef {{limits: Map<string, number>, features: string[], subgroupLanes: number}} Needs limits by kebab-case names
 * @typedef {{kernel: string, wgsl: string}} Program
 * @typedef {{buffer: number, offset: number, size: number}} Binding in bytes
 * @typedef {{label: string, program: number, uniform: number, uniformBytes: number, bindings: Binding[],
 *   grid: [number, number, number], flops: number, bytes: number}} Command
 * @typedef {{needs: Needs, buffers: number[], constantBuffers: number, programs: Program[], commands: Command[],
 *   uniforms: Uint8Array<ArrayBuffer>}} Plan
 * @typedef {{sha256: string, bytes: number}} Shard
 * @typedef {{encoding: Encoding, units: number}} Segment
 * @typedef {{precision: 'f32'|'f16', origin: {name: string, sha256: string, licence: string}, inputs: Place[],
 *   outputs: Place[], plan: Plan, accesses: ('read'|'read_write')[][], shards: Shard[], segments: Segment[],
 *   metadata: Record<string, unknown>}} Header `accesses`: what each program does with its storage buffers, in order
 */

/**
 * What the bytes of a model.json say, with its digest, every type and every range checked.
 *
 * Raises RunnerError: 'format' where they are no header of this version for WebGPU, 'damaged' where they are wrong.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<Header>}
 */
export async function decode(bytes) {
  if (bytes.length > MAX_BYTES) {
    throw new RunnerError('format', `model.json has more than ${MAX_BYTES} bytes: it is no compiled model`);
  }
  const start = START.exec(new TextDecoder('latin1').decode(bytes.subarray(0, START_BYTES)));
  if (!start) {
    throw new RunnerError(
      'format',
      'model.json does not begin with its SHA-256: it is no compiled model; check the address'
    );
  }
  if (await sha256(bytes.subarray(START_BYTES)) !== start[1]) throw damaged('it is damaged, its SHA-256 is another');
  let text;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw damaged('it is no UTF-8');
  }
  const fields = new Fields(parse(text));
  const format = fields.integer('format');
  if (format !== FORMAT) {
    throw new RunnerError(
      'format',
      `the model has version ${format} of the format, and this page reads version ${FORMAT}: export it again`
    );
  }
  fields.only(
    'sha256', 'format', 'engine', 'backend', 'precision', 'origin', 'inputs', 'outputs', 'counts', 'plan', 'weights',
    'metadata',
  );
  if (fields.choice('backend', ['webgpu', 'numpy']) === 'numpy') {
    throw new RunnerError(
      'format',
      "the model is compiled for 'numpy', and a browser runs 'webgpu': compile it for that"
    );
  }
  const origin = fields.fields('origin').only('name', 'sha256', 'licence');
  fields.text('engine');
  const counts = fields.fields('counts').only('in_file', 'loaded', 'planned', 'passes');
  for (const name of ['in_file', 'loaded', 'planned']) counts.integer(name);
  counts.counts('passes');
  const inputs = fields.objects('inputs').map(each => place(each, INPUT_DTYPES));
  const outputs = fields.objects('outputs').map(each => place(each, DTYPES));
  const plan = gpuPlan(fields.fields('plan'));
  const accesses = check(plan, inputs, outputs);
  const { shards, segments } = weights(fields.fields('weights'), plan);
  return {
    precision: fields.choice('precision', ['f32', 'f16']),
    origin: { name: origin.text('name'), sha256: origin.text('sha256'), licence: origin.text('licence') },
    inputs, outputs, plan, accesses, shards, segments,
    metadata: fields.mapping('metadata'),
  };
}

/** @param {Fields} fields @param {readonly Dtype[]} dtypes @returns {Place} */
function place(fields, dtypes) {
  fields.only('name', 'dtype', 'shape', 'storage', 'buffer', 'offset');
  const shape = fields.integers('shape');
  if (shape.length > MAX_AXES) throw damaged(`${fields.place('shape')} has more than ${MAX_AXES} axes`);
  return {
    name: fields.text('name'),
    dtype: fields.choice('dtype', dtypes),
    shape,
    storage: fields.choice('storage', STORAGES),
    buffer: fields.isNull('buffer') ? null : fields.integer('buffer'),
    offset: fields.integer('offset'),
  };
}

/** @param {Fields} fields @returns {Plan} */
function gpuPlan(fields) {
  fields.only('needs', 'buffers', 'constant_buffers', 'programs', 'commands', 'uniforms', 'peak_bytes');
  const needs = fields.fields('needs').only('limits', 'features', 'subgroup_lanes');
  fields.integer('peak_bytes');
  return {
    needs: {
      limits: needs.counts('limits'), features: needs.texts('features'), subgroupLanes: needs.integer('subgroup_lanes'),
    },
    buffers: fields.integers('buffers'),
    constantBuffers: fields.integer('constant_buffers'),
    programs: fields.objects('programs').map(program),
    commands: fields.objects('commands').map(command),
    uniforms: base64(fields.text('uniforms')),
  };
}

/** @param {Fields} fields @returns {Program} */
function program(fields) {
  fields.only('kernel', 'wgsl', 'trusted');
  fields.boolean('trusted'); // a browser checks bounds in any case
  const wgsl = fields.text('wgsl');
  if (wgsl.includes('\0')) throw damaged(`${fields.place('wgsl')} holds a NUL`);
  return { kernel: fields.text('kernel'), wgsl };
}

/** @param {Fields} fields @returns {Command} */
function command(fields) {
  fields.only('label', 'op', 'node', 'flops', 'bytes', 'program', 'uniform', 'uniform_bytes', 'bindings', 'grid');
  fields.text('op');
  fields.text('node');
  const [x, y, z, ...others] = fields.integers('grid', 1);
  if (z === undefined || others.length) throw damaged(`${fields.place('grid')} has not 3 extents`);
  const name = fields.place('bindings');
  return {
    label: fields.text('label'),
    program: fields.integer('program'),
    uniform: fields.integer('uniform'),
    uniformBytes: fields.integer('uniform_bytes', 4),
    bindings: fields.array('bindings').map(value => {
      const numbers = array(value, name);
      if (numbers.length !== 3) throw damaged(`${name} is no array of [buffer, offset, size]`);
      const [buffer, offset] = [integer(numbers[0], name), integer(numbers[1], name)];
      return { buffer, offset, size: integer(numbers[2], name, 4) };
    }),
    grid: [x, y, z],
    flops: fields.integer('flops'),
    bytes: fields.integer('bytes'),
  };
}

/** @param {Fields} fields @param {Plan} plan @returns {{shards: Shard[], segments: Segment[]}} */
function weights(fields, plan) {
  fields.only('shards', 'segments');
  const shards = fields.objects('shards').map(shard => {
    shard.only('sha256', 'bytes');
    const digest = shard.text('sha256'), bytes = shard.integer('bytes', 4);
    if (!/^[0-9a-f]{64}$/.test(digest)) throw damaged(`${shard.place('sha256')} is no SHA-256 in hexadecimal`);
    if (bytes % 4) throw damaged(`${shard.place('bytes')} is no multiple of 4`);
    return { sha256: digest, bytes };
  });
  const name = fields.place('segments');
  const segments = fields.array('segments').map(value => {
    const [encoding, units, ...others] = array(value, name);
    if (others.length) throw damaged(`${name} is no array of [encoding, units]`);
    if (encoding !== 'raw' && encoding !== 'f16' && encoding !== 'q8') {
      throw damaged(`${name} has an encoding that is none of raw, f16, q8`);
    }
    return { encoding: /** @type {Encoding} */ (encoding), units: integer(units, name, 1) };
  });
  segmentUnits(plan.buffers.slice(0, plan.constantBuffers), shards, segments);
  return { shards, segments };
}

/** @param {string} text @returns {Uint8Array<ArrayBuffer>} */
function base64(text) {
  if (text.length % 4 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw damaged('plan.uniforms is no base64');
  const characters = atob(text), bytes = new Uint8Array(characters.length);
  for (let index = 0; index < bytes.length; index += 1) bytes[index] = characters.charCodeAt(index);
  return bytes;
}
