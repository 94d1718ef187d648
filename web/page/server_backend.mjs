// What cuts photos where `nss-wgpu serve` hands out the page: the computer that runs it makes their masks. The rest is
// done in this browser as ever, by the worker that holds the photos.

import { ServerJobs } from './server_jobs.mjs';
import { token } from './token.mjs';
import { Turns, pause } from './waiting.mjs';
import { sentence, size } from './words.mjs';

/**
 * @typedef {import('./backend.mjs').Backend} Backend
 * @typedef {import('./backend.mjs').CutOptions} CutOptions
 * @typedef {import('./kept.mjs').Model} Model
 * @typedef {import('./server_calls.mjs').Request} Request
 * @typedef {import('./server_jobs.mjs').ServerJob} ServerJob
 * @typedef {(progress: {words: string, waiting?: boolean, done?: number, total?: number}) => void} Report
 *   `waiting`: for the server, which does nothing for this photo yet
 */

const MASK = 'application/x-nss-mask';

/** The types that the server takes as they are; a browser has the type of a file by its name. */
const IMAGE = /^image\/[\w.+-]+$/;

/** How often a connection may break over one photo before the photo is taken to be the reason. */
const BREAKS = 5;

const WAITING = { words: 'Waiting', waiting: true };

const STAGES = { decode: 'Reading the photo', network: 'Cutting out', finish: 'Cutting out' };

/** Stages of a run that are no work on its photo. */
const NOT_THE_PHOTO = ['load_model'];

/** @implements {Backend} */
export class ServerBackend {
  keeping = null;
  /** @type {Model[]} */
  models = [];
  limits = { body_bytes: Infinity, queue: 1 };
  /** One upload, one photo and one mask at a time: a browser has six connections to a server, and here one worker. */
  #sending = new Turns();
  #fetching = new Turns();
  #taking = new Turns();

  /**
   * @param {import('./server_calls.mjs').ServerCalls} calls
   * @param {import('./backend.mjs').WorkerBackend} local holds photos and masks, and makes files of them
   */
  constructor(calls, local) {
    this.calls = calls;
    this.local = local;
    this.jobs = new ServerJobs(calls);
  }

  async check() {
    return token() ? null : { code: 'token' };
  }

  allow() {}

  async site() {
    const { version, models, limits } = await this.calls.json('models');
    this.models = models;
    this.limits = limits;
    return { version, models };
  }

  /**
   * The server has all of its models open.
   * @param {Model} model
   */
  async open({ device }) {
    return { adapter: { description: device } };
  }

  /**
   * The photos that the server has from an earlier visit, in their order: their jobs, as what a queue takes.
   * @returns {Promise<import('./queue.mjs').Incoming[]>}
   */
  async held() {
    /** @type {{jobs: ServerJob[]}} */
    const { jobs } = await this.calls.json('jobs');
    // Other programs have jobs here too: of these the page cannot go on with those whose photo or mask is not there.
    const ours = jobs.filter(({ photo, state, result }) => (
      photo && ['waiting', 'running', 'done', 'failed'].includes(state) && (!result || result.type === MASK)));
    return ours.map(({ id, name, state, problem }) => ({
      name, blob: null, job: id, ...(state === 'failed' ? { state, message: sentence(problem?.detail ?? '') } : {}),
    }));
  }

