// No violation of the rules of axe-core, in any state of the page, in both colour schemes, wide and narrow.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { choose, photo, stage, states } from './pages.mjs';

const FOLDER = process.env.NSS_FOLDER;
const AXE = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
let here;
before(async () => { here = await stage(); });
after(() => here.close());

async function violations(page) {
  await page.evaluate(AXE); // through DevTools, which no policy of the page's stops
  return page.evaluate(async () => {
    const { violations: found } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
    return found.map(({ id, nodes }) => [id, nodes.map(({ html, failureSummary }) => [html, failureSummary])]);
  });
}

const SIZES = /** @type {const} */ ([['light', 1400], ['dark', 360]]);

for (const [scheme, width] of SIZES) {
  /** Open, bring into the state, check. */
  const inState = (name, search, bring) => test(`${name}, ${scheme}, ${width} pixels wide`, async () => {
    const page = await here.open(search, { scheme, width });
    await bring(page);
    assert.deepEqual(page.messages, []); // axe itself meets the policy, and says so
    assert.deepEqual(await violations(page), []);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'it scrolls sideways');
    await page.close();
  });

  inState('empty, with the models shown', '', page => page.click('#model summary'));
  inState('a notice', '?check=software', page => page.waitForSelector('#notice:not([hidden])'));
  inState('photos at work, waiting, failed and done', '', async page => {
    await choose(page, ...['one.png', 'bad.png', 'slow.png', 'two.png'].map(name => photo(FOLDER, name)));
    await states(page, 'done', 'failed', 'working', 'waiting');
    await page.waitForFunction(() => document.querySelector('#save .about').textContent.startsWith('one.png'));
  });
  inState('a result, with every setting open', '', async page => {
    await choose(page, photo(FOLDER, 'one.png'));
    await states(page, 'done');
    await page.waitForFunction(() => document.querySelector('#save .about').textContent.startsWith('one.png'));
    await page.evaluate(() => document.querySelectorAll('details').forEach(each => { each.open = true; }));
  });
}
