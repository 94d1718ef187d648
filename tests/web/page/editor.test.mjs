// Looking at a cut-out: what the picture shows, before and after, zoom and panning, backgrounds.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { alpha, near, stage } from './editor_stage.mjs';

const GREY = 90;
/** Wider than the line, which lies at the left edge where nothing is compared, with its grip. */
const LINE = 80;
let on;
before(async () => { on = await stage(); });
after(() => on?.close());

/** Whether a pixel seen is the chart's own at (x, y). */
const isChart = (pixel, x, y) => near(pixel, [x & 255, y & 255, GREY], 0);

/** Whether a pixel seen is one of the two greys of the checks. */
const isChecks = pixel => near(pixel, [0xd9, 0xdc, 0xdb], 1) || near(pixel, [0xf7, 0xf8, 0xf8], 1);

test('the cut-out is the photo where the mask is, and checks where it is not', async () => {
  await on.chart();
  const cut = await on.cutout();
  assert.deepEqual(cut.data.slice(4 * (7 * 200 + 30), 4 * (7 * 200 + 30) + 4), Buffer.from([30, 7, GREY, 255]));
  assert.equal(alpha(cut, 99, 50), 255);
  assert.equal(alpha(cut, 100, 50), 0);
  const { left, top } = await on.box(), corner = await on.at(0, 0);
  const [x, y] = [Math.round(corner.x - left), Math.round(corner.y - top)];
  const seen = await on.seen();
  assert.ok(isChart(seen.pixel(x + 30, y + 7), 30, 7));
  assert.ok(isChecks(seen.pixel(x + 150, y + 60)), String(seen.pixel(x + 150, y + 60)));
});

for (const density of [1, 2]) {
  test(`at 100 % a pixel of the photo is a pixel of the screen, where a CSS pixel has ${density}`, async () => {
    await on.page.setViewport({ width: 1201, height: 800, deviceScaleFactor: density });
    await on.chart({ width: 2001, height: 1501, to: 2001 });
    assert.notEqual(await on.text('.zoom-text'), '100 %');
    await on.page.click('.editor button[title^="A pixel of the photo"]');
    assert.equal(await on.text('.zoom-text'), '100 %');
    const seen = await on.seen();
    const middle = seen.pixel(300, 300), [startX, startY] = [middle[0] - 300, middle[1] - 300];
    let wrong = 0;
    for (let y = 0; y < seen.height; y += 1) {
      for (let x = LINE; x < seen.width; x += 1) {
        const at = 4 * (y * seen.width + x);
        if (seen.data[at] !== ((startX + x) & 255) || seen.data[at + 1] !== ((startY + y) & 255)) wrong += 1;
      }
    }
    // The window's round corners are not the picture's.
    assert.ok(wrong < 100 * density, `${wrong} of ${seen.width * seen.height} pixels differ`);
    await on.page.setViewport({ width: 1200, height: 800, deviceScaleFactor: 1 });
  });
}

test('left of the line is the untouched photo, by the slider and by dragging the line', async () => {
  await on.chart({ from: 120, to: 200 });
  await on.page.focus('.compare input');
  for (let step = 0; step < 20; step += 1) await on.page.keyboard.press('ArrowRight');
  assert.equal(await on.page.$eval('.compare input', each => each.value), '40');
  const { left, top } = await on.box(), corner = await on.at(0, 0);
  const [x, y] = [Math.round(corner.x - left), Math.round(corner.y - top)];
  let seen = await on.seen();
  // The line itself is 4 pixels wide, with its rim.
  assert.ok(isChart(seen.pixel(x + 77, y + 20), 77, 20), 'the photo left of the line');
  assert.ok(isChecks(seen.pixel(x + 82, y + 20)), 'the cut-out right of it');
  assert.ok(isChart(seen.pixel(x + 150, y + 20), 150, 20));

  const handle = await (await on.page.$('.handle')).boundingBox();
  const from = { x: handle.x + handle.width / 2, y: handle.y + handle.height / 2 };
  await on.page.mouse.move(from.x, from.y);
  await on.page.mouse.down();
  await on.page.mouse.move(corner.x + 110, from.y, { steps: 3 });
  await on.page.mouse.up();
  assert.ok(Math.abs(await on.page.evaluate(() => editor.compare) - 55) < 1);
  seen = await on.seen();
  assert.ok(isChart(seen.pixel(x + 104, y + 20), 104, 20));
  assert.ok(isChecks(seen.pixel(x + 116, y + 20)));
  await on.slide('.compare input', 0);
});

