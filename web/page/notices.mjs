// What stands in the way of the page, and what helps: one text for each condition.

import { announce, byId, element } from './dom.mjs';
import { sentence } from './words.mjs';

/**
 * @typedef {object} Notice
 * @property {string} title
 * @property {string} what
 * @property {string[]} helps
 * @property {boolean} [blocks] nothing can be cut before it is mended
 */

const BROWSERS = 'Use a browser with WebGPU: Chrome or Edge 113 or later. Firefox since 141 and Safari since 26 have '
  + 'it too, on most systems; the page was made with Chrome’s.';
const FLAG = 'In Chrome on Linux, open chrome://flags, turn on “Unsafe WebGPU Support” and “Vulkan”, and start Chrome '
  + 'again.';
const DRIVER = 'Update the graphics driver: from AMD, Intel or NVIDIA on Windows; on Linux the packages '
  + 'mesa-vulkan-drivers and libvulkan1, or NVIDIA’s own driver.';
const ACCELERATION = 'In the browser’s settings, turn on “Use graphics acceleration when available”, and start it '
  + 'again.';

/** @type {Record<string, Notice>} */
export const NOTICES = {
  insecure: {
    title: 'This page needs https',
    what: 'The page came over plain http, and browsers keep the graphics card from such pages.',
    helps: ['Open the same address with https:// in front.',
      'On the computer that serves the page, open it as http://localhost, which counts as secure.'],
    blocks: true,
  },
  'no-webgpu': {
    title: 'This browser has no WebGPU',
    what: 'The page computes on the graphics card through WebGPU, which this browser lacks or has turned off.',
    helps: [BROWSERS, FLAG],
    blocks: true,
  },
  'no-adapter': {
    title: 'The browser found no graphics card it can use',
    what: 'WebGPU is there, but it offers no adapter: the card, its driver or a setting keeps the browser from it.',
    helps: [ACCELERATION, DRIVER, FLAG],
    blocks: true,
  },
  software: {
    title: 'No graphics card, only a slow stand-in',
    what: 'The browser offers a software adapter: the processor pretends to be a graphics card. A photo takes minutes.',
    helps: [ACCELERATION, DRIVER, FLAG],
    blocks: true,
  },
  limits: {
    title: 'The model is too large for this graphics card',
    what: 'The browser allows less memory or smaller buffers than the model needs.',
    helps: ['Choose a smaller model.', DRIVER],
  },
  features: {
    title: 'The graphics card lacks something that the model needs',
    what: 'The model was made for a feature of WebGPU that is not here.',
    helps: ['Choose another model.', DRIVER],
  },
  'out-of-memory': {
    title: 'The graphics card has no memory left',
    what: 'The model and the photo do not fit together.',
    helps: ['Close other pages and programs that use the card, then try again.', 'Choose a smaller model.'],
  },
  'device-lost': {
    title: 'The graphics card went away',
    what: 'The browser lost it twice: its driver may have been restarted, or it took too long over one step.',
    helps: ['Load the page again.', DRIVER],
  },
  site: {
    title: 'The page’s list of models is missing',
    what: 'The page could not read site.json, which lies beside it.',
    helps: ['Load the page again when the network is back.',
      'If this is your site: write it with nss-wgpu export-web, and copy all of its folder.'],
    blocks: true,
  },
  token: {
    title: 'This page needs the address that nss-wgpu serve printed',
    what: 'nss-wgpu serve makes a token when it starts, and prints this page’s address with it. The address that was '
      + 'opened has none, or an old one.',
    helps: ['Open the address that nss-wgpu serve printed when it started: it ends in #token= and some letters. In '
      + 'this tab, photos that wait stay here.',
    'If it is not running any more, start it again, and open what it prints then.'],
    blocks: true,
  },
  refused: {
    title: 'nss-wgpu refused what the page asked for',
    what: 'It answers its own page alone, and takes this one for another: a proxy or an add-on may have changed the '
      + 'request.',
    helps: ['Open the address that nss-wgpu serve printed when it started.',
      'Behind a proxy, start nss-wgpu serve with --public-url and the address that you open.'],
    blocks: true,
  },
  address: {
    title: 'nss-wgpu does not know this address as its own',
    what: 'It answers under the addresses that it was started with, and under no other.',
    helps: ['Open the address that nss-wgpu serve printed when it started.',
      'For another name or a proxy, start nss-wgpu serve with --public-url and the address that you open.'],
    blocks: true,
  },
  busy: {
    title: 'nss-wgpu takes nothing on now',
    what: 'It is busy, or about to stop.',
    helps: ['Try again in a moment.',
      'If it has stopped, start nss-wgpu serve again, and open the address that it prints.'],
    blocks: true,
  },
  unreachable: {
    title: 'nss-wgpu does not answer',
    what: 'It has stopped, or the way to it is interrupted. The page asks again until it answers: photos that wait '
      + 'stay here, and those that are done can be edited and saved.',
    helps: ['Start nss-wgpu serve again. If the address that it prints is another one, open that in this tab: photos '
      + 'that wait go on.', 'Look whether this device still has its network.'],
    blocks: true,
  },
};

/**
 * The codes that are about this device, or about the server: shown on top, not only beside a photo.
 * @param {string|undefined} code
 * @returns {code is string}
 */
export const isNotice = code => code !== undefined && code in NOTICES;

/** Take away the words of a page that did not start, if they are still there. */
export function started() {
  document.getElementById('not-started')?.remove();
}

/** The code of the notice that is shown; undefined where none is. */
export const shownNotice = () => byId('notice').dataset.code;

/**
 * Show a notice on top of the page.
 * @param {string} code a key of `NOTICES`
 * @param {{error?: unknown, action?: {label: string, run: () => void}}} [options]
 *   `error`: its sentence is added; `action`: a button
 */
export function showNotice(code, { error, action } = {}) {
  const notice = NOTICES[code];
  const place = byId('notice');
  const detail = error === undefined ? '' : sentence(error);
  place.dataset.code = code;
  place.replaceChildren(
    element('h2', { id: 'notice-title' }, notice.title),
    element('p', {}, notice.what),
    ...(detail ? [element('p', { class: 'detail' }, detail)] : []),
    element('ul', {}, ...notice.helps.map(help => element('li', {}, help))),
    element('p', {}, 'Without a browser, the command ', element('code', {}, 'nss-wgpu remove photo.jpg'),
      ' does the same on a computer, with a graphics card or without.'),
    action ? element('p', {}, element('button', { type: 'button', click: action.run }, action.label)) : '',
  );
  place.hidden = false;
  announce(`${notice.title}. ${notice.what}`);
}

export function hideNotice() {
  const place = byId('notice');
  place.hidden = true;
  delete place.dataset.code;
}
