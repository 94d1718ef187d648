// kernels.json, which engine.image_kernels() writes: what there is, and how a kernel is found.
import { NotOnGpu } from './not_on_gpu.mjs';

/** The version of kernels.json that is read. */
export const FORMAT = 1;

/**
 * @typedef {object} Kernel
 * @property {string} kernel the template's name, 'images/' and more
 * @property {Record<string, string | number | boolean>} constants what it was rendered with
 * @property {string} wgsl the source; its entry point is main
 * @property {string[]} uniforms the names of the i32 in binding 0, in their order
 * @property {{ name: string, item: string, access: 'read' | 'read_write' }[]} bindings those from 1 on
 * @property {[number] | [number, number]} covers what a workgroup does: items one behind the other, or columns and rows
 */

/** @typedef {{ format: number, engine: string, kernels: Kernel[] }} KernelFile */

/** The kernels by their templates and constants. */
export class Kernels {
  /** @type {Map<string, Kernel>} */
  #kernels = new Map();

  /**
   * @param {KernelFile} content of kernels.json, parsed
   * @throws {Error} it is of another format
   */
  constructor(content) {
    if (content?.format !== FORMAT) {
      throw new Error(
        `kernels.json is of format ${content?.format}, and this page reads ${FORMAT}: export the page again`);
    }
    for (const kernel of content.kernels) this.#kernels.set(key(kernel.kernel, kernel.constants), kernel);
  }

  /**
   * @param {string} name the template's, without 'images/'
   * @param {Kernel['constants']} constants all of them
   * @throws {NotOnGpu} there is none
   */
  find(name, constants) {
    const kernel = this.#kernels.get(key(`images/${name}`, constants));
    if (!kernel) throw new NotOnGpu(`no kernel ${name} of ${JSON.stringify(constants)} is there`);
    return kernel;
  }
}

/**
 * @param {string} name
 * @param {Kernel['constants']} constants
 */
function key(name, constants) {
  return name + JSON.stringify(Object.entries(constants).sort(([a], [b]) => (a < b ? -1 : 1)));
}
