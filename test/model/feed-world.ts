/**
 * A small world for the invalidation feed: nodes that own ranges, followers with an L1 each, a network that loses, repeats,
 * reorders, delays and cuts, clocks that run up to 1 % wrong and start an hour apart, nodes that forget everything and come
 * back, ranges that move. One seed reproduces a run. `true time` is the world's; nobody in it can read it.
 *
 * The checker, at each answer that an L1 gives, at true time T, with a value that the i-th invalidation of its key made old:
 *
 *   1. that invalidation was not acknowledged `everywhere` before T
 *   2. that invalidation happened at most one bound ago (by a clock that may be 1 % slow)
 *
 * A safety phase with faults, then everything is healed and the liveness phase begins: every follower is in time on every
 * range, every wait has ended.
 */

import { above, type Ballot, compareBallots } from '../../src/base/ballot.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { CUT, type FeedOptions, InvalidationFeed, PAUSED, type Subscriber } from '../../src/freshness/feed.ts';
import { DRIFT, NAMESPACE } from '../../src/freshness/feed-kinds.ts';
import type { FeedRecord } from '../../src/freshness/feed-ring.ts';
import { FeedFollower, type FollowerEffect, type FollowerOptions } from '../../src/freshness/follower.ts';

export interface WorldOptions {
  readonly seed: number;
  readonly faultyMs?: number;
  readonly healedMs?: number;
  /** Messages on an open link may vanish, repeat and overtake, which TCP would not do. Default: by the seed. */
  readonly lossy?: boolean;
  readonly makeFeed?: (options: FeedOptions) => InvalidationFeed;
  readonly makeFollower?: (options: FollowerOptions, clock: () => number) => FeedFollower;
  /** Planted bugs of the driver. */
  readonly restartedRunKeepsItsBallot?: boolean;
  readonly takeoverForgetsOldFollowers?: boolean;
}

export interface WorldReport {
  readonly violations: string[];
  readonly served: number;
  readonly reads: number;
  readonly everywhere: number;
  readonly worstStaleMs: number;
  /** Of all doors and answers: two runs of one seed agree. */
  readonly trace: number;
  readonly counts: Readonly<Record<string, number>>;
}

const BOUND_MS = 250;
const RANGES = 4;
const KEYS = 8;
const TAGS = 3;
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

interface Clock {
  offsetMs: number;
  readonly rate: number;
}

interface Node {
  readonly index: number;
  readonly clock: Clock;
  feed: InvalidationFeed;
  up: boolean;
  runs: number;
  readonly sessions: Map<number, Subscriber>;
}

interface Entry {
  readonly version: number;
  readonly stamp: number;
  readonly tags: readonly string[];
}

interface Client {
  readonly index: number;
  readonly clock: Clock;
  readonly follower: FeedFollower;
  readonly l1: Map<number, Entry>;
}

interface Link {
  readonly id: number;
  readonly client: Client;
  readonly node: Node;
  /** Seen from each end: a cut is noticed at different times. */
  open: boolean;
  cut: boolean;
  readonly lastArrival: [number, number];
}

interface Fact {
  readonly happenedMs: number;
  everywhereMs: number;
}

interface Wait {
  readonly facts: readonly Fact[];
  /** Nodes that have not said "everywhere" yet. */
  readonly nodes: Set<number>;
}

