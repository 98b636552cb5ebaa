/**
 * `breakwater bench engine`: what one call of the engine costs, without sockets, parser or commands, and what an entry
 * costs beyond its key and value.
 *
 * Entries have a key of 20 bytes, a value of 100 bytes and a TTL. Keys are asked for in random order, so that with a million
 * entries every look-up misses the processor's caches: the bench also reports what one dependent random read of as much
 * memory costs on this machine at this moment, and figures should be read against it. Times are CPU times of the process,
 * which neighbours on the machine disturb less than elapsed time.
 */
import { SeededRandom } from '../../base/random.ts';
import type { EvictionPolicy, StoreStats } from '../../engine/face.ts';
import { Store } from '../../engine/store.ts';

const KEY_BYTES = 20;
const VALUE_BYTES = 100;
const TTL_MS = 3_600_000;
const START_MS = 1_700_000_000_000;
/** Requests measured per figure. */
const REQUESTS = 1_000_000;
const POLICIES: readonly EvictionPolicy[] = ['tinylfu', 'lru', 'lfu'];

export interface EngineBenchPolicy {
  readonly eviction: EvictionPolicy;
  /** CPU nanoseconds per call. A GET is `find` and, on a hit, `copyValue`. */
  readonly nsPerOperation: {
    readonly setNew: number;
    readonly getHit: number;
    readonly getMiss: number;
    readonly setOverwrite: number;
    readonly setOverwriteOtherSize: number;
    readonly delete: number;
    /** New keys into a full store of about `entries` entries, evicting one each. */
    readonly setWhenFull: number;
    /** GETs in that full store, of which about half hit. */
    readonly getWhenFull: number;
  };
  readonly overhead: {
    readonly entries: number;
    /** All structures, by the store's own accounting, less keys and values. */
    readonly accountedBytesPerEntry: number;
    /** Growth of the process's resident memory, less keys and values; of the first policy only, in a fresh process with `--expose-gc`. */
    readonly rssBytesPerEntry: number | null;
    readonly byStructure: {
      /** Headers, timer links, padding and slack: the log less keys and values. */
      readonly log: number;
      readonly table: number;
      readonly overflow: number;
      readonly sketch: number;
      readonly fixed: number;
    };
  };
}

export interface EngineBenchReport {
  readonly entries: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly node: string;
  /** One dependent random read within 160 MB, in CPU ns: the yardstick. */
  readonly randomReadNs: number;
  /** Growth of the JavaScript heap over `heapGets` GETs after a warm-up, bytes; null without `--expose-gc`. */
  readonly heapGrowthBytes: number | null;
  readonly heapGets: number;
  readonly policies: readonly EngineBenchPolicy[];
}

const collectGarbage = (globalThis as { gc?: () => void }).gc;

/** Runs the engine bench; about a minute at a million entries. `json` only says that nothing may be printed meanwhile. */
export async function runEngineBench(options: { entries: number; json: boolean }): Promise<EngineBenchReport> {
  const { entries } = options;
  const random = new SeededRandom(1);
  const requests = Math.min(REQUESTS, Math.max(10_000, entries));
  const present = keysOf(entries, (i) => i);
  const asked = keysOf(requests, () => random.nextUint32() % entries);
  const absent = keysOf(requests, (i) => entries + i);
  const policies: EngineBenchPolicy[] = [];
  for (const eviction of POLICIES) policies.push(measurePolicy(eviction, entries, requests, present, asked, absent));
  // After the policies: its 160 MB, given back to the system some time later, would be taken off their growth of resident memory.
  const randomReadNs = measureRandomRead();
  const heap = measureHeap(entries, requests, present, asked);
  return {
    entries,
    keyBytes: KEY_BYTES,
    valueBytes: VALUE_BYTES,
    node: process.version,
    randomReadNs,
    heapGrowthBytes: heap.growthBytes,
    heapGets: heap.gets,
    policies,
  };
}

