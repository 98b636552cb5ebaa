/**
 * Memory pressure on a real redis-server: `maxmemory` and `allkeys-lru`, and others who fill it.
 *
 * What is to be shown is a server that keeps entries and evicts what a library has noted about them (tag markers, sets of members): it happens when entries are read all the
 * time and notes are not. So that it happens every time:
 *
 *   1. fillers are written, and nobody speaks for longer than the server's LRU clock needs to tell (it counts seconds): notes and fillers are old now,
 *   2. the entries are touched,
 *   3. memory is bounded to what is used, and more fillers are written until every note is gone. What is old goes first.
 *
 * The server looks at more samples for each eviction than it has keys, so that it finds the true oldest.
 */
import { ask } from '../../children/redis-cluster.ts';

/** Two seconds of the LRU clock are told apart for sure. */
const IDLE_MS = 2_100;
const FILLER_BYTES = 64 * 1024;
/** Old ones: the room that there is to evict before any entry's turn comes. */
const OLD_FILLERS = 16;
const SAMPLES = 64;
/** Two of three are refused by a member of a cluster, as not its own. */
const MOST_TRIES = 400;

/**
 * Has a primary evict all that is not an entry of one of `ids`; nobody may speak to it meanwhile.
 * @returns how many keys went
 * @throws Error when the server keeps them
 */
export async function evictNotes(port: number, ids: readonly string[]): Promise<number> {
  // A replica evicts what its primary does.
  if (!/master/.test(await ask(port, 'ROLE'))) return 0;
  const victims = notesAmong(await keysOf(port), ids);
  if (victims.length === 0) return 0;
  for (let written = 0, name = 0; written < OLD_FILLERS && name < MOST_TRIES; name += 1) {
    if (await fill(port, `filler:old-${name}`)) written += 1;
  }
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  for (const key of await keysOf(port)) {
    if (!victims.includes(key) && !key.startsWith('filler:')) await ask(port, `TOUCH "${key}"`);
  }
  const used = Number(/used_memory:(\d+)/.exec(await ask(port, 'INFO memory'))![1]);
  await ask(
    port,
    `CONFIG SET maxmemory-samples ${SAMPLES} maxmemory-policy allkeys-lru maxmemory ${used + FILLER_BYTES}`,
  );
  try {
    for (let name = 0; name < MOST_TRIES; name += 1) {
      await fill(port, `filler:new-${name}`);
      const keys = await keysOf(port);
      if (!victims.some((victim) => keys.includes(victim))) return victims.length;
    }
    throw new Error(`redis-server on ${port} kept ${victims.join(', ')} under pressure`);
  } finally {
    await ask(port, 'CONFIG SET maxmemory 0 maxmemory-policy noeviction');
    for (const key of await keysOf(port)) if (key.startsWith('filler:')) await ask(port, `UNLINK ${key}`);
  }
}

/** A key that does not end with one of the ids, or speaks of a tag, is a note. */
export function notesAmong(keys: readonly string[], ids: readonly string[]): string[] {
  const entry = new RegExp(`(?:^|\\D)(?:${ids.join('|')})$`);
  return keys.filter((key) => !key.startsWith('filler:') && (!entry.test(key) || /tag/i.test(key)));
}

/** @returns false: a member of a cluster, whose key that is not */
async function fill(port: number, key: string): Promise<boolean> {
  return (await ask(port, `SETRANGE ${key} ${FILLER_BYTES} x`)).startsWith(':');
}

async function keysOf(port: number): Promise<string[]> {
  // A world holds a few dozen keys: KEYS is one reply and the server is ours.
  const reply = await ask(port, 'KEYS *');
  return reply.split('\r\n').filter((line) => line !== '' && !/^[*$+-]/.test(line));
}
