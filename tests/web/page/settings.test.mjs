// The settings, driven as a visitor does, and that both rooms can be used by everyone: names, contrast, sizes.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { PHOTO, stage } from './editor_stage.mjs';

let on;
before(async () => { on = await stage(); });
after(() => on?.close());

const value = () => on.page.evaluate(() => settings.value);
const reset = () => on.page.click('.settings .reset-all');
/** The controls of a number, by its label. */
const number = label => '::-p-xpath(//div[@class="number-field"]'
  + `[label[starts-with(normalize-space(.), "${label}")]]//input[@type="number"])`;
const slider = label => `.settings input[type=range][aria-label="${label}"]`;

async function type(label, text) {
  const input = await on.page.$(number(label));
  await input.click({ count: 3 });
  await input.type(text);
  await on.page.keyboard.press('Tab');
}

test('what is asked for by default is nothing, as by the command', async () => {
  assert.deepEqual(await value(), {
    background: null, decontaminate: 0, hidden: 'keep', invert: false, crop: null,
    refinement: { smooth: 0, expand: 0, feather: 0, black: 0, white: 1, drop_islands: 0, fill_holes: 0, guided: 0 },
  });
});

test('a change is told once, when it has come to rest, and setting the value tells nobody', async () => {
  const { change } = await on.events();
  // In one go: between keys that the browser is sent, a busy machine could rest.
  await on.page.$eval(slider('Smooth'), range => {
    for (let step = 0; step < 5; step += 1) {
      range.stepUp();
      range.dispatchEvent(new Event('input', { bubbles: true }));
    }
  });
  assert.equal((await value()).refinement.smooth, 2.5);
  await on.page.waitForFunction(was => events.change === was + 1, {}, change);
  await on.page.evaluate(() => { settings.value = settings.value; });
  await new Promise(done => setTimeout(done, 400));
  assert.equal((await on.events()).change, change + 1);
  await reset();
});

test('numbers are typed beyond the slider, and what is not possible is said', async () => {
  await type('Feather', '64.5');
  assert.equal((await value()).refinement.feather, 64.5);
  assert.equal(await on.page.$eval(slider('Feather'), each => each.value), '20', 'the slider is at its end');
  await type('Expand', '-500');
  assert.equal((await value()).refinement.expand, -200);
  const said = await on.page.$$eval('.settings [role=alert]', all => all.map(each => each.textContent).filter(Boolean));
  assert.deepEqual(said, ['Expand goes from -200 to 200; it is -200 now.']);
  await type('Expand', '-1.5');
  assert.equal((await value()).refinement.expand, -1.5);
  await on.page.click('[aria-label="Reset expand"]');
  assert.equal((await value()).refinement.expand, 0);
  assert.equal((await value()).refinement.feather, 64.5);
  await reset();
  assert.equal((await value()).refinement.feather, 0);
});

test('black and white points do not pass each other, and a threshold is both', async () => {
  await on.page.click('.settings summary');
  await type('White point', '0.4');
  await type('Black point', '0.6');
  assert.deepEqual([(await value()).refinement.black, (await value()).refinement.white], [0.6, 0.6]);
  await type('White point', '0.3');
  assert.deepEqual([(await value()).refinement.black, (await value()).refinement.white], [0.3, 0.3]);
  await on.page.click('::-p-text(Hard edge)');
  await type('Threshold', '0.45');
  assert.deepEqual([(await value()).refinement.black, (await value()).refinement.white], [0.45, 0.45]);
  await type('Remove islands', '250');
  await type('Fill holes', '16');
  await type('Follow the photo', '8');
  const { drop_islands: islands, fill_holes: holes, guided } = (await value()).refinement;
  assert.deepEqual([islands, holes, guided], [250, 16, 8]);
  await reset();
  await on.page.click('.settings summary');
});

test('a background is a colour with its opacity, an image, a blur, or none', async () => {
  const choose = kind => on.page.click(`.background-field input[value=${kind}]`);
  await choose('colour');
  assert.deepEqual((await value()).background, { colour: '#ffffffff' });
  await on.page.click('.swatch[aria-label=Green]');
  await on.slide('.background-field input[type=range]', 50);
  assert.deepEqual((await value()).background, { colour: '#00b14080' });
  await on.page.evaluate(() => { settings.value = { ...settings.value, background: { colour: '#12345640' } }; });
  assert.deepEqual((await value()).background, { colour: '#12345640' });
  await choose('blur');
  await type('Strength', '12');
  assert.deepEqual((await value()).background, { blur: 12 });
  await choose('image');
  assert.equal((await value()).background, null, 'no image yet');
  const broken = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'nss-settings-')), 'broken.png');
  fs.writeFileSync(broken, 'no image');
  const input = await on.page.$('.background-field input[type=file]');
  await input.uploadFile(broken);
  await on.page.waitForFunction(() => document.querySelector('.background-field .stack .error').textContent !== '');
  assert.match(await on.text('.background-field .stack .error'), /^broken.png is no image/);
  assert.equal((await value()).background, null);
  await input.uploadFile(PHOTO);
  await on.page.waitForFunction(() => settings.value.background?.image instanceof File);
  assert.equal(await on.text('.file-name'), path.basename(PHOTO));
  await choose('none');
  assert.equal((await value()).background, null);
  fs.rmSync(path.dirname(broken), { recursive: true });
});

