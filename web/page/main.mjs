// The page with the browser's own backend.

import { start } from './app.mjs';
import { WorkerBackend } from './backend.mjs';

await start({ backend: new WorkerBackend(new URL('./', document.baseURI).href) });
