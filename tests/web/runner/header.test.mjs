// The checks of a header, and of what needs no GPU, in Node: HEADER is a model.json, NARROW one with narrow weights.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { test } from 'node:test';
import { constantInputs } from '../../../web/image/gpu/constant_inputs.mjs';
import { decode } from '../../../web/runner/header.mjs';
import { openDevice } from '../../../web/runner/device.mjs';
import { segmentUnits } from '../../../web/runner/segments.mjs';
import { checkInput, halfBits, numberOfHalf, toStorage, fromStorage } from '../../../web/runner/tensors.mjs';

const TEXT = fs.readFileSync(process.env.HEADER, 'utf-8');
const NUMBERS = { nan: NaN, inf: Infinity, '-inf': -Infinity };
const SENTENCE = /^[^\n]+[^.\n]$/;

/** A header of that document, signed as Python signs it. */
function signed(document) {
  const { sha256, ...rest } = typeof document === 'string' ? {} : document;
  const text = typeof document === 'string' ? document : JSON.stringify(rest).slice(1);
  return new TextEncoder().encode(`{"sha256":"${createHash('sha256').update(text).digest('hex')}",${text}`);
}

/** The header with a change made to its document. */
function changed(edit) {
  const document = JSON.parse(TEXT);
  edit(document);
  return signed(document);
}

const refused = (bytes, code, says) => assert.rejects(decode(bytes), error => {
  assert.equal(error.code, code, error.stack);
  assert.match(error.message, says);
  assert.match(error.message, SENTENCE);
  return true;
});

test('a header is read', async () => {
  for (const file of [process.env.HEADER, process.env.NARROW]) {
    const header = await decode(new Uint8Array(fs.readFileSync(file)));
    const document = JSON.parse(fs.readFileSync(file, 'utf-8'));
    assert.deepEqual(header.inputs, document.inputs);
    assert.deepEqual(header.outputs, document.outputs);
    assert.deepEqual(header.origin, document.origin);
    assert.deepEqual(header.metadata, document.metadata);
    assert.equal(header.plan.commands.length, document.plan.commands.length);
    assert.deepEqual(Buffer.from(header.plan.uniforms), Buffer.from(document.plan.uniforms, 'base64'));
    assert.deepEqual(header.segments.map(({ encoding, units }) => [encoding, units]), document.weights.segments);
  }
});

test('what is no header of this version', async () => {
  await refused(new TextEncoder().encode('<!doctype html><title>404</title>'), 'format', /no compiled model/);
  await refused(new Uint8Array(0), 'format', /no compiled model/);
  await refused(changed(d => { d.format = 1; }), 'format', /version 1 .* version 2/);
  await refused(changed(d => { d.format = 3; }), 'format', /version 3/);
  await refused(changed(d => { d.backend = 'numpy'; }), 'format', /'numpy'/);
});

test('integers of four bits', async () => {
  const header = await decode(changed(d => { d.inputs[0].dtype = 'int4'; }));
  assert.equal(header.inputs[0].dtype, 'int4');
  await refused(changed(d => { d.outputs[0].dtype = 'int4'; }), 'damaged', /outputs\[0\].dtype/);
  for (const [dtype, array, beyond] of [['int4', Int8Array, [8, -9]], ['uint4', Uint8Array, [16, 255]]]) {
    const place = { name: 'x', dtype, shape: [2], storage: 'i32', buffer: null, offset: 0 };
    checkInput(place, array.from(dtype === 'int4' ? [-8, 7] : [0, 15]));
    checkInput(place, constantInputs({ inputs: [place] }, { inputs: { x: 7 } }).x);
    for (const value of beyond) {
      assert.throws(() => checkInput(place, array.from([0, value])), error => {
        assert.equal(error.code, 'input');
        assert.match(error.message, new RegExp(`^input 'x' takes integers from .* it was given ${value}$`));
        return true;
      });
    }
  }
});

test('a byte anywhere that is another', async () => {
  for (const at of [11, 76, 77, 200, TEXT.length - 2]) {
    const bytes = new TextEncoder().encode(TEXT);
    // the first of them is a digit of the hash, and stays one
    bytes[at] = at === 11 ? '01'.charCodeAt(Number(bytes[at] === 0x30)) : bytes[at] ^ 1;
    await refused(bytes, at === 76 ? 'format' : 'damaged', at === 76 ? /no compiled/ : /SHA-256/);
  }
  await refused(new TextEncoder().encode(TEXT.slice(0, -1)), 'damaged', /SHA-256/);
  await refused(new TextEncoder().encode(`${TEXT} `), 'damaged', /SHA-256/);
});

