// The page with the browser's own backend, or, where `nss-wgpu serve` hands it out, with that of the server too.

import { start } from './app.mjs';
import { WorkerBackend } from './backend.mjs';
import { started } from './notices.mjs';
import { startServed } from './served.mjs';
import { readSite } from './site.mjs';

const base = new URL('./', document.baseURI).href;
started();
const site = readSite(base);
const { api } = await site.catch(() => ({ api: undefined }));
await (api ? startServed(base, api) : start({ backend: new WorkerBackend(base, site) }));
