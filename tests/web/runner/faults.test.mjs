// What goes wrong in a page, and that it goes on: MODELS/model is y = x + w, MODELS/shader one whose WGSL is broken.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launch, serve, visit } from '../harness.mjs';

const HERE = import.meta.dirname;
let server, browser, page;
/** What the server answers for model.json instead of the file, by the folder's name. */
const ANSWERS = { missing: 404, broken: 500 };

before(async () => {
  server = await serve(
    { '/runner/': path.join(HERE, '../../../web/runner'), '/tests/': HERE, '/models/': process.env.MODELS },
    {
      answer: (request, response) => {
        const status = ANSWERS[request.url.split('/')[2]];
        if (status) response.writeHead(status).end('<title>no</title>');
        return Boolean(status);
      },
    });
  browser = await launch();
  page = await visit(browser, server.url);
  await page.evaluate(async () => {
    const { open, RunnerError } = await import('/runner/index.mjs');
    const { read, differences } = await import('/tests/arrays.mjs');
    const inputs = await read('/models/inputs.json'), expected = await read('/models/expected.json');
    /** The error of a promise: its name, code and message. */
    const fault = promise => promise.then(() => null, error => ({
      name: error instanceof RunnerError ? 'RunnerError' : error.name, code: error.code, message: error.message,
    }));
    /** The bytes of a file, changed on their way to the runner. */
    const through = edit => async (url, init) => {
      const response = await fetch(url, init);
      return url.endsWith('.bin') ? new Response(edit(new Uint8Array(await response.arrayBuffer()))) : response;
    };
    Object.assign(globalThis, {
      fault, through, inputs, RunnerError,
      open: (name, options) => open(`/models/${name}`, { allowSoftware: true, ...options }),
      right: outputs => differences(outputs, expected).y <= 1e-4,
    });
  });
});

after(async () => {
  await browser?.close();
  await server?.close();
});

/** Hold what a function in the page gives to a code and a sentence. */
function refuses(error, code, says) {
  assert.equal(error?.code, code, JSON.stringify(error));
  assert.equal(error.name, 'RunnerError');
  assert.match(error.message, says);
  assert.match(error.message, /^[^\n]+[^.\n]$/);
}

test('files that do not come', async () => {
  refuses(await page.evaluate(() => fault(open('missing'))), 'network', /404 for model.json/);
  refuses(await page.evaluate(() => fault(open('broken'))), 'network', /500 for model.json/);
  refuses(await page.evaluate(() => fault(open('model', {
    fetch: () => Promise.reject(new TypeError('no route')),
  }))), 'network', /no route/);
  refuses(await page.evaluate(() => fault(open('model', {
    fetch: async (url, init) => (url.endsWith('.bin') ? new Response('', { status: 404 }) : fetch(url, init)),
  }))), 'network', /404 for [0-9a-f]{64}\.bin/);
  refuses(await page.evaluate(() => fault(open('model', {
    fetch: async (url, init) => (url.endsWith('.bin')
      ? new Response('<!doctype html>', { headers: { 'content-type': 'text/html; charset=utf-8' } })
      : fetch(url, init)),
  }))), 'network', /a page in the place of [0-9a-f]{64}\.bin/);
  refuses(await page.evaluate(() => fault(open('model', {
    fetch: async (url, init) => (url.endsWith('.json') ? fetch(url, init) : new Response(new ReadableStream({
      start: controller => { controller.enqueue(new Uint8Array(8)); controller.error(new Error('broke off')); },
    }))),
  }))), 'network', /broke off/);
});

test('files that are not what they should be', async () => {
  refuses(await page.evaluate(() => fault(open('model', {
    fetch: through(bytes => bytes.subarray(4)),
  }))), 'damaged', /\.bin ends after/);
  refuses(await page.evaluate(() => fault(open('model', {
    fetch: through(bytes => new Uint8Array(bytes.length + 1)),
  }))), 'damaged', /more than its/);
  refuses(await page.evaluate(() => fault(open('model', {
    fetch: through(bytes => { bytes[bytes.length >> 1] ^= 1; return bytes; }),
  }))), 'damaged', /\.bin is damaged, its SHA-256/);
  refuses(await page.evaluate(() => fault(open('model', {
    fetch: async (url, init) => new Response(await (await fetch('/', init)).text()),
  }))), 'format', /no compiled model/);
  refuses(await page.evaluate(() => fault(open('model', {
    fetch: async (url, init) => new Response((await (await fetch(url, init)).text()).replace('"f32"', '"f16"')),
  }))), 'damaged', /SHA-256/);
});