test('what is no JSON of this kind', async () => {
  const rest = TEXT.slice(77);
  await refused(signed(rest.slice(0, -1)), 'damaged', /no JSON/);
  await refused(signed(rest.replace('"engine":', '"engine":"a","engine":')), 'damaged', /stands twice/);
  await refused(signed(rest.replace('"metadata":{', '"metadata":{"x":1e999,')), 'damaged', /not finite/);
  await refused(signed(rest.replace('"metadata":{', '"metadata":{"x":"\\ud800",')), 'damaged', /half a character/);
  await refused(signed(`"format":2,"x":${'['.repeat(100000)}${']'.repeat(100000)}}`), 'damaged', /no 'engine'/);
  await decode(signed(rest.replace('"metadata":{', '"metadata":{"a:\\":":"\\"b\\":",')));
  await decode(signed(rest.replace('"metadata":{', '"metadata":{"a\\\\"\t\r\n :"\\\\","b":"\\\\\\":",')));
});

test('a string of any length', async () => {
  const rest = TEXT.slice(77);
  for (const long of ['x'.repeat(20 << 20), '\\\\'.repeat(10 << 20), '\\":'.repeat(1 << 20)]) {
    await decode(signed(rest.replace('"metadata":{', `"metadata":{"long":"${long}",`)));
  }
});

test('what a file says makes no other line of a message, nor a long one', async () => {
  await refused(changed(d => { d.inputs[0].dtype = 'a\n\u2028\u001b[31m'; }), 'damaged', /'a\ufffd\ufffd\ufffd\[31m'/);
  await refused(changed(d => { d.outputs[0].name = 'a'.repeat(10000); d.outputs[0].offset = 2; }), 'damaged', /^.{400,480}$/);
});

test('a shape with a 0 has no bytes, whatever its other extents are', async () => {
  await decode(changed(d => { d.outputs[0].shape = [...Array(31).fill(2 ** 53 - 1), 0]; }));
});

for (const [name, edit, says] of [
  ['a field more', d => { d.other = 1; }, /unknown 'other'/],
  ['a field less', d => { delete d.counts; }, /no 'counts'/],
  ['a prototype', d => { Object.defineProperty(d, '__proto__', { value: 1, enumerable: true }); },
    /unknown '__proto__'/],
  ['a fraction', d => { d.plan.buffers[0] = 0.5; }, /no integer/],
  ['a negative number', d => { d.plan.constant_buffers = -1; }, /out of range/],
  ['a huge number', d => { d.plan.buffers[0] = 2 ** 60; }, /out of range/],
  ['a string for a number', d => { d.plan.commands[0].uniform = '0'; }, /no integer/],
  ['an unknown dtype', d => { d.inputs[0].dtype = 'bfloat16'; }, /none of/],
  ['an unknown storage', d => { d.inputs[0].storage = 'f64'; }, /none of/],
  ['33 axes', d => { d.inputs[0].shape = Array(33).fill(1); }, /32 axes/],
  ['no output', d => { d.outputs = []; }, /no output/],
  ['two inputs of one name', d => { d.inputs.push(d.inputs[0]); }, /one name/],
  ['an input among the constants', d => { d.inputs[0].buffer = 0; d.inputs[0].shape = [1]; }, /constants/],
  ['an output nowhere', d => { d.outputs[0].buffer = null; }, /no buffer/],
  ['a place beyond its buffer', d => { d.outputs[0].shape = [2 ** 24]; }, /beyond buffer/],
  ['a shape beyond counting', d => { d.outputs[0].shape = [2 ** 40, 2 ** 40]; }, /count/],
  ['a place within a word', d => { d.outputs[0].offset = 2; }, /within a word/],
  ['a place in no buffer', d => { d.outputs[0].buffer = 99; }, /does not exist/],
  ['more constants than buffers', d => { d.plan.constant_buffers = 99; }, /more constant buffers/],
  ['a buffer beyond its needs', d => { d.plan.buffers[1] = 2 ** 40; }, /that it needs/],
  ['a program that is not there', d => { d.plan.commands[0].program = 99; }, /command 0 .*program 99/],
  ['a binding less', d => { d.plan.commands[0].bindings.pop(); }, /its program declares/],
  ['a binding of two numbers', d => { d.plan.commands[0].bindings[0].pop(); }, /buffer, offset, size/],
  ['a binding beyond its buffer', d => { d.plan.commands[0].bindings[0][1] = 2 ** 30; }, /beyond buffer/],
  ['a binding that is not aligned', d => { d.plan.commands[0].bindings[0][1] = 4; }, /not aligned/],
  ['a binding beyond the needs', d => { d.plan.needs.limits['max-storage-buffer-binding-size'] = 4; },
    /more than it needs/],
  ['a uniform that is not aligned', d => { d.plan.commands[0].uniform = 4; }, /not aligned/],
  ['a uniform beyond the uniforms', d => { d.plan.commands[0].uniform = 2 ** 20; }, /beyond the uniforms/],
  ['uniforms that are no base64', d => { d.plan.uniforms = '====!'; }, /no base64/],
  ['a grid of two extents', d => { d.plan.commands[0].grid.pop(); }, /3 extents/],
  ['a grid with a zero', d => { d.plan.commands[0].grid[0] = 0; }, /out of range/],
  ['a grid beyond the needs', d => { d.plan.commands[0].grid[0] = 70000; }, /not within/],
  ['a buffer read and written', d => { for (const b of d.plan.commands[0].bindings) b[0] = d.outputs[0].buffer; },
    /reads and writes/],
  ['a constant that is written', d => { d.plan.commands[0].bindings.at(-1)[0] = 0; }, /which holds constants/],
  ['bindings that are declared twice', d => { d.plan.programs[0].wgsl += '@group(0) @binding(1) var<uniform> z: u32;'; },
    /declared in order/],
  ['a program without a uniform', d => { d.plan.programs[0].wgsl = 'fn main() {}'; }, /a uniform and then storage/],
  ['a NUL in a program', d => { d.plan.programs[0].wgsl += '\0'; }, /NUL/],
  ['an unknown encoding', d => { d.weights.segments[0][0] = 'q4'; }, /none of raw/],
  ['a segment of no units', d => { d.weights.segments[0][1] = 0; }, /out of range/],
  ['a segment longer', d => { d.weights.segments[0][1] += 1; }, /shorter than its segments/],
  ['a shard longer', d => { d.weights.shards[0].bytes += 4; }, /within a unit|longer/],
  ['a shard less', d => { d.weights.shards.pop(); }, /shorter/],
  ['a shard whose name is a path', d => { d.weights.shards[0].sha256 = '../x'; }, /no SHA-256/],
]) {
  test(name, () => refused(changed(edit), 'damaged', says));
}

