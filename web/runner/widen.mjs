// Narrow weights widened to f32 on the device, by a kernel that needs no feature of WebGPU.
import { STORED_BYTES, UNIT } from './segments.mjs';

const PIECE_UNITS = 16384;
const WORKGROUP = 64;

/** Words of stored bytes that hold numbers, in a unit: one invocation widens one of them. */
const NUMBER_WORDS = { f16: 32, q8: 16 };

/** One invocation for each stored word of numbers; content is written as bits, so that no device flushes it. */
const SHADER = /* wgsl */ `
struct Params {
  words: u32,    // of the content: the last unit of a buffer may hang over its end
  numbers: u32,  // stored words that hold numbers
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> stored: array<u32>;
@group(0) @binding(2) var<storage, read_write> content: array<u32>;

// The bits of the f32 that a float16 is, subnormals, infinities and NaN included.
fn widened(half: u32) -> u32 {
  let sign = (half & 0x8000u) << 16u;
  let exponent = (half >> 10u) & 31u;
  let fraction = half & 0x3ffu;
  if (exponent == 31u) {
    return sign | 0x7f800000u | (fraction << 13u);
  }
  if (exponent != 0u) {
    return sign | ((exponent + 112u) << 23u) | (fraction << 13u);
  }
  if (fraction == 0u) {
    return sign;
  }
  let shift = countLeadingZeros(fraction) - 21u;
  return sign | ((113u - shift) << 23u) | (((fraction << shift) & 0x3ffu) << 13u);
}

fn put(word: u32, bits: u32) {
  if (word < params.words) {
    content[word] = bits;
  }
}

@compute @workgroup_size(${WORKGROUP})
fn f16(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.numbers) {
    return;
  }
  let pair = stored[id.x];
  put(2u * id.x, widened(pair & 0xffffu));
  put(2u * id.x + 1u, widened(pair >> 16u));
}

// A unit is a scale and 64 int8 in 16 words.
@compute @workgroup_size(${WORKGROUP})
fn q8(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.numbers) {
    return;
  }
  let unit = id.x / 16u;
  let scale = bitcast<f32>(stored[17u * unit]);
  let four = bitcast<i32>(stored[id.x + unit + 1u]);
  for (var byte = 0u; byte < 4u; byte += 1u) {
    put(4u * id.x + byte, bitcast<u32>(scale * f32(extractBits(four, 8u * byte, 8u))));
  }
}
`;

/** Widens units on a device; the pipelines of the encodings that are asked for are made when it is opened. */
export class Widener {
  /**
   * @param {import('./device.mjs').Device} device
   * @param {Set<import('./header.mjs').Encoding>} encodings
   */
  static async open(device, encodings) {
    const { handle } = device, self = new Widener();
    const narrow = /** @type {('f16'|'q8')[]} */ ([...encodings].filter(encoding => encoding !== 'raw'));
    if (!narrow.length) return self;
    await device.guarded('buffers to widen weights', () => {
      const { STORAGE, UNIFORM, COPY_DST } = GPUBufferUsage;
      self.stored = handle.createBuffer({ size: PIECE_UNITS * STORED_BYTES.f16, usage: STORAGE | COPY_DST });
      self.params = handle.createBuffer({ size: 8, usage: UNIFORM | COPY_DST });
    });
    self.handle = handle;
    const module = handle.createShaderModule({ code: SHADER, label: 'widen' });
    await Promise.all(narrow.map(async entryPoint => {
      const pipeline = await handle.createComputePipelineAsync({
        label: entryPoint, layout: 'auto', compute: { module, entryPoint },
      });
      self.pipelines.set(entryPoint, pipeline);
    }));
    return self;
  }

  constructor() {
    /** @type {GPUDevice|undefined} */
    this.handle = undefined;
    /** @type {GPUBuffer|undefined} */
    this.stored = undefined;
    /** @type {GPUBuffer|undefined} */
    this.params = undefined;
    /** @type {Map<string, GPUComputePipeline>} */
    this.pipelines = new Map();
  }

  /**
   * Widen stored units into a buffer, from `offset` on, in bytes. Writes and submissions of one queue run in order, so
   * that one buffer takes all pieces.
   * @param {'f16'|'q8'} encoding
   * @param {Uint8Array<ArrayBuffer>} bytes of whole units
   * @param {GPUBuffer} target
   * @param {number} offset
   */
  write(encoding, bytes, target, offset) {
    const { handle, stored, params } = this, pipeline = this.pipelines.get(encoding);
    if (!handle || !stored || !params || !pipeline) throw new TypeError(`nothing was made to widen ${encoding}`);
    const unitBytes = STORED_BYTES[encoding];
    for (let first = 0; first * unitBytes < bytes.length; first += PIECE_UNITS) {
      const piece = bytes.subarray(first * unitBytes, (first + PIECE_UNITS) * unitBytes);
      const units = piece.length / unitBytes;
      const start = offset + first * UNIT, contentBytes = Math.min(units * UNIT, target.size - start);
      const numbers = units * NUMBER_WORDS[encoding];
      handle.queue.writeBuffer(stored, 0, piece);
      handle.queue.writeBuffer(params, 0, new Uint32Array([contentBytes / 4, numbers]));
      const encoder = handle.createCommandEncoder(), pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, handle.createBindGroup({
        layout: pipeline.getBindGroupLayout(0),
        entries: [
          { binding: 0, resource: { buffer: params } },
          { binding: 1, resource: { buffer: stored } },
          { binding: 2, resource: { buffer: target, offset: start, size: contentBytes } },
        ],
      }));
      pass.dispatchWorkgroups(Math.ceil(numbers / WORKGROUP));
      pass.end();
      handle.queue.submit([encoder.finish()]);
    }
  }

  close() {
    this.stored?.destroy();
    this.params?.destroy();
  }
}
