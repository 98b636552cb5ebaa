/**
 * First in, first out: the oldest entry goes, however often it was used. The log is in that order already, so a hit writes nothing and
 * an eviction looks at nothing. For what is read once and loses its worth with age: streams, logs, one-time results.
 */
import type { Records } from '../records.ts';
import type { Policy } from './policy.ts';

export class Fifo implements Policy {
  readonly name = 'fifo';
  readonly queueCount = 1;
  readonly #records: Records;

  constructor(records: Records) {
    this.#records = records;
  }

  onHit(): void {}

  onStore(): void {}

  beginRelief(): void {}

  relieve(): boolean {
    const records = this.#records;
    const ref = records.log.oldestLive(0);
    if (ref === 0) return false;
    if (ref === records.pinned) records.move(ref, 0);
    else if (!records.reapIfGone(ref)) records.evict(ref);
    return true;
  }

  settle(): void {}

  reset(): void {}
}
