// Decodes a file in a worker, as the page does, and compares it there: only what differs is sent back.
import { decode } from '/image/decode.mjs';

onmessage = async ({ data: { name, compare, abort } }) => {
  const load = async file => new Uint8Array(await (await fetch(file)).arrayBuffer());
  try {
    const controller = new AbortController();
    const blob = name instanceof Blob ? name : new Blob([await load(`/photos/${name}`)]);
    const decoding = decode(blob, { name: typeof name === 'string' ? name : 'photo', signal: controller.signal });
    if (abort) controller.abort();
    const begin = performance.now();
    const { rgba, icc, ...photo } = await decoding;
    const answer = { ...photo, milliseconds: performance.now() - begin, first: [...rgba.subarray(0, 4)] };
    if (compare) {
      const want = await load(`/photos/${name}.rgba`), profile = await load(`/photos/${name}.icc`);
      // of red, green and blue, and of alpha: how many differ, and by how much at most
      const colours = [0, 0], levels = [0, 0];
      for (let at = 0; at < want.length; at++) {
        const off = Math.abs(want[at] - rgba[at]), sum = at % 4 === 3 ? levels : colours;
        if (off) sum[0] += 1;
        if (off > sum[1]) sum[1] = off;
      }
      const same = profile.length === (icc?.length ?? 0) && profile.every((byte, at) => byte === icc[at]);
      Object.assign(answer, { colours, levels, length: rgba.length === want.length, profile: same });
    }
    postMessage(answer);
  } catch (error) {
    postMessage({ error: error.message, kind: error.name });
  }
};
