// The brush: by mouse, finger and keyboard; undo and redo; and that strokes mean the same on the photo and its proxy.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { alpha, stage } from './editor_stage.mjs';

let on;
before(async () => { on = await stage(); });
after(() => on?.close());

/** Draw with the mouse through places of the photo. */
async function draw(...points) {
  for (const [index, [x, y]] of points.entries()) {
    const { x: pageX, y: pageY } = await on.at(x, y);
    await on.page.mouse.move(pageX, pageY, { steps: index ? 4 : 1 });
    if (index === 0) await on.page.mouse.down();
  }
  await on.page.mouse.up();
}

/** A brush of this size in photo pixels, by its slider, as near as that comes. */
async function size(pixels) {
  await on.page.evaluate(to => {
    const input = document.querySelector('.brush-controls input');
    const longest = Math.round(Math.max(photoSize.width, photoSize.height) / 2);
    input.value = 100 * Math.log(to) / Math.log(longest);
    input.dispatchEvent(new Event('input', { bubbles: true }));
  }, pixels);
}

const hardness = percent => on.page.evaluate(to => {
  const input = document.querySelectorAll('.brush-controls input')[1];
  input.value = to;
  input.dispatchEvent(new Event('input', { bubbles: true }));
}, percent);

test('erasing removes what it covers and nothing else, restoring brings it back to the bit', async () => {
  await on.chart();
  const untouched = await on.cutout();
  await on.tool('erase');
  await size(20);
  await hardness(100);
  await draw([20, 60], [70, 60]);
  const [stroke] = await on.strokes();
  assert.equal(stroke.mode, 'erase');
  assert.equal(stroke.hardness, 1);
  assert.ok(Math.abs(stroke.size - 20) <= 1, `a size of ${stroke.size}`);
  assert.ok(Math.hypot(stroke.points[0][0] - 20, stroke.points[0][1] - 60) < 1, `begins at ${stroke.points[0]}`);
  const erased = await on.cutout();
  for (let y = 0; y < 120; y += 1) {
    for (let x = 0; x < 200; x += 1) {
      const away = Math.hypot(x + 0.5 - Math.min(70, Math.max(20, x + 0.5)), y + 0.5 - 60);
      if (away < 8.5) assert.equal(alpha(erased, x, y), 0, `at ${x}, ${y}`);
      else if (away > 11.5) assert.equal(alpha(erased, x, y), alpha(untouched, x, y), `at ${x}, ${y}`);
    }
  }
  await on.tool('restore');
  await size(30);
  await draw([20, 60], [70, 60]);
  assert.deepEqual(await on.cutout(), untouched);
  await draw([150, 60]);
  assert.equal(alpha(await on.cutout(), 150, 60), 255, 'restoring shows what the mask had removed');
  assert.deepEqual((await on.strokes()).map(({ mode }) => mode), ['erase', 'restore', 'restore']);
});

test('a soft brush falls off from its hard part to its edge, and what is drawn on the way is what stays', async () => {
  await on.chart({ to: 200 });
  await on.tool('erase');
  await size(80);
  await hardness(25);
  const centre = await on.at(100, 60);
  await on.page.mouse.move(centre.x, centre.y);
  await on.page.mouse.down();
  const during = await on.cutout();
  await on.page.mouse.up();
  const after = await on.cutout();
  assert.equal(alpha(after, 100, 60), 0);
  const row = Array.from({ length: 45 }, (_, step) => alpha(after, 100 + step, 60));
  assert.deepEqual(row, [...row].sort((a, b) => a - b), 'it rises outwards');
  assert.ok(row[20] > 20 && row[20] < 235, `half way it is soft: ${row[20]}`);
  assert.equal(row[42], 255);
  let apart = 0;
  for (let at = 3; at < after.data.length; at += 4) apart = Math.max(apart, Math.abs(after.data[at] - during.data[at]));
  assert.ok(apart <= 1, `${apart} levels`);
});

