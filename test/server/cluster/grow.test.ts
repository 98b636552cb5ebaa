/**
 * A cluster that grows from three members to six and loses one again, over TCP, all in this process, while callers read, load and invalidate: whoever joins gets its share and no caller is given what was invalidated.
 *
 * What callers are told while ranges move (-TRYAGAIN, -MOVED is not for them: they ask the proxy ports) is counted and said, not judged.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Redis } from 'ioredis';
import { BreakwaterError } from '../../../src/base/errors.ts';
import { freePorts } from '../../../src/cli/children/ports.ts';
import { homesOf } from '../../../src/cluster/roster.ts';
import { STANDING_RULES } from '../../../src/cluster/standing.ts';
import { statusOf } from '../../../src/server/cluster/status.ts';
import { resolveConfig } from '../../../src/server/config.ts';
import { type RunningServer, startServer } from '../../../src/server/serve.ts';
import { eventually } from '../support.ts';

const TIMEOUT = { timeout: 300_000 };
const PATIENCE_MS = 120_000;
const RANGES = 16;
const BALANCE = { ...STANDING_RULES, stableMs: 400, flapLosses: 1_000_000 };
const SECRET = 'a secret of the test';

let ports: number[] = [];
let data = '';
const running: (RunningServer | null)[] = [];

before(async () => {
  ports = await freePorts(24);
  data = mkdtempSync(join(tmpdir(), 'bw-grow-'));
  await Promise.all([0, 1, 2].map((n) => start(n)));
}, TIMEOUT);
after(async () => {
  await Promise.all(running.map((server) => server?.close({ isLeaving: false })));
  rmSync(data, { recursive: true, force: true });
}, TIMEOUT);

function portsOf(n: number): readonly [port: number, http: number, link: number, proxy: number] {
  return ports.slice(4 * n, 4 * n + 4) as [number, number, number, number];
}

async function start(n: number, flags: Readonly<Record<string, string>> = {}): Promise<RunningServer> {
  const [port, http, link, proxy] = portsOf(n).map(String) as [string, string, string, string];
  const isFounder = n < 3;
  // The first seed is nobody: who joins asks the next one.
  const seeds = isFounder ? [0, 1, 2].map((each) => portsOf(each)[2]) : [portsOf(n)[1], portsOf(1)[2], portsOf(0)[2]];
  const list = seeds.map((each) => `127.0.0.1:${each}`).join(',');
  const facts: Record<string, string> = isFounder ? { ranges: String(RANGES), takeover: '3s' } : {};
  const { config } = resolveConfig({
    flags: {
      port,
      'http-port': http,
      'link-port': link,
      'proxy-port': proxy,
      join: list,
      memory: '16mb',
      ...facts,
      ...flags,
    },
    env: { BREAKWATER_CLUSTER_SECRET: SECRET },
    file: null,
  });
  const server = await startServer(config, { version: '0.0.0', balance: BALANCE });
  running[n] = server;
  return server;
}

const alive = (): RunningServer[] => running.filter((server) => server !== null);
const idOf = ({ member }: RunningServer): string => member!.config.setup.self;

/** Everybody knows this roster, and every range is where it should be, with a copy. */
async function isHome(members: number): Promise<void> {
  await eventually(
    () =>
      alive().every(({ member }) => {
        const { core, isOk } = member!.machine;
        const status = statusOf(member!.parts);
        return (
          isOk &&
          core.membership.ids.length === members &&
          status.unowned === 0 &&
          status.astray === 0 &&
          core.views.chosen.every(({ inSync }) => inSync.length === 2)
        );
      }),
    () =>
      `${members} members, every range at home; ${JSON.stringify(alive().map(({ member }) => statusOf(member!.parts).astray))}`,
    PATIENCE_MS,
  );
}

/** Callers over one table of rows: what they read is checked against what was acknowledged before they asked. */
class Callers {
  readonly counts = { reads: 0, hits: 0, fills: 0, invalidations: 0, errors: new Map<string, number>() };
  readonly wrong: string[] = [];
  readonly #rows = Array.from({ length: 60 }, () => ({ version: 1, acknowledged: 1, isBusy: false }));
  readonly #clients: Redis[];
  #isStopped = false;
  readonly #done: Promise<void>[];