test('colours under transparency, the inverse, and the crop; what stays in the file is said', async () => {
  const hint = () => on.page.$eval('.settings .choice .hint', each => each.textContent);
  assert.match(await hint(), /stay in the file/);
  await on.page.select('.settings select', 'zero');
  assert.match(await hint(), /No trace/);
  await on.page.click('::-p-text(Keep the background, remove the subject)');
  await on.page.click('::-p-text(Crop to the subject)');
  await type('Space around it', '7');
  await type('Take out the background', '0.75');
  const { hidden, invert, crop, decontaminate } = await value();
  assert.deepEqual([hidden, invert, crop, decontaminate], ['zero', true, 7, 0.75]);
  await reset();
});

test('nothing of it breaks the policy, and nothing fails unseen', () => assert.deepEqual(on.page.messages, []));

test('axe finds nothing, in light and dark, looking and painting, wide and narrow', async () => {
  const axe = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  await on.page.evaluate(axe);
  await on.chart();
  const views = [['light', 1200, 'view'], ['dark', 1200, 'restore'], ['light', 360, 'erase'], ['dark', 360, 'view']];
  for (const [scheme, width, tool] of views) {
    await on.page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    await on.page.setViewport({ width, height: 800 });
    await on.tool(tool);
    await on.page.evaluate(open => {
      document.querySelector('.settings details').open = true;
      settings.value = { ...settings.value, crop: 5, background: open ? { colour: '#00b14080' } : { blur: 4 } };
    }, width > 400);
    const found = await on.page.evaluate(() => axe.run(document, {
      rules: { 'target-size': { enabled: true } }, resultTypes: ['violations'], preload: false,
    }));
    const said = found.violations.map(({ id, nodes }) => [id, ...nodes.map(each => each.html + each.failureSummary)]);
    assert.deepEqual(said, [], `${scheme}, ${width}, ${tool}`);
    const { scrollWidth, clientWidth } = await on.page.evaluate(() => {
      const { scrollWidth, clientWidth } = document.documentElement;
      return { scrollWidth, clientWidth };
    });
    assert.equal(scrollWidth, clientWidth, `the page scrolls sideways at ${width}`);
  }
});

test('everything has a name of its own and 24 pixels', async () => {
  await on.page.setViewport({ width: 1200, height: 800 });
  await on.tool('erase');
  const tree = await on.page.accessibility.snapshot({ interestingOnly: false });
  const names = [], roles = ['button', 'radio', 'checkbox', 'slider', 'spinbutton', 'combobox', 'ColorWell'];
  const walk = node => {
    if (roles.includes(node.role)) names.push(`${node.role} ${node.name}`);
    node.children?.forEach(walk);
  };
  walk(tree);
  assert.ok(names.length > 30, `${names.length} controls`);
  assert.deepEqual(names.filter(name => name.endsWith(' ') || name.endsWith('undefined')), []);
  assert.deepEqual(names.filter((name, at) => names.indexOf(name) !== at), [], 'no two of one role and name');
  const small = await on.page.$$eval('button, input, select, summary', all => all.filter(each => {
    // What is pressed is the label of some, and the frame of others.
    const labelled = each.matches('[type=checkbox], [type=radio], [type=file]');
    const box = (labelled ? each.labels[0] : each.closest('.entry') ?? each).getBoundingClientRect();
    return box.width > 0 && getComputedStyle(each).visibility !== 'hidden' && (box.width < 24 || box.height < 24);
  }).map(each => `${each.outerHTML} ${each.getBoundingClientRect().height}`));
  assert.deepEqual(small, []);
});

test('the focus is seen on every control', async () => {
  const bare = await on.page.evaluate(() => {
    const unseen = [];
    for (const control of document.querySelectorAll('button, input, select, summary, .window')) {
      if (control.disabled || !control.checkVisibility({ visibilityProperty: true })) continue;
      control.focus({ focusVisible: true });
      const near = [control, control.closest('label'), control.closest('.entry'), control.nextElementSibling];
      const seen = near.some(each => each && getComputedStyle(each).outlineStyle === 'solid');
      if (!seen) unseen.push(control.outerHTML);
    }
    return unseen;
  });
  assert.deepEqual(bare, []);
});
