/**
 * Commands of clients that know nothing of clusters, executed by the members that own their slots: one hop, over the links between members.
 *
 *   asker  --proxy(id, ballot, clock, request)-->  owner     executes it as if it were a client's, if it still reigns under that ballot or one before it
 *   asker  <--proxied(id, clock, reply)----------  owner     when the reply is due, its copies' acknowledgements included
 *
 * Nobody asked sends on: who is not the owner says so, and whose the range is as far as it knows; the asker asks that one then, for F/2 in all, while its client waits. The owner's side is in `askers.ts`. What must not happen is that a command is executed *late*: the asker gave it up, told
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
 * A range that moves must not turn that order round:
 *
 *   1. SET a 1 goes to A, which has just given the range away.   2. The asker learns that B has it. SET a 2 goes to B, and is done.   3. A says that it did not do 1. Asked of B now, the older would win.
 *
 * So each command knows the one before it of its session and range (`behind`), and waits while that one is under way under a lower ballot. What has waited for F/2 is sent all the same; then the one before is
 * not asked again.
 *
 * Why not a connection of an ordinary client to each member's RESP port: replies come in order there, so a write that waits for its copies would hold up everybody behind it; and a connection knows nothing
 * of clocks, so what was sent into it can be executed at any time after.
 *
 * Bounds: commands and bytes that an asker has under way, in all (more: refused at once); for how long a command is asked of one owner after the other.
 */
import { assert } from '../base/assert.ts';
import { type Ballot, compareBallots } from '../base/ballot.ts';
import type { NodeId } from '../cluster/member.ts';
import type { Proxied, ProxyRequest } from '../cluster/messages.ts';
import { DRIFT } from '../cluster/timing.ts';
import type { Forwarded } from '../commands/cluster-face.ts';
import { isError, joined } from '../commands/forward.ts';
import {
  type AskedPorts,
  Askers,
  errorReply,
  executeOwned,
  MAX_HOP_BYTES,
  NOT_THERE,
  TOO_LONG,
  TOO_MANY,
} from './askers.ts';

/** Requests that one member has under way for its clients. */
export const MAX_PARTS = 65_536;
/** Their bytes. */
export const MAX_REQUEST_BYTES = 32 * 1024 * 1024;
/** A clock is asked for again after so long. */
const AGAIN_MS = 100;
/** A longer gap between two doors proves nothing about others, and counts as so much. */
const STALL_MS = 120;
const STALLED_MS = 50;

const NOTHING = new Uint8Array(0);
const NO_ANSWER = errorReply('TRYAGAIN The owner of the slot did not answer');
const NO_ANSWER_TO_WRITE = errorReply(
  'NOREPLICAS not acknowledged: the owner of the slot did not answer, and may have done it or not',
);

export interface ProxyPorts extends AskedPorts {
  /** An owner answers a write after so long, whatever its copies do. */
  readonly writeMs: number;
  rangeOf(slot: number): number;
}

/** Of one session: what it asked last, by range, as long as it is not answered. */
export type Lane = Map<number, Part>;

/** A command of a client. */
interface Call {
  readonly command: Forwarded;
  readonly lane: Lane;
  readonly replies: (Uint8Array | null)[];
  left: number;
  /** Parts that wait here: for a clock, or for their range's owner. */
  held: number;
  readonly onHeld: (isHeld: boolean) => void;
  readonly onDone: (reply: Uint8Array) => void;
}

/** One part of it. */
interface Part {
  readonly call: Call;
  readonly index: number;
  readonly range: number;
  /** Of the newest record that was known when it was asked last. */
  ballot: Ballot;
  /** Whom it was asked of last is not the owner under that ballot. */
  isRefused: boolean;
  /** Since when it waits for a clock, or for its reply; by the patient clock. */
  sincePatientMs: number;
  /** It is asked of another owner until then, by the patient clock. */
  untilPatientMs: number;
  /** The one before it of its session and range, if that was not answered when it came. */
  behind: Part | null;
  isWaiting: boolean;
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

interface Hint {
  readonly owner: NodeId;
  readonly ballot: Ballot;
}

const NEVER = Number.NEGATIVE_INFINITY;

export class Proxies {
  readonly #ports: ProxyPorts;
  readonly #askers: Askers;
  readonly #peers = new Map<NodeId, Peer>();
  /** Sent, by id: ascending. */
  readonly #sent = new Map<number, Part>();
  /** By range: parts that wait until it is known whose it is, in their order. */
  readonly #stalled = new Map<number, Part[]>();
  /** By range: what a member said that was asked and does not own it. */
  readonly #hints = new Map<number, Hint>();
  #waiting = 0;
  #requestBytes = 0;
  #lastId = 0;
  #nowMs: number;
  #patientMs = 0;

  constructor(ports: ProxyPorts, nowMs: number) {
    this.#ports = ports;
    this.#askers = new Askers(ports, nowMs);
    this.#nowMs = nowMs;
  }

  /** Requests under way. */
  get size(): number {
    return this.#sent.size + this.#waiting;
  }

