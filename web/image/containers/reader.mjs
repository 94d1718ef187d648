/** Reads parts of a file in order, a megabyte of it at a time: files have thousands of chunks, and each wait costs. */
export class Reader {
  /** @param {Blob} blob */
  constructor(blob) {
    this.blob = blob;
    this.size = blob.size;
    /** @private */
    this.start = 0;
    /** @private @type {Uint8Array} */
    this.window = new Uint8Array(0);
  }

  /**
   * The bytes from `offset` on: fewer than `length` where the file ends before.
   * @param {number} offset
   * @param {number} length
   * @returns {Promise<Uint8Array>} valid as long as nobody writes to it
   */
  async bytes(offset, length) {
    const end = Math.min(offset + length, this.size);
    if (offset >= end) return new Uint8Array(0);
    if (offset < this.start || end > this.start + this.window.length) {
      const until = Math.min(this.size, Math.max(end, offset + (1 << 20)));
      this.window = new Uint8Array(await this.blob.slice(offset, until).arrayBuffer());
      this.start = offset;
    }
    return this.window.subarray(offset - this.start, end - this.start);
  }
}

/**
 * What a file says of itself, without its pixels.
 * @typedef {object} Container
 * @property {'JPEG' | 'PNG' | 'WebP' | 'AVIF' | 'HEIC' | 'GIF' | 'BMP'} format
 * @property {number} width as stored; 0 where only the decoder knows
 * @property {number} height as stored; 0 where only the decoder knows
 * @property {'RGB' | 'grey' | 'CMYK'} stored
 * @property {number} orientation 1 to 8, to be applied to what the parts below decode to
 * @property {Uint8Array | null} icc as it is in the file
 * @property {string[]} notes
 * @property {Blob} colours a file of the same pixels for a browser to decode: without metadata, so that nothing is
 *   turned or converted, and without alpha, so that nothing is multiplied by it
 * @property {Blob | null} alpha the same with its alpha; null where there is none
 * @property {number} [alphaChannel] in which channel of `alpha` it is: 3, or 0 where it is a grey picture
 * @property {{ left: number, top: number, width: number, height: number } | null} frame where in the picture the two
 *   belong, if they are smaller: the rest is transparent
 */