export class FeedWorld {
  readonly #random: SeededRandom;
  readonly #options: WorldOptions;
  readonly #lossy: boolean;
  readonly #events: { atMs: number; order: number; run: () => void }[] = [];
  readonly #nodes: Node[] = [];
  readonly #clients: Client[] = [];
  readonly #links = new Map<number, Link>();
  /** Per key: what happened to it; its version is the length. */
  readonly #facts: Fact[][] = Array.from({ length: KEYS }, () => []);
  readonly #waits = new Map<number, Wait>();
  readonly #owner: (Node | null)[] = new Array<Node | null>(RANGES).fill(null);
  readonly #ballot: Ballot[] = Array.from({ length: RANGES }, () => ({ epoch: 1, node: '' }));
  readonly #record: FeedRecord = {
    seq: 0,
    range: 0,
    ballot: { epoch: 0, node: '' },
    number: 0,
    kind: 0,
    bytes: new Uint8Array(0),
    start: 0,
    length: 0,
  };
  #nowMs = 10;
  #order = 0;
  #lastLink = 0;
  #lastWait = 0;
  #faulty = true;
  #trace = 0;
  #served = 0;
  #reads = 0;
  #everywhere = 0;
  #worstStaleMs = 0;
  readonly #violations: string[] = [];

  constructor(options: WorldOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
    this.#lossy = options.lossy ?? this.#chance(0.5);
    for (let index = 0; index < 2; index += 1) {
      const clock = this.#newClock();
      const node: Node = { index, clock, feed: undefined as never, up: false, runs: 0, sessions: new Map() };
      this.#nodes.push(node);
      this.#start(node);
    }
    for (let range = 0; range < RANGES; range += 1) this.#give(range, this.#nodes[range % 2]!);
    for (let index = 0; index < 3; index += 1) {
      const clock = this.#newClock();
      const settings: FollowerOptions = {
        ranges: RANGES,
        boundMs: BOUND_MS,
        rememberedKeys: this.#pick([3, 64]),
        rememberedNames: this.#pick([2, 64]),
      };
      const make = options.makeFollower ?? ((given: FollowerOptions) => new FeedFollower(given));
      const follower = make(settings, () => this.#local(clock));
      const client = { index, clock, follower, l1: new Map<number, Entry>() };
      this.#clients.push(client);
      for (const node of this.#nodes) this.#connect(client, node);
    }
  }

  run(): WorldReport {
    const faultyMs = this.#options.faultyMs ?? 4000;
    const endMs = faultyMs + (this.#options.healedMs ?? 4000);
    this.#every(5, 10, () => this.#tickNodes());
    this.#every(5, 15, () => this.#tickFollowers());
    this.#every(2, 12, () => this.#read());
    this.#every(10, 80, () => this.#invalidate());
    this.#every(50, 400, () => this.#faulty && this.#fault());
    this.#at(faultyMs - this.#nowMs, () => this.#heal());
    while (this.#nowMs < endMs) {
      const event = this.#pop();
      if (event === null) break;
      this.#nowMs = event.atMs;
      event.run();
    }
    this.#checkLiveness();
    return {
      violations: this.#violations,
      served: this.#served,
      reads: this.#reads,
      everywhere: this.#everywhere,
      worstStaleMs: this.#worstStaleMs,
      trace: this.#trace,
      counts: this.#counts(),
    };
  }

  // -- L1s: reading and checking

  #read(): void {
    const client = this.#clients[this.#below(this.#clients.length)]!;
    const key = this.#below(KEYS);
    const range = key % RANGES;
    const { follower } = client;
    const entry = client.l1.get(key);
    if (entry !== undefined) {
      const standing = follower.standing(range, entry.stamp, namespaceOf(key), entry.tags, this.#local(client.clock));
      if (standing === 'good') {
        this.#serve(client, key, entry);
        return;
      }
    }
    this.#reads += 1;
    const stamp = follower.stamp();
    this.#at(this.#delay(), () => {
      if (this.#owner[range] === null) return; // nobody answers: no value
      const version = this.#facts[key]!.length;
      const tags = tagsOf(key, version);
      this.#at(this.#delay(), () => {
        if (follower.mayFill(range, stamp, nameOf(key), namespaceOf(key), tags))
          client.l1.set(key, { version, stamp, tags });
      });
    });
  }

  #serve(client: Client, key: number, entry: Entry): void {
    this.#served += 1;
    this.#note(1, client.index, key, entry.version);
    const later = this.#facts[key]!.slice(entry.version);
    const first = later[0];
    if (first === undefined) return;
    const staleMs = this.#nowMs - first.happenedMs;
    this.#worstStaleMs = Math.max(this.#worstStaleMs, staleMs);
    const what = `follower ${client.index}, ${nameOf(key)}, version ${entry.version} at ${this.#nowMs.toFixed(1)}`;
    if (staleMs > BOUND_MS / 0.99 + 1e-6)
      this.#violations.push(`${what}: older than the bound by ${staleMs.toFixed(1)} ms`);
    const acknowledged = later.find((fact) => fact.everywhereMs <= this.#nowMs);
    if (acknowledged !== undefined) {
      this.#violations.push(`${what}: invalidated everywhere at ${acknowledged.everywhereMs.toFixed(1)}`);
    }
  }

  // -- writers

  #invalidate(): void {
    const kind = this.#below(10);
    const nodes = this.#nodes;
    if (kind < 6) {
      const key = this.#below(KEYS);
      const owner = this.#owner[key % RANGES] ?? null;
      if (owner === null) return;
      this.#happen([key], [owner], (node) => {
        const name = encoder.encode(nameOf(key));
        node.feed.publishKey(key % RANGES, name, 0, name.length);
      });
      return;
    }
    if (nodes.some((node) => !node.up)) return; // not acknowledged anywhere: the caller would be told so
    if (kind < 8) {
      const tag = `tag-${this.#below(TAGS)}`;
      const name = encoder.encode(tag);
      const covered = keysWhere((key) => tagsOf(key, this.#facts[key]!.length).includes(tag));
      this.#happen(covered, nodes, (node) => node.feed.publishTag(name, 0, name.length));
    } else if (kind < 9) {
      const namespace = namespaceOf(this.#below(KEYS));
      const name = encoder.encode(namespace);
      const covered = keysWhere((key) => namespaceOf(key) === namespace);
      this.#happen(covered, nodes, (node) => node.feed.publishNamespace(name, 0, name.length));
    } else {
      const covered = keysWhere(() => true);
      this.#happen(covered, nodes, (node) => node.feed.publishClear());
    }
  }

  #happen(keys: readonly number[], nodes: readonly Node[], publish: (node: Node) => void): void {
    const facts = keys.map((key) => {
      const fact: Fact = { happenedMs: this.#nowMs, everywhereMs: Number.POSITIVE_INFINITY };
      this.#facts[key]!.push(fact);
      return fact;
    });
    for (const node of nodes) publish(node);
    if (this.#chance(0.6)) {
      this.#lastWait += 1;
      this.#waits.set(this.#lastWait, { facts, nodes: new Set(nodes.map((node) => node.index)) });
      for (const node of nodes) {
        const answer = node.feed.awaitEverywhere(this.#lastWait, this.#local(node.clock));
        if (answer === 'done') this.#settle(this.#lastWait, node);
      }
    }
    for (const node of nodes) if (this.#chance(0.8)) this.#push(node, 100);
  }

  #settle(id: number, node: Node): void {
    const wait = this.#waits.get(id);
    if (wait === undefined) return; // another node of it has crashed: never acknowledged
    wait.nodes.delete(node.index);
    if (wait.nodes.size > 0) return;
    this.#everywhere += 1;
    this.#note(2, id, 0, 0);
    for (const fact of wait.facts) fact.everywhereMs = this.#nowMs;
    this.#waits.delete(id);
  }

  // -- nodes

  #start(node: Node): void {
    node.runs += 1;
    node.up = true;
    const run = this.#options.restartedRunKeepsItsBallot === true ? 1 : node.runs;
    const nowMs = this.#options.takeoverForgetsOldFollowers === true ? -1e12 : this.#local(node.clock);
    const make = this.#options.makeFeed ?? ((given: FeedOptions) => new InvalidationFeed(given));
    node.feed = make({
      run: { epoch: 1, node: `n${node.index}.${run}` },
      nowMs,
      maxRecords: this.#pick([6, 40, 1000]),
      maxNameBytes: this.#pick([32, 1000]),
      maxBoundMs: BOUND_MS,
    });
  }

  /** `node` owns `range` from now on, under a ballot above all before, or, after a restart, one made from its clock. */
  #give(range: number, node: Node, fromClock = false): void {
    this.#owner[range] = node;
    const before = this.#ballot[range]!;
    let ballot = above(before, `n${node.index}.${node.runs}`);
    if (fromClock) ballot = { epoch: Math.max(1, Math.floor(this.#local(node.clock))), node: ballot.node };
    if (this.#options.restartedRunKeepsItsBallot === true && fromClock) ballot = before;
    const nowMs = this.#options.takeoverForgetsOldFollowers === true ? -1e12 : this.#local(node.clock);
    node.feed.begin(range, ballot, nowMs);
    if (compareBallots(ballot, before) > 0) this.#ballot[range] = ballot;
  }

  #tickNodes(): void {
    for (const node of this.#nodes) {
      if (!node.up) continue;
      this.#push(node, this.#pick([1, 100]));
      const gone: Subscriber[] = [];
      node.feed.tick(this.#local(node.clock), gone);
      for (const subscriber of gone) {
        for (const [link, session] of node.sessions) if (session === subscriber) node.sessions.delete(link);
      }
      const settled: number[] = [];
      node.feed.settled(this.#local(node.clock), settled);
      for (const id of settled) this.#settle(id, node);
      node.feed.invariants();
    }
  }

  #push(node: Node, budget: number): void {
    for (const [id, subscriber] of node.sessions) {
      const link = this.#links.get(id)!;
      for (let i = 0; i < budget && node.feed.take(subscriber, this.#record); i += 1) {
        const { seq, range, ballot, number, kind, bytes, start, length } = this.#record;
        const name = kind <= NAMESPACE ? decoder.decode(bytes.slice(start, start + length)) : '';
        this.#send(link, 1, () => {
          const { follower, l1 } = link.client;
          const drop = follower.record(id, seq, range, ballot, number, kind, name, this.#local(link.client.clock));
          if (drop) l1.delete(keyOf(name));
          this.#note(3, seq, kind, number);
        });
      }
      if (subscriber.state === 'cut')
        this.#send(link, 1, () => link.client.follower.cut(id, this.#local(link.client.clock)));
    }
  }

  #crash(node: Node): void {
    if (!node.up) return;
    node.up = false;
    for (let range = 0; range < RANGES; range += 1) if (this.#owner[range] === node) this.#owner[range] = null;
    for (const link of this.#links.values()) if (link.node === node && link.open) this.#break(link);
    node.sessions.clear();
    for (const [id, wait] of this.#waits) if (wait.nodes.has(node.index)) this.#waits.delete(id);
  }

  // -- clients' links

  #connect(client: Client, node: Node): void {
    this.#lastLink += 1;
    const link: Link = { id: this.#lastLink, client, node, open: true, cut: false, lastArrival: [0, 0] };
    this.#links.set(link.id, link);
    client.follower.open(link.id, `n${node.index}`, this.#local(client.clock));
    this.#dispatch(client);
  }

  /** The connection breaks; either end notices in its own time, and the client comes back. */
  #break(link: Link): void {
    link.cut = true;
    this.#at(this.#delay() * 10, () => this.#nodeLoses(link));
    this.#at(this.#delay() * 10, () => this.#clientCloses(link));
  }

  #nodeLoses(link: Link): void {
    const subscriber = link.node.sessions.get(link.id);
    if (subscriber === undefined) return;
    link.node.sessions.delete(link.id);
    link.node.feed.lost(subscriber);
  }

  #clientCloses(link: Link): void {
    if (!link.open) return;
    link.open = false;
    link.cut = true;
    link.client.follower.closed(link.id);
    this.#at(this.#delay() * 5, () => this.#nodeLoses(link));
    this.#retry(link);
  }

  #retry(link: Link): void {
    const inMs = 5 + this.#random.nextFloat() * 200;
    this.#at(inMs, () => (link.node.up ? this.#connect(link.client, link.node) : this.#retry(link)));
  }

  #tickFollowers(): void {
    for (const client of this.#clients) {
      client.follower.tick(this.#local(client.clock));
      this.#dispatch(client);
      client.follower.invariants();
    }
  }

  #dispatch(client: Client): void {
    for (const effect of client.follower.takeEffects()) {
      const link = this.#links.get(effect.link)!;
      const { node } = link;
      const { follower } = client;
      if (effect.kind === 'reconnect') this.#clientCloses(link);
      else if (effect.kind === 'acknowledge') {
        this.#send(link, 0, () => {
          const subscriber = node.sessions.get(link.id);
          if (subscriber !== undefined) node.feed.acknowledge(subscriber, effect.applied);
        });
      } else if (effect.kind === 'ping') {
        this.#send(link, 0, () => {
          const subscriber = node.sessions.get(link.id);
          if (subscriber === undefined) return;
          const head = node.feed.ping(subscriber, effect.applied, this.#local(node.clock));
          this.#send(link, 1, () => {
            const nowMs = this.#local(client.clock);
            if (head === CUT) follower.cut(link.id, nowMs);
            else if (head === PAUSED) follower.refused(link.id, effect.id, nowMs);
            else follower.pong(link.id, effect.id, head);
          });
        });
      } else this.#send(link, 0, () => this.#subscribe(link, effect));
    }
  }

  #subscribe(link: Link, effect: FollowerEffect & { kind: 'subscribe' }): void {
    const { node, client } = link;
    const nowMs = this.#local(node.clock);
    let answer = node.feed.subscribe(effect.positions, effect.boundMs, nowMs, node.sessions.get(link.id) ?? null);
    while (answer.kind === 'surpassed') {
      // A node without memory of its past, and the only owner there is: it begins above what its followers have seen.
      this.#ballot[answer.range] = answer.ballot;
      this.#give(answer.range, node);
      answer = node.feed.subscribe(effect.positions, effect.boundMs, nowMs, node.sessions.get(link.id) ?? null);
    }
    if (answer.kind === 'refused') {
      this.#send(link, 1, () => client.follower.refused(link.id, effect.id, this.#local(client.clock)));
      return;
    }
    node.sessions.set(link.id, answer.subscriber);
    const { seq, streams } = answer;
    this.#send(link, 1, () => {
      client.follower.subscribed(link.id, effect.id, seq, streams, this.#local(client.clock));
      this.#dispatch(client);
    });
  }

  // -- faults

  #fault(): void {
    const links = [...this.#links.values()].filter((link) => link.open && !link.cut);
    const link = links[this.#below(Math.max(1, links.length))];
    const node = this.#nodes[this.#below(this.#nodes.length)]!;
    switch (this.#below(6)) {
      case 0:
        if (link !== undefined) this.#break(link);
        break;
      case 1:
        if (link !== undefined) link.cut = true; // half-open: nobody is told
        break;
      case 2: {
        const range = this.#below(RANGES);
        const from = this.#owner[range];
        const to = this.#nodes[1 - (from?.index ?? 0)]!;
        if (from === null || from === undefined || !to.up) break;
        from.feed.end(range);
        this.#owner[range] = null;
        this.#at(this.#delay() * 3, () => {
          if (to.up && this.#owner[range] === null) this.#give(range, to);
        });
        break;
      }
      case 3:
        if (this.#chance(0.5)) {
          this.#crash(node);
          if (this.#chance(0.5)) node.clock.offsetMs -= 3_600_000;
          this.#at(this.#delay() * 20, () => this.#restart(node));
        }
        break;
      case 4:
        node.feed.pause();
        this.#at(this.#delay() * 20, () => node.feed.resume());
        break;
      default:
        for (const client of this.#clients)
          for (const key of client.l1.keys()) if (this.#chance(0.2)) client.l1.delete(key);
    }
  }

  #restart(node: Node): void {
    if (node.up) return;
    this.#start(node);
    for (let range = 0; range < RANGES; range += 1)
      if (this.#owner[range] === null) this.#give(range, node, this.#chance(0.5));
  }

  #heal(): void {
    this.#faulty = false;
    for (const node of this.#nodes) {
      this.#restart(node);
      node.feed.resume();
    }
    for (const link of this.#links.values()) if (link.cut && link.open) this.#clientCloses(link);
    this.#at(1000, () => {
      for (let range = 0; range < RANGES; range += 1)
        if (this.#owner[range] === null) this.#give(range, this.#nodes[0]!);
    });
  }

  #checkLiveness(): void {
    for (const client of this.#clients) {
      for (let range = 0; range < RANGES; range += 1) {
        const lagMs = client.follower.lagMs(range, this.#local(client.clock));
        if (!(lagMs <= BOUND_MS))
          this.#violations.push(`not live: follower ${client.index}, range ${range}, lag ${lagMs} ms`);
      }
    }
    for (const [id, wait] of this.#waits) {
      const oldest = this.#nowMs - (wait.facts[0]?.happenedMs ?? this.#nowMs);
      if (oldest > BOUND_MS * DRIFT * 2 + 50) this.#violations.push(`not live: wait ${id} is ${oldest} ms old`);
    }
  }

  // -- network, time, chance

  /** `direction` 0: to the node; 1: to the client. */
  #send(link: Link, direction: 0 | 1, deliver: () => void): void {
    const copies = this.#lossy && this.#faulty ? (this.#chance(0.05) ? 0 : this.#chance(0.05) ? 2 : 1) : 1;
    for (let i = 0; i < copies; i += 1) {
      let atMs = this.#nowMs + this.#delay();
      if (!this.#lossy || !this.#faulty) {
        atMs = Math.max(atMs, link.lastArrival[direction] + 0.001);
        link.lastArrival[direction] = atMs;
      }
      this.#at(atMs - this.#nowMs, () => {
        if (link.cut || !link.open) return;
        if (direction === 0 && !link.node.up) return;
        deliver();
        if (direction === 1) this.#dispatch(link.client);
      });
    }
  }

  /** Mostly a few milliseconds, now and then longer than the bound. */
  #delay(): number {
    const roll = this.#random.nextFloat();
    if (roll < 0.9) return 0.1 + this.#random.nextFloat() * 8;
    if (roll < 0.98 || !this.#faulty) return 10 + this.#random.nextFloat() * 40;
    return 100 + this.#random.nextFloat() * 400;
  }

  #newClock(): Clock {
    return {
      offsetMs: (this.#random.nextFloat() - 0.5) * 7_200_000 + 8_000_000,
      rate: 0.99 + this.#random.nextFloat() * 0.02,
    };
  }

  #local(clock: Clock): number {
    return clock.offsetMs + clock.rate * this.#nowMs;
  }

  #every(fromMs: number, toMs: number, run: () => void): void {
    const again = (): void => {
      run();
      this.#at(fromMs + this.#random.nextFloat() * (toMs - fromMs), again);
    };
    this.#at(fromMs, again);
  }

  #at(inMs: number, run: () => void): void {
    this.#order += 1;
    const events = this.#events;
    const event = { atMs: this.#nowMs + inMs, order: this.#order, run };
    let at = events.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (before(events[parent]!, event)) break;
      events[at] = events[parent]!;
      at = parent;
    }
    events[at] = event;
  }

  #pop(): { atMs: number; run: () => void } | null {
    const events = this.#events;
    const first = events[0];
    const last = events.pop();
    if (first === undefined || last === undefined) return null;
    if (events.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= events.length) break;
      if (child + 1 < events.length && before(events[child + 1]!, events[child]!)) child += 1;
      if (before(last, events[child]!)) break;
      events[at] = events[child]!;
      at = child;
    }
    events[at] = last;
    return first;
  }

  #chance(p: number): boolean {
    return this.#random.nextFloat() < p;
  }

  #below(n: number): number {
    return this.#random.nextUint32() % n;
  }

  #pick<T>(choices: readonly T[]): T {
    return choices[this.#below(choices.length)]!;
  }

  #note(...numbers: number[]): void {
    for (const number of [this.#nowMs * 1000, ...numbers]) this.#trace = (Math.imul(this.#trace, 31) + number) | 0;
  }

  #counts(): Record<string, number> {
    const total: Record<string, number> = {};
    for (const { follower } of this.#clients) {
      for (const [name, count] of Object.entries(follower.counts)) total[name] = (total[name] ?? 0) + count;
    }
    return total;
  }
}

function before(a: { atMs: number; order: number }, b: { atMs: number; order: number }): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

function nameOf(key: number): string {
  return `${namespaceOf(key)}:${key}`;
}

function keyOf(name: string): number {
  return Number(name.slice(name.indexOf(':') + 1));
}

function namespaceOf(key: number): string {
  return key % 2 === 0 ? 'even' : 'odd';
}

/** Tags change with the version: they are known only after the read. */
function tagsOf(key: number, version: number): string[] {
  return [`tag-${(key + version) % TAGS}`];
}

function keysWhere(holds: (key: number) => boolean): number[] {
  return Array.from({ length: KEYS }, (_, key) => key).filter(holds);
}
