// A page of another origin, in the same browser as the page of the server: it can read nothing, and cause nothing.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { launch, serve } from '../harness.mjs';
import { Serving } from './serving.mjs';

const { NSS_MODEL: MODEL, NSS_PHOTO: PHOTO, NSS_FOLDER: FOLDER } = process.env;
let serving, other, browser, requests;

before(async () => {
  serving = await Serving.start({ models: [MODEL] });
  [other, browser] = await Promise.all([
    serve({ '/': FOLDER }), launch({ webgpu: false }),
  ]);
  // The visitor has the page open, and its token.
  const page = await browser.newPage();
  await page.goto(serving.address);
  await page.waitForSelector('#columns:not([hidden])');
  requests = await serving.requests();
});
after(async () => { await browser?.close(); await other?.close(); await serving?.stop(); });

/** What a page of that origin gets of an address. */
const reads = (page, route, options = {}) => page.evaluate(async (address, init) => {
  try {
    const response = await fetch(address, init);
    return [response.type, response.status, await response.text()];
  } catch (error) {
    return error.name;
  }
}, serving.url + route, options);

/** Whether an element of another page loads something of the server. */
const loads = (page, tag, route, attributes = {}) => page.evaluate((name, address, more) => new Promise(done => {
  const made = document.createElement(name);
  made.onload = () => done('loaded');
  made.onerror = () => done('refused');
  Object.assign(made, more, name === 'link' ? { href: address } : { src: address });
  document.body.append(made);
}), tag, serving.url + route, attributes);

for (const origin of ['http://127.0.0.1', 'http://localhost', 'http://stranger.test']) {
  test(`a page of ${origin} on another port`, async () => {
    const page = await browser.newPage();
    await page.goto(`${origin}:${new URL(other.url).port}/`);
    const photo = fs.readFileSync(PHOTO).toString('base64');

    for (const route of ['api/v1/models', 'api/v1/jobs', 'api/v1/events', 'metrics', 'site.json', '', 'page/main.mjs',
      'healthz', 'openapi.json', 'browser/site.json']) {
      assert.equal(await reads(page, route), 'TypeError', `it reads /${route}`);
      const blind = await reads(page, route, { mode: 'no-cors' }); // which CORP may refuse, too
      if (blind !== 'TypeError') assert.deepEqual(blind, ['opaque', 0, ''], `it reads /${route} without CORS`);
    }
    // Even with the token, which it cannot have.
    const headers = { authorization: `Bearer ${serving.token}` };
    assert.equal(await reads(page, 'api/v1/models', { headers }), 'TypeError');

    for (const mode of ['cors', 'no-cors']) {
      for (const type of ['text/plain', 'image/jpeg', 'multipart/form-data']) {
        await page.evaluate(async (address, base64, init) => {
          const bytes = Uint8Array.from(atob(base64), each => each.charCodeAt(0));
          const headers = { 'content-type': init.type };
          await fetch(address, { method: 'POST', mode: init.mode, headers, body: bytes }).catch(() => undefined);
        }, `${serving.url}api/v1/jobs`, photo, { mode, type });
      }
    }
    for (const method of ['DELETE', 'PUT']) await reads(page, 'api/v1/jobs/x', { method });
    await page.evaluate((address, base64) => navigator.sendBeacon(address, base64), `${serving.url}api/v1/remove`, photo);
    await page.evaluate(address => { void fetch(address, { method: 'POST', mode: 'no-cors', keepalive: true }); },
      `${serving.url}api/v1/browser`);

    const stream = await page.evaluate(address => new Promise(done => {
      const source = new EventSource(address);
      source.onmessage = () => done('message');
      source.onopen = () => done('open');
      source.onerror = () => { source.close(); done('error'); };
    }), `${serving.url}api/v1/events`);
    assert.equal(stream, 'error');

    const socket = await page.evaluate(address => new Promise(done => {
      const made = new WebSocket(address);
      made.onopen = () => done('open');
      made.onerror = () => done('error');
    }), `${serving.url.replace('http', 'ws')}api/v1/events`);
    assert.equal(socket, 'error');

    for (const [tag, route, attributes] of [
      ['img', 'api/v1/jobs/x/photo'], ['img', 'page/icon.svg'], ['script', 'page/main.mjs', { type: 'module' }],
      ['script', 'site.json'], ['script', 'api/v1/models'], ['link', 'style.css', { rel: 'stylesheet' }],
    ]) {
      assert.equal(await loads(page, tag, route, attributes), 'refused', `<${tag}> of /${route}`);
    }

    // A frame of the page, a window of it, and a form that is sent into either.
    await loads(page, 'iframe', '');
    const inside = await page.$eval('iframe', frame => {
      try { return frame.contentWindow.document.body.innerText; } catch (error) { return error.name; }
    });
    assert.equal(inside, 'SecurityError');
    const frame = page.frames().find(each => each !== page.mainFrame());
    assert.equal(await frame?.$('#columns').catch(() => null) ?? null, null, 'the page is shown in a frame');
    for (const enctype of ['text/plain', 'multipart/form-data', 'application/x-www-form-urlencoded']) {
      await page.evaluate((address, type) => new Promise(done => {
        const target = Object.assign(document.createElement('iframe'), { name: 'target', onload: done });
        document.body.append(target);
        const form = Object.assign(document.createElement('form'), {
          method: 'POST', enctype: type, action: address, target: 'target',
        });
        form.append(Object.assign(document.createElement('textarea'), { name: 'photo', value: 'x' }));
        document.body.append(form);
        form.submit();
        setTimeout(done, 2000);
      }), `${serving.url}api/v1/jobs?name=form.png`, enctype);
    }
    const opened = await page.evaluate(address => {
      const other = window.open(address);
      return new Promise(done => {
        const look = () => {
          try {
            const words = other?.document.body.innerText ?? 'closed';
            if (words) done(words);
            else setTimeout(look, 50); // it has not gone there yet
          } catch (error) { done(error.name); }
        };
        look();
      });
    }, serving.url);
    assert.ok(['SecurityError', 'closed'].includes(opened), opened);
    await page.close();
  });
}

test('a name that is made to lead to this computer is not one of the server’s', async () => {
  const page = await browser.newPage();
  const response = await page.goto(`http://rebound.test:${serving.port}/`);
  assert.equal(response.status(), 421);
  const answer = await page.evaluate(async () => {
    const { status } = await fetch('/api/v1/models');
    return [status, (await fetch('/site.json')).status, (await fetch('/api/v1/jobs', { method: 'POST', body: 'x' })).status];
  });
  assert.deepEqual(answer, [421, 421, 421]);
  await page.close();
});

test('nothing came of it: no job, no file, no photo, nothing that succeeded', async () => {
  assert.deepEqual(await serving.jobs(), []);
  const now = await serving.requests();
  const succeeded = Object.entries(now).filter(([key, count]) => (
    / [23]\d\d$/.test(key) && /^\/api\//.test(key) && count !== (requests[key] ?? 0)));
  // This test's own look at the jobs.
  assert.deepEqual(succeeded.map(([key]) => key), ['/api/v1/jobs 200']);
  const text = await (await serving.ask('metrics')).text();
  assert.doesNotMatch(text, /^nss_photos_total\{[^}]*\} [1-9]/m);
  assert.equal(serving.said.includes('raceback'), false, serving.said);
});
