// The page with the fake backend, as the tests of this folder open it.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { PATIENCE, launch, serve } from '../harness.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
export const WEB = path.resolve(HERE, '../../../web');
export const EXAMPLES = path.resolve(HERE, '../../../examples');

const MAIN = `import { start } from './app.mjs';
import { FakeBackend } from '/test/fake_backend.mjs';
await start({ backend: new FakeBackend() });`;

/** Serve web/ with the fake backend in the place of the worker. */
export async function serveFake() {
  return serve({ '/': WEB, '/test/': HERE }, {
    headers: { 'cache-control': 'max-age=600' }, // half of what a page takes to start is fifty requests for its modules
    answer: (request, response) => {
      if (request.url !== '/page/main.mjs') return false;
      response.writeHead(200, { 'content-type': 'text/javascript' });
      response.end(MAIN);
      return true;
    },
  });
}

/** A browser and a server for a file of tests. */
export async function stage(options = { webgpu: false }) {
  const [server, browser] = await Promise.all([serveFake(), launch(options)]);
  const idle = [], closes = [];
  /** A tab, which is kept for the next page when this one is closed: to make one takes as long as to start the page. */
  const tab = async () => {
    const page = await browser.newPage(), close = page.close.bind(page);
    closes.push(() => { page.close = close; });
    page.close = async () => { idle.push(page); };
    page.setDefaultTimeout(PATIENCE);
    page.on('console', message => {
      if (['error', 'warn'].includes(message.type())) page.messages.push(message.text());
    });
    page.on('pageerror', error => page.messages.push(`pageerror: ${error}`));
    return page;
  };
  return {
    server, browser,
    /** A page that has started. */
    open: async (search = '', { width = 1400, height = 900, scheme = 'light' } = {}) => {
      const page = idle.pop() ?? await tab();
      page.messages = [];
      await page.setViewport({ width, height });
      await page.emulateMediaFeatures([
        { name: 'prefers-color-scheme', value: scheme }, { name: 'prefers-reduced-motion', value: 'reduce' },
      ]);
      await page.goto(server.url + search);
      await page.waitForFunction(() => !document.getElementById('not-started'));
      return page;
    },
    close: async () => {
      for (const each of closes) each();
      await browser.close();
      await server.close();
    },
  };
}

/** Give files to the page as the file chooser does. */
export async function choose(page, ...files) {
  const input = await page.$('#files');
  await input.uploadFile(...files);
}

/** The small photo under another name. */
export const photo = (folder, name) => {
  const file = path.join(folder, name);
  fs.copyFileSync(process.env.NSS_SMALL_PHOTO, file);
  return file;
};

/** Wait until the queue's rows are in these states, in this order. */
export const states = (page, ...expected) => page.waitForFunction(
  wanted => JSON.stringify([...document.querySelectorAll('.queue li')].map(row => row.dataset.state)) === wanted,
  {}, JSON.stringify(expected));

/** What an element says. */
export const text = (page, selector) => page.$eval(selector, each => each.textContent);

/** Wait until an element says it, or something that a pattern matches. */
export const reads = (page, selector, words) => page.waitForFunction((where, source, exact) => {
  const found = document.querySelector(where)?.textContent;
  return found !== undefined && (exact ? found === source : new RegExp(source).test(found));
}, {}, selector, words.source ?? words, typeof words === 'string');

/**
 * Wait until a condition on the test's own side holds.
 * @param {() => unknown} condition or a promise of it
 * @param {() => string} [otherwise] what to say where it does not come to hold
 */
export async function until(condition, otherwise = () => `it did not come to this: ${condition}`) {
  const end = Date.now() + PATIENCE;
  while (!await condition()) {
    if (Date.now() > end) throw new Error(otherwise());
    await new Promise(done => setTimeout(done, 20));
  }
}

/** The bytes of a file, once it is there whole. */
export async function saved(folder, name) {
  const file = path.join(folder, name);
  await until(() => fs.existsSync(file), () => `${name} was not saved; there is ${fs.readdirSync(folder)}`);
  return fs.readFileSync(file);
}

/** The control of a number of the settings, by its label. */
export const number = label => '::-p-xpath(//div[@class="number-field"]'
  + `[label[starts-with(normalize-space(.), "${label}")]]//input[@type="number"])`;
