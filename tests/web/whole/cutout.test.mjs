// Photos are dropped on the page, and their files are saved, with the settings of NSS_VISITS: a list of
// {photo, runs: [{name, settings, formats}]}. What is saved goes to NSS_FOLDER as <run>.<format>, which Python looks at.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Visitor } from './visitor.mjs';

const { NSS_SITE: SITE, NSS_FOLDER: FOLDER } = process.env;
const VISITS = JSON.parse(fs.readFileSync(process.env.NSS_VISITS, 'utf8'));
const DOWNLOADS = path.join(FOLDER, 'downloads');

let visitor;
before(async () => { visitor = await Visitor.arrive({ site: SITE, downloads: DOWNLOADS }); });
after(() => visitor?.leave());

for (const { photo, runs } of VISITS) {
  test(`${path.basename(photo)} is cut out and saved`, async () => {
    await visitor.drop(photo);
    const { state, message } = await visitor.last();
    assert.deepEqual([state, message], ['done', '']);
    await visitor.show(path.basename(photo));
    for (const { name, settings, formats } of runs) {
      await visitor.reset();
      await visitor.set(settings);
      for (const format of formats) {
        const file = await visitor.save(format);
        fs.renameSync(file, path.join(FOLDER, `${name}.${format}${path.extname(file)}`));
      }
    }
  });
}

test('what the brush takes away in the middle is transparent in the file, until it is undone', async () => {
  const { page } = visitor;
  await visitor.reset();
  await page.click('.editor .bar input[value=erase]');
  const view = await page.$('.window');
  await view.scrollIntoView();
  const { x, y, width, height } = await view.boundingBox();
  await page.mouse.move(x + width / 2 - 15, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + width / 2 + 15, y + height / 2, { steps: 4 });
  await page.mouse.up();
  fs.renameSync(await visitor.save('png'), path.join(FOLDER, 'erased.png'));
  await view.focus();
  await page.keyboard.down('Control');
  await page.keyboard.press('z');
  await page.keyboard.up('Control');
  fs.renameSync(await visitor.save('png'), path.join(FOLDER, 'undone.png'));
});

test('nothing was logged, and no other host was asked for anything', () => {
  assert.deepEqual([visitor.problems, visitor.elsewhere], [[], []]);
});

test('a photo cannot be sent elsewhere, neither by the page nor by its worker', async () => {
  const send = () => fetch('https://example.com/', { method: 'POST', body: 'photo', mode: 'no-cors' })
    .then(() => 'sent', () => 'refused');
  const blocked = visitor.page.evaluate(() => new Promise(done => {
    document.addEventListener('securitypolicyviolation', event => done(event.blockedURI), { once: true });
  }));
  assert.equal(await visitor.page.evaluate(send), 'refused');
  assert.equal(await blocked, 'https://example.com/');
  assert.equal(await visitor.worker().evaluate(send), 'refused');
});
