// From a photo to the network's input, and from its output to a picture, as nss.Remover does it (test_cutout.py).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compose } from '../../../web/image/compose.mjs';
import { networkMask, nothingFound } from '../../../web/image/network_mask.mjs';
import { prepare } from '../../../web/image/prepare.mjs';
import { refine } from '../../../web/image/refine.mjs';
import { casesOf, countDifferent, farthest, photoOf } from './cases.mjs';

test('a cut-out is that of nss.Remover', () => {
  for (const each of casesOf('cutout')) {
    const { name, rgba, opaque, interface: face, input, output, settings, composition, background, result } = each;
    const photo = photoOf(rgba, opaque);
    const { data, shape } = prepare(photo, face);
    assert.deepEqual(shape, input.shape);
    assert.ok(farthest(data, input.data) <= 2e-6 / Math.min(...face.std), name);
    const mask = networkMask(output.data, output.shape, output.dtype ?? 'float32', face);
    assert.equal(nothingFound(mask, photo), null);
    const refined = Object.keys(settings).length ? refine(mask, photo, settings) : mask;
    const picture = compose(photo, refined, { ...composition, background });
    assert.deepEqual([picture.height, picture.width, picture.channels], result.shape, name);
    const count = countDifferent(picture.data, result.data);
    assert.ok(farthest(picture.data, result.data) <= 1, `${name}: ${farthest(picture.data, result.data)}`);
    assert.ok(count <= result.data.length * 1e-4, `${name}: ${count} of ${result.data.length}`);
  }
});
