/**
 * A node that is a member of a cluster: `Node` executes commands, `ClusterCore` says which of them are ours to answer, and this joins the two. Pure as both are; the doors are told in `cluster-door.ts`.
 *
 * Life of a DEL
 *   1. `execute` asks the guard for the key's slot: we own its range and hold its lease, or the client is sent elsewhere.
 *   2. The command deletes the key in our memory; the memory tells the journal (below), which makes an effect of it and hands it to the core under a number.
 *   3. The core sends the effect to every copy. The reply stands in the output already; because a write of it waits, `onReply` takes it away and parks it (`parked-replies.ts`).
 *   4. Copies say `applied`; the core says `settled`; the reply is due and goes out by `onPush`. Without the copies: `-NOREPLICAS`, after `writeMs` at the latest.
 *
 * A first SET, or a fill of a lease, takes the same way and is settled in step 3, so its reply never leaves the output.
 *
 * Bounds: replies that wait, a session (then it is halted); writes that wait, a range (the core; then a write is not acknowledged, and says so); effects kept for copies, a range, in number and bytes.
 */
import { assert } from '../base/assert.ts';
import { BreakwaterError } from '../base/errors.ts';
import { ClusterCore } from '../cluster/core.ts';
import type { Member, NodeId } from '../cluster/member.ts';
import type { Message, SpreadKind, SpreadName } from '../cluster/messages.ts';
import type { Output } from '../cluster/outputs.ts';
import { place } from '../cluster/placement.ts';
import { Ranges } from '../cluster/ranges.ts';
import { asMember, foundingRoster, orderIn, type RosterMember } from '../cluster/roster.ts';
import { STANDING_RULES } from '../cluster/standing.ts';
import { DEFAULT_TIMING } from '../cluster/timing.ts';
import type { ClusterView, Forwarded } from '../commands/cluster-face.ts';
import { invalidateNamespace } from '../commands/freshness-commands.ts';
import type { SourceVersion, TagList } from '../engine/face.ts';
import { namespaceHash, tagHash } from '../freshness/names.ts';
import { ReplyWriter } from '../resp/writer.ts';
import type { ClusterDoors, ClusterEffect, ClusterNodeOptions } from './cluster-door.ts';
import { ClusterGuard } from './cluster-guard.ts';
import {
  CLEAR_EFFECT,
  EXPIRE_KEY_AT,
  expireFrame,
  NAMESPACE,
  nameEffect,
  REMOVE_KEY_AT,
  removeFrame,
  storeFrame,
  TAG,
} from './effect.ts';
import { DEFAULT_GUTTER_MS, Gutter } from './gutter.ts';
import { HeldRequests } from './held-requests.ts';
import { type Journal, MemberStore } from './member-store.ts';
import { Node, type ReplyGate } from './node.ts';
import type { NodeSession } from './node-session.ts';
import { NOT_ACKNOWLEDGED, ParkedReplies, ParkedReply } from './parked-replies.ts';
import { Proxies } from './proxy.ts';
import { RangeBeside } from './range-beside.ts';
import { RangeMemory } from './range-memory.ts';
import { Spreads } from './spreads.ts';
import { Waits, WrittenRanges } from './waits.ts';
import { type WriteMode, WriteModes } from './write-modes.ts';

const MINUS = 45;
const NOT_ACKNOWLEDGED_BYTES = new TextEncoder().encode(`-${NOT_ACKNOWLEDGED}\r\n`);
const NO_REQUEST_BYTES = new TextEncoder().encode('-ERR Protocol error: no whole request\r\n');
const NOTHING: readonly ClusterEffect[] = [];
/** The first records of a cluster are named by the minutes since then: fencing tokens go on growing when it is formed anew (`range-beside.ts`). 2020-01-01. */
const EPOCHS_SINCE_MS = 1_577_836_800_000;
/** Fits into one frame (`wire/frame.ts`) with room to spare. */
export const MAX_VALUE_BYTES = 16 * 1024 * 1024;

