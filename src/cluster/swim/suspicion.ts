/**
 * A suspicion and its timer (Lifeguard's LHA-Suspicion): one accuser is waited for long, several in agreement briefly.
 *
 *     timeout = max(min, max - (max - min) * log(1 + confirmations) / log(1 + wanted))
 *
 * A lone accuser may be the one that is cut off, and its word alone should take time to kill; when `wanted` others accuse independently the timeout is
 * `min`. The logarithm makes the first confirmations count most. (memberlist: suspicion.go; Dadgar et al., section IV-B.)
 */
import type { NodeId } from '../member.ts';

export class Suspicion {
  readonly #startMs: number;
  readonly #minMs: number;
  readonly #maxMs: number;
  readonly #wanted: number;
  readonly #accusers = new Set<NodeId>();
  #extraMs = 0;

  /** @param wanted confirmations beside the first accuser's that shorten the wait to `minMs`; 0: it is `minMs` at once */
  constructor(
    startMs: number,
    accuser: NodeId,
    bounds: { readonly minMs: number; readonly maxMs: number; readonly wanted: number },
  ) {
    this.#startMs = startMs;
    this.#minMs = bounds.minMs;
    this.#maxMs = bounds.maxMs;
    this.#wanted = bounds.wanted;
    this.#accusers.add(accuser);
  }

  /** True when it is news: another accuser, and not more of them than count. */
  confirm(accuser: NodeId): boolean {
    if (this.#accusers.has(accuser) || this.#accusers.size > this.#wanted) return false;
    this.#accusers.add(accuser);
    return true;
  }

  /** When the suspected is taken for dead, unless it objects. */
  get endMs(): number {
    const confirmations = this.#accusers.size - 1;
    const share = this.#wanted === 0 ? 1 : Math.log(1 + confirmations) / Math.log(1 + this.#wanted);
    return this.#startMs + this.#extraMs + Math.max(this.#minMs, this.#maxMs - (this.#maxMs - this.#minMs) * share);
  }

  /** Time in which we could not have heard an objection does not count. */
  extend(ms: number): void {
    this.#extraMs += ms;
  }
}
