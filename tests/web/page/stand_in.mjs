// A server that answers as `nss-wgpu serve` does, and is brought into any state: the page is tested against it, and the
// real one by tests/web/server. Masks are an ellipse.
import http from 'node:http';
import fs from 'node:fs';
import path from 'node:path';

const TYPES = { '.css': 'text/css', '.html': 'text/html', '.json': 'application/json', '.mjs': 'text/javascript',
  '.svg': 'image/svg+xml', '.webmanifest': 'application/manifest+json' };
const POLICY = "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
  + "style-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const MODEL = {
  title: 'U²-Netp', summary: 'Small and quick. The one to begin with.', licence: 'Apache-2.0',
  licence_url: 'https://www.apache.org/licenses/LICENSE-2.0', commercial: 'yes', backend: 'webgpu',
  device: 'Test Graphics 9', precision: 'f32', size: [16, 16], sha256: '0'.repeat(64),
};
const MODELS = [
  { ...MODEL, name: 'u2netp', default: true },
  { ...MODEL, name: 'isnet', title: 'IS-Net', summary: 'Finer edges, for larger photos.', size: null, default: false },
];

export class StandIn {
  token = 'right';
  /** Jobs stay where they are until this is called off. */
  held = false;
  /** How many requests get 503 before one does not. */
  busy = 0;
  /** Whether it has room to keep photos. */
  keeps = true;
  /** A status that every request to the interface gets. @type {number|null} */
  refusal = null;
  /** What the refusal of a token and the answer to a photo wait for. */
  late = Promise.resolve();
  limits = { body_bytes: 1 << 20, pixels: 1e6, queue: 8, keep_seconds: 3600, keep_count: 256 };
  /** What `browser/` holds: a folder of a site. @type {string|null} */
  browser = null;
  /** What was asked: method, path, and the headers that matter. */
  asked = [];
  jobs = new Map();
  port = 0;
  #made = 0;
  #events = 0;
  #readers = new Set();

  /** @param {string} web folder of the page */
  constructor(web) {
    this.web = web;
  }

  get url() { return `http://127.0.0.1:${this.port}/`; }