/** A write that waits: the reply it belongs to, and the session that is to be told. */
interface Waiting {
  readonly reply: ParkedReply;
  readonly session: NodeSession;
}

interface Held {
  readonly afterWrite: number;
  readonly to: NodeId;
  readonly message: Message;
}

export class ClusterNode implements ClusterDoors, ReplyGate, Journal {
  readonly node: Node;
  readonly core: ClusterCore;
  readonly memory: RangeMemory;
  readonly guard: ClusterGuard;
  /** Answers for it while there is no majority. */
  readonly gutter: Gutter;
  readonly #store: MemberStore;
  #nowMs: number;
  #effects: ClusterEffect[] = [];
  /** Answers of our voter that wait for their rows to be on the disk. */
  #held: Held[] = [];
  #persisted = 0;
  #lastWrite = 0;
  readonly #waiting = new Map<number, Waiting>();
  /** Whose request is being executed, and the reply to it if one of its writes waits. */
  #session: NodeSession | null = null;
  #reply: ParkedReply | null = null;
  /** Sessions whose first parked reply may go. */
  readonly #due = new Set<NodeSession>();
  readonly #spreads: Spreads;
  /** Names that the command at hand invalidates everywhere. */
  #names: SpreadName[] = [];
  readonly #proxies: Proxies;
  readonly #modes: WriteModes;
  readonly #waits: Waits;
  /** The command at hand is a WAIT. */
  #wait: { readonly count: number; readonly timeoutMs: number } | null = null;
  /** The command at hand is others' to execute. */
  #forwarded: Forwarded | null = null;
  /** Sessions whose command waits until a range has its owner. */
  readonly held: HeldRequests;
  /** Something of the command at hand is to be looked at when it has been executed: one of `#reply`, `#names`, `#wait`, `#forwarded` and `#holdRange` was set. */
  #isMarked = false;
  /** The command at hand is to wait for this range; -1: it is not. */
  #holdRange = -1;
  /** Executes what other members' clients ask of ranges of ours. */
  #inner: NodeSession | null = null;
  readonly #innerOut = new ReplyWriter();
  #innerReply: ParkedReply | null = null;
  /** A reign has ended, and followers of the feed have not been told. */
  #hasEnded = false;
  /** Effects of spreads, by their write's number. */
  readonly #spreadWrites = new Map<number, (isAcknowledged: boolean) => void>();

