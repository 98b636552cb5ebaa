/** What is measured of a fleet: traffic at rest, how fast news travels, how often it is wrong. Times are virtual: the same on every machine. */
import type { SwimRules } from '../../src/cluster/swim/rules.ts';
import { Fleet, type Host, memberOf } from './fleet.ts';

export interface Traffic {
  readonly messagesPerSecond: number;
  readonly bytesPerSecond: number;
}

/** Each member's own, mean over the fleet, of what it sends. */
export function trafficAtRest(members: number, seed: number, seconds = 60): Traffic {
  const fleet = new Fleet({ members, seed });
  // Everybody tells everybody of itself at first.
  fleet.run(30_000);
  const hosts = fleet.live;
  const before = sums(hosts);
  fleet.run(30_000 + 1000 * seconds);
  const now = sums(hosts);
  return {
    messagesPerSecond: (now.messages - before.messages) / hosts.length / seconds,
    bytesPerSecond: (now.bytes - before.bytes) / hosts.length / seconds,
  };
}

function sums(hosts: readonly Host[]): { readonly messages: number; readonly bytes: number } {
  return {
    messages: hosts.reduce((sum, host) => sum + host.sentMessages, 0),
    bytes: hosts.reduce((sum, host) => sum + host.sentBytes, 0),
  };
}

export interface CrashTimes {
  /** From the crash until the first suspects, until the first knows it dead, until the last does; milliseconds, mean over the crashes. */
  readonly suspectedMs: number;
  readonly firstMs: number;
  readonly allMs: number;
  /** Of the slowest crash. */
  readonly worstAllMs: number;
}

export function crashTimes(
  members: number,
  seed: number,
  options: { readonly loss?: number; readonly crashes?: number } = {},
): CrashTimes {
  const { loss = 0, crashes = 5 } = options;
  const fleet = new Fleet({ members, seed, loss });
  fleet.run(20_000);
  const found: { suspected: number; first: number; all: number }[] = [];
  for (let n = 0; n < crashes; n += 1) {
    const { live } = fleet;
    const victim = live[Math.floor(fleet.nextFloat() * live.length)]!;
    const startMs = fleet.nowMs;
    const from = fleet.news.length;
    fleet.crash(victim);
    const knows = new Set<string>();
    let suspected = Number.NaN;
    let first = Number.NaN;
    let all = Number.NaN;
    const others = fleet.live.length;
    for (let at = from; fleet.nowMs < startMs + 120_000 && knows.size < others; ) {
      fleet.run(fleet.nowMs + 50);
      for (; at < fleet.news.length; at += 1) {
        const news = fleet.news[at]!;
        if (news.about !== victim.member.id) continue;
        if (Number.isNaN(suspected) && news.state === 'suspect') suspected = news.atMs - startMs;
        if (news.state !== 'dead') continue;
        if (Number.isNaN(first)) first = news.atMs - startMs;
        knows.add(news.at);
        all = news.atMs - startMs;
      }
    }
    found.push({ suspected, first, all: knows.size === others ? all : Number.POSITIVE_INFINITY });
    fleet.run(fleet.nowMs + 5_000);
  }
  const mean = (read: (each: (typeof found)[number]) => number): number =>
    found.reduce((sum, each) => sum + read(each), 0) / found.length;
  return {
    suspectedMs: mean((each) => each.suspected),
    firstMs: mean((each) => each.first),
    allMs: mean((each) => each.all),
    worstAllMs: Math.max(...found.map((each) => each.all)),
  };
}

export interface Falsehoods {
  /** Members that are well and that somebody thought dead, at least once. */
  readonly victims: number;
  /** Pairs of such a member and one who thought it dead. */
  readonly beliefs: number;
  /** Members that stand still again and again and were thought dead, at least once: they do not answer for seconds, so that is hardly wrong. */
  readonly stalledThoughtDead: number;
  /** Live members of which anybody thinks so still at the end, half a minute after all is well again. */
  readonly remaining: number;
}

/** Two minutes with loss, or with members that stand still again and again. Nobody dies. */
export function falsehoods(
  members: number,
  seed: number,
  trouble: { readonly loss?: number; readonly stalled?: number; readonly stallMs?: number },
  rules: Partial<SwimRules> = {},
): Falsehoods {
  const { loss = 0, stalled = 0, stallMs = 0 } = trouble;
  const fleet = new Fleet({ members, seed, loss, rules });
  fleet.run(20_000);
  const hosts = fleet.live;
  // Each of them stands still, wakes for a moment, and stands still again: a machine without CPU.
  for (const host of hosts.slice(0, stalled)) {
    for (let atMs = 20_000 + fleet.nextFloat() * 1000; atMs < 140_000; ) {
      const forMs = stallMs * (0.5 + fleet.nextFloat());
      fleet.at(atMs, () => fleet.stall(host, forMs));
      atMs += forMs + 1 + fleet.nextFloat() * 10;
    }
  }
  const from = fleet.news.length;
  fleet.run(140_000);
  const slow = new Set(hosts.slice(0, stalled).map(({ member }) => member.id));
  const dead = fleet.news.slice(from).filter(({ state }) => state === 'dead');
  const wrong = dead.filter(({ about }) => !slow.has(about));
  fleet.run(200_000);
  const remaining = new Set<string>();
  for (const host of hosts) {
    for (const [id, row] of host.swim.rows)
      if (row.state === 'dead' && fleet.hosts.get(id)?.isDown === false) remaining.add(id);
  }
  return {
    victims: new Set(wrong.map(({ about }) => about)).size,
    beliefs: new Set(wrong.map(({ at, about }) => `${at} ${about}`)).size,
    stalledThoughtDead: new Set(dead.filter(({ about }) => slow.has(about)).map(({ about }) => about)).size,
    remaining: remaining.size,
  };
}

/** From the start of a newcomer that knows one other until everybody knows it; milliseconds. */
export function joinMs(members: number, seed: number): number {
  const fleet = new Fleet({ members, seed });
  fleet.run(20_000);
  const newcomer = memberOf(members);
  const startMs = fleet.nowMs;
  const from = fleet.news.length;
  fleet.start(newcomer, [memberOf(0)]);
  const knows = new Set<string>();
  for (let at = from; fleet.nowMs < startMs + 120_000; ) {
    fleet.run(fleet.nowMs + 20);
    for (; at < fleet.news.length; at += 1) {
      const { about, at: who, state } = fleet.news[at]!;
      if (about === newcomer.id && state === 'alive') knows.add(who);
    }
    if (knows.size === members) return fleet.nowMs - startMs;
  }
  return Number.POSITIVE_INFINITY;
}
