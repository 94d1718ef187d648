// Why a cut-out is not made on the GPU.

/**
 * The GPU does not do this photo, or these settings; `message` says why in a few words. The modules for the processor
 * do it: prepare.mjs, network_mask.mjs, refine.mjs and compose.mjs.
 */
export class NotOnGpu extends Error {
  /**
   * @param {string} message
   * @param {{ cause?: unknown }} [options]
   */
  constructor(message, options) {
    super(message, options);
    this.name = 'NotOnGpu';
  }
}
