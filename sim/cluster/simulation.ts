/**
 * One schedule of the cluster from beginning to end: it forms, runs while things break (the safety phase: nothing wrong may ever be said), then everything is healed and it must come together
 * (the liveness phase: 5 s).
 */

import { sameBallot } from '../../src/base/ballot.ts';
import { Datagrams } from '../world/datagrams.ts';
import { World } from '../world/world.ts';
import { Client } from './clients.ts';
import { ETCD_NAME, formedEtcd } from './etcd-side.ts';
import type { Host } from './host.ts';
import { Judge } from './judge.ts';
import { LinkNews } from './link-news.ts';
import { MemberHost, type Scene } from './member-host.ts';
import { Keys, NodeHost } from './node-host.ts';
import type { FaultKind } from './plan.ts';
import { describeFault, type Fault, type Plan } from './plan.ts';

const CALM = { loss: 0, duplication: 0, leastMs: 0.1, mostMs: 2 };
const SAMPLE_MS = 40;
const CHECK_MS = 1000;
/** After the heal. */
export const HEALED_MS = 5000;
const LAST_READS_MS = 1500;
/** Between two tries to be let in, or to have somebody forgotten. */
const KNOCK_MS = 350;
/** After the start of a member: when links to it open. */
const GREETINGS_MS = [1, 400, 1500, 4000];

export interface Counts {
  readonly reads: number;
  readonly hits: number;
  readonly copyHits: number;
  readonly gutterHits: number;
  readonly misses: number;
  readonly unserved: number;
  readonly acknowledged: number;
  readonly unacknowledged: number;
  readonly fills: number;
  readonly refusedFills: number;
  readonly reigns: number;
  readonly takeovers: number;
  readonly emptyReigns: number;
  /** Ranges that an owner handed over by itself: sent home, moved, given away. */
  readonly handOvers: number;
  /** Copies that became whole: that left the set and went on from where they were; from nothing; of a new reign, with what they had. */
  readonly partialResyncs: number;
  readonly fullResyncs: number;
  readonly comparedCopies: number;
  /** Members that were let in, and that were forgotten. */
  readonly joins: number;
  readonly forgotten: number;
  /** Changes of who votes. */
  readonly revotes: number;
  readonly faults: number;
  readonly messages: number;
  readonly events: number;
  readonly virtualMs: number;
}

export interface Report {
  readonly seed: number;
  readonly violations: readonly string[];
  readonly hash: string;
  readonly counts: Counts;
  readonly longestChain: number;
  readonly lines: readonly string[];
}

export class Simulation {
  readonly plan: Plan;
  readonly world: World;
  readonly scene: Scene;
  readonly judge: Judge;
  readonly hosts: Host[];
  readonly clients: Client[];
  /** null: the crash fast path is off. */
  readonly #news: LinkNews | null;
  #faults = 0;
  #isHealed = false;

  constructor(plan: Plan, isRecording = false) {
    this.plan = plan;
    this.world = new World(plan.seed, isRecording);
    const { world } = this;
    const { setup } = plan;
    const datagrams = new Datagrams(world, { ...CALM });
    const keys = new Keys(setup);
    this.hosts = Array.from({ length: setup.members + setup.joiners }, (_, index) =>
      setup.memory === 'node' ? new NodeHost(world, index, keys) : new MemberHost(world, index, setup),
    );
    this.judge = new Judge(world, setup, this.hosts);
    const etcd = setup.coordination === 'etcd' ? formedEtcd(this.judge, setup.ranges) : null;
    this.scene = { world, datagrams, setup, hosts: this.hosts, judge: this.judge, etcd };
    for (const host of this.hosts) host.attach(this.scene);
    this.#news = setup.isFast ? new LinkNews(world, datagrams, this.hosts) : null;
    const busy = new Set<number>();
    this.clients = Array.from({ length: setup.clients }, (_, index) => new Client(this.scene, index, plan.seed, busy));
  }

