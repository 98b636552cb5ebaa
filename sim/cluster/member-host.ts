/**
 * A member on a simulated computer: the production core, a model of a memory, a disk, and a clock that is wrong. What `server/` will be to sockets, this is to the world.
 *
 * A crash loses everything but what the disk had finished writing. The next start is another life: another incarnation, another offset of the clock.
 */
import { type Ballot, sameBallot } from '../../src/base/ballot.ts';
import { ClusterCore } from '../../src/cluster/core.ts';
import { ETCD } from '../../src/cluster/etcd.ts';
import type { NodeId } from '../../src/cluster/member.ts';
import type { Message, VoterRow } from '../../src/cluster/messages.ts';
import type { ClusterEvent } from '../../src/cluster/outputs.ts';
import type { Roster, RosterRow } from '../../src/cluster/roster.ts';
import { DEFAULT_TIMING, type Timing } from '../../src/cluster/timing.ts';
import type { Datagrams } from '../world/datagrams.ts';
import { Machine } from '../world/machine.ts';
import type { World } from '../world/world.ts';
import { describeMessage } from './describe.ts';
import { EtcdSide } from './etcd-side.ts';
import type { FakeEtcd } from './fake-etcd.ts';
import type { Host } from './host.ts';
import type { Judge } from './judge.ts';
import { ModelStore, TAGS, tagOf } from './model-store.ts';
import type { Setup } from './plan.ts';

export interface Scene {
  readonly world: World;
  readonly datagrams: Datagrams;
  readonly setup: Setup;
  readonly hosts: readonly Host[];
  readonly judge: Judge;
  /** What coordinates the cluster, where its members do not. */
  readonly etcd: FakeEtcd | null;
  /** A script loses messages by kind. */
  readonly isDropped?: (from: string, to: string, kind: string) => boolean;
}

export interface Token {
  readonly reign: Ballot | null;
  readonly number: number;
  /** Of a production node. */
  readonly text?: string;
}

export type Request =
  | {
      readonly kind: 'get';
      readonly range: number;
      readonly key: number;
      readonly readsCopies: boolean;
      /** How far behind a copy may be that answers; 0: it must hold its lease. */
      readonly staleMs: number;
    }
  | {
      readonly kind: 'fill';
      readonly range: number;
      readonly key: number;
      readonly token: Token;
      readonly version: number;
    }
  | { readonly kind: 'set'; readonly range: number; readonly key: number; readonly version: number }
  | { readonly kind: 'delete'; readonly range: number; readonly key: number; readonly version: number }
  | {
      readonly kind: 'tag';
      readonly range: number;
      readonly tag: number;
      readonly key: number;
      readonly version: number;
    };

export type Reply =
  | { readonly kind: 'hit'; readonly version: number; readonly from: 'owner' | 'copy' | 'gutter' }
  | { readonly kind: 'miss'; readonly token: Token | null }
  | { readonly kind: 'moved'; readonly to: NodeId }
  | { readonly kind: 'try-again' }
  | { readonly kind: 'down' }
  | { readonly kind: 'error' }
  | { readonly kind: 'stored' }
  | { readonly kind: 'refused' }
  | { readonly kind: 'acknowledged' }
  | { readonly kind: 'not-acknowledged' };

export const NOTE_MESSAGE = 1;
export const NOTE_EVENT = 2;
export const NOTE_REQUEST = 3;

interface Waiting {
  readonly reply: (reply: Reply) => void;
  readonly range: number;
  readonly keys: readonly number[];
  readonly versions: readonly number[];
}

const SERVE_COPY = { kind: 'serve-copy' } as const;

interface GutterEntry {
  readonly version: number;
  readonly untilMs: number;
}

export class MemberHost implements Host {
  readonly index: number;
  readonly name: string;
  readonly id: NodeId;
  readonly timing: Timing;
  core: ClusterCore | null = null;
  store: ModelStore | null = null;
  machine: Machine;
  incarnation = 0;
  #etcd: EtcdSide | null = null;
  #scene: Scene | null = null;
  readonly #disk = new Map<number, VoterRow>();
  #diskRoster: RosterRow | null = null;
  /** What it was told when it joined, or knows since: of who joined, and of who has a disk. */
  #roster: Roster | null = null;
  #written = 0;
  #held: { readonly after: number; readonly to: NodeId; readonly message: Message }[] = [];
  #waiting = new Map<number, Waiting>();
  #ids = 0;
  #ticks = 0;
  readonly #gutter = new Map<number, GutterEntry>();
  readonly #gutterTokens = new Map<number, { readonly number: number; readonly atMs: number }>();

