/**
 * Write-behind queues in streams from outside: what `breakwater queue` does with a store's URL, and what a gateway looks for. Unlike with a directory, dead letters can be put back and thrown away while the
 * application runs: a letter that is put back is a stream that is nobody's, which any process of the application takes within seconds; and processes look whether a letter of theirs is still
 * there.
 */
import { randomBytes } from 'node:crypto';
import { systemClock } from '../../base/clock.ts';
import { BreakwaterError } from '../../base/errors.ts';
import { SeededRandom } from '../../base/random.ts';
import { systemScheduler } from '../../base/scheduler.ts';
import type { StoreQueues } from '../../stores/queues.ts';
import { ValkeyStore } from '../../stores/valkey.ts';
import type { QueueView } from './offline.ts';
import type { DeadLetter, Queued } from './queue-log.ts';
import { readLetter, readWrite, writeRecord } from './queue-records.ts';

const CALL = { timeoutMs: 10_000 };
const PAGE = 500;

export function isStoreUrl(place: string): boolean {
  return /^(?:redis|valkey)s?:\/\//i.test(place);
}

/** @throws BreakwaterError `QUEUE_UNKNOWN`, `STORE_URL_INVALID`; those of the store */
export function viewRemoteQueues(url: string, cache: string | null): Promise<QueueView[]> {
  return withQueues(url, async (queues) => {
    const views: QueueView[] = [];
    for (const name of await namesIn(queues, cache)) {
      const pending = new Map<string, Queued>();
      const dead: DeadLetter[] = [];
      for (const { stream } of await queues.look(name, CALL)) {
        for (let after = 0; ; ) {
          const page = await queues.read(name, stream, after, PAGE, CALL);
          for (const write of page.map(({ record }) => readWrite(record))) {
            if ((pending.get(write.id)?.version ?? 0) <= write.version) pending.set(write.id, write);
          }
          if (page.length < PAGE) break;
          after = page.at(-1)!.position;
        }
        for (const letter of (await queues.letters(name, stream, CALL)).values()) dead.push(readLetter(letter));
      }
      views.push({ cache: name, pending: [...pending.values()], dead, damaged: [] });
    }
    return views;
  });
}

/** As `changeDead` of a directory (offline.ts). @throws BreakwaterError `QUEUE_UNKNOWN`; those of the store */
export function changeRemoteDead(
  what: 'retry' | 'drop',
  url: string,
  cache: string | null,
  ids: readonly string[] | null,
): Promise<{ readonly cache: string; readonly letter: DeadLetter }[]> {
  return withQueues(url, async (queues) => {
    const done: { readonly cache: string; readonly letter: DeadLetter }[] = [];
    for (const name of await namesIn(queues, cache)) {
      for (const { stream } of await queues.look(name, CALL)) {
        const chosen = new Map<string, DeadLetter>();
        for (const [key, bytes] of await queues.letters(name, stream, CALL)) {
          const letter = readLetter(bytes);
          if (ids === null || ids.includes(letter.id)) chosen.set(key, letter);
        }
        if (chosen.size === 0) continue;
        const gone = what === 'retry' ? await putBack(queues, name, stream, chosen) : [...chosen.keys()];
        if (what === 'drop') await queues.removeLetters(name, stream, gone, CALL);
        for (const key of gone) done.push({ cache: name, letter: chosen.get(key)! });
      }
    }
    return done;
  });
}

function putBack(
  queues: StoreQueues,
  name: string,
  stream: string,
  letters: ReadonlyMap<string, DeadLetter>,
): Promise<string[]> {
  const records = new Map(Array.from(letters, ([key, letter]) => [key, writeRecord(letter)]));
  return queues.moveLetters(name, stream, randomBytes(6).toString('base64url'), records, CALL);
}

async function withQueues<T>(url: string, work: (queues: StoreQueues) => Promise<T>): Promise<T> {
  const random = new SeededRandom(randomBytes(4).readUInt32LE());
  const store = new ValkeyStore({ url, clock: systemClock(), scheduler: systemScheduler(), random });
  try {
    return await work(store.queues);
  } finally {
    await store.close();
  }
}

async function namesIn(queues: StoreQueues, cache: string | null): Promise<string[]> {
  const names = await queues.names(CALL);
  if (cache === null && names.length > 0) return names;
  if (cache !== null && names.includes(cache)) return [cache];
  const has = names.length === 0 ? 'none' : names.join(', ');
  throw new BreakwaterError(
    'QUEUE_UNKNOWN',
    `cannot find ${cache === null ? 'a write-behind queue' : `a queue of cache "${cache}"`} in this store: it has ${has}`,
  );
}
