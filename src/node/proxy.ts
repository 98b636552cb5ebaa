/**
 * Commands of clients that know nothing of clusters, executed by the members that own their slots: one hop, over the links between members.
 *
 *   asker  --proxy(id, ballot, clock, request)-->  owner     executes it as if it were a client's, if it still reigns under that ballot or one before it
 *   asker  <--proxied(id, clock, reply)----------  owner     when the reply is due, its copies' acknowledgements included
 *
 * Nobody is asked twice, and nobody asked sends on: who is not the owner says so, and the client is told `-TRYAGAIN`. What must not happen is that a command is executed *late*: the asker gave it up, told
 * its client that it was not acknowledged, the client wrote something newer by another way, and then the old write comes out of a link that was cut for a while, and is done. Three things prevent it:
 *
 *   - Each member says its clock with every reply, and is told it with every command: a command that began its way more than `freshMs` after that is refused. Only the owner's own clock takes part, and
 *     nobody has to believe another's. Whoever has not heard an owner's clock lately asks for it first (an empty command), and the commands wait here, in order, until it has come.
 *   - A command is given up by the asker when it cannot begin any more: after `freshMs` counted by a patient clock (`timing.ts`), and a write `writeMs` later, which is when the owner gives up.
 *   - The ballot. An owner that lost a range and has it again within that time reigns under a higher one than the command knows of.
 *
 * Commands of one session keep their order: to one owner by the link, which keeps it; and while one of them waits for a clock, nothing more of its session is executed (`held`). Doubles are known by their
 * ids, which only grow.
 *
 * Why not a connection of an ordinary client to each member's RESP port: replies come in order there, so a write that waits for its copies would hold up everybody behind it; and a connection knows nothing
 * of clocks, so what was sent into it can be executed at any time after.
 *
 * Bounds: commands and bytes that an asker has under way, in all (more: refused at once); bytes of replies on their way to one asker (more: reads are refused).
 */
import { assert } from '../base/assert.ts';
import { type Ballot, compareBallots } from '../base/ballot.ts';
import type { NodeId } from '../cluster/member.ts';
import type { Message, Proxied, ProxyRequest } from '../cluster/messages.ts';
import { DRIFT } from '../cluster/timing.ts';
import type { Forwarded } from '../commands/cluster-face.ts';
import { isError, joined } from '../commands/forward.ts';

/** Requests that one member has under way for its clients. */
export const MAX_PARTS = 65_536;
/** Their bytes. */
export const MAX_REQUEST_BYTES = 32 * 1024 * 1024;
/** Longest request or reply of one hop: both fit into a frame. */
export const MAX_HOP_BYTES = 24 * 1024 * 1024;
/** Replies on their way to one asker: above it a read is refused. Well below what cuts a link. */
const MAX_REPLY_BYTES = 16 * 1024 * 1024;
/** A clock is asked for again after so long. */
const AGAIN_MS = 100;
/** A longer gap between two doors proves nothing about others, and counts as so much. */
const STALL_MS = 120;
const STALLED_MS = 50;

const encoder = new TextEncoder();
const error = (text: string): Uint8Array => encoder.encode(`-${text}\r\n`);
const NOTHING = new Uint8Array(0);
const NOT_THERE = error('TRYAGAIN The slot has another owner than was thought');
const LATE = error('TRYAGAIN The command was too long on its way to the owner of its slot, and was not executed');
const NO_ANSWER = error('TRYAGAIN The owner of the slot did not answer');
const NO_ANSWER_TO_WRITE = error(
  'NOREPLICAS not acknowledged: the owner of the slot did not answer, and may have done it or not',
);
const TOO_MANY = error('TRYAGAIN Too much is on its way to other members: ask for less at a time');
const TOO_LONG = error(
  'ERR Too much for one hop between members: ask for less at a time, or ask the owner of the slot itself',
);
const MOVED = encoder.encode('-MOVED ');

export interface ProxyPorts {
  readonly self: NodeId;
  readonly life: number;
  /** A command begins so long after its owner told its clock, or never. */
  readonly freshMs: number;
  /** An owner answers a write after so long, whatever its copies do. */
  readonly writeMs: number;
  ownerOf(range: number): NodeId | null;
  rangeOf(slot: number): number;
  /** Of the newest record that is known of the range. */
  ballotOf(range: number): Ballot;
  /** Under which this member owns the range; null: it does not. */
  reignOf(range: number): Ballot | null;
  send(to: NodeId, message: Message): void;
  /** Executes the request; `done`, now or later, with the reply. */
  execute(request: Uint8Array, protocol: 2 | 3, done: (reply: Uint8Array, isWrite: boolean) => void): void;
}

/** A command of a client. */
interface Call {
  readonly command: Forwarded;
  readonly replies: (Uint8Array | null)[];
  left: number;
  /** Parts that wait for a clock. */
  held: number;
  readonly onHeld: (isHeld: boolean) => void;
  readonly onDone: (reply: Uint8Array) => void;
}