  /**
   * `onDone` with the reply, now or later, exactly once; `onHeld` before, when something of it has to wait here, and when it has not any more.
   * @param lane of its session
   */
  begin(
    command: Forwarded,
    nowMs: number,
    lane: Lane,
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
    const call: Call = { command, lane, replies: parts.map(() => null), left: parts.length, held: 0, onHeld, onDone };
    this.#requestBytes += bytes;
    const untilPatientMs = this.#patientMs + this.#ports.freshMs / 2;
    for (const [index, { slot }] of parts.entries()) {
      const range = this.#ports.rangeOf(slot);
      const part: Part = {
        call,
        index,
        range,
        ballot: this.#ports.ballotOf(range),
        isRefused: false,
        sincePatientMs: this.#patientMs,
        untilPatientMs,
        behind: lane.get(range) ?? null,
        isWaiting: false,
      };
      lane.set(range, part);
      // Overtakes nothing that waits already.
      if (this.#stalled.has(range) || !this.#mayGo(part)) this.#stall(part);
      else this.#ask(part);
    }
  }

  onProxy(from: NodeId, message: ProxyRequest, nowMs: number): void {
    this.#advance(nowMs);
    this.#askers.onProxy(from, message, nowMs);
  }

  onProxied(from: NodeId, message: Proxied, nowMs: number): void {
    this.#advance(nowMs);
    const { id, life, ownerLife, clockMs, reply } = message;
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
      if (message.isElsewhere && this.#patientMs < part.untilPatientMs) {
        this.#noteHint(part.range, message);
        part.isRefused = true;
        this.#stall(part);
        this.#flush(part.range);
      } else {
        // The frame's bytes are a view.
        this.#settle(part, new Uint8Array(reply));
      }
    }
    this.#send(peer);
  }

  /** Something has happened after which a range may have its owner: what waited for that goes on. */
  flush(): void {
    this.#askers.flush(this.#nowMs);
    if (this.#stalled.size > 0) for (const range of [...this.#stalled.keys()]) this.#flush(range);
  }

  onTick(nowMs: number): void {
    this.#advance(nowMs);
    if (this.#askers.size > 0 || this.#stalled.size > 0) this.flush();
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

  /** Whose the range is, and since which ballot: what we know, or what we were told when that is newer. */
  #whoseIs(range: number): { readonly owner: NodeId | null; readonly ballot: Ballot } {
    const { ownerOf, ballotOf } = this.#ports;
    const ballot = ballotOf(range);
    const hint = this.#hints.get(range);
    if (hint !== undefined) {
      if (compareBallots(hint.ballot, ballot) > 0) return hint;
      this.#hints.delete(range);
    }
    return { owner: ownerOf(range), ballot };
  }

  #noteHint(range: number, { owner, ballot }: Proxied): void {
    if (owner !== null && compareBallots(ballot, this.#whoseIs(range).ballot) > 0)
      this.#hints.set(range, { owner, ballot });
  }

  /** Is it known whom to ask, another than the one who refused, without overtaking the one before it? */
  #mayGo(part: Part): boolean {
    return this.#isKnown(part) && !this.#overtakes(part);
  }

  #isKnown({ range, ballot, isRefused }: Part): boolean {
    if (this.#ports.isChanging(range)) return false;
    return !isRefused || compareBallots(this.#whoseIs(range).ballot, ballot) > 0;
  }

  #overtakes({ behind, range }: Part): boolean {
    return behind !== null && !isSettled(behind) && compareBallots(behind.ballot, this.#whoseIs(range).ballot) < 0;
  }

  #stall(part: Part): void {
    this.#hold(part);
    const parts = this.#stalled.get(part.range);
    if (parts === undefined) this.#stalled.set(part.range, [part]);
    else parts.push(part);
  }

  #flush(range: number): void {
    const parts = this.#stalled.get(range);
    if (parts === undefined) return;
    this.#stalled.delete(range);
    const rest: Part[] = [];
    for (const part of parts) {
      const isOver = this.#patientMs >= part.untilPatientMs;
      if (this.#mayGo(part)) this.#ask(part);
      else if (!isOver) rest.push(part);
      else if (part.isRefused || this.#ports.isChanging(range)) {
        this.#unhold(part);
        this.#settle(part, NOT_THERE);
      } else {
        // It has waited long enough for those before it, and these are too late now.
        for (let each = part.behind; each !== null; each = each.behind) each.untilPatientMs = NEVER;
        this.#ask(part);
      }
    }
    if (rest.length > 0) this.#stalled.set(range, [...rest, ...(this.#stalled.get(range) ?? [])]);
  }

  #ask(part: Part): void {
    const { range, call } = part;
    const { owner, ballot } = this.#whoseIs(range);
    part.ballot = ballot;
    part.isRefused = false;
    part.sincePatientMs = this.#patientMs;
    if (owner === null || owner === this.#ports.self) {
      this.#unhold(part);
      if (owner === null) {
        this.#settle(part, NOT_THERE);
        return;
      }
      const { parts, protocol } = call.command;
      executeOwned(this.#ports, range, ballot, parts[part.index]!.request, protocol, (reply) =>
        this.#settle(part, reply ?? NOT_THERE),
      );
      return;
    }
    const peer = this.#peerOf(owner);
    peer.waiting.push(part);
    this.#hold(part);
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

  #hold(part: Part): void {
    if (part.isWaiting) return;
    const { call } = part;
    part.isWaiting = true;
    this.#waiting += 1;
    call.held += 1;
    if (call.held === 1) call.onHeld(true);
  }

  #unhold(part: Part): void {
    if (!part.isWaiting) return;
    const { call } = part;
    part.isWaiting = false;
    this.#waiting -= 1;
    call.held -= 1;
    if (call.held === 0) call.onHeld(false);
  }

  #settle(part: Part, reply: Uint8Array): void {
    const { call, index, range } = part;
    const { command, replies, lane } = call;
    assert(replies[index] === null, 'a part is answered once');
    replies[index] = reply;
    part.behind = null;
    if (lane.get(range) === part) lane.delete(range);
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

function isSettled({ call, index }: Part): boolean {
  return call.replies[index] !== null;
}