  constructor(proxies: readonly number[]) {
    this.#clients = proxies.map((port) => new Redis({ port, host: '127.0.0.1' }));
    for (const client of this.#clients) client.on('error', () => {});
    this.#done = this.#clients.map((client, index) => this.#run(client, index));
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#done);
    for (const client of this.#clients) client.disconnect();
  }

  async #run(client: Redis, index: number): Promise<void> {
    for (let turn = index; !this.#isStopped; turn += 7) {
      const at = turn % this.#rows.length;
      if (turn % 5 === 0) await this.#invalidate(client, at);
      else await this.#read(client, at);
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
  }

  async #read(client: Redis, at: number): Promise<void> {
    const row = this.#rows[at]!;
    const least = row.acknowledged;
    const reply = await this.#ask(client, 'BW.GET', `row:${at}`, 'LEASE', '1');
    if (reply === undefined) return;
    this.counts.reads += 1;
    if (Array.isArray(reply) && reply.length === 3) {
      this.counts.hits += 1;
      if (Number(reply[0]) < least)
        this.wrong.push(`row ${at}: ${reply[0]} was read, ${least} was acknowledged before`);
      return;
    }
    const token = Array.isArray(reply) ? reply[0] : null;
    if (token === null) return;
    const { version } = row;
    const stored = await this.#ask(client, 'BW.SET', `row:${at}`, String(version), 'LEASE', String(token));
    if (stored !== undefined) this.counts.fills += 1;
  }

  async #invalidate(client: Redis, at: number): Promise<void> {
    const row = this.#rows[at]!;
    if (row.isBusy) return;
    row.isBusy = true;
    row.version += 1;
    const { version } = row;
    while (!this.#isStopped) {
      if ((await this.#ask(client, 'DEL', `row:${at}`)) !== undefined) {
        row.acknowledged = version;
        this.counts.invalidations += 1;
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    row.isBusy = false;
  }

  /** undefined: an error, which is counted. */
  async #ask(client: Redis, command: string, ...args: string[]): Promise<unknown> {
    try {
      return await client.call(command, ...args);
    } catch (error) {
      const code = /^[A-Z]+/.exec(error instanceof Error ? error.message : String(error))?.[0] ?? 'other';
      this.counts.errors.set(code, (this.counts.errors.get(code) ?? 0) + 1);
      return undefined;
    }
  }
}

test(
  'from three to six under load, one forgotten: no wrong answer, and no more moved than the share',
  TIMEOUT,
  async (t) => {
    await isHome(3);
    const callers = new Callers([0, 1, 2].map((n) => portsOf(n)[3]));
    for (const n of [3, 4, 5]) {
      const { membership } = running[0]!.member!.machine.core;
      const before = membership.known;
      const server = await start(n, n === 3 ? { data } : {});
      const after = server.member!.machine.core.membership.known;
      assert.equal(after.members.length, n + 1);
      const moved = Array.from({ length: RANGES }, (_, range) => range).filter(
        (range) => homesOf(before, range)[0] !== homesOf(after, range)[0],
      ).length;
      assert.ok(
        moved > 0 && moved <= (1.2 / (n + 1)) * RANGES,
        `${moved} of ${RANGES} primaries move to member ${n + 1}`,
      );
      await isHome(n + 1);
      await eventually(
        () => server.member!.machine.ownedCount > 0,
        () => 'the newcomer owns its share',
        PATIENCE_MS,
      );
    }

    // A voter is not forgotten, nor who holds anything and was not drained.
    const asked = new Redis({ port: portsOf(0)[0], host: '127.0.0.1' });
    asked.on('error', () => {});
    const last = running[5]!;
    const answer = async (verb: string, id: string): Promise<string> => {
      return String(await asked.call('BW.MEMBER', verb, id).catch((error) => error));
    };
    /** Without a majority for a moment a member says so, whatever it is asked. */
    const answers = (verb: string, id: string, expected: RegExp): Promise<void> =>
      eventually(
        async () => expected.test(await answer(verb, id)),
        () => `${verb} is answered ${expected}`,
        PATIENCE_MS,
      );
    await answers('FORGET', idOf(running[1]!), /ISVOTER/);
    await answers('FORGET', idOf(last), /NOTDRAINED/);
    last.member!.machine.core.isDrained = true;
    // As `breakwater forget` does: again and again, since what was begun may find no majority.
    await eventually(
      async () => {
        if (alive().every((each) => each === last || each.member!.machine.core.membership.ids.length === 5))
          return true;
        await answer('FORGET', idOf(last));
        return false;
      },
      () => 'the drained member is forgotten, and everybody knows',
      PATIENCE_MS,
    );
    await eventually(
      () => !last.member!.isOk,
      () => 'nobody listens to it any more',
      PATIENCE_MS,
    );
    running[5] = null;
    await last.close({ isLeaving: false });
    await assert.rejects(
      start(5),
      (error) => error instanceof BreakwaterError && error.code === 'MEMBER_REFUSED' && /forgotten/.test(error.message),
    );
    await answers('PARDON', idOf(last), /^OK$/);
    asked.disconnect();
    await isHome(5);
    await callers.stop();

    const { reads, hits, fills, invalidations, errors } = callers.counts;
    t.diagnostic(
      `${reads} reads, ${hits} hits, ${fills} fills, ${invalidations} invalidations; errors: ${JSON.stringify([...errors])}`,
    );
    assert.deepEqual(callers.wrong, []);
    assert.ok(hits > 0 && invalidations > 0);

    // Who was let in and has a directory is in again at once, although nobody is asked.
    await running[3]!.close();
    running[3] = null;
    const again = await start(3, { data, join: `127.0.0.1:${portsOf(3)[1]}` });
    assert.equal(again.member!.machine.core.membership.ids.length, 5);
  },
);
