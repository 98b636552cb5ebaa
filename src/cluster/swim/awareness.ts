/**
 * Local health awareness (Lifeguard's LHA-Probe): a member that misses answers asks first whether it is the one that is slow.
 *
 * A score from 0 (well) to `most`. What went wrong near us raises it (a probe that failed without anybody's word for it, a rumor that we are dead), an answered
 * probe lowers it; every timeout of ours is multiplied by score + 1. So a member starved of CPU accuses ever more slowly, while the well ones go on as before.
 * (memberlist: awareness.go.)
 */
export class Awareness {
  readonly #most: number;
  #score = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get score(): number {
    return this.#score;
  }

  get factor(): number {
    return this.#score + 1;
  }

  add(change: number): void {
    this.#score = Math.max(0, Math.min(this.#most, this.#score + change));
  }
}
