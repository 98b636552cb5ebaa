/**
 * The write-behind queues of a gateway, which live in directories: what must hold before the first request, and before the first write of a row.
 *
 * A gateway that was killed has acknowledged writes in its directory that the database does not have. Until they have been read a GET would show the row as it was before
 * them, so nobody is listened to before. Another process that has the directory (the gateway before this one, which is still draining) is waited for.
 *
 * And a write may be acknowledged only when the database could take it: a table without a unique key would turn every write into a dead letter, a key that is none of
 * its type that one. So the catalogue is asked before the first one.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BreakwaterError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type QueueView, viewQueues } from '../cache/write/offline.ts';
import { type GatewayConfig, present } from './config/read.ts';
import type { Namespace } from './namespaces.ts';

/** Longer than a gateway drains as a rule: the next one takes over its directory. */
const PATIENCE_MS = 30_000;
const POLL_MS = 20;

/**
 * Resolves when every queue has been read.
 * @throws BreakwaterError `GATEWAY_QUEUE_UNAVAILABLE`
 */
export async function queuesOpened(
  { store, namespaces: declared }: Pick<GatewayConfig, 'store' | 'namespaces'>,
  namespaces: Iterable<Namespace>,
  log: Log,
  patienceMs: number = PATIENCE_MS,
): Promise<void> {
  const orphan = store.behind === undefined ? null : orphanIn(store.behind.directory, declared);
  if (orphan !== null) throw new BreakwaterError('GATEWAY_QUEUE_UNAVAILABLE', `cannot start: ${orphan}`);
  const untilMs = performance.now() + patienceMs;
  for (const { name, cache } of namespaces) {
    let said = '';
    for (;;) {
      const { queue } = cache.stats();
      if (queue === null || queue.isOpen) break;
      const why = queue.lastError ?? 'its directory is being read';
      if (performance.now() >= untilMs) {
        throw new BreakwaterError(
          'GATEWAY_QUEUE_UNAVAILABLE',
          `cannot start: the write-behind queue of "${name}" could not be opened: ${why}`,
        );
      }
      if (queue.lastError !== null && why !== said) {
        log.warn(`the write-behind queue of "${name}" cannot be opened yet`, { error: why });
        said = why;
      }
      await new Promise((resolve) => {
        setTimeout(resolve, POLL_MS);
      });
    }
    const { queue } = cache.stats();
    if (queue !== null && queue.length > 0) log.info(`"${name}" has ${queue.length} rows queued from before`);
  }
}

/** Which namespaces are known to be such that their database can take a row. */
export class Writable {
  readonly #known = new Set<string>();

  /** @throws BreakwaterError `WRITE_BEHIND_UNAVAILABLE`, where the database cannot be asked; `SOURCE_REFUSED` and its like */
  async check({ name, sink }: Namespace, signal: AbortSignal): Promise<void> {
    if (this.#known.has(name)) return;
    try {
      // No rows: it asks the catalogue, and writes nothing.
      await sink!.upsert(new Map(), { signal });
    } catch (cause) {
      if (!(cause instanceof BreakwaterError) || !AWAY.has(cause.code)) throw cause;
      throw new BreakwaterError(
        'WRITE_BEHIND_UNAVAILABLE',
        `cannot queue writes of ${name}, nothing was queued: since the start its database has not been reached: ${messageOf(cause)}`,
        { cause },
      );
    }
    this.#known.add(name);
  }
}

const AWAY: ReadonlySet<string> = new Set(['SOURCE_FAILED', 'SOURCE_ABORTED', 'SOURCE_TIMEOUT', 'SOURCE_BUSY']);

/** The queues that a directory has of some names; looks without disturbing who has them. @throws BreakwaterError, and the system's own errors */
export function queuesIn(directory: string, isMeant: (name: string) => boolean): QueueView[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => isMeant(name) && existsSync(join(directory, name, 'queue')))
    .flatMap((name) => viewQueues(directory, name));
}

/** Writes that were acknowledged for a namespace that is declared no more, or with another policy: nobody would write them. Null: there are none. */
export function orphanIn(directory: string, namespaces: GatewayConfig['namespaces']): string | null {
  const others = queuesIn(directory, (name) => namespaces.get(name)?.policy !== 'behind');
  const orphan = others.find(({ pending }) => pending.length > 0);
  if (orphan === undefined) return null;
  return `${directory} has acknowledged writes of ${orphan.pending.length} rows of "${orphan.cache}", which is no namespace with policy: behind now, so nobody would write them: declare it again until they are written, or remove its folder`;
}

/** The same with queues and outbox of its own, which go with it: for who declares namespaces beside a gateway that runs, to look or to warm. */
export function withPassingQueues(config: GatewayConfig): { readonly config: GatewayConfig; remove(): void } {
  const { behind, outbox, ...store } = config.store;
  const directory = behind === undefined ? null : mkdtempSync(join(tmpdir(), 'breakwater-queues-'));
  return {
    config: {
      ...config,
      store: {
        ...store,
        ...(directory !== null && { behind: { ...behind, directory } }),
        ...(outbox !== undefined && { outbox: present({ maxEntries: outbox.maxEntries }) }),
      },
    },
    remove: () => {
      if (directory !== null) rmSync(directory, { recursive: true, force: true });
    },
  };
}