/** One part of it. */
interface Part {
  readonly call: Call;
  readonly index: number;
  readonly range: number;
  readonly ballot: Ballot;
  /** Since when it waits for a clock, or for its reply; by the patient clock. */
  sincePatientMs: number;
}

/** An owner, as its askers know it. */
interface Peer {
  readonly id: NodeId;
  ownerLife: number;
  clockMs: number;
  /** When it said so, by our clock; by this it is only judged whether it is worth sending. */
  heardMs: number;
  askedMs: number;
  waiting: Part[];
}

/** An asker, as the owner knows it. */
interface Asker {
  life: number;
  lastId: number;
  /** Replies that it has not confirmed. */
  replies: { readonly id: number; readonly bytes: number }[];
  bytes: number;
}

const NEVER = Number.NEGATIVE_INFINITY;

export class Proxies {
  readonly #ports: ProxyPorts;
  readonly #peers = new Map<NodeId, Peer>();
  readonly #askers = new Map<NodeId, Asker>();
  /** Sent, by id: ascending. */
  readonly #sent = new Map<number, Part>();
  #waiting = 0;
  #requestBytes = 0;
  #lastId = 0;
  #nowMs: number;
  #patientMs = 0;

  constructor(ports: ProxyPorts, nowMs: number) {
    this.#ports = ports;
    this.#nowMs = nowMs;
  }

  /** Requests under way. */
  get size(): number {
    return this.#sent.size + this.#waiting;
  }

  /** `onDone` with the reply, now or later, exactly once; `onHeld` before, when something of it has to wait here, and when it has not any more. */
  begin(
    command: Forwarded,
    nowMs: number,
    onHeld: (isHeld: boolean) => void,
    onDone: (reply: Uint8Array) => void,
  ): void {
    this.#advance(nowMs);
    const { parts } = command;
    const bytes = parts.reduce((sum, { request }) => sum + request.length, 0);
    if (parts.some(({ request }) => request.length > MAX_HOP_BYTES)) {
      onDone(TOO_LONG);
      return;
    }
    const isFull = this.size + parts.length > MAX_PARTS || this.#requestBytes + bytes > MAX_REQUEST_BYTES;
    if (isFull && this.size > 0) {
      onDone(TOO_MANY);
      return;
    }
    const call: Call = { command, replies: parts.map(() => null), left: parts.length, held: 0, onHeld, onDone };
    this.#requestBytes += bytes;
    for (const [index, { slot }] of parts.entries()) {
      const range = this.#ports.rangeOf(slot);
      this.#ask({ call, index, range, ballot: this.#ports.ballotOf(range), sincePatientMs: this.#patientMs });
    }
  }

