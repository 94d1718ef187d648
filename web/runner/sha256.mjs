/**
 * The SHA-256 of bytes, in lower-case hexadecimal.
 * @param {Uint8Array<ArrayBuffer> | ArrayBuffer} bytes
 */
export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, byte => byte.toString(16).padStart(2, '0')).join('');
}
