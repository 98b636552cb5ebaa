/**
 * An L1 over a cluster of three nodes, in a process that asks for nothing: what it knows of ranges that change their owner is what their members tell it, or refuse to. The one below reads some rows, and
 * another process changes them after the fault. One bound later none of the old ones may be served.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { type Breakwater, createBreakwater } from '../../src/cache/index.ts';
import { RespClient } from '../../src/client/client.ts';
import { eventually } from '../server/support.ts';
import { LiveCluster, type LiveMember } from '../support/live-cluster.ts';

const BOUND_MS = 500;
const PATIENCE_MS = 120_000;
const TIMEOUT = { timeout: 300_000 };
const IDS = Array.from({ length: 48 }, (_, i) => String(i));
const clock = systemClock();

interface Row {
  readonly n: number;
}

let cluster: LiveCluster;
let n = 1;
const load = async (ids: readonly string[]): Promise<Row[]> => ids.map(() => ({ n }));
const cacheOf = (bw: Breakwater) => bw.cache<Row>('rows', { load, l1: {}, ttl: '10m', tags: () => ['all'] });
let quiet: { readonly bw: Breakwater; readonly cache: ReturnType<typeof cacheOf> };
let other: typeof quiet;

before(async () => {
  cluster = await LiveCluster.start(3);
  const open = (): typeof quiet => {
    const bw = createBreakwater({ store: cluster.url, staleness: BOUND_MS, readTimeout: '10s', writeTimeout: '10s' });
    return { bw, cache: cacheOf(bw) };
  };
  [quiet, other] = [open(), open()];
}, TIMEOUT);
after(async () => {
  await Promise.all([quiet?.bw.close(), other?.bw.close()]);
  await cluster?.close();
});

/** All rows are in the L1 of the process that will be quiet, and it is served from. */
async function warm(): Promise<void> {
  await eventually(
    async () => {
      await quiet.cache.getMany(IDS).catch(() => undefined);
      return IDS.every((id) => quiet.cache.peek(id)?.n === n);
    },
    () => 'all is in L1',
    PATIENCE_MS,
  );
}

/** Acknowledged, however often it has to be asked for. */
async function acknowledged(invalidate: () => Promise<unknown>): Promise<void> {
  await eventually(
    () =>
      invalidate().then(
        () => true,
        () => false,
      ),
    () => 'it is acknowledged',
    PATIENCE_MS,
  );
}

/** From here on, one bound later, the L1 has no row of before: neither now nor when it is in time again. */
async function noneIsOld(): Promise<void> {
  const atMs = clock.now();
  const look = (): void => {
    const askedMs = clock.now();
    for (const id of IDS) {
      const seen = quiet.cache.peek(id);
      if (seen === undefined || seen === null || seen.n === n) continue;
      const lateMs = askedMs - atMs;
      assert.ok(lateMs <= BOUND_MS, `${id}: ${seen.n} served, ${n} was acknowledged ${lateMs} ms before`);
    }
  };
  await eventually(
    async () => {
      look();
      return clock.now() > atMs + 2 * BOUND_MS && (await quiet.bw.stats()).feed?.isInTime === true;
    },
    () => 'the L1 is in time again',
    PATIENCE_MS,
  );
  look();
}

/** From this very moment the L1 has no row of before, bound or no bound. */
function noneIsLeft(): void {
  for (const id of IDS) {
    const seen = quiet.cache.peek(id);
    assert.ok(seen === undefined || seen === null || seen.n === n, `${id}: ${seen?.n} served, ${n} was everywhere`);
  }
}

const others = (member: LiveMember): readonly LiveMember[] => cluster.alive.filter((one) => one !== member);

test('what another process deletes, tags and clears leaves it, whoever owns it', TIMEOUT, async () => {
  const byHand = new RespClient({ port: cluster.members[0]!.port, commandTimeoutMs: 60_000 });
  const changes = [
    () => Promise.all(IDS.map((id) => other.cache.delete(id))),
    () => other.bw.invalidate({ tags: ['all'] }),
    () => other.bw.invalidate({ namespaces: ['rows'] }),
    () => Promise.all(IDS.map((id) => other.cache.set(id, { n }))),
    () => byHand.command(['FLUSHALL']),
  ];
  try {
    for (const change of changes) {
      await warm();
      n += 1;
      await acknowledged(change);
      await noneIsOld();
    }
  } finally {
    await byHand.close();
  }
  const { feed } = await quiet.bw.stats();
  assert.ok(feed !== null && feed.records > 0 && !feed.isUnsupported);
});

test('a member gave its ranges away: their new owners tell somebody else', TIMEOUT, async () => {
  await warm();
  const member = cluster.ownerOf('rows:0')!;
  member.machine.leave(true);
  await cluster.ownedBy(others(member));
  n += 1;
  await acknowledged(() => Promise.all(IDS.map((id) => other.cache.delete(id))));
  await noneIsOld();
  member.machine.leave(false);
});

test('a member that owned nothing, and whom nobody follows, takes ranges over', TIMEOUT, async () => {
  const idle = cluster.members[0]!;
  idle.machine.leave(true);
  await cluster.ownedBy(others(idle));
  // The quiet process learns by its reads that two are left.
  await eventually(
    async () => {
      await warm();
      return (await quiet.bw.stats()).store.numbers?.['members'] === 2;
    },
    () => 'two members are left',
    PATIENCE_MS,
  );
  await warm();
  idle.machine.leave(false);
  const next = cluster.ownerOf('rows:0')!;
  next.machine.leave(true);
  await cluster.ownedBy(others(next));
  assert.ok(idle.machine.ownedCount > 0, 'it took some of them');
  n += 1;
  await acknowledged(() => Promise.all(IDS.map((id) => other.cache.delete(id))));
  await noneIsOld();
  next.machine.leave(false);
});

test('an owner that is cut off from the others does not know who changes what it has served', TIMEOUT, async () => {
  await cluster.settled();
  await warm();
  const member = cluster.ownerOf('rows:0')!;
  member.isCut = true;
  await cluster.ownedBy(others(member));
  n += 1;
  await acknowledged(() => Promise.all(IDS.map((id) => other.cache.delete(id))));
  await noneIsOld();
  await warm();
  member.isCut = false;
});

test(
  'wait everywhere: when it resolves no L1 has it any more, and it is acknowledged by whoever owns it by then',
  TIMEOUT,
  async () => {
    await cluster.settled();
    const keys = IDS.map((id) => `rows:${id}`);
    const everywhere = async (): Promise<void> => {
      for (const what of [{ keys }, { tags: ['all'] }, { namespaces: ['rows'] }]) {
        await warm();
        n += 1;
        await acknowledged(async () => {
          await other.bw.invalidate({ ...what, wait: 'everywhere' });
          noneIsLeft();
        });
        noneIsLeft();
      }
    };
    await everywhere();
    // Moments after it began to reign, the new owner knows nothing of who follows the old one.
    await warm();
    const member = cluster.ownerOf('rows:0')!;
    member.machine.leave(true);
    await cluster.ownedBy(others(member));
    n += 1;
    await acknowledged(() => other.bw.invalidate({ keys, wait: 'everywhere' }));
    noneIsLeft();
    await everywhere();
    member.machine.leave(false);
    await warm();
    const dying = cluster.ownerOf('rows:1')!;
    await dying.kill();
    n += 1;
    await acknowledged(() => other.bw.invalidate({ keys, wait: 'everywhere' }));
    noneIsLeft();
    await everywhere();
  },
);
