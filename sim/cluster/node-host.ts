/**
 * A member on a simulated computer, whole: the production `ClusterNode` with its engine, its commands and its leases, asked over RESP on connections that keep order. Only the network, the disk and the clock are
 * pretended.
 *
 * What a schedule draws for the model's memory becomes real here: where it draws evictions, values are so large that the memory runs full; entries have short TTLs; parts are several, for walks are short.
 */

import { SeededRandom } from '../../src/base/random.ts';
import type { ClusterCore } from '../../src/cluster/core.ts';
import { ETCD } from '../../src/cluster/etcd.ts';
import type { Member, NodeId } from '../../src/cluster/member.ts';
import type { Message, VoterRow } from '../../src/cluster/messages.ts';
import type { ClusterEvent } from '../../src/cluster/outputs.ts';
import { Ranges } from '../../src/cluster/ranges.ts';
import type { Roster, RosterRow } from '../../src/cluster/roster.ts';
import { DEFAULT_TIMING } from '../../src/cluster/timing.ts';
import { slotOf } from '../../src/hash/slot.ts';
import { ClusterNode } from '../../src/node/cluster-node.ts';
import type { NodeSession } from '../../src/node/node-session.ts';
import { ReplyError, type Reply as RespReply, replyText } from '../../src/resp/reply.ts';
import { REPLY, ReplyParser } from '../../src/resp/reply-parser.ts';
import { type Command, RequestWriter } from '../../src/resp/request-writer.ts';
import { ReplyWriter } from '../../src/resp/writer.ts';
import { Machine } from '../world/machine.ts';
import type { World } from '../world/world.ts';
import { describeMessage } from './describe.ts';
import { EtcdSide } from './etcd-side.ts';
import type { Host, JudgedMemory } from './host.ts';
import {
  describeEvent,
  indexOf,
  NOTE_EVENT,
  NOTE_MESSAGE,
  NOTE_REQUEST,
  nameOf,
  type Reply,
  type Request,
  type Scene,
} from './member-host.ts';
import { TAGS, tagOf } from './model-store.ts';
import type { Setup } from './plan.ts';

const NOTHING = new Uint8Array(0);
/** Clocks run 1 % wrong, TTLs are 4 s at most, and an effect may have been on its way for a while. */
const ENDING_MS = 300;
const MEMORY_BYTES = 256 * 1024;
/** Two dozen of these do not fit. */
const LARGE_BYTES = 24 * 1024;

/** Keys by number, each in a slot of its range. */
export class Keys {
  readonly names: readonly string[];
  readonly #byName: ReadonlyMap<string, number>;
  readonly perRange: number;

  constructor({ ranges: count, keysPerRange }: Setup) {
    const ranges = new Ranges(count);
    const encoder = new TextEncoder();
    this.perRange = keysPerRange;
    this.names = Array.from({ length: count * keysPerRange }, (_, key) => {
      for (let salt = 0; ; salt += 1) {
        const name = `k${key}{${salt}}`;
        const bytes = encoder.encode(name);
        if (ranges.of(slotOf(bytes, 0, bytes.length)) === Math.floor(key / keysPerRange)) return name;
      }
    });
    this.#byName = new Map(this.names.map((name, key) => [name, key]));
  }

  keyOf(name: string): number | undefined {
    return this.#byName.get(name);
  }
}

interface Connection {
  readonly session: NodeSession;
  readonly parser: ReplyParser;
  /** Who waits for the replies to come, in their order. */
  readonly waiting: ((reply: RespReply) => void)[];
  /** Of the client's connection: a later one ends it. */
  readonly generation: string;
}

/** Looks into the engine as a reader would be answered. */
class NodeMemory implements JudgedMemory {
  readonly #node: ClusterNode;
  readonly #keys: Keys;
  readonly #names: readonly Uint8Array[];
  readonly #now: () => number;

  constructor(node: ClusterNode, keys: Keys, now: () => number) {
    this.#node = node;
    this.#keys = keys;
    this.#now = now;
    this.#names = keys.names.map((name) => new TextEncoder().encode(name));
  }

