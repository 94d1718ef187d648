// web/image/gpu in Chromium: photos through a network of one product a pixel, against what nss makes of them.
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch, serve, visit } from '../harness.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const CASES = process.env.NSS_CASES;
const cases = JSON.parse(fs.readFileSync(path.join(CASES, 'cases.json'), 'utf-8'));

const server = await serve({ '/': path.join(HERE, '../../../web'), '/cases/': CASES, '/test/': HERE });
const browser = await launch();
const page = await visit(browser, server.url);
test.after(async () => { await browser.close(); await server.close(); });

const run = name => page.evaluate(async each => (await import('/test/gpu_page.mjs')).run(each), name);
const thrown = (name, changes) =>
  page.evaluate(async (each, more) => (await import('/test/gpu_page.mjs')).thrown(each, more), name, changes);

for (const { name, size, tolerance = 9e-6, levels = 1 } of cases.filter(({ kind }) => kind === 'gpu')) {
  test(name, async () => {
    const found = await run(name);
    assert.deepEqual(found.errors, []);
    assert.ok(found.input <= tolerance, `the input is ${found.input} away`);
    assert.ok(found.mask <= 7e-6, `the mask is ${found.mask} away`);
    assert.deepEqual(found.maskSize, size);
    assert.ok(found.alpha.most <= levels && found.alpha.part < 0.02, `alpha: ${JSON.stringify(found.alpha)}`);
    assert.ok(found.colours.most <= 1 && found.colours.part < 0.02, `colours: ${JSON.stringify(found.colours)}`);
    const far = found.range.map((end, index) => Math.abs(end - found.extremes[index]));
    assert.ok(Math.max(...far) < 2e-6, `the range is ${far} away`);
    assert.ok(found.untouched, 'the photo was changed');
    assert.ok(found.again, 'a second time gives something else');
  });
}

const BYTES = 4 * 127 * 33;
const LIMITS = { maxBufferSize: 1e9, maxStorageBufferBindingSize: 1e9, maxComputeWorkgroupsPerDimension: 65535 };

const SENTENCES = [
  [{ settings: { refinement: { guided: 3 } } }, /^NotOnGpu: guided/],
  [{ settings: { refinement: { drop_islands: 9 } } }, /^NotOnGpu: drop_islands/],
  [{ settings: { refinement: { fill_holes: 9 } } }, /^NotOnGpu: fill_holes/],
  [{ settings: { refinement: { black: 0.5, white: 0.5 } } }, /^NotOnGpu: the black and the white point/],
  [{ settings: { refinement: { expand: -17 } } }, /^NotOnGpu: contours move/],
  [{ settings: { refinement: { feather: 1001 } } }, /^NotOnGpu: a blur of 1001 pixels/],
  [{ settings: { refinement: { smooth: -1 } } }, /^NotOnGpu: a blur of -3 pixels/],
  [{ settings: { decontaminate: 1 } }, /^NotOnGpu: decontaminating/],
  [{ settings: { crop: 0 } }, /^NotOnGpu: cropping/],
  [{ settings: { hidden: 'bleed' } }, /^NotOnGpu: colours that bleed/],
  [{ settings: { background: { blur: 3 } } }, /^NotOnGpu: a background that is no colour/],
  [{ settings: { background: { colour: '#fff' } } }, /^NotOnGpu: a background that is no colour/],
  [{ settings: { background: { image: {} } } }, /^NotOnGpu: a background that is no colour/],
  [{ settings: { background: { colour: [1, 2, 3, 255] } }, photo: { icc: [1] } }, /^NotOnGpu: the background's colour/],
  [{ photo: { opaque: false }, interface: { channels: 'RGBA' } }, /^NotOnGpu: the network sees/],
  [{ interface: { channels: 'grey', mean: [0], std: [1] } }, /^NotOnGpu: the network's input is f32\[1, 3, 64, 64\]/],
  [{ interface: { output: 'z' } }, /^ImageError: the model has no output 'z'/],
  [{ interface: { input: 'z' } }, /^ImageError: the model has no input 'z'/],
  [{ interface: { inputs: { z: 1 } } }, /^ImageError: the model has no input 'z'/],
  [{ photo: { width: 3 } }, /^ImageError: photo.png: 3 x 33 pixels/],
  [{ interface: { range: 1e-42 } }, /^ImageError: photo.png: the network gave NaN or infinite/],
  [{ options: { aborted: true } }, /^AbortError/],
  [{ limits: { ...LIMITS, maxStorageBufferBindingSize: BYTES - 4 } }, /^NotOnGpu: .* this size takes 16764 bytes/],
  [{ limits: { ...LIMITS, maxBufferSize: BYTES + 256 } }, /^NotOnGpu: a photo of \d+ bytes/],
  [{ limits: { ...LIMITS, maxComputeWorkgroupsPerDimension: 3 } }, /^NotOnGpu: 4 x 4 workgroups/],
];

test('what is not done has a sentence', async () => {
  for (const [changes, sentence] of SENTENCES) assert.match(String(await thrown('odd size', changes)), sentence);
  assert.equal(await thrown('odd size', {}), null);
  assert.match(await thrown('no structure', {}), /^ImageError: photo.png: .* its mask is 0.5 everywhere/);
  assert.equal(await thrown('no structure', { options: { unchecked: true } }), null);
});

test('numbers that are not finite are said of their photo, and not of the next', async () => {
  const [black, white] = ['black', 'white, and not finite'];
  const found = await page.evaluate(async names => (await import('/test/gpu_page.mjs')).inTurn(names), [black, white, black]);
  assert.match(found[1], /^photo.png: the network gave NaN or infinite values/);
  assert.deepEqual([found[0], found[2]], [null, null]);
});

test('workgroups that one dimension does not hold go on in the next, and memory may be let go of', async () => {
  const limits = { ...LIMITS, maxComputeWorkgroupsPerDimension: 7 };
  const same = await page.evaluate(async (...told) => (await import('/test/gpu_page.mjs')).sameWithin(...told),
    'odd size', limits);
  assert.ok(same);
});

test('through the runner, and behind a device that was lost', async () => {
  const found = await page.evaluate(async name => (await import('/test/gpu_page.mjs')).throughTheRunner(name),
    'a compiled model');
  assert.equal(found.devices, 2);
  assert.equal(found.error, 'AbortError');
  assert.deepEqual(found.alpha.map(most => most <= 1), [true, true, true, true]);
  assert.deepEqual(found.mask.map(most => most <= 3e-6), [true, true, true, true], `the masks are ${found.mask} away`);
});

test('kernels of another format are refused', async () => {
  const message = await page.evaluate(async () => {
    const { GpuStages } = await import('/image/gpu/index.mjs');
    try { new GpuStages({ format: 2 }); } catch (error) { return error.message; }
  });
  assert.match(message, /of format 2, and this page reads 1/);
});
