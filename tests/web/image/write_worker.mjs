// Writes pictures in a worker, as the page does, and reads them again there.
import { decode } from '/image/decode.mjs';
import { encodePng } from '/image/png.mjs';
import { encodeWebp } from '/image/webp.mjs';
import { zip } from '/image/zip.mjs';

/** Straight RGBA: a gradient with some noise, and every alpha. */
function picture(width, height) {
  const data = new Uint8Array(4 * width * height);
  for (let y = 0, at = 0, seed = 3; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      seed = Math.imul(seed, 1664525) + 1013904223 >>> 0;
      data[at] = (x >> 3) + (seed >>> 30);
      data[at + 1] = (y >> 3) + (seed >>> 29 & 1);
      data[at + 2] = x + y >> 4;
      data[at + 3] = y < height / 2 ? x : y & 1 ? 255 : 0;
    }
  }
  return { width, height, channels: 4, data };
}

onmessage = async ({ data: { width, height, formats } }) => {
  try {
    const source = picture(width, height), answer = {};
    const icc = Uint8Array.from({ length: 300 }, (_, at) => ' '.repeat(16).concat('RGB ').charCodeAt(at) || at);
    for (const format of formats) {
      const begin = performance.now();
      const blob = await (format === 'png' ? encodePng : encodeWebp)({ ...source, icc });
      const written = performance.now();
      const { rgba, icc: profile, notes } = await decode(blob);
      let differ = rgba.length === source.data.length ? 0 : -1;
      for (let at = 0; at < rgba.length; at++) if (rgba[at] !== source.data[at]) differ += 1;
      answer[format] = {
        differ, profile: String(profile) === String(icc), notes, size: blob.size, written: written - begin,
        read: performance.now() - written,
      };
      answer.archive = (await zip([{ name: 'a', blob }, { name: 'a', blob }])).size - 2 * blob.size;
    }
    postMessage(answer);
  } catch (error) {
    postMessage({ error: error.stack });
  }
};