  get(_range: number, key: number): number | null {
    const { store } = this.#node.node;
    const name = this.#names[key]!;
    const ref = store.peek(name, 0, name.length, this.#now());
    if (ref === 0) return null;
    const text = new Uint8Array(Math.min(12, store.valueLength(ref)));
    store.copyValueRange(ref, 0, text.length, text, 0);
    return Number.parseInt(new TextDecoder().decode(text), 10);
  }

  isEnding(key: number): boolean {
    const { store } = this.#node.node;
    const name = this.#names[key]!;
    const ref = store.peek(name, 0, name.length, this.#now());
    const expiresAtMs = ref === 0 ? 0 : store.expiresAtMs(ref);
    return expiresAtMs !== 0 && expiresAtMs - this.#now() < ENDING_MS;
  }

  *entries(range: number): Iterable<readonly [number, number]> {
    const { perRange } = this.#keys;
    for (let key = range * perRange; key < (range + 1) * perRange; key += 1) {
      const version = this.get(range, key);
      if (version !== null) yield [key, version];
    }
  }
}

export class NodeHost implements Host {
  readonly index: number;
  readonly name: string;
  readonly id: NodeId;
  machine: Machine;
  node: ClusterNode | null = null;
  memory: JudgedMemory | null = null;
  incarnation = 0;
  #etcd: EtcdSide | null = null;
  #scene: Scene | null = null;
  readonly #keys: Keys;
  readonly #disk = new Map<number, VoterRow>();
  #diskRoster: RosterRow | null = null;
  /** What it was told when it joined, or knows since: of who joined, and of who has a disk. */
  #roster: Roster | null = null;
  readonly #connections = new Map<string, Connection>();
  readonly #request = new RequestWriter();
  readonly #out = new ReplyWriter();
  #random: SeededRandom;
  #ticks = 0;

  constructor(world: World, index: number, keys: Keys) {
    this.index = index;
    this.name = `m${index}`;
    this.id = index.toString(16).padStart(40, '0');
    this.machine = new Machine(world, this.name);
    this.machine.kill();
    this.#keys = keys;
    this.#random = new SeededRandom(index);
  }

  get core(): ClusterCore | null {
    return this.node?.core ?? null;
  }

  get forgets(): boolean {
    const { setup } = this.#scene!;
    return (setup.votersChange || this.index < setup.voters) && setup.diskMs[this.index]! < 0;
  }

  get isUp(): boolean {
    return this.node !== null;
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
    const isDurable = setup.diskMs[index]! >= 0;
    const members = hosts.map((host): Member => {
      const incarnation = host.index === index ? this.incarnation : 0;
      const { id, name } = host;
      return { id, host: name, port: 7379, httpPort: 0, linkPort: 0, zone: '', machine: '', weight: 1, incarnation };
    });
    const founders = members.slice(0, setup.members);
    const seed = world.between(0, 2 ** 32);
    this.#random = new SeededRandom(seed);
    const startMs = this.machine.clock.now();
    this.node = new ClusterNode({
      node: {
        memoryBytes: MEMORY_BYTES,
        eviction: 'tinylfu',
        random: new SeededRandom(seed + 1),
        startMs,
        version: 'sim',
        maxKeyBytes: 64,
        leaseCapacity: 64,
        generationCapacity: 4,
        feedRecords: 16,
        onInternalError: (error, where) => {
          const text = error instanceof Error ? error.stack : String(error);
          this.#scene!.judge.violate(8, `${this.name}: a bug in ${where}: ${text}`);
        },
      },
      cluster: {
        self: this.id,
        members: index < setup.members ? founders : [...founders, members[index]!],
        founding: founders.map(({ id, host, linkPort, zone, weight }) => ({ id, host, linkPort, zone, weight })),
        roster: isDurable || index >= setup.members ? this.#roster : null,
        restoredRoster: isDurable ? this.#diskRoster : null,
        voters: scene.etcd === null ? members.slice(0, setup.voters).map(({ id }) => id) : [ETCD],
        rangeCount: setup.ranges,
        copies: setup.copies,
        topology: setup.topology ?? 'sharded',
        balance: setup.balance,
        timing: { replaceMs: setup.replaceMs, ackMs: setup.ackMs },
        minorityModes: { '*': setup.onMinority },
        gutterMs: setup.gutterMs,
        isFounder: scene.etcd === null ? index === 0 && this.incarnation === 1 : index < setup.members,
        isDurable,
        restored: isDurable ? [...this.#disk.values()] : null,
        hasForgotten: !isDurable && this.incarnation > 1,
      },
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
            timing: { ...DEFAULT_TIMING, replaceMs: setup.replaceMs, ackMs: setup.ackMs },
            machine,
            hear: (message) => {
              if (machine === this.machine) this.#take(ETCD, message);
            },
          });
    if (this.#roster !== null) {
      this.node.guard.onRoster(this.node.core.membership.known);
      this.#meet();
    }
    this.memory = new NodeMemory(this.node, this.#keys, () => this.machine.clock.now());
    this.#connections.clear();
    world.trace.say(() => `${this.name} starts, life ${this.incarnation}`);
    this.#tick(this.machine);
  }

  crash(): void {
    if (this.node === null) return;
    this.machine.kill();
    this.node = null;
    this.memory = null;
    this.#etcd = null;
  }

  gone(id: NodeId): void {
    const { node, machine } = this;
    if (node === null) return;
    this.#scene!.world.trace.say(() => `${this.name} sees that the process of ${nameOf(id)} is gone`);
    node.onGone(id, machine.clock.now());
    this.#pump();
    this.#tick(machine);
  }

  back(id: NodeId): void {
    this.node?.onBack(id, this.machine.clock.now());
  }

  retire(): void {
    this.node?.retire(this.machine.clock.now());
    this.#pump();
  }

  isLeased(range: number): boolean {
    const { core } = this;
    const primary = core?.primaries[range];
    if (core === null || primary === null || primary === undefined || primary.isFrozen) return false;
    return core.views.isLeased(range, primary.record.ballot, this.machine.clock.now());
  }

  receive(from: NodeId, message: Message): void {
    if (this.machine.state === 'up') this.#take(from, message);
    else this.machine.deliver(() => this.#take(from, message));
  }

  invariants(): void {
    this.node?.invariants();
    this.#etcd?.invariants();
  }

  #take(from: NodeId, message: Message): void {
    const { node } = this;
    if (node === null) return;
    const { trace } = this.#scene!.world;
    trace.note(NOTE_MESSAGE, this.index, message.kind.length);
    if (trace.isRecording) trace.say(() => `    ${nameOf(from)} -> ${this.name}  ${describeMessage(message)}`);
    node.onMessage(from, message, this.machine.clock.now());
    this.#pump();
  }

  // -- clients

  serve(request: Request, connection: string, reply: (reply: Reply) => void): void {
    const { node } = this;
    if (node === null) return;
    const { world, judge } = this.#scene!;
    const { range, key } = request;
    const name = this.#keys.names[key]!;
    world.trace.note(NOTE_REQUEST, this.index, range);
    // Now, and not when the reply comes: that may have to wait behind others.
    if (node.core.route(range, false, this.machine.clock.now()).kind === 'serve') judge.serves(this, range);
    switch (request.kind) {
      case 'get': {
        const { readsCopies, staleMs } = request;
        const isCutOff = node.core.primaries[range] !== null && !node.core.views.hasMajority(this.machine.clock.now());
        const words = staleMs > 0 ? [name, 'STALE', staleMs] : readsCopies ? [name] : [name, 'LEASE', '1'];
        this.#call(connection, request.readsCopies, ['BW.GET', ...words], (answer) => {
          if (answer === null) {
            reply({ kind: 'miss', token: null });
            return;
          }
          if (!Array.isArray(answer)) {
            reply(this.#refusalOf(answer));
            return;
          }
          const isOwner = node.core.primaries[range] !== null;
          if (answer.length === 3) {
            const version = Number.parseInt(replyText(answer[0])!.slice(0, 12), 10);
            reply({ kind: 'hit', version, from: isCutOff ? 'gutter' : isOwner ? 'owner' : 'copy' });
            return;
          }
          const text = replyText(answer[0]);
          reply({ kind: 'miss', token: text === null ? null : { reign: null, number: 0, text } });
        });
        return;
      }
      case 'fill': {
        const words = ['LEASE', request.token.text!];
        const before = this.memory!.get(range, key);
        this.#call(connection, false, this.#store(key, request.version, words), (answer) => {
          if (replyText(answer) !== null) {
            reply({ kind: 'stored' });
            return;
          }
          const refused = this.#refusalOf(answer);
          if (refused.kind === 'refused') judge.counts.refusedFills += 1;
          reply(refused);
        });
        if (before === null && this.memory!.get(range, key) !== null) judge.stores(this, key, request.version);
        return;
      }
      case 'set':
        this.#write(request, connection, this.#store(key, request.version, []), reply);
        return;
      case 'delete':
        this.#write(request, connection, ['DEL', name], reply);
        return;
      case 'tag':
        this.#write(request, connection, ['BW.INVALIDATE', 'TAGS', '1', `t${request.tag}`], reply);
    }
  }

  #store(key: number, version: number, words: readonly string[]): Command {
    const { setup } = this.#scene!;
    const size = setup.evictions > 0 ? Math.floor(this.#random.nextFloat() * LARGE_BYTES) : 0;
    const value = `${String(version).padStart(12, '0')}${'x'.repeat(size)}`;
    const ttl = this.#random.nextFloat() < 0.5 ? ['PX', String(1 + Math.floor(this.#random.nextFloat() * 4000))] : [];
    return ['BW.SET', this.#keys.names[key]!, value, ...ttl, 'TAGS', '1', `t${tagOf(key) % TAGS}`, ...words];
  }

  #write(
    { range, key, version }: { readonly range: number; readonly key: number; readonly version: number },
    connection: string,
    command: Command,
    reply: (reply: Reply) => void,
  ): void {
    const { judge } = this.#scene!;
    this.#call(connection, false, command, (answer) => {
      if (typeof answer !== 'number' && replyText(answer) === null) {
        const refused = this.#refusalOf(answer);
        if (refused.kind === 'not-acknowledged') judge.counts.unacknowledged += 1;
        reply(refused);
        return;
      }
      // Who was told that somebody else reigns by now has asked that one: what it has itself, as the owner that it was, it answers nobody with.
      if (this.core !== null && this.core.ownerOf(range) === this.id) judge.settles(this, range, [key], [version]);
      reply({ kind: 'acknowledged' });
    });
  }

  #refusalOf(answer: RespReply): Reply {
    if (!(answer instanceof ReplyError)) throw new Error(`what kind of answer is ${String(answer)}`);
    const { code, message } = answer;
    const { hosts, judge } = this.#scene!;
    switch (code) {
      case 'MOVED':
        return { kind: 'moved', to: hosts.find(({ name }) => message.endsWith(` ${name}:7379`))!.id };
      case 'TRYAGAIN':
        return { kind: 'try-again' };
      case 'CLUSTERDOWN':
        return { kind: message.includes('Hash slot') ? 'down' : 'error' };
      case 'NOREPLICAS':
        return { kind: 'not-acknowledged' };
      case 'LEASEVOID':
        return { kind: 'refused' };
      case 'OOM':
        return { kind: 'refused' };
      default:
        judge.violate(6, `${this.name} answers ${message}`);
        return { kind: 'error' };
    }
  }

  /** Sends a command on a connection of its own order: one that reads copies, or one that does not. */
  #call(name: string, readsCopies: boolean, command: Command, done: (reply: RespReply) => void): void {
    const node = this.node!;
    const [client, generation] = name.split(' ') as [string, string];
    const place = `${client}${readsCopies ? ' reads copies' : ''}`;
    const now = this.machine.clock.now();
    let connection = this.#connections.get(place);
    if (connection !== undefined && connection.generation !== generation) {
      node.closeSession(connection.session);
      connection = undefined;
    }
    if (connection === undefined) {
      const session = node.openSession(now, { address: place, kind: 'resp' });
      connection = { session, parser: new ReplyParser(), waiting: [], generation };
      this.#connections.set(place, connection);
      if (readsCopies) this.#send(connection, ['READONLY'], now, () => undefined);
    }
    this.#send(connection, command, now, done);
    this.#pump();
  }

  #send(connection: Connection, command: Command, now: number, done: (reply: RespReply) => void): void {
    connection.waiting.push(done);
    this.#request.reset();
    this.#request.command(command);
    this.#out.reset();
    this.node!.onRequest(connection.session, this.#request.bytes, 0, this.#request.length, now, this.#out);
    this.#read(connection);
  }

  #read({ parser, waiting }: Connection): void {
    parser.begin(this.#out.bytes, 0, this.#out.length);
    const replies: RespReply[] = [];
    while (parser.next() === REPLY) replies.push(parser.value);
    parser.finish();
    this.#out.reset();
    for (const reply of replies) waiting.shift()!(reply);
  }

  // -- within

  #tick(machine: Machine): void {
    const { node } = this;
    if (node === null || machine !== this.machine) return;
    this.#etcd?.tick();
    const waitMs = node.onTick(machine.clock.now());
    this.#pump();
    this.#ticks += 1;
    const tick = this.#ticks;
    machine.scheduler.setTimer(Math.max(1, waitMs), () => {
      if (tick === this.#ticks) this.#tick(machine);
    });
  }

  #pump(): void {
    const { node } = this;
    if (node === null) return;
    const { judge, world, setup } = this.#scene!;
    for (let effects = node.takeEffects(); effects.length > 0; effects = node.takeEffects()) {
      for (const effect of effects) {
        switch (effect.kind) {
          case 'send':
            if (effect.to !== ETCD && effect.message.kind === 'accept')
              for (const record of effect.message.records) judge.told(record);
            if (effect.to !== ETCD && effect.message.kind === 'roster-accept') judge.toldRoster(effect.message.roster);
            this.#deliver(effect.to, effect.message);
            break;
          case 'persist': {
            const { machine } = this;
            const { rows, roster, number } = effect;
            const diskMs = setup.diskMs[this.index]!;
            const done = (): void => {
              if (machine !== this.machine || machine.state === 'dead') return;
              for (const row of rows) this.#disk.set(row.range, row);
              if (roster !== null) this.#diskRoster = roster;
              // A frozen program is told when it runs again.
              machine.deliver(() => {
                if (machine !== this.machine) return;
                node.onPersisted(number, machine.clock.now());
                this.#pump();
              });
            };
            if (diskMs === 0) world.after(0, done);
            else world.after(diskMs, done);
            break;
          }
          case 'event':
            this.#on(effect.event);
        }
      }
    }
    if (!node.hasPushes) return;
    let goOn = false;
    for (const session of node.takePushed()) {
      for (const connection of this.#connections.values()) {
        if (connection.session !== session) continue;
        let hasMore = true;
        while (hasMore) {
          this.#out.reset();
          hasMore = node.onPush(session, this.#out);
          this.#read(connection);
        }
        if (session.halted || session.inputBytes === 0) continue;
        // It was halted: what waited is executed now.
        goOn = true;
        this.#out.reset();
        node.onRequest(session, NOTHING, 0, 0, this.machine.clock.now(), this.#out);
        this.#read(connection);
      }
    }
    if (goOn) this.#pump();
  }

  #deliver(to: NodeId, message: Message): void {
    const { datagrams, hosts, isDropped } = this.#scene!;
    if (to === ETCD) {
      this.#etcd!.say(message);
      return;
    }
    const target = hosts[indexOf(to)]!;
    if (isDropped?.(this.name, target.name, message.kind) === true) return;
    datagrams.send(this.name, target.name, () => target.receive(this.id, message));
  }

  /** Links say where clients reach their members. */
  #meet(): void {
    const { members } = this.node!.core.membership.known;
    for (const { id } of members) {
      const member = { id, host: nameOf(id), port: 7379, httpPort: 0, linkPort: 0, zone: '', machine: '', weight: 1 };
      this.node!.onMember({ ...member, incarnation: 1 });
    }
  }

  #on(event: ClusterEvent): void {
    const { world, judge } = this.#scene!;
    world.trace.note(NOTE_EVENT, this.index, event.kind.length);
    world.trace.say(() => `${this.name}: ${describeEvent(event)}`);
    if (event.kind === 'reign-began') judge.reigns(this, event.range, event.basis, event.isEmpty, event.how);
    if (event.kind === 'reign-ended') judge.ends(event.why);
    if (event.kind === 'copy-resynced') judge.resynced(event.how);
    if (event.kind === 'roster') {
      this.#roster = event.roster;
      judge.knows(event.roster);
      this.#meet();
    }
  }
}
