// CRC-32 as PNG (ISO 15948, annex D) and ZIP (APPNOTE, 4.4.7) have it: polynomial 0xedb88320, reflected.
// Four tables take four bytes a step; TABLES[256 * k + b] is what the byte b does to the sum k bytes later.
const TABLES = new Uint32Array(4 * 256);
for (let byte = 0; byte < 256; byte++) {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? 0xedb88320 ^ (sum >>> 1) : sum >>> 1;
  TABLES[byte] = sum >>> 0;
}
for (let entry = 256; entry < TABLES.length; entry++) {
  const before = TABLES[entry - 256];
  TABLES[entry] = TABLES[before & 255] ^ (before >>> 8);
}

/**
 * CRC-32 of bytes, or of bytes that follow others.
 * @param {Uint8Array} bytes
 * @param {number} [before] the CRC-32 of what stands before them; 0 for nothing
 * @returns {number} 0 to 2^32 - 1
 */
export function crc32(bytes, before = 0) {
  let sum = ~before, at = 0;
  for (const end = bytes.length - 3; at < end; at += 4) {
    sum ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    sum = TABLES[768 + (sum & 255)] ^ TABLES[512 + ((sum >>> 8) & 255)]
      ^ TABLES[256 + ((sum >>> 16) & 255)] ^ TABLES[sum >>> 24];
  }
  for (; at < bytes.length; at++) sum = TABLES[(sum ^ bytes[at]) & 255] ^ (sum >>> 8);
  return ~sum >>> 0;
}