  run(): Report {
    const { world, plan } = this;
    for (const host of this.hosts.slice(0, plan.setup.members)) world.after(world.between(0, 100), () => host.start());
    for (const client of this.clients) client.start();
    for (const fault of plan.faults) world.at(fault.atMs, () => this.#strike(fault));
    const healMs = plan.runMs;
    world.at(healMs, () => this.#heal());
    this.#every(SAMPLE_MS, () => this.judge.sample());
    this.#every(CHECK_MS, () => this.#check());
    const untilMs = healMs + HEALED_MS;
    world.runPure(untilMs, () => this.judge.violations.length > 0);
    if (this.judge.violations.length === 0) this.#end(untilMs);
    return this.#report();
  }

  #end(untilMs: number): void {
    const { world, judge } = this;
    for (const client of this.clients) {
      client.isStopped = true;
      for (const [key, sinceMs] of client.pending) {
        if (world.nowMs - sinceMs > HEALED_MS - 500)
          judge.violate(6, `${client.name}: k${key} is not acknowledged since ${sinceMs.toFixed(0)}`);
      }
    }
    // Writes under way come to an end before memories are compared.
    world.runPure(untilMs + 300);
    judge.converged();
    const keys = judge.committed.length;
    for (const client of this.clients) {
      for (let key = 0; key < keys; key += 1) client.readSurely(key, LAST_READS_MS);
    }
    world.runPure(untilMs + 300 + LAST_READS_MS + 100);
  }

  #every(everyMs: number, act: () => void): void {
    this.world.after(everyMs, () => {
      act();
      this.#every(everyMs, act);
    });
  }

