/** The servers among which keys are placed: what ring and rendezvous have in common. */
import { BreakwaterError } from '../base/errors.ts';

export interface WeightedServer {
  /** What is hashed. Placement depends on names and weights alone, never on the order of the list. */
  readonly name: string;
  /** Its share of the keys, relative to the others'; above 0. */
  readonly weight: number;
}

/** @throws BreakwaterError `RING_INVALID`: no server, a name twice, a weight that is not above 0 */
export function checkServers(servers: readonly WeightedServer[]): void {
  if (servers.length === 0) throw new BreakwaterError('RING_INVALID', 'cannot place keys: there is no server');
  const names = new Set<string>();
  for (const { name, weight } of servers) {
    if (names.has(name)) {
      throw new BreakwaterError(
        'RING_INVALID',
        `cannot place keys: the server ${JSON.stringify(name)} is listed twice`,
      );
    }
    names.add(name);
    if (!(weight > 0 && weight < Number.POSITIVE_INFINITY)) {
      throw new BreakwaterError(
        'RING_INVALID',
        `cannot place keys: the weight of ${JSON.stringify(name)} must be above 0, received ${weight}`,
      );
    }
  }
}
