/**
 * The write-behind queues of a gateway, in directories or in streams of its store: what must hold before the first request, and before the first write of a row.
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
import { viewRemoteQueues } from '../cache/write/remote.ts';
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
  const orphan = await orphanOf(store, declared, log);
  if (orphan !== null) throw new BreakwaterError('GATEWAY_QUEUE_UNAVAILABLE', `cannot start: ${orphan}`);
  const untilMs = performance.now() + patienceMs;
  for (const { name, cache } of namespaces) {
    let said = '';
    for (;;) {
      const { queue } = cache.stats();
      if (queue === null || queue.isOpen) break;
      const why = queue.lastError ?? 'it is being read';
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

type Kept = Pick<GatewayConfig['store'], 'store' | 'behind'>;

/** As `orphanIn`, wherever the queues are. A store that cannot be asked now has none that are known; the log says so. */
async function orphanOf(
  { store, behind }: Kept,
  namespaces: GatewayConfig['namespaces'],
  log: Log,
): Promise<string | null> {
  if (behind?.directory !== undefined) return orphanIn(behind.directory, namespaces);
  if (behind === undefined || typeof store !== 'string') return null;
  try {
    return orphanAmong(await queuesOfStreams(store), 'the store', namespaces);
  } catch (error) {
    log.warn('the store cannot be asked for queues of namespaces that are no more', { error: messageOf(error) });
    return null;
  }
}

/** The queues that a store has in streams. @throws BreakwaterError those of the store */
export async function queuesOfStreams(url: string): Promise<QueueView[]> {
  try {
    return await viewRemoteQueues(url, null);
  } catch (error) {
    if (error instanceof BreakwaterError && error.code === 'QUEUE_UNKNOWN') return [];
    throw error;
  }
}

/** Writes that were acknowledged for a namespace that is declared no more, or with another policy: nobody would write them. Null: there are none. */
export function orphanIn(directory: string, namespaces: GatewayConfig['namespaces']): string | null {
  const found = orphanAmong(
    queuesIn(directory, () => true),
    directory,
    namespaces,
  );
  return found === null ? null : `${found}, or remove its folder`;
}

/** @param where they are, in words */
export function orphanAmong(
  queues: readonly QueueView[],
  where: string,
  namespaces: GatewayConfig['namespaces'],
): string | null {
  const orphan = queues.find(({ cache, pending }) => namespaces.get(cache)?.policy !== 'behind' && pending.length > 0);
  if (orphan === undefined) return null;
  return `${where} has acknowledged writes of ${orphan.pending.length} rows of "${orphan.cache}", which is no namespace with policy: behind now, so nobody would write them: declare it again until they are written`;
}

/** The same with queues and outbox of its own, which go with it: for who declares namespaces beside a gateway that runs, to look or to warm. */
export function withPassingQueues(config: GatewayConfig): { readonly config: GatewayConfig; remove(): void } {
  const { behind, outbox, ...store } = config.store;
  // Not in streams: who passes must take nothing over.
  const { queue: _, takeover: __, ...settings } = behind ?? {};
  const directory = behind === undefined ? null : mkdtempSync(join(tmpdir(), 'breakwater-queues-'));
  return {
    config: {
      ...config,
      store: {
        ...store,
        ...(directory !== null && { behind: { ...settings, directory } }),
        ...(outbox !== undefined && { outbox: present({ maxEntries: outbox.maxEntries }) }),
      },
    },
    remove: () => {
      if (directory !== null) rmSync(directory, { recursive: true, force: true });
    },
  };
}
