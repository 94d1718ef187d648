// Canonical Huffman codes of limited length, and bits in the order of VP8L (RFC 9649, section 3): the lowest first.

/** Bits one behind the other, in pieces of a megabyte. */
export class BitWriter {
  constructor() {
    /** @type {Uint8Array<ArrayBuffer>[]} */
    this.parts = [];
    /** @private */
    this.piece = new Uint8Array(1 << 20);
    /** @private */
    this.at = 0;
    /** @private */
    this.held = 0;
    /** @private */
    this.count = 0;
  }

  /** @param {number} value @param {number} bits of it, at most 16 */
  put(value, bits) {
    this.held |= value << this.count;
    this.count += bits;
    while (this.count >= 8) {
      this.piece[this.at++] = this.held;
      this.held >>>= 8;
      this.count -= 8;
      if (this.at === this.piece.length) {
        this.parts.push(this.piece);
        this.piece = new Uint8Array(1 << 20);
        this.at = 0;
      }
    }
  }

  /** @returns {Uint8Array<ArrayBuffer>[]} all bytes, the last one filled up with zeros */
  finish() {
    if (this.count) this.put(0, 8 - this.count);
    return [...this.parts, this.piece.subarray(0, this.at)];
  }
}

/**
 * A code: for each symbol its length in bits, 0 for those that do not occur, and its bits as they are written.
 * @typedef {{ lengths: Uint8Array, bits: Uint16Array }} Code
 */

/**
 * The code of symbols that occur so often. One symbol alone takes no bits.
 * @param {ArrayLike<number>} counts
 * @param {number} longest bits at most
 * @returns {Code}
 */
export function huffman(counts, longest) {
  const lengths = new Uint8Array(counts.length);
  const used = Array.from({ length: counts.length }, (_, symbol) => symbol).filter(symbol => counts[symbol]);
  // rare symbols are taken for more frequent ones until the code is short enough
  for (let least = 1; used.length > 1; least *= 2) {
    const order = used.map(symbol => ({ symbol, count: Math.max(counts[symbol], least) }))
      .sort((a, b) => a.count - b.count || a.symbol - b.symbol);
    const depths = treeDepths(order.map(({ count }) => count));
    if (Math.max(...depths) > longest) continue;
    order.forEach(({ symbol }, at) => { lengths[symbol] = depths[at]; });
    break;
  }
  return { lengths, bits: canonical(lengths) };
}

/**
 * The depths of the leaves of a Huffman tree.
 * @param {number[]} counts of two leaves or more, in ascending order
 * @returns {number[]}
 */
function treeDepths(counts) {
  const leaves = counts.length, weights = counts.slice(), parents = new Int32Array(2 * leaves - 1);
  let leaf = 0, inner = leaves;
  for (let node = leaves; node < 2 * leaves - 1; node++) {
    let sum = 0;
    for (let child = 0; child < 2; child++) {
      const least = leaf < leaves && (inner >= node || weights[leaf] <= weights[inner]) ? leaf++ : inner++;
      parents[least] = node;
      sum += weights[least];
    }
    weights.push(sum);
  }
  const depths = new Array(2 * leaves - 1).fill(0);
  for (let node = 2 * leaves - 3; node >= 0; node--) depths[node] = depths[parents[node]] + 1;
  return depths.slice(0, leaves);
}

/** @param {Uint8Array} lengths @returns {Uint16Array} the bits of each symbol, the first one lowest */
function canonical(lengths) {
  const counts = new Uint16Array(17), next = new Uint16Array(17), bits = new Uint16Array(lengths.length);
  for (const length of lengths) if (length) counts[length] += 1;
  for (let length = 1; length <= 16; length++) next[length] = (next[length - 1] + counts[length - 1]) << 1;
  for (let symbol = 0; symbol < lengths.length; symbol++) {
    let code = next[lengths[symbol]]++, reversed = 0;
    for (let bit = 0; bit < lengths[symbol]; bit++, code >>= 1) reversed = reversed << 1 | code & 1;
    bits[symbol] = reversed;
  }
  return bits;
}

/** In which order the lengths of the code of lengths are written (RFC 9649, 3.7.2.1.2). */
const ORDER = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const [REPEAT, ZEROS, MANY_ZEROS] = [16, 17, 18];

/**
 * Write a code, and return it as its symbols are to be written.
 * @param {BitWriter} writer
 * @param {ArrayLike<number>} counts how often each symbol occurs
 * @returns {Code}
 */
export function writeCode(writer, counts) {
  const used = [];
  for (let symbol = 0; symbol < counts.length; symbol++) if (counts[symbol]) used.push(symbol);
  if (!used.length) used.push(0);
  if (used.length <= 2 && used[used.length - 1] < 256) {
    writer.put(1, 1);
    writer.put(used.length - 1, 1);
    writer.put(used[0] > 1 ? 1 : 0, 1);
    writer.put(used[0], used[0] > 1 ? 8 : 1);
    if (used.length === 2) writer.put(used[1], 8);
    return huffman(counts, 15);
  }
  const code = huffman(counts, 15);
  const tokens = runs(code.lengths), frequencies = new Uint32Array(19);
  for (const [symbol] of tokens) frequencies[symbol] += 1;
  const lengthsCode = huffman(frequencies, 7);
  // a code of one symbol has to say which one it is, but takes no bits
  const alone = lengthsCode.lengths.every(length => !length);
  const shown = alone ? frequencies.map(count => Math.min(count, 1)) : lengthsCode.lengths;
  let last = ORDER.length;
  while (last > 4 && !shown[ORDER[last - 1]]) last -= 1;
  writer.put(0, 1);
  writer.put(last - 4, 4);
  for (const symbol of ORDER.slice(0, last)) writer.put(shown[symbol], 3);
  writer.put(0, 1); // lengths of all symbols follow
  for (const [symbol, extra, bits] of tokens) {
    writer.put(lengthsCode.bits[symbol], lengthsCode.lengths[symbol]);
    writer.put(extra, bits);
  }
  return code;
}

/**
 * Lengths of a code with their repetitions.
 * @param {Uint8Array} lengths
 * @returns {[number, number, number][]} symbol, and value and number of the bits behind it
 */
function runs(lengths) {
  /** @type {[number, number, number][]} */ const tokens = [];
  for (let at = 0, end = 0; at < lengths.length; at = end) {
    const length = lengths[at];
    while (end < lengths.length && lengths[end] === length) end += 1;
    let rest = end - at;
    if (length) {
      tokens.push([length, 0, 0]);
      rest -= 1;
    }
    while (rest > 0) {
      const most = length ? 6 : 138, taken = Math.min(rest, most);
      if (taken < 3) for (let i = 0; i < taken; i++) tokens.push([length, 0, 0]);
      else if (length) tokens.push([REPEAT, taken - 3, 2]);
      else if (taken <= 10) tokens.push([ZEROS, taken - 3, 3]);
      else tokens.push([MANY_ZEROS, taken - 11, 7]);
      rest -= taken;
    }
  }
  return tokens;
}