  onProxy(from: NodeId, message: ProxyRequest, nowMs: number): void {
    const { self, life: ownerLife, freshMs } = this.#ports;
    const { id, life, clockMs, settled, request } = message;
    this.#advance(nowMs);
    let asker = this.#askers.get(from);
    if (asker === undefined || asker.life < life) {
      asker = { life, lastId: 0, replies: [], bytes: 0 };
      this.#askers.set(from, asker);
    }
    // Of an earlier life, or a double.
    if (life < asker.life || id <= asker.lastId) return;
    asker.lastId = id;
    while (asker.replies.length > 0 && asker.replies[0]!.id <= settled) asker.bytes -= asker.replies.shift()!.bytes;
    const told = asker;
    const tell = (reply: Uint8Array): void => {
      told.bytes += reply.length;
      told.replies.push({ id, bytes: reply.length });
      this.#ports.send(from, { kind: 'proxied', id, life, ownerLife, clockMs: this.#nowMs, reply });
    };
    assert(from !== self, 'a member asks itself by no frame');
    if (request.length === 0) {
      tell(NOTHING);
      return;
    }
    // Its clock was ahead of ours: it heard another life of ours.
    const isLate = message.ownerLife !== ownerLife || clockMs > nowMs || nowMs - clockMs > freshMs;
    if (isLate) tell(LATE);
    else {
      this.#execute(message.range, message.ballot, request, message.protocol === 3 ? 3 : 2, (reply, isWrite) => {
        if (reply.length > MAX_HOP_BYTES) tell(TOO_LONG);
        else if (!isWrite && told.bytes > 0 && told.bytes + reply.length > MAX_REPLY_BYTES) tell(TOO_MANY);
        else tell(reply);
      });
    }
  }

  onProxied(from: NodeId, { id, life, ownerLife, clockMs, reply }: Proxied, nowMs: number): void {
    this.#advance(nowMs);
    if (life !== this.#ports.life) return;
    const peer = this.#peerOf(from);
    if (ownerLife < peer.ownerLife) return;
    if (ownerLife > peer.ownerLife || clockMs > peer.clockMs) {
      peer.ownerLife = ownerLife;
      peer.clockMs = clockMs;
      peer.heardMs = nowMs;
    }
    const part = this.#sent.get(id);
    if (part !== undefined) {
      this.#sent.delete(id);
      // The frame's bytes are a view.
      this.#settle(part, new Uint8Array(reply));
    }
    this.#send(peer);
  }

  onTick(nowMs: number): void {
    this.#advance(nowMs);
    if (this.size === 0) return;
    const isOver = ({ call, sincePatientMs }: Part): boolean => {
      const { freshMs, writeMs } = this.#ports;
      return this.#patientMs - sincePatientMs > DRIFT * (call.command.isWrite ? freshMs + writeMs : freshMs);
    };
    for (const [id, part] of this.#sent) {
      if (!isOver(part)) continue;
      this.#sent.delete(id);
      this.#settle(part, part.call.command.isWrite ? NO_ANSWER_TO_WRITE : NO_ANSWER);
    }
    for (const peer of this.#peers.values()) {
      if (peer.waiting.length === 0) continue;
      // Longest first. What is not sent by then would be given up before it can have begun.
      const { freshMs } = this.#ports;
      let late = 0;
      while (late < peer.waiting.length && this.#patientMs - peer.waiting[late]!.sincePatientMs > freshMs) late += 1;
      for (const part of peer.waiting.splice(0, late)) {
        this.#unhold(part);
        this.#settle(part, NO_ANSWER);
      }
      if (peer.waiting.length > 0 && nowMs - peer.askedMs >= AGAIN_MS) this.#askClock(peer);
    }
  }

  // -- within

  #advance(nowMs: number): void {
    const gapMs = nowMs - this.#nowMs;
    if (gapMs <= 0) return;
    this.#nowMs = nowMs;
    this.#patientMs += gapMs <= STALL_MS ? gapMs : STALLED_MS;
  }

  #ask(part: Part): void {
    const owner = this.#ports.ownerOf(part.range);
    if (owner === null) {
      this.#settle(part, NOT_THERE);
      return;
    }
    const { command } = part.call;
    if (owner === this.#ports.self) {
      this.#execute(part.range, part.ballot, command.parts[part.index]!.request, command.protocol, (reply) =>
        this.#settle(part, reply),
      );
      return;
    }
    const peer = this.#peerOf(owner);
    peer.waiting.push(part);
    this.#waiting += 1;
    part.call.held += 1;
    if (part.call.held === 1) part.call.onHeld(true);
    this.#send(peer);
    if (peer.waiting.length === 1) this.#askClock(peer);
  }

  /** Sends what waits for the owner's clock, if that is known well enough. */
  #send(peer: Peer): void {
    const { life, freshMs, send } = this.#ports;
    // Half of the time is left for the way.
    if (peer.waiting.length === 0 || this.#nowMs - peer.heardMs > freshMs / 2) return;
    const { ownerLife, clockMs } = peer;
    for (const part of peer.waiting.splice(0)) {
      const { call, range, ballot } = part;
      const { protocol, parts } = call.command;
      const id = this.#nextId();
      const settled = this.#settledBefore(id);
      this.#sent.set(id, part);
      part.sincePatientMs = this.#patientMs;
      const { request } = parts[part.index]!;
      send(peer.id, {
        kind: 'proxy',
        id,
        life,
        ownerLife,
        clockMs,
        settled,
        range,
        ballot,
        protocol,
        request,
      });
      this.#unhold(part);
    }
  }

  #askClock(peer: Peer): void {
    const { life, ballotOf, send } = this.#ports;
    peer.askedMs = this.#nowMs;
    const id = this.#nextId();
    send(peer.id, {
      kind: 'proxy',
      id,
      life,
      ownerLife: 0,
      clockMs: 0,
      settled: this.#settledBefore(id),
      range: 0,
      ballot: ballotOf(0),
      protocol: 2,
      request: NOTHING,
    });
  }

  #nextId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  /** All ids below this one that are waited for are above it. */
  #settledBefore(id: number): number {
    for (const first of this.#sent.keys()) return first - 1;
    return id - 1;
  }

  #execute(
    range: number,
    ballot: Ballot,
    request: Uint8Array,
    protocol: 2 | 3,
    done: (reply: Uint8Array, isWrite: boolean) => void,
  ): void {
    const reign = this.#ports.reignOf(range);
    if (reign === null || compareBallots(ballot, reign) < 0) done(NOT_THERE, false);
    else {
      this.#ports.execute(request, protocol, (reply, isWrite) =>
        done(MOVED.every((byte, at) => reply[at] === byte) ? NOT_THERE : reply, isWrite),
      );
    }
  }

  #unhold({ call }: Part): void {
    this.#waiting -= 1;
    call.held -= 1;
    if (call.held === 0) call.onHeld(false);
  }

  #settle({ call, index }: Part, reply: Uint8Array): void {
    const { command, replies } = call;
    assert(replies[index] === null, 'a part is answered once');
    replies[index] = reply;
    this.#requestBytes -= command.parts[index]!.request.length;
    call.left -= 1;
    if (call.left > 0) return;
    const all = replies as Uint8Array[];
    call.onDone(all.find(isError) ?? joined(command, all));
  }

  #peerOf(id: NodeId): Peer {
    let peer = this.#peers.get(id);
    if (peer === undefined) {
      peer = { id, ownerLife: 0, clockMs: NEVER, heardMs: NEVER, askedMs: NEVER, waiting: [] };
      this.#peers.set(id, peer);
    }
    return peer;
  }
}
