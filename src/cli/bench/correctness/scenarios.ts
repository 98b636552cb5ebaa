/**
 * The scenarios: interleavings that a cache meets in production, each written as the steps that make it happen. Two instances, A and
 * B, stand for two processes of one service. Gates and links make every step happen in its turn; time is spent only where a
 * library lets time pass (a timeout, a lock, a reconnect).
 */
import type { Instance } from './subject.ts';
import { tagOf } from './subject.ts';
import { until, type World, within } from './world.ts';

export interface Scenario {
  /** As on the command line. */
  readonly name: string;
  /** As in the table's head. */
  readonly title: string;
  /** False: the subject has no word for it. */
  readonly applies: (world: World) => boolean;
  readonly run: (world: World, size: Size) => Promise<void>;
}

export interface Size {
  /** Keys of one scenario, one after the other. */
  readonly keys: number;
  /** Callers at once where many callers are the point. */
  readonly callers: number;
  /** Operations of the random mix. */
  readonly operations: number;
  readonly seed: number;
}

const idsOf = (size: Size): string[] => Array.from({ length: size.keys }, (_, index) => String(index + 100));
const always = (): boolean => true;

/**
 * 1. A misses and loads: its load has read version 1.   2. B updates the row and invalidates; acknowledged.
 * 3. A's load returns.   4. Everybody reads.
 */
async function crossedLoad(world: World, size: Size, kind: 'key' | 'tag' | 'namespace'): Promise<void> {
  for (const id of idsOf(size)) {
    const gate = world.source.stopNext(id);
    const reading = world.read(world.a, id);
    await gate.read;
    await world.write(world.b, [id], kind);
    gate.open();
    await reading;
    await readByBoth(world, id);
  }
  await world.settle(idsOf(size));
}

async function readByBoth(world: World, id: string): Promise<void> {
  for (const instance of [world.a, world.b, world.a]) await world.read(instance, id);
}

/** As a crossed load, and a second reader comes to A after step 2: it may join A's load, which has read the old row. */
async function joinedLoad(world: World, size: Size): Promise<void> {
  for (const id of idsOf(size)) {
    const gate = world.source.stopNext(id);
    const first = world.read(world.a, id);
    await gate.read;
    await world.write(world.b, [id]);
    const second = world.read(world.a, id);
    // Long enough for a reader that asks its L2 again to get there.
    await until(() => false, 5);
    gate.open();
    await Promise.all([first, second]);
  }
  await world.settle(idsOf(size));
}

/**
 * 1. The value is in L2, not in A's L1. A reads: the server answers, the answer is held on the wire.   2. B updates and invalidates;
 * the news reaches A first, where it may.   3. The answer arrives.   4. A reads again.
 */
async function readInFlight(world: World, size: Size): Promise<void> {
  const { l2, bus } = world.linksOfA;
  for (const id of idsOf(size)) {
    await world.read(world.b, id);
    l2.hold();
    const reading = world.read(world.a, id);
    await until(() => l2.heldBytes > 0, 200);
    const passed = bus.passedBytes;
    await world.write(world.b, [id]);
    if (world.subject.news === 'bus') await until(() => bus.passedBytes > passed, 50);
    l2.release();
    await reading;
    await readByBoth(world, id);
  }
  await world.settle(idsOf(size));
}

/**
 * As a read in flight, and a second reader comes to A after step 2: its own question would be answered rightly, but it may
 * be given the answer that the first reader waits for, which was made before the invalidation.
 */
async function joinedRead(world: World, size: Size): Promise<void> {
  const { l2 } = world.linksOfA;
  for (const id of idsOf(size)) {
    await world.read(world.b, id);
    l2.hold();
    const first = world.read(world.a, id);
    await until(() => l2.heldBytes > 0, 200);
    await world.write(world.b, [id]);
    const second = world.read(world.a, id);
    await until(() => false, 5);
    l2.release();
    await Promise.all([first, second]);
  }
  await world.settle(idsOf(size));
}

/** 1. Both have the value.   2. A's news are cut.   3. B updates and invalidates.   4. A reads.   5. The link is restored; A reads. */
async function newsCut(world: World, size: Size): Promise<void> {
  const ids = idsOf(size);
  for (const id of ids) await readByBoth(world, id);
  const news = world.newsOfA;
  news?.cut();
  for (const id of ids) await world.write(world.b, [id]);
  for (const id of ids) for (let i = 0; i < 2; i += 1) await world.read(world.a, id);
  news?.restore();
  await world.settle(ids);
}

/** B's clock is an hour off while it invalidates a tag: behind, then (for other keys) ahead. */
async function clockSkew(world: World, size: Size): Promise<void> {
  const ids = idsOf(size).slice(0, 3);
  for (const id of ids) await readByBoth(world, id);
  for (const id of ids) await skewed(-3_600_000, () => world.write(world.b, [id], 'tag'));
  for (const id of ids) await readByBoth(world, id);
  await world.settle(ids);
  for (const id of ids) await skewed(3_600_000, () => world.write(world.b, [id], 'tag'));
  await world.settle(ids);
  const before = world.source.loads;
  for (let i = 0; i < 20; i += 1) for (const id of ids) await world.read(world.a, id);
  const loads = world.source.loads - before;
  if (loads > ids.length) world.tally.note = `clock ahead: ${loads} loads for ${ids.length * 20} reads`;
}

