// The weights: shards fetched a few ahead, held to their SHA-256 before they are used, and uploaded in order.
import { RunnerError } from './errors.mjs';
import { sha256 } from './sha256.mjs';
import { readFile } from './network.mjs';
import { segmentUnits, STORED_BYTES, UNIT } from './segments.mjs';
import { Widener } from './widen.mjs';

/** Shards under way or waiting to be uploaded. */
const AHEAD = 3;

/**
 * Fill the constant buffers.
 *
 * Raises RunnerError: 'network', 'damaged', 'out-of-memory', 'gpu'; and what the signal gives as its reason.
 * @param {{device: import('./device.mjs').Device, header: import('./header.mjs').Header, buffers: GPUBuffer[],
 *   base: URL, fetch: import('./network.mjs').Fetch, signal: AbortSignal,
 *   onBytes: (done: number, total: number) => void}} options
 *   `buffers`: those of the plan; `base`: the model's folder; `onBytes`: bytes that have come, and all
 */
export async function uploadWeights({ device, header, buffers, base, fetch, signal, onBytes }) {
  const { plan, shards, segments } = header;
  const parts = segmentUnits(plan.buffers.slice(0, plan.constantBuffers), shards, segments);
  const total = shards.reduce((sum, shard) => sum + shard.bytes, 0);
  let done = 0, next = 0;
  onBytes(0, total);
  /** @param {import('./header.mjs').Shard} shard */
  const load = async shard => {
    const bytes = await readFile(fetch, new URL(`${shard.sha256}.bin`, base), {
      signal, exact: shard.bytes, onBytes: count => onBytes(done += count, total),
    });
    if (await sha256(bytes) !== shard.sha256) {
      throw new RunnerError(
        'damaged',
        `${shard.sha256}.bin is damaged, its SHA-256 is another: download the model again`
      );
    }
    return bytes;
  };
  /** @type {Promise<Uint8Array<ArrayBuffer>>[]} */
  const ahead = [];
  const widening = Widener.open(device, new Set(segments.map(segment => segment.encoding)));
  widening.catch(() => {}); // it is waited for below
  for (const shardParts of parts) {
    while (next < shards.length && ahead.length < AHEAD) {
      const loading = load(shards[next]);
      loading.catch(() => {}); // it is waited for when it is its turn
      ahead.push(loading);
      next += 1;
    }
    const bytes = await /** @type {Promise<Uint8Array<ArrayBuffer>>} */ (ahead.shift());
    const widener = await widening;
    await device.guarded("the model's weights", () => {
      for (const { encoding, units, at, buffer, offset } of shardParts) {
        const stored = bytes.subarray(at, at + units * STORED_BYTES[encoding]), target = buffers[buffer];
        if (encoding === 'raw') {
          const count = Math.min(units * UNIT, plan.buffers[buffer] - offset); // without what pads the last unit
          device.handle.queue.writeBuffer(target, offset, stored, 0, count);
        } else {
          widener.write(encoding, stored, target, offset);
        }
      }
    });
    await device.waitFor(device.handle.queue.onSubmittedWorkDone()); // or the browser would hold every shard
    signal.throwIfAborted();
  }
  (await widening).close();
}
