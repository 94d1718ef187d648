// The GPU: an adapter that fits the model, and a device whose errors come out in words.
import { requirements } from './checks.mjs';
import { RunnerError, said } from './errors.mjs';

const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|basic render/i;
const SCOPES = /** @type {const} */ (['validation', 'internal', 'out-of-memory']);
const LOSS_MILLISECONDS = 500;

/**
 * @typedef {{vendor: string, architecture: string, description: string, software: boolean}} AdapterInfo
 *   what the browser tells of the adapter; browsers leave strings empty
 */

/**
 * A device for a model, on an adapter that has what it needs.
 *
 * Raises RunnerError: 'no-webgpu', 'no-adapter', 'software', 'limits', 'features'.
 * @param {import('./header.mjs').Needs} needs
 * @param {{allowSoftware: boolean, powerPreference: GPUPowerPreference}} options
 * @returns {Promise<Device>}
 */
export async function openDevice(needs, { allowSoftware, powerPreference }) {
  requireSecureContext();
  const gpu = navigator.gpu;
  if (!gpu) {
    throw new RunnerError(
      'no-webgpu',
      'this browser has no WebGPU: use a current Chrome, Edge, Firefox or Safari, or switch WebGPU on in its settings',
    );
  }
  const adapter = await gpu.requestAdapter({ powerPreference });
  if (!adapter) {
    throw new RunnerError(
      'no-adapter',
      "this browser offers WebGPU no GPU: switch hardware acceleration on in its settings, or update the GPU's driver",
    );
  }
  const info = adapterInfo(adapter);
  if (info.software && !allowSoftware) {
    throw new RunnerError(
      'software',
      `the only GPU here is ${info.description || info.architecture || 'a fallback'}, which is software and takes ` +
      "minutes: switch hardware acceleration on in the browser's settings, or open the model with allowSoftware",
    );
  }
  const descriptor = requirements(needs, adapter);
  try {
    return new Device(await adapter.requestDevice(descriptor), info);
  } catch (error) {
    throw new RunnerError(
      'no-adapter',
      `the GPU gives no device (${said(error)}): close other pages that use it, and try again`,
      { cause: error },
    );
  }
}

/** Raise RunnerError 'no-webgpu' where the page has neither WebGPU nor hashes by the way it came. */
export function requireSecureContext() {
  if (globalThis.isSecureContext && globalThis.crypto?.subtle) return;
  throw new RunnerError(
    'no-webgpu', 'a page has WebGPU and SHA-256 only over https, or from http://localhost: open it by such an address');
}

/** @param {GPUAdapter} adapter @returns {AdapterInfo} */
function adapterInfo(adapter) {
  const { vendor = '', architecture = '', description = '', isFallbackAdapter = false } = adapter.info ?? {};
  const software = isFallbackAdapter || SOFTWARE.test(`${architecture} ${description}`);
  return { vendor, architecture, description, software };
}

/** A device that is open. `lost` is null, or what was said when the device was lost. */
export class Device {
  /**
   * @param {GPUDevice} handle
   * @param {AdapterInfo} adapter
   */
  constructor(handle, adapter) {
    this.handle = handle;
    this.adapter = adapter;
    /** @type {string|null} */
    this.lost = null;
    /** What waits for the device, and is told when it is lost. @type {Set<() => void>} */
    this.waiting = new Set();
    handle.lost.then(info => {
      this.lost = info.message.split('\n', 1)[0] || info.reason;
      for (const tell of this.waiting) tell();
    });
  }

  /**
   * Whether an error comes of the device's loss: waits a moment for the browser to say so where it can.
   * @param {unknown} error
   * @returns {Promise<boolean>}
   */
  async causes(error) {
    if (error instanceof RunnerError && !['gpu', 'out-of-memory', 'device-lost'].includes(error.code)) return false;
    if (this.lost === null) {
      await this.waitFor(new Promise(done => setTimeout(done, LOSS_MILLISECONDS))).catch(() => {});
    }
    return this.lost !== null;
  }

  /**
   * What `work` returns, which calls the device and does not wait. Raises RunnerError for what the device reports.
   * @template T
   * @param {string} doing what is being done, for messages
   * @param {() => T} work
   * @returns {Promise<T>}
   */
  async guarded(doing, work) {
    const { handle } = this;
    for (const scope of SCOPES) handle.pushErrorScope(scope);
    /** @type {Promise<(GPUError|null)[]>} */
    let reports;
    let result;
    try {
      result = work();
    } finally {
      // a lost device rejects: that is seen by `lost`
      reports = Promise.all(SCOPES.map(() => handle.popErrorScope().catch(() => null)));
    }
    for (const error of await reports) if (error) throw deviceError(error, doing);
    return result;
  }

  /**
   * What a promise of the device gives. Raises RunnerError 'device-lost' where the device is lost before it is kept.
   * @template T
   * @param {Promise<T>} promise
   * @returns {Promise<T>}
   */
  waitFor(promise) {
    return new Promise((resolve, reject) => {
      const tell = () => reject(this.lossError());
      this.waiting.add(tell);
      promise.then(resolve, reject).finally(() => this.waiting.delete(tell));
      if (this.lost !== null) tell();
    });
  }

  /** The error of a lost device. */
  lossError() {
    return new RunnerError('device-lost', `the GPU was lost (${this.lost}): reload the page, or take a smaller model`);
  }

  close() {
    this.handle.destroy();
  }
}

/** @param {GPUError} error @param {string} doing */
function deviceError(error, doing) {
  const name = error.constructor.name;
  if (name === 'GPUOutOfMemoryError') {
    const what = `the GPU has no memory left for ${doing}: close other pages, or take a smaller model`;
    return new RunnerError('out-of-memory', what, { cause: error });
  }
  return new RunnerError('gpu', `the browser's WebGPU refuses ${doing}: ${said(error)}`, { cause: error });
}