test('undo and redo go back and forth to the bit, by keys and by buttons', async () => {
  await on.chart();
  await on.tool('erase');
  await hardness(50);
  const states = [await on.cutout()];
  const drawn = [['erase', [10, 20], [80, 90]], ['restore', [40, 20], [180, 100]], ['erase', [90, 10], [90, 110]]];
  for (const [mode, from, to] of drawn) {
    await on.tool(mode);
    await draw(from, to);
    states.push(await on.cutout());
  }
  const { strokes: told } = await on.events();
  const undo = async key => {
    await on.page.keyboard.down('Control');
    await on.page.keyboard.press(key);
    await on.page.keyboard.up('Control');
  };
  await on.page.focus('.window');
  await undo('z');
  assert.deepEqual(await on.cutout(), states[2]);
  assert.match(await on.said(), /2 strokes/);
  await on.press('Undo');
  assert.deepEqual(await on.cutout(), states[1]);
  await undo('z');
  assert.deepEqual(await on.cutout(), states[0]);
  await undo('z');
  assert.match(await on.said(), /nothing to undo/);
  await undo('y');
  await on.press('Redo');
  await on.page.keyboard.down('Shift');
  await undo('z');
  await on.page.keyboard.up('Shift');
  assert.deepEqual(await on.cutout(), states[3]);
  assert.equal((await on.events()).strokes - told, 6);

  await on.press('Remove all strokes');
  assert.deepEqual(await on.cutout(), states[0]);
  assert.deepEqual(await on.strokes(), []);
  await undo('z');
  assert.deepEqual(await on.cutout(), states[3]);
  await undo('z');
  await draw([150, 20], [160, 30]);
  const redo = await on.page.$eval('[aria-label=Redo]', each => each.ariaDisabled);
  assert.equal(redo, 'true', 'a new stroke ends what could be redone');
});

test('strokes are in photo pixels: on a proxy of half the size they cover half as many', async () => {
  const strokes = [
    { mode: 'erase', size: 60, hardness: 1, points: [[60, 60], [260, 180]] },
    { mode: 'restore', size: 40, hardness: 0.5, points: [[300, 100]] },
  ];
  await on.chart({ width: 400, height: 240, strokes });
  const whole = await on.cutout();
  await on.chart({ width: 400, height: 240, proxy: 2, strokes });
  const half = await on.cutout();
  assert.equal(half.width, 200);
  let apart = 0;
  for (let y = 0; y < 120; y += 1) {
    for (let x = 0; x < 200; x += 1) {
      const four = [[0, 0], [1, 0], [0, 1], [1, 1]].map(([dx, dy]) => alpha(whole, 2 * x + dx, 2 * y + dy));
      const mean = four.reduce((sum, each) => sum + each) / 4;
      apart += Math.abs(mean - alpha(half, x, y)) > 12 ? 1 : 0;
    }
  }
  // Edges of one pixel differ along the stroke; a stroke out of place or size would by thousands.
  assert.ok(apart < 250, `${apart} pixels differ`);
  await on.tool('erase');
  await size(80);
  await draw([100, 200]);
  const drawn = (await on.strokes())[2];
  assert.ok(Math.abs(drawn.size - 80) <= 2, `a size of ${drawn.size}`);
  assert.ok(Math.hypot(drawn.points[0][0] - 100, drawn.points[0][1] - 200) < 1.5, `at ${drawn.points[0]}`);
  assert.equal(alpha(await on.cutout(), 50, 100), 0);
});

test('another mask keeps the strokes', async () => {
  await on.chart({ strokes: [{ mode: 'erase', size: 20, hardness: 1, points: [[150, 60]] }] });
  await on.page.evaluate(() => editor.setMask(columns(200, 120, 100, 200)));
  const cut = await on.cutout();
  assert.deepEqual([alpha(cut, 50, 60), alpha(cut, 150, 60), alpha(cut, 180, 60)], [0, 0, 255]);
  await on.page.evaluate(() => editor.setMask(columns(100, 60, 0, 50)));
  const coarse = await on.cutout();
  assert.deepEqual([alpha(coarse, 50, 60), alpha(coarse, 180, 60)], [255, 0], 'of another size, too');
  assert.equal(await on.page.$eval('[aria-label=Undo]', each => each.ariaDisabled), 'false');
});

test('a mask that comes while a stroke is drawn does not end it', async () => {
  await on.chart({ to: 200 });
  await on.tool('erase');
  await size(20);
  await hardness(100);
  const [from, to] = [await on.at(40, 60), await on.at(160, 60)];
  await on.page.mouse.move(from.x, from.y);
  await on.page.mouse.down();
  await on.page.mouse.move((from.x + to.x) / 2, from.y);
  await on.page.evaluate(() => editor.setMask(columns(200, 120, 0, 120)));
  const during = await on.cutout();
  assert.deepEqual([alpha(during, 60, 60), alpha(during, 110, 90), alpha(during, 130, 90)], [0, 255, 0]);
  await on.page.mouse.move(to.x, to.y);
  await on.page.mouse.up();
  assert.equal((await on.strokes()).length, 1);
  const after = await on.cutout();
  assert.deepEqual([alpha(after, 60, 60), alpha(after, 115, 60), alpha(after, 115, 90)], [0, 0, 255]);
});