/** `Date.now` reads `offMs` too much (or too little) until `act` is done. Nothing else runs meanwhile. */
async function skewed(offMs: number, act: () => Promise<void>): Promise<void> {
  const real = Date.now;
  Date.now = () => real() + offMs;
  try {
    await act();
  } finally {
    Date.now = real;
  }
}

/**
 * 1. Entries under a tag.   2. The server is short of memory and evicts the tag's bookkeeping, not the entries (`pressure.ts`).   3. B updates
 * and invalidates the tag.   4. Once more 2.   5. Everybody reads.
 * A node of ours evicts no bookkeeping: there its table of tags is filled with 70,000 other tags.
 */
async function tagsEvicted(world: World, size: Size): Promise<void> {
  const ids = idsOf(size).slice(0, 3);
  for (const id of ids) await world.read(world.b, id);
  if (keepsTagsAsKeys(world)) await world.evictBookkeeping(ids);
  for (const id of ids) await world.write(world.b, [id], 'tag');
  if (keepsTagsAsKeys(world)) await world.evictBookkeeping(ids);
  else await world.b.crowdTags?.(70_000);
  for (const id of ids) await readByBoth(world, id);
  await world.settle(ids);
}

function keepsTagsAsKeys({ subject }: World): boolean {
  return subject.server === 'redis' || subject.server === 'redis-cluster';
}

/** Many callers of one key while the database is down. */
async function failingLoader(world: World, size: Size): Promise<void> {
  world.source.mood = 'fail';
  const outcomes = await Promise.allSettled(callers(world.a, size).map((answer) => within(3000, answer)));
  const errors = outcomes.filter(({ status }) => status === 'rejected').length;
  world.source.mood = 'answer';
  const row = await world.read(world.a, '7');
  world.tally.note = `${size.callers} callers: ${errors} got an error${row === undefined ? '; key did not recover' : ''}`;
}

/** The load of one key never returns. Are its callers let go, and does the key work again when the database does? */
async function hungLoader(world: World, size: Size): Promise<void> {
  world.source.mood = 'hang';
  const outcomes = await Promise.allSettled(callers(world.a, size).map((answer) => within(2000, answer)));
  const late = outcomes.filter(
    (outcome) => outcome.status === 'rejected' && /longer than/.test(String(outcome.reason)),
  );
  world.source.mood = 'answer';
  const recovers = await within(2000, world.a.get('7')).then(
    () => true,
    () => false,
  );
  world.tally.note = `${late.length} of ${size.callers} still waiting after 2 s; key ${recovers ? 'recovers' : 'stays blocked'}`;
}

function callers(instance: Instance, size: Size): Promise<unknown>[] {
  return Array.from({ length: size.callers }, () => instance.get('7'));
}

/**
 * Another process is in the middle of its load, and is killed (SIGKILL: the system closes its connections) or stopped (SIGSTOP: it does not, as when a machine
 * vanishes). How long does B wait for the same key?
 */
async function holderGone(world: World, signal: 'SIGKILL' | 'SIGSTOP'): Promise<void> {
  // Connected, and everything was run once.
  await world.b.get('8');
  const holder = await world.holder('7');
  try {
    holder.process.kill(signal);
    if (signal === 'SIGKILL') await holder.exited;
    const startMs = performance.now();
    const served = await within(10_000, world.b.get('7')).then(
      () => true,
      () => false,
    );
    const waitedMs = Math.round(performance.now() - startMs);
    world.tally.note = served
      ? `others wait ${waitedMs.toLocaleString('en-US')} ms`
      : 'others were not served within 10 s';
  } finally {
    holder.process.kill('SIGKILL');
    await holder.exited;
  }
}

export const SCENARIOS: readonly Scenario[] = [
  { name: 'load-delete', title: 'load x delete', applies: always, run: (w, s) => crossedLoad(w, s, 'key') },
  { name: 'load-tag', title: 'load x tag', applies: (w) => w.can('tag'), run: (w, s) => crossedLoad(w, s, 'tag') },
  {
    name: 'load-namespace',
    title: 'load x namespace',
    applies: (w) => w.can('namespace'),
    run: (w, s) => crossedLoad(w, s, 'namespace'),
  },
  { name: 'joined-load', title: 'joined load', applies: always, run: joinedLoad },
  {
    name: 'read-in-flight',
    title: 'L2 read in flight',
    applies: (w) => w.isLinked,
    run: readInFlight,
  },
  { name: 'joined-read', title: 'joined L2 read', applies: (w) => w.isLinked, run: joinedRead },
  { name: 'news-cut', title: 'bus or feed cut', applies: (w) => w.isLinked, run: newsCut },
  { name: 'clock-skew', title: 'clock 1 h off', applies: (w) => w.can('tag'), run: clockSkew },
  { name: 'tags-evicted', title: 'tag evicted', applies: (w) => w.can('tag'), run: tagsEvicted },
  { name: 'failing-loader', title: 'failing loader', applies: always, run: failingLoader },
  { name: 'hung-loader', title: 'hung loader', applies: always, run: hungLoader },
  {
    name: 'holder-killed',
    title: 'holder killed',
    applies: (w) => w.hasOtherProcesses,
    run: (w) => holderGone(w, 'SIGKILL'),
  },
  {
    name: 'holder-stopped',
    title: 'holder stopped',
    applies: (w) => w.hasOtherProcesses,
    run: (w) => holderGone(w, 'SIGSTOP'),
  },
];

/** Ids that carry the same tag as `id`, among `ids`. */
export function sameTag(id: string, ids: readonly string[]): string[] {
  return [id, ...ids.filter((other) => other !== id && tagOf(other) === tagOf(id))];
}
