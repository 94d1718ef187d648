// The command under test, serving: `nss-wgpu serve` as a process of its own.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const COMMAND = JSON.parse(process.env.NSS_COMMAND);
const { NSS_CWD: CWD, NSS_FOLDER: FOLDER } = process.env;

export class Serving {
  /**
   * Start it on the processor, on any free port.
   * @param {{models: string[], options?: string[], port?: number, token?: string}} what `token`: one given by hand
   */
  static async start({ models, options = [], port = 0, token }) {
    const serving = new Serving();
    serving.what = { models, options };
    const environment = { ...process.env };
    if (token) {
      const file = environment.NSS_SERVE_TOKEN_FILE = path.join(FOLDER, 'token');
      fs.writeFileSync(file, token);
    }
    const given = models.flatMap(model => ['--model', model]);
    const [name, ...before] = COMMAND;
    serving.process = spawn(name, [...before, 'serve', '--port', String(port), '--backend', 'numpy', ...given, ...options], {
      cwd: CWD, env: environment, stdio: ['ignore', 'pipe', 'pipe'],
    });
    serving.said = '';
    serving.process.stderr.on('data', data => { serving.said += data; });
    serving.ended = new Promise(done => serving.process.on('exit', status => done(status)));
    let output = '';
    serving.address = await new Promise((resolve, reject) => {
      serving.process.stdout.on('data', data => {
        output += data;
        if (output.includes('\n')) resolve(output.trim());
      });
      serving.process.on('exit', status => reject(new Error(`the server ended with ${status}: ${serving.said}`)));
    });
    const url = new URL(serving.address);
    serving.token = url.hash.replace('#token=', '');
    serving.url = `${url.origin}/`;
    serving.port = Number(url.port);
    return serving;
  }

  /** Have it end as Ctrl-C does; its exit status. */
  async stop() {
    this.process.kill('SIGINT');
    return this.ended;
  }

  /** The answer to a request with the token. */
  ask(route, options = {}) {
    return fetch(this.url + route, { ...options, headers: { ...options.headers, authorization: `Bearer ${this.token}` } });
  }

  /** Its jobs. */
  async jobs() {
    return (await (await this.ask('api/v1/jobs')).json()).jobs;
  }

  /**
   * How many requests it has counted by route and status.
   * @returns {Promise<Record<string, number>>} as `{'/api/v1/jobs 202': 3}`
   */
  async requests() {
    const text = await (await this.ask('metrics')).text();
    const found = text.matchAll(/^nss_requests_total\{route="([^"]*)",status="(\d+)"\} (.*)$/gm);
    return Object.fromEntries([...found].map(([, route, status, count]) => [`${route} ${status}`, Number(count)]));
  }
}

export const until = async condition => {
  for (let found; !(found = await condition()); await new Promise(done => setTimeout(done, 50))) continue;
};