test('a software adapter, no adapter, no WebGPU, no secure context', async t => {
  const software = await page.evaluate(() => fault(open('model', { allowSoftware: false })));
  refuses(software, 'software', /software.*hardware acceleration/);
  refuses(await page.evaluate(async () => {
    Object.defineProperty(navigator, 'gpu', { value: undefined, configurable: true });
    try { return await fault(open('model')); } finally { delete navigator.gpu; }
  }), 'no-webgpu', /no WebGPU/);
  const insecure = await visit(browser, server.url.replace('127.0.0.1', 'photos.test'));
  const code = async () => {
    const { open } = await import('/runner/index.mjs');
    return open('/models/model').catch(({ name, code, message }) => ({ name, code, message }));
  };
  refuses(await insecure.evaluate(code), 'no-webgpu', /https, or from http:\/\/localhost/);
  await insecure.close();
  const without = await launch({ webgpu: false });
  t.after(() => without.close());
  refuses(await (await visit(without, server.url)).evaluate(code), 'no-adapter', /no GPU/);
});

test('memory that is not there, and a shader that is refused', async () => {
  refuses(await page.evaluate(async () => {
    const { popErrorScope } = GPUDevice.prototype;
    let count = 0;
    GPUDevice.prototype.popErrorScope = async function () {
      const error = await popErrorScope.call(this);
      return (count += 1) === 3 ? new GPUOutOfMemoryError('the heap is full') : error;
    };
    try { return await fault(open('model')); } finally { GPUDevice.prototype.popErrorScope = popErrorScope; }
  }), 'out-of-memory', /no memory left for the model, which takes .* of it/);
  refuses(await page.evaluate(() => fault(open('huge'))), 'limits', /maxBufferSize of 1099511627776/);
  refuses(await page.evaluate(() => fault(open('shader'))), 'gpu', /refuses the shader .* line \d+/);
});

test('inputs that do not fit, and outputs that are not there', async () => {
  const errors = await page.evaluate(async () => {
    const model = await open('model');
    const errors = [
      await fault(model.run({})), await fault(model.run({ ...inputs, z: inputs.x })),
      await fault(model.run({ x: new Float64Array(inputs.x) })), await fault(model.run({ x: inputs.x.subarray(1) })),
      await fault(model.run(inputs, { read: ['q'] })),
    ];
    errors.push(await fault(model.run({ x: inputs.x.map(() => NaN) })), right(await model.run(inputs)));
    model.close();
    return errors;
  });
  refuses(errors[0], 'input', /'x' is missing/);
  refuses(errors[1], 'input', /no input 'z': it has 'x'/);
  refuses(errors[2], 'input', /no Float32Array/);
  refuses(errors[3], 'input', /elements, and 1 x 64 are 64/);
  refuses(errors[4], 'input', /no output 'q'/);
  refuses(errors[5], 'nan', /'y' holds NaN/);
  assert.equal(errors[6], true);
});

test('runs take turns, in order', async () => {
  const { results, order } = await page.evaluate(async () => {
    const model = await open('model'), order = [];
    const zero = { x: new Float32Array(inputs.x.length) };
    const results = await Promise.all([inputs, zero, inputs].map((each, index) => model.run(each, {
      before: () => { order.push(`begin ${index}`); },
      after: () => async () => { order.push(`end ${index}`); },
    }).then(right)));
    model.close();
    return { results, order };
  });
  assert.deepEqual(results, [true, false, true]);
  assert.deepEqual(order, ['begin 0', 'end 0', 'begin 1', 'end 1', 'begin 2', 'end 2']);
});