  /**
   * @param {Blob|null} given
   * @param {CutOptions} options
   * @returns {Promise<import('./backend.mjs').Cut>}
   */
  async cut(given, { name, model, signal, onProgress = () => {}, job = null, onJob = () => {}, onPhoto = () => {} }) {
    const once = this.#patience(name, signal, onProgress);
    onProgress(WAITING); // for those that came before it
    let photo = given;
    let id = job;
    if (id && !photo) {
      const from = id;
      photo = await this.#fetching.take(signal, () => once(() => this.#photo(from, name, signal)));
      onPhoto(photo);
    }
    if (!photo) throw new Error(`${name}: it was cancelled before it was here again; add it anew`);
    const blob = photo;
    // A job that failed is not waited for again: whoever asks for its photo asks anew.
    if (id && !await once(() => this.#goesOn(/** @type {string} */ (id), signal, onProgress))) id = this.forget(id);
    for (;;) {
      id ??= await this.#sending.take(signal, () => once(() => this.#send(blob, { name, model, signal, onProgress })));
      onJob(id);
      const waited = id;
      const ended = await once(() => this.jobs.ended(waited, { signal, onChange: each => report(each, onProgress) }));
      if (ended?.state === 'failed') throw new Error(ended.problem?.detail ?? `${name}: it failed on the server`);
      const from = id;
      const taken = ended && await this.#taking.take(signal, async () => {
        const mask = await once(() => this.#mask(from, signal));
        onProgress({ words: STAGES.finish, done: 1, total: 1 });
        return mask && this.local.adopt(blob, { name, mask, signal });
      });
      if (!ended || !taken) {
        id = null; // the server was started anew, or has forgotten it: it gets the photo again
        continue;
      }
      return {
        ...taken, adapter: { description: ended.info?.device ?? model.device }, milliseconds: duration(ended),
        model: this.models.find(each => each.name === ended.model) ?? model,
      };
    }
  }

  /**
   * Have the server cancel a job, and forget what it keeps of it.
   * @param {string} job
   * @returns {null} in place of its id
   */
  forget(job) {
    // Where the server is not there, its jobs are not either.
    this.calls.answer(`jobs/${job}`, { method: 'DELETE' }).catch(() => undefined);
    return null;
  }

  /** @type {Backend['render']} */
  render(id, settings, strokes, options) {
    return this.local.render(id, settings, strokes, options);
  }

  /** @type {Backend['mask']} */
  mask(id, settings, options) {
    return this.local.mask(id, settings, options);
  }

  /** @param {string} id */
  release(id) {
    this.local.release(id);
  }

  close() {
    this.local.close();
  }

  /**
   * Makes a request again when the server is back, if it was not there, and with the token of now, if it was refused for
   * one that is old: the visitor has opened the new address meanwhile.
   * @param {string} name
   * @param {AbortSignal} signal
   * @param {Report} onProgress
   */
  #patience(name, signal, onProgress) {
    let breaks = 0;
    /** @template Value @param {() => Promise<Value>} work @returns {Promise<Value>} */
    return async work => {
      for (;;) {
        const sent = token();
        try {
          return await work();
        } catch (error) {
          const { code } = /** @type {{code?: string}} */ (error);
          if (code === 'token' && token() !== sent) continue;
          if (code !== 'unreachable') throw error;
          breaks += 1;
          if (breaks > BREAKS) {
            const what = `the connection to ${this.calls.server} broke ${breaks} times`;
            throw new Error(`${name}: ${what}; try again`, { cause: error });
          }
          onProgress({ words: 'Waiting for nss-wgpu to answer', waiting: true });
          await this.calls.back(signal);
        }
      }
    };
  }

