// Server-sent events, read from the body of an answer: EventSource sends no headers, and so no token.

/**
 * The events of a body of type text/event-stream, as they come.
 * @param {ReadableStream<Uint8Array>} body
 * @param {() => void} [alive] called whenever something comes, be it a comment
 * @returns {AsyncGenerator<{id: string, data: string}, void, void>} `id`: the last one that was given
 */
export async function* events(body, alive = () => {}) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '', id = '', data = /** @type {string[]} */ ([]);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      const lines = (rest + decoder.decode(value, { stream: true })).split(/\r?\n/);
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const [, field = '', text = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
        if (line === '') {
          if (data.length) yield { id, data: data.join('\n') };
          data = [];
        } else if (field === 'data') {
          data.push(text);
        } else if (field === 'id') {
          id = text;
        }
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
