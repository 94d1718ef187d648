// Pictures and masks alone, against those that nss composed (test_compose.py).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compose, maskLevels } from '../../../web/image/compose.mjs';
import { casesOf, countDifferent, farthest, maskOf, photoOf } from './cases.mjs';

/** Whether float order cannot show in a picture: where no neighbours are summed, and no mask is enlarged. */
const isExact = (settings, name) => name.endsWith('whole') && !/blur|image/.test(name);

test('pictures are those of nss', () => {
  for (const { name, settings, background, image, rgba, opaque, mask, result, box, notes } of casesOf('picture')) {
    const photo = photoOf(rgba, opaque);
    const before = rgba.data.slice();
    let back = background;
    if (image) back = { image: photoOf(image, false) };
    if (back && back.blur === null) back = { blur: undefined };
    const picture = compose(photo, maskOf(mask), { ...settings, background: back });
    const { top, bottom, left, right } = picture.area;
    assert.deepEqual([left, top, right, bottom], box, name);
    assert.deepEqual([picture.height, picture.width, picture.channels], result.shape, name);
    assert.deepEqual(picture.notes, notes, name);
    assert.equal(countDifferent(rgba.data, before), 0, `${name} changed the photo`);
    const count = countDifferent(picture.data, result.data);
    if (isExact(settings, name)) {
      assert.equal(count, 0, `${name}: ${count} of ${result.data.length}, by ${farthest(picture.data, result.data)}`);
    } else {
      assert.ok(farthest(picture.data, result.data) <= 1, `${name}: ${farthest(picture.data, result.data)}`);
      assert.ok(count <= Math.max(4, result.data.length * 1e-4), `${name}: ${count} of ${result.data.length}`);
    }
  }
});

test('masks alone are those of nss', () => {
  for (const { name, settings, rgba, opaque, mask, result } of casesOf('mask')) {
    const { invert, crop, mask_bits: bits } = settings;
    const levels = maskLevels(photoOf(rgba, opaque), maskOf(mask), { bits, invert, crop });
    assert.deepEqual([levels.height, levels.width], result.shape, name);
    assert.equal(levels.data.constructor, bits === 16 ? Uint16Array : Uint8Array);
    const count = countDifferent(levels.data, result.data);
    assert.ok(farthest(levels.data, result.data) <= 1, name);
    const most = name.endsWith('whole') ? 0 : Math.max(1, levels.data.length * (bits === 16 ? 0.05 : 1e-3));
    assert.ok(count <= most, `${name}: ${count} of ${levels.data.length}`);
  }
});

test('what is out of range is refused in a sentence', () => {
  const [{ rgba, mask }] = casesOf('picture').slice(-1);
  const photo = photoOf(rgba, true);
  const wrong = [
    [{ hidden: 'gone' }, /'hidden' "gone": one of keep, bleed, zero is possible/],
    [{ decontaminate: 2 }, /'decontaminate' 2: an amount from 0 to 1/],
    [{ crop: -1 }, /'crop' -1/],
    [{ crop: 1.5 }, /'crop' 1.5/],
    [{ background: { colour: [1, 2, 3] } }, /colour \[1, 2, 3\] is none/],
    [{ background: { blur: 0 } }, /blur 0 is none/],
    [{ background: { blur: 1001 } }, /blur 1001 is none/],
    [{ background: {} }, /the background {} is none/],
  ];
  for (const [settings, message] of wrong) {
    assert.throws(() => compose(photo, maskOf(mask), /** @type {any} */ (settings)), message);
  }
  const signal = AbortSignal.abort();
  assert.throws(() => compose(photo, maskOf(mask), {}, { signal }), { name: 'AbortError' });
});