  /**
   * @param {Blob} blob
   * @param {{name: string, model: Model, signal: AbortSignal, onProgress: Report}} options
   * @returns {Promise<string>} the job's id
   */
  async #send(blob, { name, model, signal, onProgress }) {
    const { server } = this.calls;
    if (blob.size > this.limits.body_bytes) {
      throw new Error(`${name}: ${size(blob.size)} are more than the ${size(this.limits.body_bytes)} that ${server} `
        + 'takes; reduce it first');
    }
    await blob.slice(0, 1).arrayBuffer().catch(cause => {
      throw new Error(`${name}: cannot be read, or changed meanwhile; choose it again`, { cause });
    });
    const query = new URLSearchParams({ model: model.name, name: name.slice(-200), 'keep-photo': 'true' });
    for (;;) {
      signal.throwIfAborted();
      onProgress({ words: 'Sending', waiting: true });
      try {
        // Not with the signal: a request that is cut off may have become a job, which nobody would know.
        const created = await this.calls.json(`jobs?${query}`, {
          method: 'POST', body: blob,
          headers: { accept: MASK, 'content-type': IMAGE.test(blob.type) ? blob.type : 'application/octet-stream' },
        });
        if (signal.aborted) this.forget(created.id);
        signal.throwIfAborted();
        report(created, onProgress);
        return created.id;
      } catch (error) {
        const { code, seconds = 0 } = /** @type {{code?: string, seconds?: number}} */ (error);
        if (code !== 'busy' || !(seconds || query.has('keep-photo'))) throw error;
        // Without a time there is never room to keep so large a photo: it is done, and is not there after a reload.
        if (!seconds) query.delete('keep-photo');
        onProgress({ words: `${server.charAt(0).toUpperCase()}${server.slice(1)} is busy`, waiting: true });
        await pause(Math.min(30, seconds) * 1000, signal);
      }
    }
  }

  /**
   * The photo that the server kept with a job.
   * @param {string} job
   * @param {string} name
   * @param {AbortSignal} signal
   * @returns {Promise<Blob>}
   */
  async #photo(job, name, signal) {
    const answer = await this.calls.answer(`jobs/${job}/photo`, { signal }).catch(error => {
      if (error.code !== 'gone') throw error;
      throw new Error(`${name}: ${this.calls.server} has not kept it; add it again`, { cause: error });
    });
    return this.calls.heard(answer.blob());
  }

  /**
   * Whether a job is there, and comes to something or has.
   * @param {string} job
   * @param {AbortSignal} signal
   * @param {Report} onProgress
   */
  async #goesOn(job, signal, onProgress) {
    const found = await unlessGone(this.calls.json(`jobs/${job}`, { signal }));
    if (!found || found.state === 'failed' || found.state === 'cancelled') return false;
    report(found, onProgress);
    return true;
  }

  /**
   * The network's mask of a job that is done; null where the server does not have it any more.
   * @param {string} job
   * @param {AbortSignal} signal
   * @returns {Promise<import('../image/photo.mjs').Mask|null>}
   */
  async #mask(job, signal) {
    const answer = await unlessGone(this.calls.answer(`jobs/${job}/result`, { signal }));
    if (!answer) return null;
    const [width, height] = ['nss-width', 'nss-height'].map(name => Number(answer.headers.get(name)));
    const bytes = await this.calls.heard(answer.arrayBuffer());
    const count = width * height;
    if (answer.headers.get('content-type') !== MASK || !(count > 0) || bytes.byteLength !== 4 * count) {
      throw new Error(`${this.calls.server} gave ${bytes.byteLength} bytes that are no mask; load the page again`);
    }
    return { width, height, data: new Float32Array(bytes) }; // little-endian, as all machines with browsers are
  }
}

/**
 * @template Value
 * @param {Promise<Value>} promise
 * @returns {Promise<Value|null>} null where the server does not know of it
 */
async function unlessGone(promise) {
  try {
    return await promise;
  } catch (error) {
    if (/** @type {{code?: string}} */ (error).code === 'gone') return null;
    throw error;
  }
}

/**
 * @param {ServerJob} job
 * @param {Report} onProgress
 */
function report({ state, stage, progress }, onProgress) {
  if (state === 'waiting') onProgress(WAITING);
  else onProgress({ words: STAGES[stage ?? 'network'], done: progress, total: 1 });
}

/**
 * What the server took for a photo, in milliseconds.
 * @param {ServerJob} job
 */
function duration({ info }) {
  const times = Object.entries(info?.milliseconds ?? {}).filter(([stage]) => !NOT_THE_PHOTO.includes(stage));
  return times.reduce((sum, [, milliseconds]) => sum + milliseconds, 0);
}
