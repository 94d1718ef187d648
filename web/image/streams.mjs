/**
 * The parts of a stream, for `for await`: not every browser lets a stream be iterated. Leaving the loop early cancels
 * the stream.
 * @template T
 * @param {ReadableStream<T>} stream
 * @returns {AsyncGenerator<T, void, void>}
 */
export async function* partsOf(stream) {
  const reader = stream.getReader();
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      yield value;
    }
    ended = true;
  } finally {
    if (!ended) await reader.cancel().catch(() => {}); // it may have failed already, which the loop has been told
  }
}
