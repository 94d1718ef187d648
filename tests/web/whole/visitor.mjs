// A visitor of the site that the command has written, with the browser's own backend on SwiftShader.
import fs from 'node:fs';
import path from 'node:path';
import { launch, serve } from '../harness.mjs';
import { saved } from '../page/pages.mjs';

const TYPES = { '.jpg': 'image/jpeg', '.png': 'image/png', '.webp': 'image/webp' };

/** The page of a site, used by its controls. */
export class Visitor {
  /**
   * Open the page, past what it says of a machine without a graphics card.
   * @param {{site: string, downloads: string, answer?: (request: any, response: any) => boolean}} options
   *   `downloads`: the folder for what is saved; `answer` as in `serve`
   */
  static async arrive({ site, downloads, answer }) {
    const server = await serve({ '/': site }, { answer });
    const visitor = await Visitor.at(server.url, { downloads });
    visitor.server = server;
    const { page } = visitor;
    await page.waitForSelector('#notice[data-code="software"] button');
    await page.click('#notice button');
    await page.waitForSelector('#columns:not([hidden])');
    return visitor;
  }

  /**
   * Open the page at an address, whoever serves it.
   * @param {string} url
   * @param {{downloads: string, webgpu?: boolean, prepare?: (page: any) => Promise<void>}} options `prepare`: what is
   *   done before the page is opened
   */
  static async at(url, { downloads, webgpu = true, prepare = async () => {} }) {
    const visitor = new Visitor();
    visitor.downloads = downloads;
    visitor.browser = await launch({ webgpu });
    const session = await visitor.browser.target().createCDPSession();
    await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: downloads });
    const page = visitor.page = await visitor.browser.newPage();
    page.setDefaultTimeout(Number(process.env.NSS_PATIENCE ?? 240_000));
    /** What the page threw, or logged as an error. @type {string[]} */
    visitor.problems = [];
    /** Requests that went to another host than the site's. @type {string[]} */
    visitor.elsewhere = [];
    const { origin } = new URL(url);
    page.on('request', request => {
      const address = request.url();
      if (!address.startsWith(`${origin}/`) && !/^(blob|data):/.test(address)) visitor.elsewhere.push(address);
    });
    page.on('pageerror', error => visitor.problems.push(`pageerror: ${error}`));
    page.on('console', message => {
      if (process.env.NSS_WEB_VERBOSE) console.error(message.text());
      if (message.type() === 'error') visitor.problems.push(message.text());
    });
    await page.setViewport({ width: 1400, height: 900 });
    await prepare(page);
    await page.goto(url);
    return visitor;
  }

  async leave() {
    await this.browser.close();
    await this.server?.close();
  }

  /**
   * Drop files on the page.
   * @param {...(string | {name: string, bytes: Uint8Array})} files paths, or what is in them
   */
  async drop(...files) {
    await this.page.evaluate(given => {
      const data = new DataTransfer();
      for (const { name, type, base64 } of given) {
        data.items.add(new File([Uint8Array.from(atob(base64), each => each.charCodeAt(0))], name, { type }));
      }
      document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
    }, files.map(file => {
      const { name, bytes } = typeof file !== 'string' ? file : {
        name: path.basename(file), bytes: fs.readFileSync(file),
      };
      return { name, type: TYPES[path.extname(name)] ?? '', base64: Buffer.from(bytes).toString('base64') };
    }));
  }

  /** What the rows of the list say: each its name, state and sentence. */
  rows() {
    return this.page.$$eval('.queue li', all => all.map(row => ({
      name: row.querySelector('.photo-name').textContent, state: row.dataset.state,
      message: row.querySelector('.message').textContent,
    })));
  }

  /** Wait until nothing is in work; the rows. */
  async through() {
    await this.page.waitForFunction(() => {
      const rows = [...document.querySelectorAll('.queue li')];
      return rows.length && rows.every(row => ['done', 'failed', 'cancelled'].includes(row.dataset.state));
    });
    return this.rows();
  }

  /** What the last photo that was dropped came to, when all are through. */
  async last() {
    return (await this.through()).at(-1);
  }

  /** Show a photo of the list by its name, and wait until it is shown. */
  async show(name) {
    const row = await this.page.waitForSelector(`::-p-xpath(//ol[@class="queue"]//button[.//span[@title="${name}"]])`);
    await row.click();
    await this.page.waitForFunction(
      start => document.querySelector('#save .about').textContent.startsWith(start), {}, `${name}, `);
  }

  /** Remove all photos. */
  async clear() {
    for (let button; (button = await this.page.$('.queue button[aria-label^="Remove "]'));) await button.click();
  }

  /** The page's worker, once it was started. */
  worker() {
    return this.page.workers().find(each => each.url().endsWith('page/worker.mjs'));
  }

  /** The notice on top of the page: its code, and its text; null where there is none. */
  notice() {
    return this.page.$eval('#notice', each => (each.hidden ? null : { code: each.dataset.code, text: each.innerText }));
  }

  /**
   * Press one of the buttons that save, and wait for the file.
   * @param {'png'|'webp'|'mask'} format
   * @returns {Promise<string>} its path
   */
  async save(format) {
    await this.page.click(`#save button[data-format="${format}"]`);
    await this.page.waitForFunction(() => document.querySelector('.saving-row button').hidden);
    const words = await this.page.$eval('#save .saving', each => each.textContent);
    const name = /^(.*) is saved\.$/.exec(words)?.[1];
    if (!name) throw new Error(`the ${format} was not saved: ${words}`);
    await saved(this.downloads, name);
    return path.join(this.downloads, name);
  }

  /** Put all settings back. */
  async reset() {
    await this.page.click('.settings .reset-all');
  }

  /**
   * Use the controls of the settings, as they are labelled.
   * @param {Record<string, number | string | true>} settings a number is typed, a choice is made by its value, a box
   *   is ticked; 'Background' takes a colour or 'blur'
   */
  async set(settings) {
    const { page } = this;
    await page.$eval('.settings details', details => { details.open = true; });
    for (const [label, value] of Object.entries(settings)) {
      const labelled = `label[starts-with(normalize-space(.), "${label}")]`;
      const find = xpath => page.waitForSelector(`::-p-xpath(//form[@class="settings"]//${xpath})`);
      if (label === 'Background') {
        await page.click(`.background-field input[value=${value === 'blur' ? 'blur' : 'colour'}]`);
        if (value === 'blur') continue;
        await page.$eval('.settings input[type=color]', (input, colour) => {
          input.value = colour;
          input.dispatchEvent(new Event('input', { bubbles: true }));
        }, value);
      } else if (value === true) {
        await (await find(labelled)).click();
      } else if (typeof value === 'number') {
        const input = await find(`div[@class="number-field"][${labelled}]//input[@type="number"]`);
        await input.click({ count: 3 });
        await input.type(String(value));
        await page.keyboard.press('Tab');
      } else {
        await (await find(`*[${labelled}]/select`)).select(value);
      }
    }
  }
}
