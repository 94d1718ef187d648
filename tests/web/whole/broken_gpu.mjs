// What a test does to WebGPU in the page's worker, from outside: no part of the page knows of it.

/** Have the worker's devices be watched; called in the worker. */
export function watch() {
  const { createBuffer, pushErrorScope, popErrorScope } = GPUDevice.prototype;
  const { submit } = GPUQueue.prototype, { requestDevice } = GPUAdapter.prototype, { mapAsync } = GPUBuffer.prototype;
  // `bytes`: what one buffer may have, as if there were no more memory; `losses`: how many submissions lose their
  // device; `opened` and `refused`: devices and buffers so far; `reads`: how many results come back until all others
  // wait for `release`, and `held` until the first of them does.
  const gpu = { bytes: Infinity, losses: 0, opened: 0, refused: 0, reads: Infinity };
  const released = new Promise(done => { gpu.release = done; });
  let holds = () => {};
  gpu.held = new Promise(done => { holds = done; });
  globalThis.gpuOfTest = gpu;
  /** @type {WeakMap<GPUDevice, {filter: string, failed: boolean}[]>} */
  const scopes = new WeakMap();
  /** @type {WeakMap<GPUQueue, GPUDevice>} */
  const devices = new WeakMap();
  const scopesOf = device => {
    if (!scopes.has(device)) scopes.set(device, []);
    devices.set(device.queue, device);
    return scopes.get(device);
  };
  GPUAdapter.prototype.requestDevice = async function (...options) {
    const device = await requestDevice.apply(this, options);
    gpu.opened += 1;
    return device;
  };
  GPUDevice.prototype.pushErrorScope = function (filter) {
    scopesOf(this).push({ filter, failed: false });
    return pushErrorScope.call(this, filter);
  };
  GPUDevice.prototype.createBuffer = function (descriptor) {
    const scope = scopesOf(this).findLast(each => each.filter === 'out-of-memory');
    if (scope && descriptor.size > gpu.bytes) {
      scope.failed = true;
      gpu.refused += 1;
    }
    return createBuffer.call(this, descriptor);
  };
  GPUDevice.prototype.popErrorScope = async function () {
    const scope = scopesOf(this).pop(), error = await popErrorScope.call(this);
    return scope?.failed ? new GPUOutOfMemoryError('there is no memory') : error;
  };
  GPUBuffer.prototype.mapAsync = async function (...range) {
    if ((gpu.reads -= 1) < 0) {
      holds();
      await released;
    }
    return mapAsync.apply(this, range);
  };
  GPUQueue.prototype.submit = function (commands) {
    submit.call(this, commands);
    if (gpu.losses > 0 && commands.length) {
      gpu.losses -= 1;
      devices.get(this).destroy();
    }
  };
}