  constructor(world: World, index: number, setup: Setup) {
    this.index = index;
    this.name = `m${index}`;
    this.id = index.toString(16).padStart(40, '0');
    this.timing = { ...DEFAULT_TIMING, replaceMs: setup.replaceMs, ackMs: setup.ackMs };
    this.machine = new Machine(world, this.name);
    this.machine.kill();
  }

  /** A voter that would come back without memory. */
  get forgets(): boolean {
    const { setup } = this.#scene!;
    return (setup.votersChange || this.index < setup.voters) && setup.diskMs[this.index]! < 0;
  }

  get isUp(): boolean {
    return this.core !== null;
  }

  get memory(): ModelStore | null {
    return this.store;
  }

  invariants(): void {
    this.core?.invariants();
    this.#etcd?.invariants();
  }

  attach(scene: Scene): void {
    this.#scene = scene;
  }

  enter(roster: Roster): void {
    if (this.isUp) return;
    this.#roster = roster;
    this.start();
  }

  start(): void {
    const scene = this.#scene!;
    const { world, setup, hosts } = scene;
    const { index } = this;
    this.incarnation += 1;
    this.machine = new Machine(world, this.name, world.between(-3_600_000, 3_600_000), setup.rates[index]!);
    const store = new ModelStore(setup.ranges);
    this.store = store;
    const isDurable = setup.diskMs[index]! >= 0;
    const members = hosts.slice(0, setup.members).map(({ id }) => id);
    this.core = new ClusterCore({
      self: this.id,
      incarnation: this.incarnation,
      members,
      founding: hosts
        .slice(0, setup.members)
        .map(({ id, name }) => ({ id, host: name, linkPort: 1, zone: '', weight: 1 })),
      voters: scene.etcd === null ? members.slice(0, setup.voters) : [ETCD],
      rangeCount: setup.ranges,
      copies: setup.copies,
      topology: setup.topology ?? 'sharded',
      order: (range) => orderOf(range, members),
      timing: this.timing,
      store,
      isFounder: scene.etcd === null ? index === 0 && this.incarnation === 1 : index < setup.members,
      isDurable,
      restored: isDurable ? [...this.#disk.values()] : null,
      restoredRoster: isDurable ? this.#diskRoster : null,
      roster: isDurable || index >= setup.members ? this.#roster : null,
      hasForgotten: !isDurable && this.incarnation > 1,
      nowMs: this.machine.clock.now(),
      balance: setup.balance,
    });
    const { machine } = this;
    this.#etcd =
      scene.etcd === null
        ? null
        : new EtcdSide({
            scene,
            name: this.name,
            self: this.id,
            life: this.incarnation,
            timing: this.timing,
            machine,
            hear: (message) => {
              if (machine === this.machine) this.#take(ETCD, message);
            },
          });
    this.#written = 0;
    this.#held = [];
    this.#waiting = new Map();
    this.#gutter.clear();
    this.#gutterTokens.clear();
    world.trace.say(() => `${this.name} starts, life ${this.incarnation}`);
    this.#tick(this.machine);
  }

  crash(): void {
    if (this.core === null) return;
    this.machine.kill();
    this.core = null;
    this.store = null;
    this.#etcd = null;
  }

  gone(id: NodeId): void {
    const { core, machine } = this;
    if (core === null) return;
    this.#scene!.world.trace.say(() => `${this.name} sees that the process of ${nameOf(id)} is gone`);
    core.onGone(id, machine.clock.now());
    this.#pump();
    // It may be in a hurry now.
    this.#tick(machine);
  }

  back(id: NodeId): void {
    this.core?.onBack(id, this.machine.clock.now());
  }

  retire(): void {
    this.core?.retire(this.machine.clock.now());
    this.#pump();
  }

  /** Could it answer as the owner of the range at this moment? Also while it is frozen by a pause: its clock goes on. */
  isLeased(range: number): boolean {
    const { core } = this;
    const primary = core?.primaries[range];
    if (core === null || primary === null || primary === undefined || primary.isFrozen) return false;
    return core.views.isLeased(range, primary.record.ballot, this.machine.clock.now());
  }

  // -- messages

  receive(from: NodeId, message: Message): void {
    if (this.machine.state === 'up') this.#take(from, message);
    else this.machine.deliver(() => this.#take(from, message));
  }

  #take(from: NodeId, message: Message): void {
    const { core } = this;
    if (core === null) return;
    const { trace } = this.#scene!.world;
    trace.note(NOTE_MESSAGE, this.index, message.kind.length);
    if (trace.isRecording) trace.say(() => `    ${nameOf(from)} -> ${this.name}  ${describeMessage(message)}`);
    core.onMessage(from, message, this.machine.clock.now());
    this.#pump();
  }

  // -- clients

  serve(request: Request, _connection: string, reply: (reply: Reply) => void): void {
    const { core, store } = this;
    const { world, judge, setup } = this.#scene!;
    if (core === null || store === null) return;
    const now = this.machine.clock.now();
    const { range } = request;
    world.trace.note(NOTE_REQUEST, this.index, range);
    const asked = core.route(range, request.kind === 'get' && request.readsCopies, now);
    const isOldEnough = request.kind === 'get' && request.staleMs > 0 && core.copyLagMs(range, now) <= request.staleMs;
    const route = asked.kind !== 'serve' && isOldEnough ? SERVE_COPY : asked;
    if (route.kind !== 'minority' && (this.#gutter.size > 0 || this.#gutterTokens.size > 0)) {
      this.#gutter.clear();
      this.#gutterTokens.clear();
    }
    switch (route.kind) {
      case 'moved':
        reply({ kind: 'moved', to: route.to });
        break;
      case 'try-again':
        reply({ kind: 'try-again' });
        break;
      case 'down':
        reply({ kind: 'down' });
        break;
      case 'minority':
        this.#inMinority(request, now, reply);
        break;
      case 'serve-copy': {
        const { key } = request as { readonly key: number };
        const version = store.get(range, key);
        reply(version === null ? { kind: 'miss', token: null } : { kind: 'hit', version, from: 'copy' });
        // A copy may evict as it likes.
        if (version !== null && world.chance(setup.evictions)) store.parts[range]!.entries.delete(key);
        break;
      }
      case 'serve':
        judge.serves(this, range);
        this.#serveOwned(request, core, store, now, reply);
        break;
    }
    this.#pump();
  }

  #serveOwned(
    request: Request,
    core: ClusterCore,
    store: ModelStore,
    now: number,
    reply: (reply: Reply) => void,
  ): void {
    const { world, judge, setup } = this.#scene!;
    const { range } = request;
    switch (request.kind) {
      case 'get': {
        const { key } = request;
        const version = store.get(range, key);
        if (version === null) {
          reply({ kind: 'miss', token: { reign: core.reignOf(range), number: store.grant(range, key) } });
          return;
        }
        reply({ kind: 'hit', version, from: 'owner' });
        if (setup.evictions > 0 && world.chance(setup.evictions)) core.note(range, store.evict(range, key), true, now);
        return;
      }
      case 'fill': {
        const { key, token, version } = request;
        const effect = sameBallot(token.reign, core.reignOf(range))
          ? store.fill(range, key, token.number, version)
          : null;
        if (effect === null) {
          judge.counts.refusedFills += 1;
          reply({ kind: 'refused' });
          return;
        }
        judge.stores(this, key, version);
        core.note(range, effect, false, now);
        reply({ kind: 'stored' });
        return;
      }
      case 'set': {
        const { key, version } = request;
        const isFirst = store.get(range, key) === null;
        this.#write(core, range, store.set(range, key, version), isFirst, [key], [version], now, reply);
        return;
      }
      case 'delete': {
        const { key, version } = request;
        this.#write(core, range, store.delete(range, key), false, [key], [version], now, reply);
        return;
      }
      case 'tag': {
        const { tag, key, version } = request;
        const isHere = Math.floor(key / setup.keysPerRange) === range;
        const effect = store.invalidateTag(range, tag);
        this.#write(core, range, effect, false, isHere ? [key] : [], isHere ? [version] : [], now, reply);
      }
    }
  }

  #write(
    core: ClusterCore,
    range: number,
    effect: Uint8Array,
    isFirst: boolean,
    keys: readonly number[],
    versions: readonly number[],
    now: number,
    reply: (reply: Reply) => void,
  ): void {
    this.#ids += 1;
    this.#waiting.set(this.#ids, { reply, range, keys, versions });
    core.write(range, this.#ids, effect, isFirst, now);
  }

  #inMinority(request: Request, now: number, reply: (reply: Reply) => void): void {
    const { setup, judge } = this.#scene!;
    if (setup.onMinority === 'error') {
      reply({ kind: 'error' });
      return;
    }
    const usesGutter = setup.onMinority === 'gutter';
    switch (request.kind) {
      case 'get': {
        const held = this.#gutter.get(request.key);
        if (usesGutter && held !== undefined && now < held.untilMs) {
          reply({ kind: 'hit', version: held.version, from: 'gutter' });
          return;
        }
        if (!usesGutter) {
          reply({ kind: 'miss', token: null });
          return;
        }
        this.#ids += 1;
        this.#gutterTokens.set(request.key, { number: this.#ids, atMs: now });
        reply({ kind: 'miss', token: { reign: null, number: this.#ids } });
        return;
      }
      case 'fill': {
        const token = this.#gutterTokens.get(request.key);
        if (request.token.reign === null && token !== undefined && token.number === request.token.number) {
          this.#gutter.set(request.key, { version: request.version, untilMs: token.atMs + setup.gutterMs });
          this.#gutterTokens.delete(request.key);
        }
        reply({ kind: 'refused' });
        return;
      }
      case 'set':
      case 'delete':
      case 'tag':
        for (const key of [...this.#gutter.keys(), ...this.#gutterTokens.keys()]) {
          if (request.kind === 'tag' ? tagOf(key) !== request.tag % TAGS : key !== request.key) continue;
          this.#gutter.delete(key);
          this.#gutterTokens.delete(key);
        }
        judge.counts.unacknowledged += 1;
        reply({ kind: 'not-acknowledged' });
    }
  }

  // -- within

  #tick(machine: Machine): void {
    const { core } = this;
    if (core === null || machine !== this.machine) return;
    this.#etcd?.tick();
    const waitMs = core.onTick(machine.clock.now());
    this.#pump();
    // One timer: what was set before is for nothing.
    this.#ticks += 1;
    const tick = this.#ticks;
    machine.scheduler.setTimer(waitMs, () => {
      if (tick === this.#ticks) this.#tick(machine);
    });
  }

  #pump(): void {
    const { core } = this;
    if (core === null) return;
    const { setup, world, judge } = this.#scene!;
    for (let out = core.take(); out.length > 0; out = core.take()) {
      for (const output of out) {
        switch (output.kind) {
          case 'send':
            if (output.to !== ETCD && output.message.kind === 'accept')
              for (const record of output.message.records) judge.told(record);
            if (output.to !== ETCD && output.message.kind === 'roster-accept') judge.toldRoster(output.message.roster);
            if (output.afterWrite > this.#written) {
              this.#held.push({ after: output.afterWrite, to: output.to, message: output.message });
            } else this.#send(output.to, output.message);
            break;
          case 'write': {
            const { rows, roster, number } = output;
            const { machine } = this;
            const done = (): void => {
              if (machine !== this.machine || machine.state === 'dead') return;
              for (const row of rows) this.#disk.set(row.range, row);
              if (roster !== null) this.#diskRoster = roster;
              this.#written = number;
              if (this.#held.length > 0) this.#release();
            };
            const diskMs = setup.diskMs[this.index]!;
            if (diskMs === 0) done();
            else world.after(diskMs, done);
            break;
          }
          case 'settled': {
            const waiting = this.#waiting.get(output.id);
            this.#waiting.delete(output.id);
            if (waiting === undefined) break;
            if (output.isAcknowledged) judge.settles(this, waiting.range, waiting.keys, waiting.versions);
            else judge.counts.unacknowledged += 1;
            waiting.reply({ kind: output.isAcknowledged ? 'acknowledged' : 'not-acknowledged' });
            break;
          }
          case 'event':
            this.#on(output.event);
            break;
        }
      }
    }
  }

  #release(): void {
    const held = this.#held;
    this.#held = [];
    for (const { after, to, message } of held) {
      if (after > this.#written) this.#held.push({ after, to, message });
      else this.#send(to, message);
    }
  }

  #send(to: NodeId, message: Message): void {
    const { datagrams, world, hosts, isDropped } = this.#scene!;
    const { id, machine } = this;
    if (to === ETCD) {
      this.#etcd!.say(message);
      return;
    }
    if (to === id) {
      world.after(0, () => {
        if (machine === this.machine) this.receive(id, message);
      });
      return;
    }
    const target = hosts[indexOf(to)]!;
    if (isDropped?.(this.name, target.name, message.kind) === true) return;
    if (world.trace.isRecording && datagrams.isCut(this.name, target.name)) {
      world.trace.say(() => `    ${this.name} -x ${target.name}  ${describeMessage(message)}`);
    }
    datagrams.send(this.name, target.name, () => target.receive(id, message));
  }

  #on(event: ClusterEvent): void {
    const { world, judge } = this.#scene!;
    world.trace.note(NOTE_EVENT, this.index, event.kind.length);
    world.trace.say(() => `${this.name}: ${describeEvent(event)}`);
    if (event.kind === 'reign-ended') judge.ends(event.why);
    if (event.kind === 'copy-resynced') judge.resynced(event.how);
    if (event.kind === 'roster') {
      this.#roster = event.roster;
      judge.knows(event.roster);
    }
    if (event.kind === 'reign-began') {
      this.store!.voidTokens(event.range);
      judge.reigns(this, event.range, event.basis, event.isEmpty, event.how);
    }
  }
}

export function indexOf(id: NodeId): number {
  return Number.parseInt(id.slice(-6), 16);
}

export function nameOf(id: NodeId): string {
  return id === ETCD ? 'etcd' : `m${indexOf(id)}`;
}

/** Stands in for placement: owners in turn, copies behind them. */
export function orderOf(range: number, members: readonly NodeId[]): readonly NodeId[] {
  return members.map((_, index) => members[(range + index) % members.length]!);
}

export function describeEvent(event: ClusterEvent): string {
  switch (event.kind) {
    case 'reign-began':
      return `REIGNS over range ${event.range} (${event.how}${event.isEmpty ? ', empty' : ''}), epoch ${event.record.ballot.epoch}, in sync ${event.record.inSync.map(nameOf).join(' ')}`;
    case 'reign-ended':
      return `reigns over range ${event.range} no more: ${event.why}`;
    case 'handed-over':
      return `knows that range ${event.range} is taken, ${event.pausedMs.toFixed(1)} ms after it was frozen`;
    case 'in-sync-changed':
      return `range ${event.range}: epoch ${event.record.ballot.epoch}, in sync ${event.record.inSync.map(nameOf).join(' ')}`;
    case 'claim':
      return `asks (${event.how}) for ranges ${event.ranges.join(' ')} under epoch ${event.epoch}`;
    case 'claim-failed':
      return `did not get range ${event.range} (${event.how}): ${event.why}`;
    case 'copy-began':
      return `copies range ${event.range} from reign ${event.reign.epoch}${event.keeps ? ', keeping what it has' : ', from nothing'}`;
    case 'copy-resynced':
      return `has ${nameOf(event.to)} whole as a copy of range ${event.range} (${event.how})`;
    case 'voter-recovered':
      return `votes again`;
    case 'roster':
      return `knows the roster ${event.roster.ballot.epoch}: ${event.roster.members.map(({ id }) => nameOf(id)).join(' ')}`;
    case 'roster-change':
      return `wanted the roster changed (${event.change.kind}): ${event.fate}`;
    case 'stalled':
      return `stood still for ${event.lagMs.toFixed(0)} ms`;
  }
}