test('the wheel with Ctrl zooms where the pointer is, and alone leaves the picture as it is', async () => {
  await on.chart({ width: 800, height: 600 });
  const before = await on.at(450, 320);
  await on.page.mouse.move(before.x, before.y);
  await on.page.mouse.wheel({ deltaY: -200 });
  await new Promise(done => setTimeout(done, 100));
  assert.deepEqual(await on.at(450, 320), before);
  const zoom = await on.text('.zoom-text');
  await on.page.keyboard.down('Control');
  for (let turn = 0; turn < 3; turn += 1) await on.page.mouse.wheel({ deltaY: -200 });
  await on.page.keyboard.up('Control');
  const third = was => parseFloat(document.querySelector('.zoom-text').textContent) > 3 * parseFloat(was);
  await on.page.waitForFunction(third, {}, zoom);
  // The browser tells the pointer's place in whole CSS pixels; half a one is 1.2 at three times the zoom.
  const now = await on.at(450, 320);
  const [dx, dy] = [now.x - before.x, now.y - before.y];
  assert.ok(Math.abs(dx) <= 2 && Math.abs(dy) <= 2, `${dx}, ${dy}`);
});

test('buttons and keys zoom; dragging, arrows, and Space with the mouse pan', async () => {
  await on.chart({ width: 3000, height: 2000 });
  const fitted = await on.text('.zoom-text');
  await on.press('Zoom in');
  assert.notEqual(await on.text('.zoom-text'), fitted);
  await on.press('Zoom out');
  await on.page.focus('.window');
  await on.page.keyboard.press('1');
  assert.equal(await on.text('.zoom-text'), '100 %');
  const { left, top } = await on.box();
  const drag = async () => {
    const start = await on.at(1500, 1000);
    await on.page.mouse.move(left + 300, top + 200);
    await on.page.mouse.down();
    await on.page.mouse.move(left + 250, top + 170, { steps: 2 });
    await on.page.mouse.up();
    const end = await on.at(1500, 1000);
    return [end.x - start.x, end.y - start.y];
  };
  assert.deepEqual(await drag(), [-50, -30]);
  const start = await on.at(1500, 1000);
  await on.page.keyboard.press('ArrowRight');
  assert.equal((await on.at(1500, 1000)).x - start.x, -20);
  await on.tool('erase');
  await on.page.mouse.move(left + 300, top + 200);
  await on.page.focus('.window');
  await on.page.mouse.move(left + 301, top + 200);
  await on.page.keyboard.down('Space');
  assert.deepEqual(await drag(), [-50, -30]);
  await on.page.keyboard.up('Space');
  assert.deepEqual(await on.strokes(), []);
  await on.page.keyboard.press('v');
  await on.page.keyboard.press('0');
  assert.equal(await on.text('.zoom-text'), fitted);
});

test('two fingers zoom and move', async () => {
  await on.chart({ width: 800, height: 600 });
  const { left, top } = await on.box();
  const fitted = parseFloat(await on.text('.zoom-text'));
  const client = await on.page.createCDPSession();
  const touch = (type, ...points) => client.send('Input.dispatchTouchEvent', {
    type, touchPoints: points.map(([x, y], id) => ({ x: left + x, y: top + y, id })),
  });
  await touch('touchStart', [300, 250], [400, 250]);
  for (let step = 1; step <= 5; step += 1) await touch('touchMove', [300 - 10 * step, 250], [400 + 10 * step, 250]);
  await touch('touchEnd');
  const zoomed = was => parseFloat(document.querySelector('.zoom-text').textContent) > 1.9 * was;
  await on.page.waitForFunction(zoomed, {}, fitted);
  assert.ok(Math.abs(parseFloat(await on.text('.zoom-text')) / fitted - 2) < 0.05);
});

