// Waiting for jobs of `nss-wgpu serve`, all of them by one stream of events: browsers have six connections to a server.
// There is a stream while somebody waits, and none otherwise, so that a page that rests leaves them to others.

import { events } from './event_stream.mjs';
import { unlessAborted } from './waiting.mjs';
import { isAbort } from './words.mjs';

/**
 * @typedef {object} ServerJob as the server says it
 * @property {string} id
 * @property {string} name of the photo
 * @property {'waiting'|'running'|'done'|'failed'|'cancelled'|'removed'} state
 * @property {'decode'|'network'|'finish'|null} stage
 * @property {number} progress 0 to 1
 * @property {string} model
 * @property {{status: number, detail: string}|null} problem
 * @property {{type: string, width: number, height: number}|null} result
 * @property {{device: string, milliseconds: Record<string, number>}|null} info
 * @property {boolean} photo whether the server has kept it
 *
 * @typedef {{resolve: (job: ServerJob|null) => void, reject: (error: unknown) => void,
 *   onChange: (job: ServerJob) => void}} Wait
 */

/** The server says every 15 seconds that it is alive: after three times that, in milliseconds, the line is dead. */
const SILENCE = 45_000;

/** Of how many jobs it is remembered how they ended, for those whose end comes before the answer that named them. */
const REMEMBERED = 256;

export class ServerJobs {
  /** @type {Map<string, Wait>} */
  #waits = new Map();
  /** @type {Map<string, ServerJob>} */
  #ended = new Map();
  /** @type {AbortController|null} */
  #stream = null;

  /** @param {import('./server_calls.mjs').ServerCalls} calls */
  constructor(calls) {
    this.calls = calls;
  }

  /**
   * Wait until a job is done or failed.
   * @param {string} id
   * @param {{signal: AbortSignal, onChange: (job: ServerJob) => void}} options `onChange`: called until then
   * @returns {Promise<ServerJob|null>} null where nothing comes of it: the server gave it up to stop, or was started
   *   anew and does not know it
   * @throws AbortError where somebody gave it up, here or elsewhere
   */
  async ended(id, { signal, onChange }) {
    const known = this.#ended.get(id);
    if (known) return finished(known);
    const promise = new Promise((resolve, reject) => this.#waits.set(id, { resolve, reject, onChange }));
    if (!this.#stream) void this.#listen();
    try {
      const job = await unlessAborted(/** @type {Promise<ServerJob|null>} */ (promise), signal);
      return job && finished(job);
    } finally {
      this.#waits.delete(id);
      if (!this.#waits.size) this.#stream?.abort();
    }
  }

  async #listen() {
    const stream = this.#stream = new AbortController();
    let last = '';
    while (this.#waits.size && !stream.signal.aborted) {
      try {
        for await (const { id, data } of this.#events(last, stream.signal)) {
          last = id;
          this.#tell(JSON.parse(data));
        }
      } catch (error) {
        const { code } = /** @type {{code?: string}} */ (error);
        if (!isAbort(error) && code && !['unreachable', 'busy'].includes(code)) {
          for (const { reject } of this.#waits.values()) reject(error);
          this.#waits.clear();
        }
      }
      if (this.#waits.size) await this.calls.back(stream.signal).catch(() => undefined);
    }
    this.#stream = null;
    // Somebody may have begun to wait while this ended.
    if (this.#waits.size) void this.#listen();
  }

  /**
   * The events of one connection, until it ends, breaks, or says nothing for too long.
   * @param {string} last the last event that was read of the one before
   * @param {AbortSignal} signal
   */
  async* #events(last, signal) {
    const silence = new AbortController();
    let timer = 0;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE);
    };
    const answer = await this.calls.answer('events', {
      signal: AbortSignal.any([signal, silence.signal]),
      headers: { accept: 'text/event-stream', ...(last ? { 'last-event-id': last } : {}) },
    });
    try {
      alive();
      // What ended before is in no event to come, and neither is what a server that was started anew does not know.
      await this.#compare(signal);
      yield* events(/** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (answer.body), alive);
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Hold the jobs that are waited for to the server's list.
   * @param {AbortSignal} signal
   */
  async #compare(signal) {
    const waits = [...this.#waits];
    const { jobs } = await this.calls.json('jobs', { signal });
    const listed = new Map(jobs.map((/** @type {ServerJob} */ job) => [job.id, job]));
    for (const [id, wait] of waits) {
      if (listed.has(id)) this.#tell(listed.get(id));
      else wait.resolve(null);
    }
  }

  /** @param {ServerJob} job */
  #tell(job) {
    const isOpen = job.state === 'waiting' || job.state === 'running';
    if (!isOpen) {
      this.#ended.set(job.id, job);
      for (const id of this.#ended.keys()) {
        if (this.#ended.size <= REMEMBERED) break;
        this.#ended.delete(id);
      }
    }
    const wait = this.#waits.get(job.id);
    if (isOpen) wait?.onChange(job);
    else wait?.resolve(job);
  }
}

/**
 * What there is to tell of a job that is over.
 * @param {ServerJob} job
 */
function finished(job) {
  // By the server itself: who gives a job up removes it.
  if (job.state === 'cancelled') return null;
  if (job.state === 'removed') throw new DOMException('the photo was removed elsewhere', 'AbortError');
  return job;
}
