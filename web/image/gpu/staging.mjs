// Buffers by which bytes come and go. They are kept for the next photo: new memory has to be cleared first, and what
// queue.writeBuffer takes goes through the browser in pieces, and is copied once more.
import { NotOnGpu } from './not_on_gpu.mjs';

/** Buffers of each kind that are kept: one is read while the next is written. */
const KEPT = 2;

/** Bytes of the largest buffer that is kept. */
const LARGEST_KEPT = 1 << 26;

export class Staging {
  /** Those that are mapped, to be written. @type {GPUBuffer[]} */
  #uploads = [];
  /** Those that are not, to be copied to. @type {GPUBuffer[]} */
  #readbacks = [];

  /** @param {GPUDevice} device */
  constructor(device) {
    this.device = device;
  }

  /**
   * A buffer that holds these bytes, to be copied from; it is `uploaded` once that is submitted.
   * @param {Uint8Array | Uint8ClampedArray} content whole words
   * @throws {NotOnGpu} they are too many
   */
  upload(content) {
    const buffer = take(this.#uploads, content.length)
      ?? this.#create(content.length, GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC, true);
    new Uint8Array(buffer.getMappedRange(0, content.length)).set(content);
    buffer.unmap();
    return buffer;
  }

  /** @param {GPUBuffer} buffer from `upload`; what copies it is submitted */
  async uploaded(buffer) {
    try {
      if (buffer.size <= LARGEST_KEPT) await buffer.mapAsync(GPUMapMode.WRITE);
      keep(this.#uploads, buffer);
    } catch {
      buffer.destroy(); // the device was lost
    }
  }

  /**
   * A buffer to be copied to, of so many bytes at least, which is `read` in the end.
   * @param {number} bytes
   * @throws {NotOnGpu} they are too many
   */
  readback(bytes) {
    const { MAP_READ, COPY_DST } = GPUBufferUsage;
    return take(this.#readbacks, bytes) ?? this.#create(bytes, MAP_READ | COPY_DST, false);
  }

  /** @param {GPUBuffer} buffer from `readback`, not mapped */
  read(buffer) {
    keep(this.#readbacks, buffer);
  }

  destroy() {
    for (const buffer of [...this.#uploads, ...this.#readbacks]) buffer.destroy();
    this.#uploads.length = this.#readbacks.length = 0;
  }

  /**
   * @param {number} size
   * @param {number} usage
   * @param {boolean} mappedAtCreation
   */
  #create(size, usage, mappedAtCreation) {
    const { maxBufferSize } = this.device.limits;
    if (size > maxBufferSize) {
      throw new NotOnGpu(`a photo of ${size} bytes is more than the GPU's largest buffer, ${maxBufferSize}`);
    }
    try {
      return this.device.createBuffer({ label: 'staging', size, usage, mappedAtCreation });
    } catch (error) {
      // a RangeError where there is no memory to map
      throw new NotOnGpu('there is not enough memory for it', { cause: error });
    }
  }
}

/**
 * A buffer of so many bytes at least, and its place in the list is gone.
 * @param {GPUBuffer[]} buffers
 * @param {number} bytes
 */
function take(buffers, bytes) {
  const index = buffers.findIndex(({ size }) => size >= bytes);
  return index < 0 ? undefined : buffers.splice(index, 1)[0];
}

/**
 * @param {GPUBuffer[]} buffers
 * @param {GPUBuffer} buffer
 */
function keep(buffers, buffer) {
  if (buffer.size > LARGEST_KEPT) buffer.destroy();
  else buffers.push(buffer);
  while (buffers.length > KEPT) buffers.shift()?.destroy();
}
