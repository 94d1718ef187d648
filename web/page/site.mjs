// What a site says of itself: site.json, which lies beside the page.

import { coded } from './words.mjs';

/**
 * @typedef {object} Site
 * @property {number} [format]
 * @property {string} version
 * @property {import('./kept.mjs').Model[]} models
 * @property {string} [api] the path of the interface of `nss-wgpu serve`, where that serves the page
 */

/**
 * Read it.
 * @param {string} base address of the site
 * @returns {Promise<Site>} with a model, or an interface that has some
 * @throws an error with the code "site", that of a notice
 */
export async function readSite(base) {
  const response = await fetch(new URL('site.json', base)).catch(error => {
    throw coded('site', `site.json cannot be read (${error.message}); load the page again when the network is back`);
  });
  if (!response.ok) throw coded('site', `the host answers ${response.status} for site.json; write the site anew`);
  const site = await response.json().catch(() => null);
  if (site?.format !== 1 || !Array.isArray(site.models) || !(site.models.length || site.api)) {
    throw coded('site', 'site.json is not of format 1 with a model; write the site by the nss-wgpu of this page');
  }
  return site;
}
