// A browser on the page of the editor and the settings, under the policy of the real page.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { PATIENCE, launch, serve, visit } from '../harness.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.resolve(HERE, '../../..');
export const PHOTO = path.join(ROOT, 'docs/astronaut.jpg');

const POLICY = "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; "
  + "img-src 'self' blob: data:; style-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'";

/** @returns the page, how to end, and what the tests ask of the page */
export async function stage({ width = 1200, height = 800 } = {}) {
  const [server, browser] = await Promise.all([
    serve({ '/': path.join(ROOT, 'web'), '/tests/': path.join(HERE, 'editor_page'), '/docs/': path.join(ROOT, 'docs') },
      { headers: { 'content-security-policy': POLICY } }),
    launch({ webgpu: false }),
  ]);
  const page = await visit(browser, `${server.url}tests/index.html`);
  page.setDefaultTimeout(PATIENCE);
  await page.setViewport({ width, height });
  await page.waitForFunction('window.ready');

  const chart = (options = {}) => page.evaluate(each => showChart(each), options);
  /** The picture's window in CSS pixels. */
  const box = async () => (await page.$('.window')).evaluate(element => {
    const { left, top } = element.getBoundingClientRect();
    const { clientLeft, clientTop, clientWidth: width, clientHeight: height } = element;
    return { left: left + clientLeft, top: top + clientTop, width, height };
  });
  return {
    page, browser, chart, box,
    close: async () => { await browser.close(); await server.close(); },
    /** Photo pixels to CSS pixels of the page, as the picture lies now. */
    at: async (x, y) => page.evaluate((photoX, photoY) => {
      const { left, top, width, height } = document.querySelector('canvas.cutout').getBoundingClientRect();
      const photo = window.photoSize;
      return { x: left + photoX * width / photo.width, y: top + photoY * height / photo.height };
    }, x, y),
    /** What is seen in the window: pixels of the screen, RGBA. */
    seen: async () => {
      await page.evaluate(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))));
      const { left, top, width, height } = await box();
      const scrolled = await page.evaluate(() => [scrollX, scrollY]);
      const clip = { x: left + scrolled[0], y: top + scrolled[1], width, height };
      const shot = await page.screenshot({ encoding: 'base64', clip, captureBeyondViewport: false });
      const decoded = await page.evaluate(png => decode(png), shot);
      const data = Buffer.from(decoded.data, 'base64');
      const pixel = (x, y) => data.subarray(4 * (y * decoded.width + x), 4 * (y * decoded.width + x) + 4);
      return { width: decoded.width, height: decoded.height, data, pixel };
    },
    /** The cut-out's own pixels, and the alpha of one of them. */
    cutout: async () => {
      await page.evaluate(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))));
      const { width, data } = await page.evaluate(() => cutout());
      return { width, data: Buffer.from(data, 'base64') };
    },
    strokes: () => page.evaluate(() => editor.strokes),
    events: () => page.evaluate(() => events),
    said: () => page.$eval('.editor [role=status]', each => each.textContent),
    text: selector => page.$eval(selector, each => each.textContent),
    tool: name => page.click(`.editor input[value=${name}]`),
    press: name => page.click(`.editor button[aria-label="${name}"]`),
    /** Set a slider as its thumb does. */
    slide: (selector, value) => page.$eval(selector, (input, to) => {
      input.value = to;
      input.dispatchEvent(new Event('input', { bubbles: true }));
    }, value),
  };
}

/** The alpha of a pixel of `cutout()`. */
export const alpha = ({ width, data }, x, y) => data[4 * (y * width + x) + 3];

/** Whether two colours are within a few levels of each other. */
export const near = (a, b, within = 3) => [0, 1, 2].every(channel => Math.abs(a[channel] - b[channel]) <= within);
