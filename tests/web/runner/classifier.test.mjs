// The example page with a classifier, as a visitor has it: WEB is web/ with the model in it, PICTURES hold NAME.png.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { PATIENCE, launch, serve, visit } from '../harness.mjs';

test('pictures are classified', async t => {
  const server = await serve({ '/': process.env.WEB });
  t.after(() => server.close());
  const browser = await launch();
  t.after(() => browser.close());
  const text = selector => page.$eval(selector, element => element.textContent);
  let page = await visit(browser, `${server.url}examples/classifier/`);
  await page.waitForFunction(() => document.getElementById('state').textContent.includes('software'));
  assert.ok(await page.$eval('#picture', input => input.disabled));
  page = await visit(browser, `${server.url}examples/classifier/?software`);
  page.setDefaultTimeout(PATIENCE);
  await page.waitForSelector('#picture:not([disabled])');
  const input = await page.$('#picture');
  for (const [name, says] of [['red', 'red: 100.0 %'], ['blue', 'blue: 100.0 %'], ['flag', 'white: 50.0 %']]) {
    await input.uploadFile(path.join(process.env.PICTURES, `${name}.png`));
    await page.waitForFunction(name => document.getElementById('state').textContent.startsWith(name), {}, `${name}.png`);
    assert.equal(await text('#scores li:first-child'), says);
  }
  assert.equal(await text('#scores li:nth-child(2)'), 'red: 50.0 %');
  await input.uploadFile(path.join(process.env.PICTURES, 'none.png'));
  await page.waitForFunction(() => /decode/.test(document.getElementById('state').textContent));
  assert.deepEqual(page.messages, []);
});
