/**
 * Callers: they read, load what they miss and fill it, change rows and invalidate them, follow MOVED, wait out TRYAGAIN, and keep an invalidation that was not acknowledged until it is.
 *
 * A connection keeps order. Who times out drops the connection, and what is under way on it; what a frozen member's kernel had received already is still executed when the member wakes.
 * A row has one writer at a time: two plain SETs that race are the application's affair (docs/consistency.md).
 */
import { SeededRandom } from '../../src/base/random.ts';
import type { NodeId } from '../../src/cluster/member.ts';
import type { World } from '../world/world.ts';
import type { Host } from './host.ts';
import type { Reply, Request, Scene, Token } from './member-host.ts';
import { TAGS, tagOf } from './model-store.ts';

const TIMEOUT_MS = 1600;
const DEADLINE_MS = 6000;
/** How far behind a copy may be that is read, by the moment: half of them must hold their lease. */
const STALE_MS = [0, 0, 500, 2000] as const;
const WAIT_MS = 60;

interface Connection {
  generation: number;
  lastThereMs: number;
  lastBackMs: number;
}

interface Asking {
  readonly startMs: number;
  /** MOVED in a row. */
  chain: number;
}

export class Client {
  readonly name: string;
  readonly index: number;
  /** Invalidations that are not acknowledged yet, by key. */
  readonly pending = new Map<number, number>();
  /** Rows that somebody writes, of all clients. */
  readonly #busy: Set<number>;
  readonly #scene: Scene;
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #connections: Connection[];
  /** By range: whom it asks. */
  readonly #map: number[];
  /** By range: a member whose copy answered last. */
  readonly #copies: (number | null)[];
  isStopped = false;

  constructor(scene: Scene, index: number, seed: number, busy: Set<number>) {
    this.index = index;
    this.name = `c${index}`;
    this.#scene = scene;
    this.#world = scene.world;
    this.#random = new SeededRandom(seed ^ Math.imul(index + 1, 0x9e37_79b1));
    this.#busy = busy;
    this.#connections = scene.hosts.map(() => ({ generation: 0, lastThereMs: 0, lastBackMs: 0 }));
    this.#copies = Array.from({ length: scene.setup.ranges }, () => null);
    this.#map = Array.from({ length: scene.setup.ranges }, (_, range) => range % scene.hosts.length);
  }

