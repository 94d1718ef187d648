// How much memory a large photo takes beside itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compose, maskLevels } from '../../../web/image/compose.mjs';
import { nothingFound } from '../../../web/image/network_mask.mjs';
import { prepare } from '../../../web/image/prepare.mjs';

const width = 8000;
const height = Math.round((Number(process.env.NSS_MEGAPIXELS) * 1e6) / width);
const bytes = 4 * width * height;

/** What may come and go besides: rows, the network's input, what is compiled, what is not collected yet. */
const SLACK = 80e6;

/** The most memory that was held so far, in bytes. */
const peak = () => process.resourceUsage().maxRSS * 1024;

test('a large photo has no second copy but the picture', () => {
  const rgba = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at++) rgba[at] = (at * 7) >> 4;
  const photo = { name: 'large.png', width, height, rgba, opaque: false, icc: null };
  const mask = { width: 320, height: 320, data: new Float32Array(320 * 320) };
  mask.data.fill(1, 30_000, 60_000);
  const face = /** @type {import('../../../web/image/prepare.mjs').Interface} */ ({
    input: 'x', layout: 'NCHW', dtype: 'float32', channels: 'RGB', size: [320, 320], scale: 1 / 255, mean: [0.5],
    std: [1], filter: 'bilinear-antialias', output: 0, channel: 0, activation: 'none', range: 1, inputs: {},
  });
  const before = peak();
  assert.ok(before > bytes);
  assert.ok(prepare(photo, face).data.every(Number.isFinite));
  assert.ok(prepare(photo, { ...face, filter: 'lanczos-antialias' }).data.every(Number.isFinite));
  assert.equal(nothingFound(mask, photo), null);
  assert.ok(peak() - before < SLACK, `${(peak() - before) / 1e6} MB for the network's input`);
  assert.equal(maskLevels(photo, mask).data.length, width * height);
  assert.ok(peak() - before < bytes / 4 + SLACK, `${(peak() - before) / 1e6} MB for the mask's levels`);
  const picture = compose(photo, mask, { hidden: 'zero' });
  assert.equal(picture.data.length, bytes);
  assert.ok(peak() - before < 1.25 * bytes + SLACK, `${(peak() - before) / 1e6} MB for the picture`);
});