test('segments are cut at shards and at buffers', () => {
  const shards = [{ sha256: '', bytes: 256 + 128 }, { sha256: '', bytes: 128 + 68 }];
  const segments = [{ encoding: 'raw', units: 1 }, { encoding: 'f16', units: 2 }, { encoding: 'q8', units: 1 }];
  assert.deepEqual(segmentUnits([300, 0, 512], shards, segments), [
    [
      { encoding: 'raw', units: 1, at: 0, buffer: 0, offset: 0 },
      { encoding: 'f16', units: 1, at: 256, buffer: 0, offset: 256 },
    ],
    [
      { encoding: 'f16', units: 1, at: 0, buffer: 2, offset: 0 },
      { encoding: 'q8', units: 1, at: 128, buffer: 2, offset: 256 },
    ],
  ]);
});

test('float16 as NumPy has it', () => {
  const { halves, numbers, rounded } = JSON.parse(fs.readFileSync(process.env.HALVES, 'utf-8'));
  halves.forEach((number, bits) => assert.equal(numberOfHalf(bits), NUMBERS[number] ?? number, `${bits}`));
  numbers.forEach((number, index) => assert.equal(halfBits(number), rounded[index], `${number}`));
  const place = { name: 'x', dtype: 'float16', shape: [3], storage: 'f16', buffer: 0, offset: 0 };
  const stored = toStorage(place, Float32Array.of(1, -2.5, 65504));
  assert.equal(stored.byteLength, 8);
  assert.deepEqual(fromStorage(place, stored.buffer, 0), Float32Array.of(1, -2.5, 65504));
});

test('integers beyond 32 bits', () => {
  const place = { name: 'ids', dtype: 'int64', shape: [2], storage: 'i32', buffer: 0, offset: 0 };
  assert.deepEqual(toStorage(place, BigInt64Array.of(-(2n ** 31n), 7n)), Int32Array.of(-(2 ** 31), 7));
  const large = BigInt64Array.of(0n, 2n ** 31n);
  assert.throws(() => toStorage(place, large), { code: 'input', message: /'ids'.*2147483648.*32 bits/ });
  const unsigned = { ...place, dtype: 'uint64', storage: 'u32' };
  assert.throws(() => toStorage(unsigned, BigUint64Array.of(0n, 2n ** 32n)), { code: 'input' });
  const stored = Uint32Array.of(1, 2 ** 32 - 1);
  assert.deepEqual(fromStorage(unsigned, stored.buffer, 0), BigUint64Array.of(1n, 2n ** 32n - 1n));
  assert.deepEqual(toStorage({ ...place, dtype: 'bool', storage: 'u32' }, Uint8Array.of(2, 0)), Uint32Array.of(1, 0));
});

