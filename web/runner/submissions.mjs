// How a run is cut into submissions, so that none holds the GPU for long: Windows resets a GPU after two seconds of
// one, and what has been submitted cannot be cancelled. The rate of the last run says how much work one may have.

const SUBMISSION_SECONDS = 0.3;
const FLOPS_PER_BYTE = 10;
const FIRST_FLOPS = 30e9;
const FIRST_SOFTWARE_FLOPS = 1e9;

/** Cuts the commands of a plan into submissions. */
export class Submissions {
  #totals = [0];
  #firstFlops;
  /** Operations a second of the largest submission of a run; 0 before the first one. */
  #rate = 0;
  #largest = 0;

  /**
   * @param {{flops: number, bytes: number}[]} commands
   * @param {boolean} software whether the adapter computes on a processor
   */
  constructor(commands, software) {
    commands.forEach(({ flops, bytes }, index) => {
      this.#totals.push(this.#totals[index] + flops + FLOPS_PER_BYTE * bytes);
    });
    this.#firstFlops = software ? FIRST_SOFTWARE_FLOPS : FIRST_FLOPS;
  }

  /** Begin a run. */
  begin() {
    this.#largest = 0;
  }

  /**
   * The end of the submission that begins with a command: one command, or as many as the rate allows.
   * @param {number} first
   */
  end(first) {
    const count = this.#totals.length - 1;
    const most = this.#totals[first] + (this.#rate ? this.#rate * SUBMISSION_SECONDS : this.#firstFlops);
    let end = Math.min(first + 1, count);
    while (end < count && this.#totals[end + 1] <= most) end += 1;
    return end;
  }

  /**
   * Note what the commands from `first` to `end` took.
   * @param {number} first
   * @param {number} end
   * @param {number} milliseconds
   */
  finished(first, end, milliseconds) {
    const work = this.#totals[end] - this.#totals[first];
    if (work > this.#largest) {
      this.#largest = work;
      this.#rate = work * 1e3 / Math.max(milliseconds, 1e-3);
    }
  }
}