function measurePolicy(
  eviction: EvictionPolicy,
  entries: number,
  requests: number,
  present: Uint8Array,
  asked: Uint8Array,
  absent: Uint8Array,
): EngineBenchPolicy {
  const value = new Uint8Array(VALUE_BYTES).fill(65);
  const out = new Uint8Array(64 * 1024);
  collectGarbage?.();
  const rssBefore = process.memoryUsage.rss();
  // Roomy: a little more than twice the payload, so that the sketch counts (memory is more than half full).
  const store = new Store({ memoryBytes: roomyBytes(entries), eviction, seed: 42 });
  const put = (keys: Uint8Array, i: number, valueBytes: number): void => {
    store.set(keys, i * KEY_BYTES, KEY_BYTES, value, 0, valueBytes, START_MS + TTL_MS + i, START_MS);
  };
  const setNew = nsPerCall(entries, (i) => put(present, i, VALUE_BYTES));
  const payload = store.size * (KEY_BYTES + VALUE_BYTES);
  collectGarbage?.();
  const rssGrowth = process.memoryUsage.rss() - rssBefore;
  const overhead = overheadOf(
    store.stats,
    payload,
    collectGarbage === undefined || eviction !== POLICIES[0] ? null : rssGrowth,
  );
  const get = (from: Store, keys: Uint8Array, i: number): void => {
    const ref = from.find(keys, i * KEY_BYTES, KEY_BYTES, START_MS);
    if (ref !== 0) from.copyValue(ref, out, (i & 255) * 200 + 7);
  };
  nsPerCall(requests, (i) => get(store, asked, i));
  const getHit = nsPerCall(requests, (i) => get(store, asked, i));
  const getMiss = nsPerCall(requests, (i) => get(store, absent, i));
  const setOverwrite = nsPerCall(requests, (i) => put(asked, i, VALUE_BYTES));
  const setOverwriteOtherSize = nsPerCall(requests, (i) => put(asked, i, VALUE_BYTES - 40 + (i % 40)));
  const deleted = nsPerCall(requests, (i) => {
    store.delete(asked, i * KEY_BYTES, KEY_BYTES, START_MS);
  });

  // Full: memory for about `entries` entries, filled one and a half times before measuring.
  const full = new Store({ memoryBytes: Math.max(2 ** 20, entries * 170), eviction, seed: 42 });
  const fill = (keys: Uint8Array, i: number): void => {
    full.set(keys, i * KEY_BYTES, KEY_BYTES, value, 0, VALUE_BYTES, START_MS + TTL_MS + i, START_MS);
  };
  for (let round = 0; full.stats.evictions < entries / 2 && round < 4; round += 1) {
    nsPerCall(entries, (i) => fill(present, i));
    nsPerCall(requests, (i) => fill(asked, i));
  }
  const setWhenFull = nsPerCall(requests, (i) => fill(absent, i));
  const getWhenFull = nsPerCall(requests, (i) => get(full, asked, i));
  return {
    eviction,
    nsPerOperation: {
      setNew,
      getHit,
      getMiss,
      setOverwrite,
      setOverwriteOtherSize,
      delete: deleted,
      setWhenFull,
      getWhenFull,
    },
    overhead,
  };
}

function overheadOf(stats: StoreStats, payload: number, rssGrowth: number | null): EngineBenchPolicy['overhead'] {
  const each = (bytes: number): number => round(bytes / stats.entries, 2);
  return {
    entries: stats.entries,
    accountedBytesPerEntry: each(stats.usedBytes - payload),
    rssBytesPerEntry: rssGrowth === null ? null : each(rssGrowth - payload),
    byStructure: {
      log: each(stats.logBytes + stats.jumboBytes - payload),
      table: each(stats.tableBytes),
      overflow: each(stats.overflowBytes),
      sketch: each(stats.sketchBytes),
      fixed: each(stats.fixedBytes),
    },
  };
}

/** GETs over and over, and what the JavaScript heap has grown by; what a GET allocates would show. */
function measureHeap(
  entries: number,
  requests: number,
  present: Uint8Array,
  asked: Uint8Array,
): { growthBytes: number | null; gets: number } {
  const gets = requests * 10;
  if (collectGarbage === undefined) return { growthBytes: null, gets };
  const store = new Store({ memoryBytes: roomyBytes(entries), eviction: 'tinylfu', seed: 42 });
  const value = new Uint8Array(VALUE_BYTES).fill(65);
  const out = new Uint8Array(VALUE_BYTES);
  for (let i = 0; i < entries; i += 1) store.set(present, i * KEY_BYTES, KEY_BYTES, value, 0, VALUE_BYTES, 0, START_MS);
  const round = (): void => {
    for (let i = 0; i < requests; i += 1) {
      const ref = store.find(asked, i * KEY_BYTES, KEY_BYTES, START_MS);
      if (ref !== 0) store.copyValue(ref, out, 0);
    }
  };
  round();
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  for (let times = 0; times < 10; times += 1) round();
  collectGarbage();
  return { growthBytes: process.memoryUsage().heapUsed - before, gets };
}

function roomyBytes(entries: number): number {
  return Math.max(2 ** 20, entries * 256);
}

/** Keys "key:" and 16 digits, one after another. */
function keysOf(count: number, id: (index: number) => number): Uint8Array {
  const keys = new Uint8Array(count * KEY_BYTES);
  for (let i = 0; i < count; i += 1) {
    let rest = id(i);
    const start = i * KEY_BYTES;
    keys[start] = 0x6b;
    keys[start + 1] = 0x65;
    keys[start + 2] = 0x79;
    keys[start + 3] = 0x3a;
    for (let digit = KEY_BYTES - 1; digit >= 4; digit -= 1) {
      keys[start + digit] = 0x30 + (rest % 10);
      rest = Math.floor(rest / 10);
    }
  }
  return keys;
}

function measureRandomRead(): number {
  const words = new Int32Array(40_000_000);
  for (let i = 0; i < words.length; i += 1024) words[i] = 1;
  let state = 12_345;
  return nsPerCall(REQUESTS, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state += words[(state >>> 0) % words.length]! & 2;
  });
}

function nsPerCall(calls: number, call: (index: number) => void): number {
  const before = process.cpuUsage();
  for (let i = 0; i < calls; i += 1) call(i);
  const { user, system } = process.cpuUsage(before);
  return round(((user + system) * 1000) / calls, 0);
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
