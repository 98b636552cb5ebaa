/**
 * `hash % servers`: what everybody writes first, here to be measured against. Perfectly even, and when one of N servers
 * joins or leaves, about N/(N+1) of all keys change their server: the fleet's cache is as good as empty at the very moment
 * when it is needed most. To place keys, take `rendezvous.ts` or `ketama.ts`.
 */

/** The server, in [0, count), of the key with this hash (a uint32). */
export function moduloOwner(hash: number, count: number): number {
  return hash % count;
}