  /** (8) Everything within its bounds. */
  #check(): void {
    for (const host of this.hosts) {
      try {
        host.invariants();
      } catch (error) {
        this.judge.violate(8, `${host.name}: ${(error as Error).message}`);
      }
    }
  }

  // -- faults

  #strike(fault: Fault): void {
    const { world } = this;
    const { datagrams } = this.scene;
    if (this.#isHealed) return;
    this.#faults += 1;
    world.trace.note(9, fault.members[0] ?? 0, fault.forMs);
    world.trace.say(() => `---- ${describeFault(fault).trim()}`);
    const { members, forMs, amount } = fault;
    const hosts = members.map((index) => this.hosts[index]!).filter((host) => host !== undefined);
    const later = (act: () => void): void => {
      world.after(forMs, () => {
        if (!this.#isHealed) act();
      });
    };
    const cutAll = (ways: readonly (readonly [string, string])[]): void => {
      for (const [from, to] of ways) datagrams.cut(from, to);
      later(() => {
        for (const [from, to] of ways) datagrams.heal(from, to);
      });
    };
    const [host] = hosts;
    switch (fault.kind satisfies FaultKind) {
      case 'loss':
        datagrams.weather.loss = amount;
        later(() => {
          datagrams.weather.loss = 0;
        });
        break;
      case 'duplication':
        datagrams.weather.duplication = amount;
        later(() => {
          datagrams.weather.duplication = 0;
        });
        break;
      case 'spread':
        datagrams.weather.mostMs = amount;
        later(() => {
          datagrams.weather.mostMs = CALM.mostMs;
        });
        break;
      case 'slow':
        datagrams.slow(host!.name, amount);
        later(() => datagrams.slow(host!.name, 0));
        break;
      case 'one-way':
        if (hosts.length > 1) cutAll([[hosts[0]!.name, hosts[1]!.name]]);
        break;
      case 'isolate':
        cutAll([
          ...this.#ways(
            hosts,
            this.hosts.filter((each) => each !== host),
          ),
          ...this.#waysToEtcd(hosts),
        ]);
        break;
      case 'halves':
        cutAll([
          ...this.#ways(
            hosts,
            this.hosts.filter((each) => !hosts.includes(each)),
          ),
          ...this.#waysToEtcd(hosts),
        ]);
        break;
      case 'ring':
        // Everybody talks with its two neighbours alone.
        cutAll(
          hosts.flatMap((one, at) =>
            hosts
              .filter((_, other) => {
                const apart = Math.abs(at - other);
                return apart > 1 && apart < hosts.length - 1;
              })
              .map((other) => [one.name, other.name] as const),
          ),
        );
        break;
      case 'pause':
      case 'stall': {
        const { machine } = host!;
        machine.pause();
        later(() => machine.resume());
        break;
      }
      case 'crash':
        for (const each of hosts) {
          if (!each.isUp || (each.forgets && !this.#mayForget(each))) continue;
          world.trace.say(() => `${each.name} dies`);
          each.crash();
          this.#tellOfDeath(each);
          later(() => {
            if (!each.isUp) this.#begin(each);
          });
        }
        break;
      case 'reset':
        for (const each of hosts) if (each.isUp) this.#news?.reset(each);
        break;
      case 'quit':
        if (!host!.isUp || (host!.forgets && !this.#mayForget(host!))) break;
        this.#quit(host!, amount, forMs);
        break;
      case 'jump':
        for (const each of hosts) if (each.isUp) each.machine.jump(amount);
        break;
      case 'leave': {
        const { core } = host!;
        if (core === null) break;
        core.isLeaving = true;
        later(() => {
          core.isLeaving = false;
        });
        break;
      }
      case 'drain': {
        const { core } = host!;
        if (core === null) break;
        core.isDrained = true;
        later(() => {
          core.isDrained = false;
        });
        break;
      }
      case 'move': {
        // Whoever owns it is told; the first of the others is to have it.
        const range = (amount - 1) % this.plan.setup.ranges;
        const owner = hosts.find((each) => each.core?.primaries[range] != null && each.machine.state === 'up');
        const to = hosts.find((each) => each !== owner);
        if (owner === undefined || to === undefined) break;
        owner.core!.move(range, to.id, owner.machine.clock.now());
        break;
      }
      case 'rebalance':
        for (const each of this.hosts) {
          if (each.isUp && each.machine.state === 'up') each.core!.rebalance(each.machine.clock.now());
        }
        break;
      case 'join':
        this.#knock(host!);
        break;
      case 'forget':
        this.#forget(hosts, amount === 1, world.nowMs + forMs);
        break;
      case 'etcd-cut':
        cutAll(this.#waysToEtcd(hosts));
        break;
      case 'etcd-deaf':
        cutAll(hosts.map(({ name }) => [name, ETCD_NAME]));
        break;
      case 'etcd-mute':
        cutAll(hosts.map(({ name }) => [ETCD_NAME, name]));
        break;
      case 'etcd-slow':
        datagrams.slow(ETCD_NAME, amount);
        later(() => datagrams.slow(ETCD_NAME, 0));
        break;
      case 'voters':
        this.#revote(hosts, amount, world.nowMs + forMs);
        break;
      case 'client-cut':
        cutAll(
          this.clients
            .slice(0, 1)
            .flatMap((client) =>
              hosts.flatMap((each) => [[client.name, each.name] as const, [each.name, client.name] as const]),
            ),
        );
        break;
    }
  }

  /** Who was let in while it was down, or before it ever was up, is told so. */
  #begin(host: Host): void {
    const { roster } = this.judge;
    if (host.index >= this.plan.setup.members && roster !== null) host.enter(roster);
    else host.start();
    this.#news?.started(host);
    if (this.plan.setup.votersChange)
      for (const afterMs of GREETINGS_MS) this.world.after(afterMs, () => this.#greet(host));
  }

  /** Its machine lives in two of three cases, and says that nobody listens. */
  #tellOfDeath(host: Host): void {
    if (this.#news === null) return;
    if (this.world.chance(0.67)) this.#news.died(host);
    else this.#news.lost(host);
  }

  /** It ends in its order: it renounces what it has, closes its port, is asked by clients for a while still, and dies; and is started again. A program that stands still does none of it. */
  #quit(host: Host, livesMs: number, downMs: number): void {
    const { world } = this;
    const { machine } = host;
    if (machine.state !== 'up') return;
    world.trace.say(() => `${host.name} ends`);
    host.retire();
    this.#news?.quit(host);
    world.after(livesMs, () => {
      if (machine !== host.machine || !host.isUp) return;
      world.trace.say(() => `${host.name} dies`);
      host.crash();
      world.after(downMs, () => {
        if (!this.#isHealed && !host.isUp) this.#begin(host);
      });
    });
  }

  /** Links to it open: who began anew without a disk knows nobody but who formed the cluster. */
  #greet(host: Host): void {
    for (const other of this.hosts) {
      const roster = other.core?.membership.known;
      if (other === host || roster === undefined || roster.ballot.epoch === 0 || other.machine.state !== 'up') continue;
      this.scene.datagrams.send(other.name, host.name, () => host.receive(other.id, { kind: 'roster-known', roster }));
    }
  }

  /** One takes another's place among the voters, one more votes, or one less: somebody asks until it is so, or given up. */
  #revote(hosts: readonly Host[], amount: number, untilMs: number): void {
    const { world, judge } = this;
    const voters = this.#voters();
    const remove = amount === 2 ? null : (hosts.find(({ id }) => voters.includes(id))?.id ?? null);
    const coming = hosts.find((host) => judge.isMember(host) && !voters.includes(host.id))?.id ?? null;
    const add = amount === 3 ? null : coming;
    const again = (): void => {
      if (this.#isHealed || world.nowMs >= untilMs) return;
      const up = hosts.filter((each) => each.machine.state === 'up' && each.core !== null);
      const asked = up[Math.floor(world.between(0, up.length))];
      const refused = asked?.core?.changeRoster({ kind: 'voters', add, remove }, asked.machine.clock.now());
      if (refused !== 'done') world.after(KNOCK_MS, again);
    };
    world.trace.say(() => `voters are to change: ${add ?? '-'} for ${remove ?? '-'}`);
    again();
  }

  #voters(): readonly string[] {
    const { seats = null } = this.judge.roster ?? {};
    return seats?.voters ?? this.hosts.slice(0, this.plan.setup.voters).map(({ id }) => id);
  }

  /** It asks somebody to be let in, again and again, until it is told the roster with itself in it. */
  #knock(host: Host): void {
    const { world, judge } = this;
    const { datagrams } = this.scene;
    if (this.#isHealed || host.isUp) return;
    const up = this.hosts.filter((each) => each.isUp && judge.isMember(each));
    const seed = up[Math.floor(world.between(0, up.length))];
    if (seed !== undefined) {
      datagrams.send(host.name, seed.name, () =>
        seed.machine.deliver(() => {
          const { core } = seed;
          if (core === null) return;
          const { known } = core.membership;
          if (known.members.some(({ id }) => id === host.id)) {
            datagrams.send(seed.name, host.name, () => host.enter(known));
            return;
          }
          const member = { id: host.id, host: host.name, linkPort: 1, zone: '', weight: 1 };
          core.changeRoster({ kind: 'add', member }, seed.machine.clock.now());
        }),
      );
    }
    world.after(KNOCK_MS, () => this.#knock(host));
  }

  /** The first of these that is a member is drained, or dies; then somebody asks that it be forgotten until it is, or it is given up. Its process goes on as if it knew nothing. */
  #forget(hosts: readonly Host[], isDrained: boolean, untilMs: number): void {
    const { world, judge } = this;
    const victim = hosts.find((each) => each.isUp && judge.isMember(each));
    if (victim === undefined) return;
    world.trace.say(() => `${victim.name} is to be forgotten`);
    if (isDrained) victim.core!.isDrained = true;
    else if (victim.forgets && !this.#mayForget(victim)) return;
    else {
      victim.crash();
      this.#tellOfDeath(victim);
    }
    const again = (): void => {
      if (this.#isHealed) return;
      if (!judge.isMember(victim)) {
        if (victim.core !== null) victim.core.isDrained = false;
        return;
      }
      if (world.nowMs >= untilMs) {
        if (victim.core !== null) victim.core.isDrained = false;
        else this.#begin(victim);
        return;
      }
      if (isDrained && victim.core !== null) victim.core.isDrained = true;
      const others = this.hosts.filter((each) => each !== victim && each.machine.state === 'up');
      const asked = others[Math.floor(world.between(0, others.length))];
      const refused = asked?.core?.changeRoster({ kind: 'forget', id: victim.id }, asked.machine.clock.now());
      // Its vote is given to somebody else first.
      if (refused === 'voter') this.#revote([victim, ...others], 1, world.nowMs + 1);
      world.after(KNOCK_MS, again);
    };
    again();
  }

  /** Of the voters without a disk fewer than a majority may be without memory at a time: else it is gone, and the cluster with it. */
  #mayForget(host: Host): boolean {
    if (this.plan.setup.votersChange) return this.#sets().every((set) => this.#mayForgetIn(set, host));
    const { voters } = this.plan.setup;
    const without = this.hosts
      .slice(0, voters)
      .filter(
        (host) =>
          host.forgets &&
          (host.core === null || host.core.voter?.phase === 'recovering' || this.#news?.hasQuit(host) === true),
      ).length;
    return without + 1 <= voters - (Math.floor(voters / 2) + 1);
  }

  /** The voters; and those before, as long as what they agreed upon is not known to all that vote now. */
  #sets(): (readonly string[])[] {
    const { seats = null } = this.judge.roster ?? {};
    if (seats === null) return [this.#voters()];
    const isSettled = seats.voters.every((id) => {
      const voter = this.hosts.find((host) => host.id === id)!.core?.voter;
      return voter?.phase === 'voting' && sameBallot(voter.set, seats.since);
    });
    return isSettled ? [seats.voters] : [seats.voters, seats.before];
  }

  #mayForgetIn(set: readonly string[], host: Host): boolean {
    if (!set.includes(host.id)) return true;
    const without = this.hosts.filter((each) => {
      if (each === host || !set.includes(each.id) || !each.forgets) return false;
      // Who has not heard yet that it votes will have to recover too.
      return (each.core?.voter ?? null) === null || each.core!.voter!.phase === 'recovering';
    }).length;
    return without + 1 <= set.length - (Math.floor(set.length / 2) + 1);
  }

  #ways(some: readonly Host[], others: readonly Host[]): [string, string][] {
    return some.flatMap((one) =>
      others.flatMap((other): [string, string][] => [
        [one.name, other.name],
        [other.name, one.name],
      ]),
    );
  }

  #waysToEtcd(hosts: readonly Host[]): [string, string][] {
    return hosts.flatMap(({ name }): [string, string][] => [
      [name, ETCD_NAME],
      [ETCD_NAME, name],
    ]);
  }

  #heal(): void {
    this.#isHealed = true;
    this.world.trace.say(() => '---- everything is healed');
    this.scene.datagrams.healAll(CALM);
    for (const host of this.hosts) {
      if (host.isUp && this.#news?.hasQuit(host) === true) host.crash();
      if (host.isUp) host.machine.resume();
      else if (this.judge.isMember(host)) this.#begin(host);
      if (host.core !== null) {
        host.core.isLeaving = false;
        host.core.isDrained = false;
        // What is to come together is not to be taken apart meanwhile.
        host.core.homing.isOn = false;
      }
      if (this.plan.setup.votersChange) this.#greet(host);
    }
  }

  #report(): Report {
    const { world, judge, scene, plan } = this;
    const { longestChain, ...counts } = judge.counts;
    return {
      seed: plan.seed,
      violations: judge.violations,
      hash: world.trace.hash,
      counts: {
        ...counts,
        forgotten: judge.roster?.forgotten.length ?? 0,
        faults: this.#faults,
        messages: scene.datagrams.sent,
        events: world.events,
        virtualMs: world.nowMs,
      },
      longestChain,
      lines: world.trace.lines,
    };
  }
}