test('by keyboard alone: choose the brush, move it, paint, hear of it', async () => {
  await on.chart();
  await on.page.mouse.move(2, 2);
  await on.page.focus('[aria-label="Remove all strokes"]');
  for (let presses = 0; presses < 6; presses += 1) {
    if (await on.page.evaluate(() => document.activeElement?.classList.contains('window'))) break;
    await on.page.keyboard.press('Tab');
  }
  assert.equal(await on.page.evaluate(() => document.activeElement.className), 'window', 'Tab leads to the picture');
  await on.page.keyboard.press('e');
  assert.match(await on.said(), /Erase/);
  assert.ok(await on.page.$eval('.ring', each => !each.hidden), 'the ring is seen without a pointer');
  await on.page.keyboard.press(']');
  assert.match(await on.said(), /Brush of 12 pixels/);
  await on.page.keyboard.down('Shift');
  await on.page.keyboard.press('ArrowLeft');
  await on.page.keyboard.up('Shift');
  await on.page.keyboard.press('ArrowUp');
  const place = '60 from the left, 56 from the top: kept';
  await on.page.waitForFunction(text => document.querySelector('[role=status]').textContent.includes(text), {}, place);
  await on.page.keyboard.down('Space');
  for (let step = 0; step < 5; step += 1) await on.page.keyboard.press('ArrowRight');
  await on.page.keyboard.up('Space');
  assert.match(await on.said(), /Erased at 80 from the left, 56 from the top/);
  const [stroke] = await on.strokes();
  assert.deepEqual([stroke.points[0], stroke.points.at(-1)], [[60, 56], [80, 56]]);
  const cut = await on.cutout();
  assert.deepEqual([alpha(cut, 60, 56), alpha(cut, 79, 56), alpha(cut, 70, 80)], [0, 0, 255]);
  await on.page.keyboard.press('r');
  await on.page.keyboard.down('Space');
  const { left, top } = await on.box();
  await on.page.mouse.move(left + 40, top + 40);
  await on.page.keyboard.up('Space');
  const restored = (await on.strokes())[1];
  assert.equal(restored.mode, 'restore');
  assert.deepEqual(restored.points, [[80, 56]], 'a mouse that is pushed does not paint');
  assert.equal(alpha(await on.cutout(), 80, 56), 255);
});

test('one finger paints, a second one makes it a pinch and leaves no stroke', async () => {
  await on.chart();
  await on.tool('erase');
  const client = await on.page.createCDPSession();
  const touch = async (type, ...points) => client.send('Input.dispatchTouchEvent', {
    type, touchPoints: await Promise.all(points.map(async ([x, y], id) => ({ ...await on.at(x, y), id }))),
  });
  const untouched = await on.cutout();
  await touch('touchStart', [30, 30]);
  await touch('touchMove', [60, 30]);
  await touch('touchEnd');
  assert.equal((await on.strokes()).length, 1);
  assert.equal(alpha(await on.cutout(), 45, 30), 0);
  await on.press('Undo');
  await touch('touchStart', [30, 80]);
  await touch('touchMove', [40, 80]);
  await touch('touchStart', [40, 80], [80, 80]);
  await touch('touchMove', [35, 80], [85, 80]);
  await touch('touchEnd');
  assert.deepEqual(await on.strokes(), []);
  assert.deepEqual(await on.cutout(), untouched);
});

test('the ring shows the size and how hard the brush is', async () => {
  await on.chart();
  await on.tool('erase');
  await size(40);
  await hardness(50);
  const { x, y } = await on.at(50, 50);
  await on.page.mouse.move(x, y);
  await on.page.evaluate(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))));
  const ring = await (await on.page.$('.ring')).boundingBox();
  const inner = await (await on.page.$('.ring-inner')).boundingBox();
  const diameter = parseInt(await on.text('.brush-controls output'), 10);
  assert.ok(Math.abs(ring.width - diameter) < 1 && Math.abs(ring.x + ring.width / 2 - x) < 1, JSON.stringify(ring));
  assert.ok(Math.abs(inner.width - ring.width / 2) < 3, JSON.stringify(inner));
  await on.page.mouse.move(5, 5);
  assert.ok(await on.page.$eval('.ring', each => each.hidden));
});

test('nothing of it fails unseen', () => {
  // The one thing that is said is of these tests, which read the canvas.
  assert.deepEqual(on.page.messages.filter(message => !message.includes('willReadFrequently')), []);
});
