// A site out of the command, under the headers that docs/web.md recommends: its files are those of site.json, and the
// page starts.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { launch, serve, visit } from '../harness.mjs';

const { NSS_SITE: SITE = '', NSS_POLICY: POLICY = '' } = process.env;

let server;
let browser;

before(async () => {
  server = await serve({ '/site/': SITE }, { headers: {
    'content-security-policy': POLICY, 'x-content-type-options': 'nosniff',
  } });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
});

test('every file is served as site.json has it', async () => {
  const record = await (await fetch(`${server.url}site/site.json`)).json();
  const files = [...record.files, ...record.models.flatMap(model => model.files)];
  assert.ok(files.length > 10);
  for (const { path: name, bytes, sha256 } of files) {
    const response = await fetch(`${server.url}site/${name}`);
    const content = Buffer.from(await response.arrayBuffer());
    assert.equal(response.status, 200, name);
    assert.equal(content.length, bytes, name);
    assert.equal(createHash('sha256').update(content).digest('hex'), sha256, name);
    if (name.endsWith('.mjs')) assert.equal(response.headers.get('content-type'), 'text/javascript', name);
  }
});

test('the page starts under these headers, and shows what site.json says', async () => {
  const requests = server.requests.length;
  const page = await visit(browser, `${server.url}site/`);
  // without a graphics card the page says so first, and goes on if it is told to
  await page.waitForSelector('#notice[data-code="software"] button');
  await page.click('#notice button');
  await page.waitForSelector('#columns:not([hidden])');
  const text = await page.evaluate(() => document.body.textContent ?? '');
  const [{ title, licence, size }] = JSON.parse(fs.readFileSync(path.join(SITE, 'site.json'), 'utf8')).models;
  for (const word of [title, licence, String(size[0])]) assert.ok(text.includes(word), `${word} in ${text}`);
  assert.deepEqual(page.messages, []);
  assert.deepEqual(server.requests.slice(requests).filter(url => !url.startsWith('/site/')), []);
});