  start(): void {
    const { paceMs } = this.#scene.setup;
    this.#world.after(paceMs * (0.5 + this.#random.nextFloat()), () => {
      if (this.isStopped) return;
      this.start();
      this.#act();
    });
  }

  /** A read that must be answered, and rightly, within `withinMs`: everything is healed. */
  readSurely(key: number, withinMs: number): void {
    let isDone = false;
    const startMs = this.#world.nowMs;
    this.#read(key, false, { startMs, chain: 0 }, () => {
      isDone = true;
    });
    this.#world.after(withinMs, () => {
      if (!isDone) this.#scene.judge.violate(6, `${this.name}: k${key} was not answered within ${withinMs} ms`);
    });
  }

  #act(): void {
    const { setup } = this.#scene;
    const keys = setup.ranges * setup.keysPerRange;
    const key = Math.floor(this.#random.nextFloat() * keys);
    const draw = this.#random.nextFloat();
    if (draw < 0.72) {
      const readsCopies = this.#random.nextFloat() < setup.copyReads;
      this.#read(key, readsCopies, { startMs: this.#world.nowMs, chain: 0 }, () => undefined);
      return;
    }
    if (this.#busy.has(key)) return;
    this.#busy.add(key);
    const version = this.#scene.judge.commit(key);
    this.pending.set(key, this.#world.nowMs);
    this.#world.trace.say(() => `${this.name} commits k${key} = v${version}`);
    if (draw < 0.87) this.#invalidate({ kind: 'delete', range: this.#rangeOf(key), key, version });
    else if (draw < 0.95) this.#invalidate({ kind: 'set', range: this.#rangeOf(key), key, version });
    else if (setup.memory === 'node') {
      // Whoever is asked sees to it that every owner does it.
      this.#invalidate({ kind: 'tag', range: this.#rangeOf(key), tag: tagOf(key) % TAGS, key, version });
    } else this.#invalidateTag(key, version);
  }

  #rangeOf(key: number): number {
    return Math.floor(key / this.#scene.setup.keysPerRange);
  }

  // -- reads

  #read(key: number, readsCopies: boolean, asking: Asking, done: () => void): void {
    const { judge } = this.#scene;
    const range = this.#rangeOf(key);
    const { hosts } = this.#scene;
    const anyone = Math.floor(this.#random.nextFloat() * hosts.length);
    const at = readsCopies ? (this.#copies[range] ?? anyone) : this.#map[range]!;
    const to = hosts[at]!;
    if (asking.chain === 0) judge.counts.reads += 1;
    // No draw: schedules stay as they are.
    const staleMs = readsCopies ? STALE_MS[Math.floor(this.#world.nowMs) % STALE_MS.length]! : 0;
    this.#ask(to, { kind: 'get', range, key, readsCopies, staleMs }, (reply) => {
      if (readsCopies)
        this.#copies[range] = reply !== null && reply.kind === 'hit' && reply.from === 'copy' ? at : null;
      if (reply !== null && reply.kind === 'hit') {
        judge.read(key, reply.version, asking.startMs, reply.from, to.name, staleMs);
        done();
        return;
      }
      if (reply !== null && reply.kind === 'miss') {
        judge.counts.misses += 1;
        done();
        if (reply.token !== null) this.#fill(to, key, reply.token);
        return;
      }
      if (reply !== null && reply.kind === 'error') {
        judge.counts.unserved += 1;
        done();
        return;
      }
      if (this.#world.nowMs - asking.startMs > DEADLINE_MS) {
        judge.counts.unserved += 1;
        return;
      }
      this.#again(range, reply, asking, () => this.#read(key, false, asking, done));
    });
  }

  #fill(to: Host, key: number, token: Token): void {
    const { setup, judge } = this.#scene;
    // The row as it is somewhere inside of the load.
    const loadMs = setup.loadMs * (0.2 + 1.6 * this.#random.nextFloat());
    this.#world.after(loadMs * this.#random.nextFloat(), () => {
      const version = judge.committed[key]!;
      this.#world.after(loadMs * 0.5, () => {
        this.#ask(to, { kind: 'fill', range: this.#rangeOf(key), key, token, version }, () => undefined);
      });
    });
  }

  // -- writes

  #invalidate(request: Request & { readonly key: number; readonly version: number }): void {
    this.#until(request, { startMs: this.#world.nowMs, chain: 0 }, () =>
      this.#acknowledged(request.key, request.version),
    );
  }

  /** A tag may have entries in every range: all owners must acknowledge. */
  #invalidateTag(key: number, version: number): void {
    const { ranges } = this.#scene.setup;
    let left = ranges;
    for (let range = 0; range < ranges; range += 1) {
      const request = { kind: 'tag', range, tag: tagOf(key) % TAGS, key, version } as const;
      this.#until(request, { startMs: this.#world.nowMs, chain: 0 }, () => {
        left -= 1;
        if (left === 0) this.#acknowledged(key, version);
      });
    }
  }

  #acknowledged(key: number, version: number): void {
    this.#scene.judge.acknowledged(key, version);
    this.#world.trace.say(() => `${this.name}: k${key} v${version} is ACKNOWLEDGED`);
    this.pending.delete(key);
    this.#busy.delete(key);
  }

  #until(request: Request, asking: Asking, done: () => void): void {
    const { range } = request;
    this.#ask(this.#scene.hosts[this.#map[range]!]!, request, (reply) => {
      if (reply !== null && reply.kind === 'acknowledged') {
        done();
        return;
      }
      this.#again(range, reply, asking, () => this.#until(request, asking, done));
    });
  }

  // -- how one asks

  #again(range: number, reply: Reply | null, asking: Asking, retry: () => void): void {
    const { judge } = this.#scene;
    if (reply !== null && reply.kind === 'moved') {
      asking.chain += 1;
      if (asking.chain > judge.counts.longestChain) judge.counts.longestChain = asking.chain;
      this.#map[range] = this.#scene.hosts.findIndex(({ id }: { readonly id: NodeId }) => id === reply.to);
      // A library that follows at once for ever would make a storm of it.
      if (asking.chain % 4 === 0) this.#world.after(WAIT_MS, retry);
      else retry();
      return;
    }
    asking.chain = 0;
    // No answer, or one that says nothing: somebody else may know more.
    if (
      reply === null ||
      reply.kind === 'down' ||
      reply.kind === 'error' ||
      reply.kind === 'not-acknowledged' ||
      this.#random.nextFloat() < 0.3
    ) {
      this.#map[range] = Math.floor(this.#random.nextFloat() * this.#scene.hosts.length);
    }
    this.#world.after(WAIT_MS * (0.5 + this.#random.nextFloat()), retry);
  }

  /** One request and its reply; null: timed out, or nobody is there. */
  #ask(to: Host, request: Request, done: (reply: Reply | null) => void): void {
    const { datagrams } = this.#scene;
    const world = this.#world;
    const connection = this.#connections[to.index]!;
    const { generation } = connection;
    let isDone = false;
    const finish = (reply: Reply | null): void => {
      if (isDone) return;
      isDone = true;
      done(reply);
    };
    world.after(TIMEOUT_MS, () => {
      if (isDone) return;
      if (connection.generation === generation) connection.generation += 1;
      finish(null);
    });
    if (datagrams.isCut(this.name, to.name)) return;
    const thereMs = Math.max(connection.lastThereMs, world.nowMs + world.between(0.1, 2));
    connection.lastThereMs = thereMs;
    world.at(thereMs, () => {
      if (connection.generation !== generation) return;
      if (!to.isUp) {
        world.after(1, () => finish(null));
        return;
      }
      const { machine } = to;
      machine.deliver(() => {
        to.serve(request, `${this.name} ${generation}`, (reply) => {
          if (datagrams.isCut(to.name, this.name)) return;
          const backMs = Math.max(connection.lastBackMs, world.nowMs + world.between(0.1, 2));
          connection.lastBackMs = backMs;
          world.at(backMs, () => {
            if (connection.generation === generation) finish(reply);
          });
        });
      });
    });
  }
}
