// Masks that are on their way to the page for as long as a test wants: a batch stays in its middle then.

/**
 * Let the page have the first masks that it asks for, and hold the requests for the others. However fast the server is
 * and however slow the page, its photos but these are not done.
 * @param {any} page
 * @param {number} count how many it gets
 * @returns {Promise<() => Promise<void>>} sends the requests that are held, and holds no other
 */
export async function holdMasks(page, count) {
  const session = await page.createCDPSession();
  let left = count;
  /** @type {string[]} */
  const held = [];
  // What the page gave up meanwhile, as it was loaded anew, is not there to be sent.
  const send = requestId => session.send('Fetch.continueRequest', { requestId }).catch(() => undefined);
  session.on('Fetch.requestPaused', ({ requestId }) => {
    if (left > 0) void send(requestId);
    else held.push(requestId);
    left -= 1;
  });
  await session.send('Fetch.enable', { patterns: [{ urlPattern: '*/jobs/*/result' }] });
  return async () => {
    left = Infinity;
    await Promise.all(held.map(send));
    await session.send('Fetch.disable');
    await session.detach();
  };
}
