/**
 * Write-behind directories from outside: what `breakwater queue` does. Looking needs no lock, so it works while the application runs; changing does, since the
 * application has in memory what it believes to be on disk.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import { peek } from '../../disk-log/peek.ts';
import { applyLetter, DiskDeadLetters } from './dead-letters.ts';
import { DiskQueueLog, readRecord } from './disk-queue.ts';
import type { DeadLetter, Queued } from './queue-log.ts';

/** One cache's. */
export interface QueueView {
  readonly cache: string;
  /** Rows that the database does not have yet, as far as the log says: what was written in the last moments may be among them. */
  readonly pending: readonly Queued[];
  readonly dead: readonly DeadLetter[];
  /** What was acknowledged and cannot be read any more, in words: the numbers do not count it. Empty: nothing. */
  readonly damaged: readonly string[];
}

const MAX_BYTES = 1024 ** 4;

/** @throws BreakwaterError `QUEUE_UNKNOWN` */
export function viewQueues(directory: string, cache: string | null): QueueView[] {
  return cachesIn(directory, cache).map((name) => {
    const pending = new Map<string, Queued>();
    const damaged: string[] = [];
    const onDamage = (sentence: string): void => void damaged.push(sentence);
    for (const bytes of peek(join(directory, name, 'queue'), onDamage)) {
      const record = readRecord(bytes);
      if (record.kind === 'write') {
        const known = pending.get(record.write.id);
        if (known === undefined || known.version <= record.write.version) pending.set(record.write.id, record.write);
      } else {
        for (const [id, version] of record.upTo)
          if ((pending.get(id)?.version ?? Infinity) <= version) pending.delete(id);
      }
    }
    const dead = new Map<string, DeadLetter>();
    if (existsSync(join(directory, name, 'dead'))) {
      for (const bytes of peek(join(directory, name, 'dead'), onDamage)) applyLetter(dead, bytes);
    }
    return { cache: name, pending: [...pending.values()], dead: [...dead.values()], damaged };
  });
}

/**
 * Puts dead letters into the queue again, or throws them away; which ones.
 * @param ids of rows; null: all
 * @throws BreakwaterError `QUEUE_UNKNOWN`, `QUEUE_IN_USE`
 */
export async function changeDead(
  what: 'retry' | 'drop',
  directory: string,
  cache: string | null,
  ids: readonly string[] | null,
): Promise<{ readonly cache: string; readonly letter: DeadLetter }[]> {
  const done: { readonly cache: string; readonly letter: DeadLetter }[] = [];
  for (const name of cachesIn(directory, cache)) {
    const queue = await opened(what, directory, name, DiskQueueLog.open(join(directory, name, 'queue'), MAX_BYTES));
    try {
      const dead = await opened(what, directory, name, DiskDeadLetters.open(join(directory, name, 'dead')));
      try {
        for (const letter of dead.list()) {
          if (ids !== null && !ids.includes(letter.id)) continue;
          const { id, version, bytes, queuedAtMs } = letter;
          if (what === 'retry') await queue.append({ id, version, bytes, queuedAtMs });
          await dead.remove(letter);
          done.push({ cache: name, letter });
        }
      } finally {
        await dead.close();
      }
    } finally {
      await queue.close();
    }
  }
  return done;
}

function cachesIn(directory: string, cache: string | null): string[] {
  let names: string[];
  try {
    names = readdirSync(directory).filter((name) => existsSync(join(directory, name, 'queue')));
  } catch (error) {
    throw new BreakwaterError('QUEUE_UNKNOWN', `cannot read the queues in ${directory}: ${messageOf(error)}`);
  }
  if (names.length === 0) {
    throw new BreakwaterError(
      'QUEUE_UNKNOWN',
      `cannot find a write-behind queue in ${directory}: expected the directory of the option behind, which has a folder for each cache`,
    );
  }
  if (cache === null) return names.sort();
  if (names.includes(cache)) return [cache];
  throw new BreakwaterError(
    'QUEUE_UNKNOWN',
    `cannot find a queue of cache "${cache}" in ${directory}: it has ${names.sort().join(', ')}`,
  );
}

async function opened<T>(what: string, directory: string, cache: string, opening: Promise<T>): Promise<T> {
  try {
    return await opening;
  } catch (error) {
    if (!(error instanceof BreakwaterError) || error.code !== 'DISK_LOG_LOCKED') throw error;
    throw new BreakwaterError(
      'QUEUE_IN_USE',
      `cannot ${what} dead letters of "${cache}" in ${directory} while the application has them open: ${error.message}; stop it, or call cache.deadLetters.${what}() in it`,
      { cause: error },
    );
  }
}
