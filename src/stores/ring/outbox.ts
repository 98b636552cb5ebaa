/**
 * The outboxes of a ring's servers as one. Each server has its own, because what one of them did not acknowledge is withheld only there: a
 * dead server must not make its keys miss at the server that stands in for it.
 */
import type { OutboxStats, StoreOutbox } from '../store.ts';

/** Of which servers a key is to be told, and which one would be read now (null: none). */
export interface KeyRoutes {
  outboxesOf(key: string): readonly StoreOutbox[];
  outboxRead(key: string): StoreOutbox | null;
}

export function joinOutboxes(all: readonly StoreOutbox[], routes: KeyRoutes): StoreOutbox {
  return {
    isDurable: all.every((one) => one.isDurable),
    withholds: (key, tags) => routes.outboxRead(key)?.withholds(key, tags) ?? true,
    declare: (namespace) => {
      for (const one of all) one.declare(namespace);
    },
    intend: async (keys, call) => {
      const named = new Map<StoreOutbox, string[]>();
      for (const key of keys) {
        for (const one of routes.outboxesOf(key)) named.set(one, [...(named.get(one) ?? []), key]);
      }
      const notes = await Promise.allSettled([...named].map(([one, its]) => one.intend(its, call)));
      const undo = (): void => {
        for (const note of notes) if (note.status === 'fulfilled') note.value();
      };
      const failed = notes.find((note) => note.status === 'rejected');
      if (failed === undefined) return undo;
      undo();
      throw failed.reason;
    },
    stats: () => joinStats(all.map((one) => one.stats())),
    left: () => {
      const left = all.map((one) => one.left());
      const union = (kind: 'keys' | 'tags' | 'namespaces'): string[] => [...new Set(left.flatMap((one) => one[kind]))];
      return { keys: union('keys'), tags: union('tags'), namespaces: union('namespaces') };
    },
  };
}

function joinStats(all: readonly OutboxStats[]): OutboxStats {
  const sum = (of: (one: OutboxStats) => number): number => all.reduce((total, one) => total + of(one), 0);
  const ages = all.flatMap(({ oldestAgeMs }) => (oldestAgeMs === null ? [] : [oldestAgeMs]));
  const disks = all.flatMap(({ disk }) => (disk === null ? [] : [disk]));
  return {
    length: sum((one) => one.length),
    keys: sum((one) => one.keys),
    tags: sum((one) => one.tags),
    namespaces: sum((one) => one.namespaces),
    oldestAgeMs: ages.length === 0 ? null : Math.max(...ages),
    queued: sum((one) => one.queued),
    retried: sum((one) => one.retried),
    folded: sum((one) => one.folded),
    refused: sum((one) => one.refused),
    attempts: sum((one) => one.attempts),
    failures: sum((one) => one.failures),
    lastError: all.find((one) => one.lastError !== null)?.lastError ?? null,
    withheld: sum((one) => one.withheld),
    disk:
      disks.length < all.length
        ? null
        : {
            isOpen: disks.every((one) => one.isOpen),
            bytes: disks.reduce((total, one) => total + one.bytes, 0),
            intents: disks.reduce((total, one) => total + one.intents, 0),
            lastError: disks.find((one) => one.lastError !== null)?.lastError ?? null,
          },
  };
}