test('hooks write inputs, read outputs, and are waited for', async () => {
  const result = await page.evaluate(async () => {
    const model = await open('model');
    let copy, place;
    const before = ({ device, encoder, place: of }) => {
      const { buffer, offset, bytes, storage, shape } = of('x');
      const source = device.createBuffer({ size: bytes, usage: GPUBufferUsage.COPY_SRC, mappedAtCreation: true });
      new Float32Array(source.getMappedRange()).set(inputs.x);
      source.unmap();
      encoder.copyBufferToBuffer(source, 0, buffer, offset, bytes);
      place = { bytes, storage, shape };
    };
    const after = ({ device, encoder, place: of }) => {
      const { buffer, offset, bytes } = of('y');
      const target = device.createBuffer({ size: bytes, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
      encoder.copyBufferToBuffer(buffer, offset, target, 0, bytes);
      return async () => {
        await target.mapAsync(GPUMapMode.READ);
        copy = new Float32Array(target.getMappedRange().slice(0));
      };
    };
    const outputs = await model.run({}, { before, after, read: [] });
    const unknown = await fault(model.run({}, { before: stage => stage.place('nothing') }));
    const thrown = await fault(model.run(inputs, { after: () => { throw new RangeError('of the page'); } }));
    const again = right(await model.run(inputs));
    model.close();
    return { outputs: Object.keys(outputs), place, right: right({ y: copy }), unknown, thrown, again };
  });
  assert.deepEqual(result.place, { bytes: 256, storage: 'f32', shape: [1, 64] });
  assert.deepEqual([result.outputs, result.right, result.again], [[], true, true]);
  refuses(result.unknown, 'input', /no input or output 'nothing'/);
  assert.equal(result.thrown.message, 'of the page');
});

test('a lost device is opened again once', async () => {
  const result = await page.evaluate(async () => {
    const model = await open('model'), devices = new Set(), stages = new Set();
    const first = await model.run(inputs, {
      onProgress: ({ stage }) => stages.add(stage),
      after: ({ device }) => { if (!devices.size) device.destroy(); devices.add(device); },
    });
    let lost;
    await model.run(inputs, { before: ({ device }) => { lost = device; } });
    lost.destroy(); // between two runs
    const between = await model.run(inputs);
    const hopeless = await fault(model.run(inputs, { after: ({ device }) => device.destroy() }));
    const later = await model.run(inputs);
    const hook = await fault(model.run(inputs, {
      after: ({ device }) => () => { device.destroy(); return new Promise(() => {}); },
    }));
    model.close();
    return { devices: devices.size, right: [first, between, later].map(right), stages: [...stages], hopeless, hook };
  });
  assert.deepEqual(result.right, [true, true, true]);
  assert.equal(result.devices, 2);
  assert.deepEqual(result.stages.sort(), ['download', 'run', 'shaders']);
  refuses(result.hopeless, 'device-lost', /the GPU was lost/);
  refuses(result.hook, 'device-lost', /the GPU was lost/);
});

test('what is cancelled ends at once, and the next goes on', async () => {
  const result = await page.evaluate(async () => {
    const never = new AbortController(), names = [];
    const opening = fault(open('model', {
      signal: never.signal,
      fetch: (url, init) => (url.endsWith('.json') ? fetch(url, init) : new Promise((_, reject) => {
        init.signal.addEventListener('abort', () => { names.push('fetch ended'); reject(init.signal.reason); });
        setTimeout(() => never.abort());
      })),
    }));
    names.push((await opening).name);
    names.push((await fault(open('model', { signal: AbortSignal.abort() }))).name);
    const model = await open('model'), one = new AbortController(), two = new AbortController();
    const running = fault(model.run(inputs, { signal: one.signal, before: () => one.abort() }));
    const waiting = fault(model.run(inputs, { signal: two.signal }));
    two.abort();
    names.push((await running).name, (await waiting).name);
    const again = right(await model.run(inputs));
    model.close();
    return { names, again };
  });
  assert.deepEqual(result.names.filter(name => name !== 'fetch ended'), Array(4).fill('AbortError'));
  assert.ok(result.names.includes('fetch ended'));
  assert.equal(result.again, true);
});

test('a model that is closed', async () => {
  const [during, after] = await page.evaluate(async () => {
    const model = await open('model');
    const running = fault(model.run(inputs, { before: () => model.close() }));
    const during = await running;
    model.close();
    return [during, await fault(model.run(inputs))];
  });
  refuses(during, 'closed', /was closed/);
  refuses(after, 'closed', /was closed/);
});

test('the progress of opening, and what a model says of itself', async () => {
  const { steps, model } = await page.evaluate(async () => {
    const steps = [], model = await open('model', { onProgress: step => steps.push(step) });
    const { inputs, outputs, origin, metadata, precision, adapter, timings } = model;
    model.close();
    return { steps, model: { inputs, outputs, origin, metadata, precision, adapter, timings } };
  });
  for (const stage of ['download', 'shaders']) {
    const own = steps.filter(step => step.stage === stage);
    assert.equal(own[0].done, 0);
    assert.equal(own.at(-1).done, own.at(-1).total);
    assert.ok(own.every((step, index) => index === 0 || step.done >= own[index - 1].done));
  }
  assert.deepEqual(model.inputs, [{ name: 'x', dtype: 'float32', shape: [1, 64] }]);
  assert.deepEqual(model.outputs.map(({ name }) => name), ['y']);
  assert.deepEqual([model.metadata, model.origin.licence, model.precision], [{ title: 'a test' }, 'CC0-1.0', 'f32']);
  assert.equal(model.adapter.software, true);
  for (const name of ['header', 'device', 'download', 'shaders', 'open']) assert.ok(model.timings[name] > 0, name);
});

test('nothing else is logged', () => {
  const own = /status of (404|500)|broken\(\) ->/; // which the browser logs by itself
  assert.deepEqual(page.messages.filter(message => !own.test(message)), []);
});
