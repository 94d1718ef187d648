// Specks and pinholes of a mask: connected areas below a size are dropped or filled, and their soft rims with them.
//
// Grey-level area opening and closing (L. Vincent, 1992): what is cut at a threshold leaves the rims below it behind,
// so each of several levels is cut, and a pixel is judged at all those that it reaches. A row is a list of runs, and a
// level's areas are runs that touch from row to row.

/** @typedef {import('./photo.mjs').Mask} Mask */

/** Powers of two near black, where a step must be small beside the haze that it stands on; sixteenths above. */
const LEVELS = Float32Array.of(
  2 ** -9, 2 ** -7, 2 ** -6, 2 ** -5, ...[1, 2, 3, 4, 5, 6, 7, 8].map(sixteenths => sixteenths / 16));

/**
 * Runs of a row whose pixels reach the same level. Offsets count along the rows of a mask that is one column wider:
 * that column, at no level, keeps rows apart.
 * @typedef {object} Runs
 * @property {Uint32Array} start the offset where each begins, ascending, and the end of the whole
 * @property {Uint8Array} level how many of the levels each reaches
 * @property {number} count how many there are
 */

/**
 * The mask without islands of fewer than `area` pixels, which are connected at edges and corners. A pixel in one is
 * lowered to the lowest level whose island it lies in, and to 0 if that is the first.
 * @param {Mask} mask in 0..1
 * @param {number} area in square pixels; 0 drops nothing
 * @returns {Mask} nowhere higher; the mask itself where nothing is dropped
 */
export function dropIslands(mask, area) {
  return withoutSmall(mask, area, false);
}

/**
 * The mask without holes of fewer than `area` pixels: `dropIslands` on 1 - mask, but holes are connected at edges
 * alone, and one that reaches the image's border is background, however small.
 * @param {Mask} mask in 0..1
 * @param {number} area in square pixels; 0 fills nothing
 * @returns {Mask} nowhere lower; the mask itself where nothing is filled
 */
export function fillHoles(mask, area) {
  return withoutSmall(mask, area, true);
}

/**
 * @param {Mask} mask
 * @param {number} area
 * @param {boolean} holes
 * @returns {Mask}
 */
function withoutSmall(mask, area, holes) {
  if (area <= 1 || !mask.data.length) return mask; // no part has less than one pixel
  const runs = encode(mask, holes);
  const limit = new Uint8Array(runs.count).fill(LEVELS.length);
  let found = false;
  for (let level = LEVELS.length - 1; level >= 0; level--) {
    if (limitSmall(runs, level, limit, mask, area, holes)) found = true;
  }
  if (!found) return mask;
  const { width, height } = mask;
  const data = mask.data.slice();
  for (let run = 0; run < runs.count; run++) {
    if (limit[run] === LEVELS.length) continue;
    const bound = limit[run] ? LEVELS[limit[run]] : 0;
    const row = Math.floor(runs.start[run] / (width + 1)); // each row has a column more
    for (let at = runs.start[run] - row; at < runs.start[run + 1] - row; at++) {
      data[at] = holes ? Math.max(data[at], 1 - bound) : Math.min(data[at], bound);
    }
  }
  return { width, height, data };
}

/**
 * @param {Mask} mask
 * @param {boolean} holes
 * @returns {Runs}
 */
function encode({ data, width, height }, holes) {
  let start = new Uint32Array(1 << 12);
  let level = new Uint8Array(1 << 12);
  let count = 0;
  let before = -1;
  /** @param {number} offset @param {number} value */
  const begin = (offset, value) => {
    if (count + 1 >= start.length) {
      const [starts, levels] = [start, level];
      start = new Uint32Array(2 * starts.length);
      level = new Uint8Array(2 * starts.length);
      start.set(starts);
      level.set(levels);
    }
    start[count] = offset;
    level[count++] = before = value;
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const own = data[y * width + x];
      const reached = levelOf(holes ? Math.fround(1 - own) : own);
      if (reached !== before) begin(y * (width + 1) + x, reached);
    }
    if (before !== 0) begin(y * (width + 1) + width, 0);
  }
  start[count] = height * (width + 1);
  return { start, level, count };
}

/**
 * How many levels a value reaches.
 * @param {number} value
 */
function levelOf(value) {
  if (value >= LEVELS[11]) return 12;
  let level = 0;
  while (value >= LEVELS[level]) level++;
  return level;
}

/**
 * Set the limit of each run to `level` that belongs to an area above that level of fewer than `area` pixels.
 * @param {Runs} runs
 * @param {number} level
 * @param {Uint8Array} limit
 * @param {Mask} mask
 * @param {number} area
 * @param {boolean} holes
 * @returns {boolean} whether there is one
 */
function limitSmall(runs, level, limit, { width, height }, area, holes) {
  const stride = width + 1;
  const reach = holes ? 0 : 1;
  // ranges of neighbouring runs that reach the level: the indices of their first runs, and of their ends
  const first = new Uint32Array(runs.count);
  const end = new Uint32Array(runs.count);
  let count = 0;
  for (let run = 0; run < runs.count; run++) {
    if (runs.level[run] <= level) continue;
    first[count] = run;
    while (run < runs.count && runs.level[run] > level) run++;
    end[count++] = run;
  }
  const parent = new Uint32Array(count);
  const size = new Float64Array(count);
  /** @param {number} index */
  const root = index => {
    while (parent[index] !== index) index = parent[index] = parent[parent[index]];
    return index;
  };
  let above = 0;
  for (let index = 0; index < count; index++) {
    const from = runs.start[first[index]];
    const to = runs.start[end[index]];
    const column = from % stride;
    const atBorder = from < stride || from >= (height - 1) * stride || column === 0 || column + to - from === width;
    size[index] = holes && atBorder ? Infinity : to - from;
    parent[index] = index;
    while (runs.start[end[above]] <= from - stride - reach) above++;
    let own = index;
    for (let other = above; runs.start[first[other]] < to - stride + reach; other++) {
      const its = root(other);
      if (its === own) continue;
      const [low, high] = its < own ? [its, own] : [own, its];
      parent[high] = low;
      size[low] += size[high];
      own = low;
    }
  }
  let found = false;
  for (let index = 0; index < count; index++) {
    if (size[root(index)] >= area) continue;
    limit.fill(level, first[index], end[index]);
    found = true;
  }
  return found;
}