// --- the device, with adapters that say what they are told ---

/** Set what a page has, for one call. */
async function withPage({ secure = true, gpu }, work) {
  Object.defineProperty(globalThis, 'isSecureContext', { value: secure, configurable: true });
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
  return work();
}

const NEEDS = { limits: new Map(), features: [], subgroupLanes: 0 };

const kept = () => ({ lost: new Promise(() => {}) });

/** WebGPU whose adapter has these limits and features; `asked` is what its device was asked for. */
function fakeGpu({ limits = {}, features = [], info = {}, device = kept } = {}, asked = []) {
  return {
    requestAdapter: async () => ({
      limits, info, features: new Set(features),
      requestDevice: async descriptor => { asked.push(descriptor); return device(); },
    }),
  };
}

const opened = (page, needs = NEEDS, allowSoftware = false) => (
  withPage(page, () => openDevice(needs, { allowSoftware, powerPreference: 'high-performance' })));

const refusedDevice = (page, code, says, needs) => assert.rejects(opened(page, needs), error => {
  assert.equal(error.code, code, error.stack);
  assert.match(error.message, says);
  assert.match(error.message, SENTENCE);
  return true;
});

test('a page without WebGPU, in any of its ways', async () => {
  await refusedDevice({ secure: false }, 'no-webgpu', /https/);
  await refusedDevice({}, 'no-webgpu', /no WebGPU/);
  await refusedDevice({ gpu: { requestAdapter: async () => null } }, 'no-adapter', /hardware acceleration/);
  await refusedDevice({ gpu: fakeGpu({ device: () => { throw new Error('busy'); } }) }, 'no-adapter', /busy/);
});

test('a software adapter is refused, unless it is allowed', async () => {
  for (const info of [{ isFallbackAdapter: true }, { architecture: 'swiftshader' }, { description: 'llvmpipe (LLVM)' }]) {
    await refusedDevice({ gpu: fakeGpu({ info }) }, 'software', /software.*allowSoftware/);
    const device = await opened({ gpu: fakeGpu({ info }) }, NEEDS, true);
    assert.equal(device.adapter.software, true);
  }
  assert.equal((await opened({ gpu: fakeGpu({ info: { vendor: 'nvidia' } }) })).adapter.software, false);
});

test('limits are asked for above the defaults alone, and named where they are missing', async () => {
  const limits = new Map([['max-buffer-size', 2 ** 30], ['max-storage-buffers-per-shader-stage', 8]]);
  const needs = { ...NEEDS, limits };
  const asked = [];
  await opened({ gpu: fakeGpu({ limits: { maxBufferSize: 2 ** 31 } }, asked) }, needs);
  assert.deepEqual(asked, [{ requiredLimits: { maxBufferSize: 2 ** 30 }, requiredFeatures: [] }]);
  const small = { gpu: fakeGpu({ limits: { maxBufferSize: 2 ** 28 } }) };
  await refusedDevice(small, 'limits', /maxBufferSize of 1073741824 \(it has 268435456\)/, needs);
  const unknown = { ...NEEDS, limits: new Map([['max-something', 1]]) };
  await refusedDevice({ gpu: fakeGpu() }, 'limits', /maxSomething/, unknown);
});

test('features and subgroups', async () => {
  const half = { ...NEEDS, features: ['shader-f16'] }, asked = [];
  await refusedDevice({ gpu: fakeGpu() }, 'features', /shader-f16/, half);
  await opened({ gpu: fakeGpu({ features: ['shader-f16'] }, asked) }, half);
  assert.deepEqual(asked[0].requiredFeatures, ['shader-f16']);
  const lanes = { ...NEEDS, subgroupLanes: 32 };
  const varying = { gpu: fakeGpu({ info: { subgroupMinSize: 16, subgroupMaxSize: 32 } }) };
  await refusedDevice(varying, 'features', /subgroups of 32/, lanes);
  await opened({ gpu: fakeGpu({ info: { subgroupMinSize: 32, subgroupMaxSize: 32 } }) }, lanes);
});
