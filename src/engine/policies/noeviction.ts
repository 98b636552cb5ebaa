/**
 * Nothing is evicted: a write that does not fit is refused. Room comes only from what was deleted, overwritten or expired.
 */
import type { Policy } from './policy.ts';

export class NoEviction implements Policy {
  readonly name = 'noeviction';
  readonly queueCount = 1;

  onHit(): void {}

  onStore(): void {}

  beginRelief(): void {}

  relieve(): boolean {
    return false;
  }

  settle(): void {}

  reset(): void {}
}
