/**
 * The owner's side of a hop (`proxy.ts`): commands that other members ask for their clients, executed as if they were a client's of ours, if they come soon enough and under a ballot that our reign knows.
 *
 *   asked      id      its range                          what is done
 *   A          7       changes hands this moment          waits
 *   A          8       ours                               waits behind 7: what one client asked first is done first, and whose is whose only the asker knows
 *   B          3       ours                               executed
 *
 * What waits is judged when it is executed, not when it came: by then it may be too late for it, or the range may be another's. Then the asker is told whose, as far as is known; it was not executed and will
 * not be, so it may be asked of that one.
 *
 * Bounds: what waits, of one asker, in number and bytes, and for how long; bytes of replies on their way to one asker (more: reads are refused).
 */
import { assert } from '../base/assert.ts';
import { type Ballot, compareBallots } from '../base/ballot.ts';
import type { NodeId } from '../cluster/member.ts';
import type { Message, ProxyRequest } from '../cluster/messages.ts';
import { NO_BALLOT } from '../cluster/record.ts';

/** Longest request or reply of one hop: both fit into a frame. */
export const MAX_HOP_BYTES = 24 * 1024 * 1024;
/** Replies on their way to one asker: above it a read is refused. Well below what cuts a link. */
const MAX_REPLY_BYTES = 16 * 1024 * 1024;
/** Of one asker, while a range changes hands. */
const MAX_WAITING = 4096;
const MAX_WAITING_BYTES = 8 * 1024 * 1024;

const encoder = new TextEncoder();
export const errorReply = (text: string): Uint8Array => encoder.encode(`-${text}\r\n`);
const NOTHING = new Uint8Array(0);
export const NOT_THERE = errorReply('TRYAGAIN The slot has another owner than was thought');
const LATE = errorReply('TRYAGAIN The command was too long on its way to the owner of its slot, and was not executed');
export const TOO_MANY = errorReply('TRYAGAIN Too much is on its way to other members: ask for less at a time');
export const TOO_LONG = errorReply(
  'ERR Too much for one hop between members: ask for less at a time, or ask the owner of the slot itself',
);
const MOVED = encoder.encode('-MOVED ');

export interface AskedPorts {
  readonly self: NodeId;
  readonly life: number;
  /** A command begins so long after its owner told its clock, or never. */
  readonly freshMs: number;
  /** Who owns the range, as far as is known, and under which ballot. */
  ownerOf(range: number): NodeId | null;
  ballotOf(range: number): Ballot;
  /** Is it about to be somebody's? Then what is asked of it waits for a moment. */
  isChanging(range: number): boolean;
  /** Under which this member owns the range; null: it does not. */
  reignOf(range: number): Ballot | null;
  send(to: NodeId, message: Message): void;
  /** Executes the request; `done`, now or later, with the reply. */
  execute(request: Uint8Array, protocol: 2 | 3, done: (reply: Uint8Array, isWrite: boolean) => void): void;
}

/** An asker, as the owner knows it. */
interface Asker {
  readonly id: NodeId;
  readonly life: number;
  lastId: number;
  /** Replies that it has not confirmed. */
  replies: { readonly id: number; readonly bytes: number }[];
  bytes: number;
  waiting: Waiting[];
  waitingBytes: number;
}

interface Waiting {
  readonly message: ProxyRequest;
  readonly sinceMs: number;
}

/** Executes a request for a range of ours; `null` for the reply: it is not ours, or not under that ballot, and it was not executed. */
export function executeOwned(
  ports: AskedPorts,
  range: number,
  ballot: Ballot,
  request: Uint8Array,
  protocol: 2 | 3,
  done: (reply: Uint8Array | null, isWrite: boolean) => void,
): void {
  const reign = ports.reignOf(range);
  if (reign === null || compareBallots(ballot, reign) < 0) done(null, false);
  else {
    ports.execute(request, protocol, (reply, isWrite) =>
      done(MOVED.every((byte, at) => reply[at] === byte) ? null : reply, isWrite),
    );
  }
}

export class Askers {
  readonly #ports: AskedPorts;
  readonly #askers = new Map<NodeId, Asker>();
  /** Of all askers. */
  #waiting = 0;
  #nowMs: number;

