// Photos as the screen shows them; files are made elsewhere, from the photo's own bytes.

const LONGEST = 4096;

/**
 * The size at which a photo is shown: at most 4096 a side.
 * @param {number} width
 * @param {number} height
 */
export function displaySize(width, height) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/**
 * A photo for the screen, upright and in the screen's colours.
 * @param {Blob} blob
 */
export async function displayBitmap(blob) {
  const whole = await createImageBitmap(blob, { imageOrientation: 'from-image' });
  const { width, height } = displaySize(whole.width, whole.height);
  if (width === whole.width && height === whole.height) return whole;
  const small = await createImageBitmap(whole, { resizeWidth: width, resizeHeight: height, resizeQuality: 'high' });
  whole.close();
  return small;
}

/**
 * Draw the cut-out small, in the middle of a canvas.
 * @param {HTMLCanvasElement} canvas
 * @param {ImageBitmap} bitmap
 * @param {{width: number, height: number, levels: Uint8Array}} mask
 */
export function thumbnail(canvas, bitmap, mask) {
  const context = canvas.getContext('2d');
  if (!context) return;
  const scale = Math.min(canvas.width / bitmap.width, canvas.height / bitmap.height);
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  const alpha = new ImageData(width, height);
  for (let y = 0; y < height; y += 1) {
    const row = Math.min(mask.height - 1, Math.floor((y + 0.5) * mask.height / height)) * mask.width;
    for (let x = 0; x < width; x += 1) {
      const column = Math.min(mask.width - 1, Math.floor((x + 0.5) * mask.width / width));
      alpha.data[(y * width + x) * 4 + 3] = mask.levels[row + column];
    }
  }
  const left = Math.floor((canvas.width - width) / 2);
  const top = Math.floor((canvas.height - height) / 2);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.putImageData(alpha, left, top);
  context.globalCompositeOperation = 'source-in';
  context.imageSmoothingQuality = 'high';
  context.drawImage(bitmap, left, top, width, height);
  context.globalCompositeOperation = 'source-over';
}
