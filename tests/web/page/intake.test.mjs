// Photos dropped, chosen and pasted.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { choose, photo, stage, states } from './pages.mjs';

const FOLDER = process.env.NSS_FOLDER;
let here;
before(async () => { here = await stage(); });
after(() => here.close());

const names = page => page.$$eval('.photo-name', all => all.map(each => each.textContent));

/** Fire a drag event with files, as a browser does. */
const drag = (page, type, files, target = 'body') => page.evaluate(async (type, files, target) => {
  const data = new DataTransfer();
  for (const [name, base64] of files) {
    const blob = await (await fetch(`data:image/png;base64,${base64}`).catch(() => null))?.blob();
    const bytes = blob ?? Uint8Array.from(atob(base64), each => each.charCodeAt(0));
    data.items.add(new File([bytes], name, { type: 'image/png' }));
  }
  const event = new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true });
  document.querySelector(target).dispatchEvent(event);
  return event.defaultPrevented;
}, type, files.map(name => [name, fs.readFileSync(process.env.NSS_SMALL_PHOTO).toString('base64')]), target);

test('photos are chosen by the button, several at once, and the same again', async () => {
  const page = await here.open();
  const [chooser] = await Promise.all([page.waitForFileChooser(), page.click('label[for="files"]')]);
  assert.equal(chooser.isMultiple(), true);
  const file = photo(FOLDER, 'one.png');
  await chooser.accept([file, photo(FOLDER, 'two.png')]);
  await states(page, 'done', 'done');
  assert.deepEqual(await names(page), ['one.png', 'two.png']);
  await choose(page, file);
  await states(page, 'done', 'done', 'done');
  await page.close();
});

test('the chooser opens by keyboard alone', async () => {
  const page = await here.open();
  await page.focus('#files');
  const [chooser] = await Promise.all([page.waitForFileChooser(), page.keyboard.press('Space')]);
  await chooser.accept([photo(FOLDER, 'key.png')]);
  await states(page, 'done');
  await page.close();
});

test('photos are dropped anywhere on the page, which shows that it takes them', async () => {
  const page = await here.open();
  assert.equal(await drag(page, 'dragenter', ['a.png']), true);
  assert.equal(await page.$eval('body', body => body.classList.contains('dragging')), true);
  assert.equal(await drag(page, 'dragover', ['a.png']), true);
  assert.equal(await drag(page, 'drop', ['a.png', 'b.png'], '.foot'), true, 'the browser would open the file');
  assert.equal(await page.$eval('body', body => body.classList.contains('dragging')), false);
  await states(page, 'done', 'done');
  assert.deepEqual(await names(page), ['a.png', 'b.png']);
  await page.close();
});

test('dragging text over the page is left to the browser', async () => {
  const page = await here.open();
  const prevented = await page.evaluate(() => {
    const dataTransfer = new DataTransfer();
    dataTransfer.setData('text/plain', 'words');
    const event = new DragEvent('dragover', { dataTransfer, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
    return event.defaultPrevented;
  });
  assert.equal(prevented, false);
  await page.close();
});

test('a picture is pasted with Ctrl+V, and has a name of its own', async () => {
  const page = await here.open();
  await here.browser.defaultBrowserContext().overridePermissions(
    here.server.url, ['clipboard-read', 'clipboard-write', 'clipboard-sanitized-write']);
  await page.bringToFront();
  await page.evaluate(async () => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 20, height: 10 });
    canvas.getContext('2d').fillRect(0, 0, 9, 9);
    const blob = await new Promise(done => { canvas.toBlob(done); });
    await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]);
  });
  for (let time = 0; time < 2; time += 1) {
    await page.keyboard.down('Control');
    await page.keyboard.press('v', { commands: ['Paste'] });
    await page.keyboard.up('Control');
  }
  await states(page, 'done', 'done');
  assert.deepEqual(await names(page), ['pasted-1.png', 'pasted-2.png']);
  await page.close();
});
