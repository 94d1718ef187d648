// The Chromium that all files of tests of one worker share: to start one takes as long as many a test. Started where
// a file first asks for it, with WebGPU (`/webgpu`) and without (`/plain`); the answer is where it is driven. They end
// with standard input.
import http from 'node:http';
import { start } from './harness.mjs';

/** @type {Record<string, Promise<import('puppeteer-core').Browser>>} */
const browsers = {};
const server = http.createServer(async (request, response) => {
  try {
    const browser = await (browsers[request.url] ??= start({ webgpu: request.url === '/webgpu' }));
    response.end(browser.wsEndpoint());
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));

process.stdin.resume().on('end', async () => {
  server.closeAllConnections();
  server.close();
  await Promise.allSettled(Object.values(browsers).map(async browser => (await browser).close()));
  process.exit();
});