test('a colour, translucent too, an image and the photo out of focus lie behind the cut-out', async () => {
  await on.chart({ width: 200, height: 100, from: 0, to: 100 });
  const { left, top } = await on.box(), corner = await on.at(0, 0);
  const look = async () => {
    const seen = await on.seen();
    return (x, y) => seen.pixel(Math.round(corner.x - left) + x, Math.round(corner.y - top) + y);
  };
  await on.page.evaluate(() => editor.setBackground({ colour: '#ff8800ff' }));
  let at = await look();
  assert.ok(near(at(150, 50), [255, 136, 0], 0));
  assert.ok(isChart(at(30, 50), 30, 50));
  await on.page.evaluate(() => editor.setBackground({ colour: '#00000080' }));
  const mixed = (await look())(150, 50);
  assert.ok([0xd9, 0xf7].some(grey => Math.abs(mixed[0] - grey * (1 - 128 / 255)) <= 2), String([...mixed]));

  // 100 x 100: green, with bands of red above and below that covering 200 x 100 cuts off.
  await on.page.evaluate(async () => {
    const canvas = new OffscreenCanvas(100, 100), context = canvas.getContext('2d');
    context.fillStyle = '#f00';
    context.fillRect(0, 0, 100, 100);
    context.fillStyle = '#0f0';
    context.fillRect(0, 25, 100, 50);
    editor.setBackground({ image: await canvas.convertToBlob() });
  });
  await on.page.waitForSelector('img.backdrop:not([hidden])');
  await on.page.waitForFunction(() => document.querySelector('img.backdrop').complete);
  at = await look();
  for (const [x, y] of [[110, 4], [190, 4], [150, 50], [110, 95], [190, 95]]) {
    const pixel = at(x, y);
    assert.ok(near(pixel, [0, 255, 0], 2), `${x}, ${y}: ${[...pixel]}`);
  }
  assert.ok(isChart(at(30, 50), 30, 50));

  await on.page.evaluate(() => editor.setBackground({ blur: 5 }));
  at = await look();
  const blurred = at(150, 50);
  assert.ok(near(blurred, [150, 50, GREY], 3), `the middle of a slope stays: ${[...blurred]}`);

  // A red subject before blue: none of its red is in what is behind it.
  await on.page.evaluate(async () => {
    const canvas = new OffscreenCanvas(200, 100), context = canvas.getContext('2d');
    context.fillStyle = '#00f';
    context.fillRect(0, 0, 200, 100);
    context.fillStyle = '#f00';
    context.fillRect(0, 0, 100, 100);
    editor.show({ bitmap: await createImageBitmap(canvas), width: 200, height: 100, mask: columns(200, 100, 0, 100) });
  });
  at = await look();
  assert.ok(near(at(102, 50), [0, 0, 255], 1), `the subject does not glow: ${[...at(102, 50)]}`);
  assert.ok(near(at(98, 50), [255, 0, 0], 1));

  await on.page.evaluate(() => editor.setBackground({ image: new Blob(['no image']) }));
  await on.page.waitForFunction(() => events.problem.length === 1);
  assert.match((await on.events()).problem[0], /cannot be read/);
  await on.page.evaluate(() => editor.setBackground(null));
  assert.ok(isChecks((await look())(150, 50)));
});

test('nothing of it breaks the policy, and nothing fails unseen', () => {
  // The one thing that is said is of these tests, which read the canvas.
  assert.deepEqual(on.page.messages.filter(message => !message.includes('willReadFrequently')), []);
});