  constructor(ports: AskedPorts, nowMs: number) {
    this.#ports = ports;
    this.#nowMs = nowMs;
  }

  /** Commands that wait until a range has its owner. */
  get size(): number {
    return this.#waiting;
  }

  onProxy(from: NodeId, message: ProxyRequest, nowMs: number): void {
    this.#nowMs = nowMs;
    assert(from !== this.#ports.self, 'a member asks itself by no frame');
    const { id, life, settled, request } = message;
    let asker = this.#askers.get(from);
    if (asker === undefined || asker.life < life) {
      this.#waiting -= asker?.waiting.length ?? 0;
      asker = { id: from, life, lastId: 0, replies: [], bytes: 0, waiting: [], waitingBytes: 0 };
      this.#askers.set(from, asker);
    }
    // Of an earlier life, or a double.
    if (life < asker.life || id <= asker.lastId) return;
    asker.lastId = id;
    while (asker.replies.length > 0 && asker.replies[0]!.id <= settled) asker.bytes -= asker.replies.shift()!.bytes;
    if (request.length === 0) this.#tell(asker, id, NOTHING);
    else if (asker.waiting.length === 0 && !this.#ports.isChanging(message.range)) this.#take(asker, message);
    else if (asker.waiting.length >= MAX_WAITING || asker.waitingBytes >= MAX_WAITING_BYTES) {
      this.#tell(asker, id, TOO_MANY);
    } else {
      // The frame's bytes are a view.
      asker.waiting.push({ message: { ...message, request: new Uint8Array(request) }, sinceMs: nowMs });
      asker.waitingBytes += request.length;
      this.#waiting += 1;
    }
  }

  /** What has waited long enough, or whose range has its owner, goes on. */
  flush(nowMs: number): void {
    this.#nowMs = nowMs;
    if (this.#waiting === 0) return;
    const { isChanging, freshMs } = this.#ports;
    for (const asker of this.#askers.values()) {
      let done = 0;
      for (const { message, sinceMs } of asker.waiting) {
        if (isChanging(message.range) && nowMs - sinceMs < freshMs / 2) break;
        done += 1;
        asker.waitingBytes -= message.request.length;
        this.#waiting -= 1;
        this.#take(asker, message);
      }
      if (done > 0) asker.waiting = asker.waiting.slice(done);
    }
  }

  #take(asker: Asker, { id, clockMs, ownerLife, range, ballot, request, protocol }: ProxyRequest): void {
    const { life, freshMs } = this.#ports;
    // Its clock was ahead of ours: it heard another life of ours.
    const isLate = ownerLife !== life || clockMs > this.#nowMs || this.#nowMs - clockMs > freshMs;
    if (isLate) {
      this.#tell(asker, id, LATE);
      return;
    }
    executeOwned(this.#ports, range, ballot, request, protocol === 3 ? 3 : 2, (reply, isWrite) => {
      if (reply === null) this.#tellElsewhere(asker, id, range);
      else if (reply.length > MAX_HOP_BYTES) this.#tell(asker, id, TOO_LONG);
      else if (!isWrite && asker.bytes > 0 && asker.bytes + reply.length > MAX_REPLY_BYTES)
        this.#tell(asker, id, TOO_MANY);
      else this.#tell(asker, id, reply);
    });
  }

  #tellElsewhere(asker: Asker, id: number, range: number): void {
    const { self, ownerOf, ballotOf } = this.#ports;
    const owner = ownerOf(range);
    this.#tell(asker, id, NOT_THERE, true, owner === self ? null : owner, ballotOf(range));
  }

  #tell(
    asker: Asker,
    id: number,
    reply: Uint8Array,
    isElsewhere = false,
    owner: NodeId | null = null,
    ballot: Ballot = NO_BALLOT,
  ): void {
    asker.bytes += reply.length;
    asker.replies.push({ id, bytes: reply.length });
    const { life, send } = this.#ports;
    const message = { id, life: asker.life, ownerLife: life, clockMs: this.#nowMs, reply, isElsewhere, owner, ballot };
    send(asker.id, { kind: 'proxied', ...message });
  }
}