  /** @throws BreakwaterError `CLUSTER_VALUE_TOO_LARGE`, `TIMING_INVALID`, `RANGES_INVALID`, `PLACEMENT_INVALID`, `ENGINE_OPTIONS_INVALID` */
  constructor({ node, cluster }: ClusterNodeOptions) {
    const { self, members, voters, rangeCount, copies } = cluster;
    const own = members.find(({ id }) => id === self);
    assert(own !== undefined, 'a member is among the members');
    if ((node.maxValueBytes ?? 0) > MAX_VALUE_BYTES) {
      throw new BreakwaterError(
        'CLUSTER_VALUE_TOO_LARGE',
        `cannot be a member of a cluster with values of up to ${node.maxValueBytes} bytes: copies are sent whole, so at most ${MAX_VALUE_BYTES}`,
      );
    }
    const ranges = new Ranges(rangeCount);
    const timing = { ...DEFAULT_TIMING, ...cluster.timing };
    let store: MemberStore | null = null;
    this.node = new Node({
      ...node,
      nodeId: self,
      makeStore: (options) => {
        store = new MemberStore(options, (key, start, length) => this.memory.rangeOf(key, start, length));
        return store;
      },
    });
    this.#store = store!;
    this.#nowMs = node.startMs;
    const { context } = this.node;
    const beside = new RangeBeside({
      rangeCount,
      rangeOf: (slot) => ranges.of(slot),
      epochOf: (range) => this.core.primaries[range]!.record.ballot.epoch,
      // Always: a lock or a count that a dying owner takes along is no lock.
      write: (range, body) => this.#write(range, body, false, 'safe'),
    });
    context.locks = beside.locks;
    context.tallies = beside.tallies;
    this.memory = new RangeMemory(this.#store, context.freshness, ranges, beside);
    this.#touch(node.startMs);
    const founding = cluster.founding ?? members.map(asFounder);
    const order = orderOf(founding, ranges, Math.min(copies, founding.length));
    this.#modes = new WriteModes(cluster.writeModes ?? {});
    this.#waits = new Waits(() => this.core.primaries);
    this.core = new ClusterCore({
      self,
      incarnation: own.incarnation,
      firstEpoch: Math.floor((node.startMs - EPOCHS_SINCE_MS) / 60_000),
      members: founding.map(({ id }) => id),
      founding,
      roster: cluster.roster ?? null,
      voters,
      rangeCount,
      copies: Math.min(copies, founding.length),
      topology: cluster.topology ?? 'sharded',
      order: (range) => order[range]!,
      timing,
      store: this.memory,
      isFounder: cluster.isFounder,
      isDurable: cluster.isDurable,
      restored: cluster.restored,
      restoredRoster: cluster.restoredRoster ?? null,
      hasForgotten: cluster.hasForgotten,
      nowMs: node.startMs,
      balance: cluster.balance === undefined ? STANDING_RULES : cluster.balance,
    });
    this.guard = new ClusterGuard(this.core, ranges, members, timing);
    this.guard.nowMs = this.#nowMs;
    this.gutter = new Gutter({
      modes: cluster.minorityModes ?? {},
      gutterMs: cluster.gutterMs ?? DEFAULT_GUTTER_MS,
      node,
    });
    this.guard.gutter = this.gutter;
    this.guard.onSpread = (name) => {
      // Whether or not it will be acknowledged.
      this.gutter.clear(this.#nowMs);
      this.#names.push(name);
      this.#isMarked = true;
    };
    this.#spreads = new Spreads({
      self,
      rangeCount,
      deadlineMs: timing.writeMs,
      ownerOf: (range) => this.core.ownerOf(range),
      send: (to, message) => this.#send(to, message, 0),
      isOwned: (range) => this.guard.isOwned(range),
      note: (names) => this.#noteNames(names),
      write: (range, names, isAcknowledged) => this.#spreadTo(range, names, isAcknowledged),
      finished: (id, isAcknowledged) => this.#settled(id, isAcknowledged),
    });
    this.guard.onWait = (count, timeoutMs) => {
      this.#wait = { count, timeoutMs };
      this.#isMarked = true;
    };
    this.guard.onForward = (command) => {
      this.#forwarded = command;
      this.#isMarked = true;
    };
    // Half of F, as a command of a hop waits for a clock: longer than any hand-over that ends well.
    this.held = new HeldRequests(timing.leaseMs / 2);
    this.guard.onHold = (session, range) => {
      // Its session is everybody's: `proxy.ts` lets it wait.
      if (session === this.#inner || !this.held.mayWait(session as NodeSession, this.#nowMs)) return false;
      this.#holdRange = range;
      this.#isMarked = true;
      return true;
    };
    this.#proxies = new Proxies(
      {
        self,
        life: own.incarnation,
        freshMs: timing.leaseMs,
        writeMs: timing.writeMs,
        ownerOf: (range) => (this.guard.isOwned(range) ? self : this.core.ownerOf(range)),
        rangeOf: (slot) => ranges.of(slot),
        ballotOf: (range) => this.core.ballotOf(range),
        isChanging: (range) => this.core.isChanging(range, this.#nowMs),
        reignOf: (range) => this.core.primaries[range]?.reign ?? null,
        send: (to, message) => this.#send(to, message, 0),
        execute: (request, protocol, done) => this.#execute(request, protocol, done),
      },
      this.#nowMs,
    );
    this.node.gate = this;
    this.#store.journal = this;
    this.#store.onGone((ref) => this.#gone(ref));
    context.cluster = this.guard;
  }

  // -- clients

  openSession(
    nowMs: number,
    info: { address: string; localAddress?: string; kind: 'resp' | 'http' | 'internal'; isProxied?: boolean },
  ): NodeSession {
    return this.node.openSession(nowMs, info);
  }

  closeSession(session: NodeSession): void {
    this.node.closeSession(session);
    this.#due.delete(session);
    this.held.forget(session);
    if (this.#waits.count > 0) this.#waits.drop(session);
    this.gutter.lost(session);
  }

  onRequest(
    session: NodeSession,
    chunk: Uint8Array,
    start: number,
    end: number,
    nowMs: number,
    out: ReplyWriter,
  ): void {
    this.#touch(nowMs);
    this.#session = session;
    this.node.onRequest(session, chunk, start, end, nowMs, out);
    this.#session = null;
    this.#pump();
  }

  get hasPushes(): boolean {
    return this.#due.size !== 0 || this.node.hasPushes;
  }

  takePushed(): NodeSession[] {
    if (this.#due.size === 0) return this.node.takePushed();
    const sessions = new Set(this.#due);
    this.#due.clear();
    if (this.node.hasPushes) for (const session of this.node.takePushed()) sessions.add(session);
    return [...sessions];
  }

  onPush(session: NodeSession, out: ReplyWriter): boolean {
    const { parked } = session;
    if (parked !== null && parked.count !== 0) {
      out.protocol = session.protocol;
      const hasMore = parked.release(out, session.outputLimitBytes);
      if (session.halted && !parked.isFull && !this.held.isHeld(session)) session.halted = false;
      if (hasMore) return true;
    } else if (session.halted && !this.held.isHeld(session)) session.halted = false;
    return this.node.onPush(session, out);
  }

  // -- members, disk, time

  onMessage(from: NodeId, message: Message, nowMs: number): void {
    this.#touch(nowMs);
    this.guard.framesReceived += 1;
    if (message.kind === 'spread') this.#spreads.onSpread(from, message);
    else if (message.kind === 'spread-done') this.#spreads.onDone(message.id, message.ranges);
    else if (message.kind === 'proxy') this.#proxies.onProxy(from, message, this.#nowMs);
    else if (message.kind === 'proxied') this.#proxies.onProxied(from, message, this.#nowMs);
    else {
      if (mayChangeRoutes(message)) this.guard.changed();
      this.core.onMessage(from, message, this.#nowMs);
    }
    this.#pump();
    this.#unhold();
  }

  onGone(id: NodeId, nowMs: number): void {
    this.#touch(nowMs);
    this.guard.changed();
    this.core.onGone(id, this.#nowMs);
    this.#pump();
    this.#unhold();
  }

  onBack(id: NodeId, nowMs: number): void {
    this.#touch(nowMs);
    this.core.onBack(id, this.#nowMs);
  }

  retire(nowMs: number): void {
    this.#touch(nowMs);
    this.guard.changed();
    this.core.retire(this.#nowMs);
    this.#pump();
  }

  onPersisted(number: number, nowMs: number): void {
    this.#touch(nowMs);
    if (number > this.#persisted) this.#persisted = number;
    const held = this.#held;
    this.#held = [];
    for (const { afterWrite, to, message } of held) this.#send(to, message, afterWrite);
    this.#pump();
  }

  onTick(nowMs: number): number {
    this.#touch(nowMs);
    this.guard.changed();
    const coreMs = this.core.onTick(this.#nowMs);
    this.#spreads.onTick(this.#nowMs);
    this.#proxies.onTick(this.#nowMs);
    this.#pump();
    const nodeMs = this.node.onTick(nowMs);
    this.guard.watch();
    if (this.guard.isOk) this.gutter.clear(this.#nowMs);
    else this.gutter.onTick(this.#nowMs);
    this.memory.tick();
    this.#pump();
    this.#unhold();
    return Math.min(coreMs, nodeMs);
  }

  takeEffects(): readonly ClusterEffect[] {
    if (this.#effects.length === 0) return NOTHING;
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  onMember(member: Member): void {
    this.guard.onMember(member);
  }

  onLinkFull(peer: NodeId, isFull: boolean): void {
    this.core.onLinkFull(peer, isFull);
  }

  leave(isLeaving: boolean): void {
    this.core.isLeaving = isLeaving;
  }

  get ownedCount(): number {
    return this.core.primaries.reduce((count, primary) => count + (primary === null ? 0 : 1), 0);
  }

  /** Does it own nothing, and know who owns what was its own? */
  get hasGivenAll(): boolean {
    const { core } = this;
    return core.primaries.every((primary, range) => primary === null && core.ownerOf(range) !== core.self);
  }

  get view(): ClusterView {
    return this.guard.view;
  }

  get isOk(): boolean {
    return this.guard.isOk;
  }

  /** Throws unless everything within is whole. O(entries). */
  invariants(): void {
    this.core.invariants();
    this.#store.invariants();
    this.held.invariants();
    this.node.context.freshness.invariants();
    for (const session of this.node.context.sessions.values()) (session as NodeSession).parked?.invariants();
  }

  // -- ReplyGate

  onReply(session: NodeSession, from: number, out: ReplyWriter): void {
    // A read, and nothing that waits in front of it: most of the time.
    if (!this.#isMarked && session.parked === null && session.heldUntilMs === 0) return;
    this.#isMarked = false;
    this.#onMarked(session, from, out);
  }

  #onMarked(session: NodeSession, from: number, out: ReplyWriter): void {
    if (this.#holdRange >= 0) {
      this.held.take(session, this.#holdRange, this.#nowMs);
      this.#holdRange = -1;
      return;
    }
    if (session.heldUntilMs !== 0) this.held.done(session, this.#nowMs);
    if (this.#forwarded !== null) {
      this.#forward(session, this.#forwarded, out, from);
      return;
    }
    if (this.#wait !== null) {
      this.#beginWait(session, this.#wait, out, from);
      return;
    }
    if (this.#names.length > 0) this.#beginSpread(session);
    const reply = this.#reply;
    this.#reply = null;
    if (session === this.#inner) {
      this.#innerReply = reply;
      return;
    }
    const { parked } = session;
    if (reply === null && (parked === null || parked.count === 0)) return;
    if (reply !== null) {
      // First SETs are settled by now, others perhaps.
      this.#pump();
      if (reply.writes === 0 && (parked === null || parked.count === 0)) {
        if (!reply.isRefused || out.bytes[from] === MINUS) return;
        out.length = from;
        out.error(NOT_ACKNOWLEDGED);
        return;
      }
    }
    session.parked ??= new ParkedReplies();
    session.parked.park(reply ?? new ParkedReply(), out, from);
    if (session.parked.isFull) session.halted = true;
  }

  // -- Journal

  stored(
    range: number,
    key: Uint8Array,
    keyStart: number,
    keyLength: number,
    value: Uint8Array,
    valueStart: number,
    valueLength: number,
    leftMs: number,
    tags: TagList | null,
    source: SourceVersion | null,
    isFirst: boolean,
  ): void {
    const frame = storeFrame(keyLength, valueLength, leftMs, this.#store.lastVersion, tags, source);
    frame.body.set(key.subarray(keyStart, keyStart + keyLength), frame.keyAt);
    frame.body.set(value.subarray(valueStart, valueStart + valueLength), frame.valueAt);
    const mode = this.#modes.of(key, keyStart, keyLength);
    if (this.node.context.isFill && mode !== 'all') this.#note(range, frame.body, false);
    else this.#write(range, frame.body, isFirst, mode);
  }

  deleted(range: number, key: Uint8Array, start: number, length: number): void {
    const body = removeFrame(length);
    body.set(key.subarray(start, start + length), REMOVE_KEY_AT);
    this.#write(range, body, false, this.#modes.of(key, start, length));
  }

  expiryMoved(range: number, key: Uint8Array, length: number, leftMs: number, isNearer: boolean): void {
    const body = expireFrame(length, leftMs);
    body.set(key.subarray(0, length), EXPIRE_KEY_AT);
    this.#write(range, body, !isNearer, this.#modes.of(key, 0, length));
  }

  cleared(): void {
    for (const primary of this.core.primaries) {
      if (primary !== null) this.#write(primary.range, CLEAR_EFFECT, false, 'safe');
    }
  }

  // -- within

  /**
   * Evicted, expired, or dead. What we only copy may go without a word. A dead one is told of too, although mostly its copies know: what killed it may have been meant for another range (names are noted
   * for the whole member), or be a floor that was raised here and not there.
   */
  #gone(ref: number): void {
    const range = this.memory.rangeOfRef(ref);
    if (this.core.primaries[range] === null || this.memory.isEmptied(ref, range)) return;
    const length = this.#store.keyLength(ref);
    const body = removeFrame(length);
    this.#store.copyKey(ref, body, REMOVE_KEY_AT);
    this.core.note(range, body, true, this.#nowMs);
  }

  /** Something that nobody waits for. */
  #note(range: number, body: Uint8Array, removes: boolean): void {
    if (this.#session !== null) this.#noteWritten(this.#session, range);
    this.core.note(range, body, removes, this.#nowMs);
  }

  #noteWritten(session: NodeSession, range: number): void {
    session.written ??= new WrittenRanges(this.core.primaries.length);
    session.written.add(range);
  }

  #write(range: number, body: Uint8Array, isFirst: boolean, mode: WriteMode): void {
    assert(this.core.primaries[range] !== null, 'only an owner changes a range');
    const session = this.#session;
    if (session === null || mode === 'async') {
      this.#note(range, body, !isFirst);
      return;
    }
    this.#noteWritten(session, range);
    this.#isMarked = true;
    this.#reply ??= new ParkedReply();
    this.#reply.writes += 1;
    this.#lastWrite += 1;
    this.#waiting.set(this.#lastWrite, { reply: this.#reply, session });
    // In the mode `all` nothing is first: whoever has a copy is waited for.
    this.core.write(range, this.#lastWrite, body, isFirst && mode !== 'all', this.#nowMs);
  }

  /** The reply to a WAIT comes when copies have got on, or its time is over. */
  #beginWait(
    session: NodeSession,
    { count, timeoutMs }: { count: number; timeoutMs: number },
    out: ReplyWriter,
    from: number,
  ): void {
    this.#wait = null;
    const reply = new ParkedReply();
    reply.writes = 1;
    session.parked ??= new ParkedReplies();
    const { parked } = session;
    parked.park(reply, out, from);
    this.#waits.begin(session, session.written?.all() ?? [], count, timeoutMs, this.#nowMs, (copies) => {
      reply.writes = 0;
      parked.fill(reply, new TextEncoder().encode(`:${copies}\r\n`));
      if (parked.isDue) this.#due.add(session);
    });
    if (parked.isFull) session.halted = true;
  }

  /** Has the owners execute the command at hand. Its reply waits, as that to a write does. */
  #forward(session: NodeSession, command: Forwarded, out: ReplyWriter, from: number): void {
    this.#forwarded = null;
    const reply = new ParkedReply();
    reply.writes = 1;
    for (const { request } of command.parts) reply.requestBytes += request.length;
    session.parked ??= new ParkedReplies();
    const { parked } = session;
    parked.park(reply, out, from);
    const look = (): void => {
      const isWanted = parked.isDue || (session.halted && !parked.isFull);
      if (isWanted && this.node.context.sessions.has(session.id)) this.#due.add(session);
    };
    let isUnderWay = false;
    this.#proxies.begin(
      command,
      this.#nowMs,
      parked.lane,
      (isHeld) => {
        parked.held += isHeld ? 1 : -1;
        // It has to be asked of another owner: nothing overtakes it.
        if (isHeld && isUnderWay) session.halted = true;
        look();
      },
      (bytes) => {
        reply.writes = 0;
        parked.fill(reply, bytes);
        look();
      },
    );
    isUnderWay = true;
    if (parked.isFull) session.halted = true;
  }

  /** Executes a request that another member's client, or a part of one that ours, has for a range of ours. */
  #execute(request: Uint8Array, protocol: 2 | 3, done: (reply: Uint8Array, isWrite: boolean) => void): void {
    const outer = this.#session;
    this.#inner ??= this.node.openSession(this.#nowMs, { address: 'members', kind: 'internal' });
    const inner = this.#inner;
    const out = this.#innerOut;
    inner.protocol = protocol;
    inner.outputLimitBytes = Number.MAX_SAFE_INTEGER;
    this.#session = inner;
    out.reset();
    this.node.onRequest(inner, request, 0, request.length, this.#nowMs, out);
    this.#session = outer;
    if (inner.closing || inner.inputBytes > 0) {
      // No whole request, by our limits at least: the next one gets a parser of its own.
      this.node.closeSession(inner);
      this.#inner = null;
    }
    const bytes = out.length > 0 ? out.bytes.slice(0, out.length) : NO_REQUEST_BYTES;
    const reply = this.#innerReply;
    this.#innerReply = null;
    this.#pump();
    const answer = (): void => {
      const isRefused = reply?.isRefused === true && bytes[0] !== MINUS;
      done(isRefused ? NOT_ACKNOWLEDGED_BYTES : bytes, reply !== null);
    };
    if (reply === null || reply.writes === 0) answer();
    else reply.onDone = answer;
  }

  /** Invalidates the names of the command at hand everywhere: one write more that its reply waits for. */
  #beginSpread(session: NodeSession): void {
    const names = this.#names;
    this.#names = [];
    this.#reply ??= new ParkedReply();
    this.#lastWrite += 1;
    const id = this.#lastWrite;
    this.#reply.writes += 1;
    this.#waiting.set(id, { reply: this.#reply, session });
    if (!this.#spreads.begin(id, names, this.#nowMs)) this.#settled(id, false);
  }

  /** Names that are invalidated everywhere, in this member's own memory; followers of its feed hear of them here. */
  #noteNames(names: readonly SpreadName[]): void {
    this.gutter.clear(this.#nowMs);
    const { context } = this.node;
    for (const { kind, name } of names) {
      if (kind === 'tag') context.freshness.invalidateTag(name, 0, name.length);
      else if (kind === 'namespace') invalidateNamespace(context, name, 0, name.length);
      else {
        context.freshness.voidAll();
        context.plainSets.noteAll(context.nowMs);
      }
    }
  }

  #spreadTo(range: number, names: readonly SpreadName[], isAcknowledged: (all: boolean) => void): void {
    let left = names.length;
    let all = true;
    const one = (done: boolean): void => {
      all &&= done;
      left -= 1;
      if (left === 0) isAcknowledged(all);
    };
    for (const { kind, name } of names) {
      if (kind === 'everything') this.memory.flush(range);
      this.#lastWrite += 1;
      this.#spreadWrites.set(this.#lastWrite, one);
      this.core.write(range, this.#lastWrite, effectOf(kind, name), false, this.#nowMs);
    }
  }

  /** What waited for a range goes on where it is known now whose it is. */
  #unhold(): void {
    this.#proxies.flush();
    if (this.held.size === 0) return;
    for (const session of this.held.release((range) => this.core.isChanging(range, this.#nowMs), this.#nowMs)) {
      this.#due.add(session);
    }
  }

  #touch(nowMs: number): void {
    if (nowMs > this.#nowMs) this.#nowMs = nowMs;
    this.memory.nowMs = Math.floor(this.#nowMs);
    if (this.guard !== undefined) this.guard.nowMs = this.#nowMs;
  }

  /** Does what the core wants done, until it wants nothing. What it says to itself is heard at once. */
  #pump(): void {
    for (let outputs = this.core.take(); outputs.length > 0; outputs = this.core.take()) {
      for (const output of outputs) this.#do(output);
      this.#spreads.flush();
    }
    if (this.#waits.count > 0) this.#waits.look(this.#nowMs);
    if (!this.#hasEnded) return;
    this.#hasEnded = false;
    // What was read here of a range that is another's now: nobody tells of its changes any more. Before any ping is answered, and it may be everything, which costs misses.
    this.node.context.pushes.clear();
  }

  #do(output: Output): void {
    switch (output.kind) {
      case 'send':
        this.#send(output.to, output.message, output.afterWrite);
        break;
      case 'write':
        this.#effects.push({ kind: 'persist', number: output.number, rows: output.rows, roster: output.roster });
        break;
      case 'settled':
        this.#settled(output.id, output.isAcknowledged);
        break;
      case 'event': {
        const { event } = output;
        if (event.kind === 'reign-began') {
          this.memory.begin(event.range);
          // Whoever follows the owner before: not known here, and no member asks another one.
          this.node.context.pushes.inherit(this.#nowMs);
        }
        // Whatever is known of leases was known of the ranges that were ours until now.
        if (event.kind === 'reign-began' || event.kind === 'reign-ended') this.guard.changed();
        if (event.kind === 'reign-ended') this.#hasEnded = true;
        if (event.kind === 'roster') this.guard.onRoster(event.roster);
        this.#effects.push(output);
        break;
      }
    }
  }

  #send(to: NodeId, message: Message, afterWrite: number): void {
    if (afterWrite > this.#persisted) {
      this.#held.push({ afterWrite, to, message });
    } else if (to === this.core.self) {
      if (mayChangeRoutes(message)) this.guard.changed();
      this.core.onMessage(to, message, this.#nowMs);
    } else {
      this.guard.framesSent += 1;
      this.#effects.push({ kind: 'send', to, message });
    }
  }

  #settled(id: number, isAcknowledged: boolean): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) {
      const done = this.#spreadWrites.get(id);
      this.#spreadWrites.delete(id);
      done?.(isAcknowledged);
      return;
    }
    this.#waiting.delete(id);
    const { reply, session } = waiting;
    reply.writes -= 1;
    if (!isAcknowledged) reply.isRefused = true;
    if (reply.writes === 0) reply.onDone?.();
    if (session.parked?.isDue === true && this.node.context.sessions.has(session.id)) this.#due.add(session);
  }
}

function effectOf(kind: SpreadKind, name: Uint8Array): Uint8Array {
  switch (kind) {
    case 'tag':
      return nameEffect(TAG, tagHash(name, 0, name.length));
    case 'namespace':
      return nameEffect(NAMESPACE, namespaceHash(name, 0, name.length));
    case 'everything':
      return CLEAR_EFFECT;
  }
}

/** Heartbeats and votes make and end leases; what copies say does not. */
function mayChangeRoutes({ kind }: Message): boolean {
  return kind !== 'effects' && kind !== 'applied' && kind !== 'part' && kind !== 'part-ack' && kind !== 'following';
}

/** Who should hold each range by the founding roster, best first: placement, and behind it everybody else that may, beginning elsewhere for each range. */
function orderOf(founding: readonly RosterMember[], ranges: Ranges, copies: number): readonly (readonly NodeId[])[] {
  const placed = place(founding.map(asMember), ranges, [], { copies });
  return orderIn(foundingRoster(founding, (range) => placed[range]!.inSync, ranges.count, copies));
}

function asFounder({ id, host, linkPort, zone, weight }: Member): RosterMember {
  return { id, host, linkPort, zone, weight };
}