  async start() {
    this.server = http.createServer((request, response) => void this.#answer(request, response).catch(error => {
      if (error.code !== 'ECONNRESET') throw error; // whoever asked has gone before all was said
    }));
    await new Promise(done => this.server.listen(this.port, '127.0.0.1', done));
    this.port = this.server.address().port;
    return this;
  }

  async stop() {
    this.#readers.clear();
    await new Promise(done => { this.server.close(done).closeAllConnections(); }); // which no new one follows
  }

  /** As a server does that was started anew: it knows no jobs, and another token unless it is told the old one. */
  async restart({ token }) {
    this.jobs.clear();
    this.#events = 0;
    this.token = token;
    await this.start();
  }

  /** Let all jobs go on that are held. */
  release() {
    this.held = false;
    for (const job of this.jobs.values()) this.#go(job);
  }

  /** How often a method and a path were asked for. */
  count(method, pattern) {
    return this.asked.filter(each => each.method === method && pattern.test(each.path)).length;
  }

  async #answer(request, response) {
    const url = new URL(request.url, this.url);
    this.asked.push({ method: request.method, path: url.pathname + url.search, headers: request.headers });
    if (url.pathname === '/healthz') return response.end('ok');
    if (url.pathname.startsWith('/api/v1/')) return this.#api(request, response, url);
    if (url.pathname === '/site.json') {
      return json(response, 200, { format: 1, version: '0.0', models: [], files: [], api: 'api/v1/' });
    }
    const folder = url.pathname.startsWith('/browser/') ? this.browser : this.web;
    const name = url.pathname.replace(/^\/browser\//, '/').replace(/\/$/, '/index.html');
    const file = folder && path.join(folder, name);
    if (!file || !fs.existsSync(file)) return json(response, 404, {});
    response.writeHead(200, {
      'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream',
      'cache-control': name.endsWith('.mjs') ? 'max-age=600' : 'no-cache',
      'content-security-policy': POLICY, 'x-content-type-options': 'nosniff',
    });
    response.end(fs.readFileSync(file));
  }

  async #api(request, response, url) {
    const { method } = request;
    const body = await bytes(request);
    if (this.refusal) return problem(response, this.refusal, 'the server has its reasons; open the printed address');
    if (request.headers.authorization !== `Bearer ${this.token}`) {
      await this.late;
      return problem(response, 401, 'the token is missing or wrong; open the address that was printed');
    }
    const [what, id, part] = url.pathname.slice('/api/v1/'.length).split('/');
    if (what === 'models') return json(response, 200, { version: '0.0', models: MODELS, limits: this.limits });
    if (what === 'events') return this.#stream(request, response);
    if (what === 'browser') {
      if (!this.browser) return problem(response, 500, 'the models cannot be made for browsers; use this computer');
      return json(response, 200, { base: '/browser/' });
    }
    if (what !== 'jobs') return problem(response, 404, 'there is nothing here');
    if (method === 'POST') return this.#create(request, response, url, body);
    if (!id) return json(response, 200, { jobs: [...this.jobs.values()].map(said) });
    const job = this.jobs.get(id);
    if (!job) return problem(response, 404, `there is no job "${id}"`);
    if (method === 'DELETE') {
      this.jobs.delete(id);
      this.#tell({ id, state: 'removed' });
      return response.writeHead(204).end();
    }
    if (part === 'photo') return response.writeHead(200, { 'content-type': job.type }).end(job.body);
    if (part !== 'result') return json(response, 200, said(job));
    const mask = new Float32Array(256).map((_, at) => (
      Math.hypot((at % 16) - 7.5, Math.floor(at / 16) - 7.5) < 6 ? 1 : 0));
    response.writeHead(200, { 'content-type': 'application/x-nss-mask', 'nss-width': '16', 'nss-height': '16' });
    return response.end(Buffer.from(mask.buffer));
  }

  async #create(request, response, url, body) {
    if (this.busy > 0) {
      this.busy -= 1;
      return problem(response, 503, 'too many photos are in work', { 'retry-after': '1' });
    }
    const query = url.searchParams;
    if (!this.keeps && query.has('keep-photo')) return problem(response, 503, 'the photo is too large to be kept');
    this.#made += 1;
    const job = {
      id: `job-${this.port}-${this.#made}`, name: query.get('name'), created: 1, expires: null,
      state: 'waiting', stage: null, progress: 0, model: query.get('model') ?? 'u2netp', problem: null, result: null, info: null,
      photo: query.get('keep-photo') === 'true', body, type: request.headers['content-type'],
    };
    this.jobs.set(job.id, job);
    this.#tell(said(job));
    await this.late;
    response.writeHead(202, { 'content-type': 'application/json', location: `/api/v1/jobs/${job.id}` });
    response.end(JSON.stringify(said(job)));
    if (!this.held) this.#go(job);
  }

  #go(job) {
    if (job.state === 'done' || job.state === 'failed') return;
    Object.assign(job, { state: 'running', stage: 'network', progress: 0.333 });
    this.#tell(said(job));
    if (/^bad/.test(job.name)) {
      Object.assign(job, {
        state: 'failed', stage: null,
        problem: { title: 'Unprocessable Content', status: 422, detail: `${job.name}: is damaged; take another` },
      });
    } else {
      Object.assign(job, {
        state: 'done', stage: null, progress: 1,
        result: { type: 'application/x-nss-mask', bytes: 1024, width: 16, height: 16 },
        info: { device: 'Test Graphics 9', milliseconds: { decode: 100, infer: 300, load_model: 9000 }, notes: [] },
      });
    }
    this.#tell(said(job));
  }

  #stream(request, response) {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(': alive\n\n');
    for (const job of this.jobs.values()) response.write(event(this.#events, said(job)));
    this.#readers.add(response);
    request.on('close', () => this.#readers.delete(response));
  }

  #tell(values) {
    this.#events += 1;
    for (const reader of this.#readers) reader.write(event(this.#events, values));
  }
}

const event = (id, values) => `id: ${id}\ndata: ${JSON.stringify(values)}\n\n`;

function said(job) {
  const { body: _, type: __, ...rest } = job;
  return rest;
}

function json(response, status, values, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(values));
}

function problem(response, status, detail, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/problem+json', ...headers });
  response.end(JSON.stringify({ title: http.STATUS_CODES[status], status, detail }));
}

async function bytes(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}
