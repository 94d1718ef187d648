// The page behind `nss-wgpu serve`: photos are cut on the computer that runs it, or, where the visitor says so, in this
// browser.

import { App, goOn, show } from './app.mjs';
import { WorkerBackend } from './backend.mjs';
import { byId } from './dom.mjs';
import { hideNotice, isNotice, showNotice, shownNotice } from './notices.mjs';
import { leaveOffline } from './offline.mjs';
import { PlaceView, rememberedPlace, rememberPlace } from './place_view.mjs';
import { ServerBackend } from './server_backend.mjs';
import { ServerCalls } from './server_calls.mjs';
import { readSite } from './site.mjs';
import { takeToken } from './token.mjs';
import { isAbort } from './words.mjs';

/**
 * @typedef {import('./app.mjs').Place} Place
 * @typedef {import('./place_view.mjs').PlaceName} PlaceName
 */

/**
 * Start the page.
 * @param {string} base its address
 * @param {string} api path of the server's interface
 */
export async function startServed(base, api) {
  takeToken(); // before anything else: a page that is loaded anew has it then
  if (await leaveOffline(base)) return;
  await new Served(base, api).begin();
}

class Served {
  /** @type {App|null} */
  app = null;
  /** @type {Partial<Record<PlaceName, Place>>} */
  places = {};
  /** Given up when the visitor chooses again. @type {AbortController|null} */
  choosing = null;

  /**
   * @param {string} base
   * @param {string} api
   */
  constructor(base, api) {
    const host = location.hostname;
    /** Whether the server is on this device, as far as a page can know: its address may be that of a tunnel. */
    this.isHere = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(host);
    this.server = this.isHere ? 'this computer' : host;
    this.calls = new ServerCalls(base, api, this.server);
    this.browser = new WorkerBackend(new URL('browser/', base).href);
    this.browser.keeping = null; // there is no page without the server
    this.computer = new ServerBackend(this.calls, this.browser);
    this.view = new PlaceView([
      {
        name: 'computer', title: this.isHere ? 'This computer' : host,
        about: `By nss-wgpu on ${this.server}, several photos at once.`,
      },
      {
        name: 'browser', title: 'This browser',
        about: 'By its own graphics card. Models are made ready for it first.',
      },
    ]);
    this.view.addEventListener('choose', event => {
      void this.choose(/** @type {CustomEvent<PlaceName>} */ (event).detail);
    });
    this.calls.addEventListener('away', () => { if (shownNotice() !== 'unreachable') showNotice('unreachable'); });
    this.calls.addEventListener('back', () => { if (shownNotice() === 'unreachable') hideNotice(); });
    window.addEventListener('hashchange', () => { if (takeToken()) void this.renewed(); });
    this.promise('computer');
  }

  /** Bring the page up, as soon as the server lets it. */
  async begin() {
    const obstacle = await this.computer.check();
    if (obstacle) return showNotice(obstacle.code);
    for (;;) {
      try {
        const { version, models } = await this.computer.site();
        const held = await this.computer.held();
        hideNotice();
        show(version);
        this.places.computer = {
          backend: this.computer, models, width: this.computer.limits.queue, where: `on ${this.server}`,
        };
        this.app = new App(this.places.computer, this.view.root);
        this.app.take(held);
        if (rememberedPlace() === 'browser') await this.choose('browser');
        return;
      } catch (error) {
        const { code } = /** @type {{code?: string}} */ (error);
        showNotice(isNotice(code) ? code : 'busy', { error });
        if (code !== 'unreachable' && code !== 'busy') return;
        await this.calls.back(new AbortController().signal);
      }
    }
  }

  /** The visitor has opened the address of a server that was started anew, in this tab. */
  async renewed() {
    hideNotice();
    if (!this.app) return this.begin();
    const { queue } = this.app;
    for (const item of queue.items) if (item.state === 'failed') queue.retry(item);
  }

  /**
   * Have photos cut there from now on, if that place is to be had.
   * @param {PlaceName} name
   */
  async choose(name) {
    this.choosing?.abort();
    const { signal } = this.choosing = new AbortController();
    this.view.ready();
    this.view.chosen = name;
    try {
      if (name === 'browser') {
        const obstacle = await this.browser.check();
        signal.throwIfAborted();
        if (obstacle) {
          const { code, canGoOn } = obstacle;
          this.view.chosen = 'computer';
          showNotice(code, canGoOn ? { action: goOn(this.browser, () => this.again()) } : {});
          return;
        }
        this.places.browser ??= await this.made(signal);
      }
      signal.throwIfAborted();
      this.view.ready();
      this.use(name);
    } catch (error) {
      if (isAbort(error)) return;
      this.view.ready(error);
      this.view.chosen = 'computer';
      const { code } = /** @type {{code?: string}} */ (error);
      if (isNotice(code)) showNotice(code, { error });
    }
  }

  /** @private The visitor goes on with a browser that is slow. */
  again() {
    this.view.chosen = 'browser';
    byId('place-browser').focus();
    void this.choose('browser');
  }

  /**
   * The models for this browser, once the server has made them.
   * @private
   * @param {AbortSignal} signal
   * @returns {Promise<Place>}
   */
  async made(signal) {
    this.view.busy('Making the models ready for this browser');
    // The answer says where they lie, which is beside the page, under whatever path that is seen.
    await this.calls.json('browser', { method: 'POST', signal });
    const { models } = await readSite(this.browser.base);
    return { backend: this.browser, models, width: 1, where: 'in this browser' };
  }

  /**
   * @private
   * @param {PlaceName} name
   */
  use(name) {
    rememberPlace(name);
    this.promise(name);
    this.app?.use(/** @type {Place} */ (this.places[name]));
  }

  /**
   * Say where it happens, and where photos go.
   * @private
   * @param {PlaceName} name
   */
  promise(name) {
    const computer = this.isHere ? 'It happens on the computer that runs nss-wgpu: this one. No photo leaves it.'
      : `It happens on ${this.server}, the computer that runs nss-wgpu. Photos go there, and nowhere else.`;
    byId('promise').textContent = name === 'computer' ? computer
      : 'It happens in this browser, on its own graphics card. No photo leaves it.';
  }
}
