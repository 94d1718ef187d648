// The parts of the editor that need no browser: zoom and place, what can be undone, and the mask with its strokes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyStrokes } from '../../../web/image/strokes.mjs';
import { History } from '../../../web/page/history.mjs';
import { ProxyMask, intersection, isEmpty, union } from '../../../web/page/proxy_mask.mjs';
import { View } from '../../../web/page/view.mjs';

const stroke = (mode, size, ...points) => ({ mode, size, hardness: 0.5, points });

test('a view fits a large picture, and shows a small one at 100 %', () => {
  const view = new View();
  view.resize(800, 600, 1);
  view.open(4000, 2000);
  assert.equal(view.zoom, 0.2);
  assert.deepEqual([view.left, view.top], [0, 100]);
  view.open(100, 50);
  assert.equal(view.zoom, 1);
  assert.deepEqual([view.left, view.top], [350, 275]);
  view.resize(800, 600, 2);
  assert.equal(view.zoom, 1, 'a pixel of the screen for each of the photo');
  assert.equal(view.scale, 0.5);
});

test('zooming keeps the place under the pointer, and places are whole pixels of the screen', () => {
  const view = new View();
  view.resize(801, 601, 1.5);
  view.open(4000, 3000);
  view.zoomTo(0.7);
  const before = view.toPhoto(500, 300);
  for (const zoom of [1, 1.37, 2.9, 1.1, 0.7]) view.zoomTo(zoom, 500, 300);
  const after = view.toPhoto(500, 300);
  assert.ok(Math.hypot(after[0] - before[0], after[1] - before[1]) < 1 / view.scale, `${before} became ${after}`);
  assert.ok(Math.abs(view.left * 1.5 - Math.round(view.left * 1.5)) < 1e-9);
});

test('a picture larger than its window covers it, however it is moved', () => {
  const view = new View();
  view.resize(800, 600, 1);
  view.open(4000, 3000);
  view.zoomTo(1);
  view.pan(1e6, -1e6);
  assert.deepEqual([view.left, view.top], [0, 600 - 3000]);
  view.reveal(3990, 10, 20);
  const [x, y] = view.toWindow(3990, 10);
  assert.ok(x <= 800 && y >= 0, `${x}, ${y}`);
  view.zoomTo(1e9);
  assert.equal(view.zoom, 16);
  view.zoomTo(0);
  assert.equal(view.zoom, 0.2);
  assert.ok(view.fitted);
  view.step(1);
  assert.equal(view.zoom, 1 / 4);
});

test('undo and redo name what came or went, and a new stroke ends what could be redone', () => {
  const history = new History();
  const [a, b, c] = [stroke('erase', 1, [0, 0]), stroke('erase', 2, [0, 0]), stroke('erase', 3, [0, 0])];
  history.open([a]);
  history.add(b);
  assert.deepEqual(history.undo(), [b]);
  history.add(c);
  assert.equal(history.redo(), null);
  assert.deepEqual(history.strokes, [a, c]);
  assert.deepEqual(history.clear(), [a, c]);
  assert.deepEqual(history.strokes, []);
  assert.deepEqual(history.undo(), [a, c]);
  assert.deepEqual(history.undo(), [c]);
  assert.deepEqual(history.undo(), [a]);
  assert.equal(history.undo(), null);
  assert.equal(history.clear(), null);
});

test('rectangles meet and join, and empty ones count for nothing', () => {
  const a = { left: 0, top: 0, right: 10, bottom: 10 }, b = { left: 5, top: 8, right: 20, bottom: 9 };
  assert.deepEqual(intersection(a, b), { left: 5, top: 8, right: 10, bottom: 9 });
  assert.ok(isEmpty(intersection(a, { left: 10, top: 0, right: 20, bottom: 10 })));
  const apart = intersection(a, { left: 30, top: 0, right: 40, bottom: 1 });
  assert.deepEqual(union([a, apart, b]), { left: 0, top: 0, right: 20, bottom: 10 });
});

test('the mask drawn step by step, in pieces and anew is that of all strokes at once', () => {
  const width = 90, height = 70, scale = 0.5;
  const levels = Uint8Array.from({ length: width * height }, (_, at) => (at * 37) & 255);
  const strokes = [
    stroke('erase', 40, [20, 20], [100, 90.5], [170, 30]),
    stroke('restore', 25.5, [60.25, 60]),
    stroke('erase', 30, [-40, 70], [90, 80]),
  ];
  const whole = { width, height, data: Float32Array.from(levels, level => level / 255) };
  applyStrokes(whole, strokes, { scale });

  const mask = new ProxyMask(width, height, scale);
  mask.setBase({ width, height, levels });
  mask.apply([]);
  for (const each of strokes) {
    const drawn = { ...each, points: [] };
    mask.begin(drawn);
    for (const point of each.points) {
      drawn.points.push(point);
      mask.draw();
    }
    mask.finish();
  }
  const compare = (/** @type {string} */ when) => {
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const apart = Math.abs(mask.at((x + 0.5) / scale, (y + 0.5) / scale) - whole.data[y * width + x]);
        assert.ok(apart < 1e-6, `${when}: ${apart} at ${x}, ${y}`);
      }
    }
  };
  compare('step by step');
  mask.apply(strokes, { left: 13, top: 7, right: 61, bottom: 55 });
  compare('anew in a part');
  mask.apply(strokes);
  compare('anew');
  mask.begin(stroke('erase', 60, [90, 70]));
  mask.draw();
  assert.equal(mask.at(90, 70), 0);
  mask.abandon();
  compare('after a stroke that was abandoned');
});

test('a mask of a wrong length is refused', () => {
  const mask = new ProxyMask(4, 4, 1);
  const short = { width: 4, height: 4, levels: new Uint8Array(15) };
  assert.throws(() => mask.setBase(short), /15 levels where 4 x 4 need 16/);
});
