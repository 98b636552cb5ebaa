/**
 * Replies of one connection that may not go out yet: a write that waits for its copies, and everything answered behind it, because replies come in the order of the requests.
 *
 *   requests   DEL a     GET b     DEL c     SET d
 *   replies    [waits]   $3 foo    [waits]   +OK          nothing goes out
 *   copies acknowledge the first:
 *   replies                        [waits]   +OK          the first two have gone
 *
 * So a pipeline goes on being executed while its first write travels, and costs one way to the copies and back, not one a write. Bounded: when `isFull` the node executes nothing more for the
 * connection. A reply whose write was not acknowledged is replaced, in its place, by an error that says so.
 */
import { assert } from '../base/assert.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import type { Lane } from './proxy.ts';

/** Replies of one connection that may wait. */
export const MAX_PARKED = 1024;
/** Their bytes; a single reply may be longer. */
export const MAX_PARKED_BYTES = 256 * 1024;

export const NOT_ACKNOWLEDGED =
  'NOREPLICAS not acknowledged: this member did it, but not every copy is known to have; ask again until it is acknowledged';

const MINUS = 45;

/** One reply on its way through. */
export class ParkedReply {
  /** Writes of its command that no fate is known of. */
  writes = 0;
  /** One of them was not acknowledged. */
  isRefused = false;
  bytes: Uint8Array | null = null;
  /** Of its request, while another member is to execute it: they count as bytes of the reply. */
  requestBytes = 0;
  /** Called instead of being parked: its command was another member's. */
  onDone: (() => void) | null = null;
}

export class ParkedReplies {
  #replies: ParkedReply[] = [];
  /** Those before have gone. */
  #first = 0;
  #bytes = 0;
  /** Of commands that others execute: what was asked last of each range. */
  readonly lane: Lane = new Map();
  /** Of their commands, those that are not on their way yet: what is asked behind one of them may not overtake it. */
  held = 0;

  get count(): number {
    return this.#replies.length - this.#first;
  }

  get isFull(): boolean {
    return this.held > 0 || this.count >= MAX_PARKED || this.#bytes >= MAX_PARKED_BYTES;
  }

  /** Has the first of them nothing to wait for any more? */
  get isDue(): boolean {
    return this.count > 0 && this.#replies[this.#first]!.writes === 0;
  }

  /** Takes `out.bytes[from .. out.length)`; `reply` says what it waits for. */
  park(reply: ParkedReply, out: ReplyWriter, from: number): void {
    assert(reply.bytes === null, 'a reply is parked once');
    // Not `slice`: of a Buffer that is a view of what is written over next.
    reply.bytes = new Uint8Array(out.length - from);
    reply.bytes.set(out.bytes.subarray(from, out.length));
    out.length = from;
    this.#bytes += reply.bytes.length + reply.requestBytes;
    this.#replies.push(reply);
  }

  /** What another member executed was answered: `bytes` are the reply, which was parked empty. */
  fill(reply: ParkedReply, bytes: Uint8Array): void {
    assert(reply.bytes?.length === 0, 'a reply is filled once');
    this.#bytes += bytes.length - reply.requestBytes;
    reply.bytes = bytes;
    reply.requestBytes = 0;
  }

  /** Appends what may go until `out` has `limit` bytes. True when more may go. */
  release(out: ReplyWriter, limit: number): boolean {
    while (this.isDue) {
      if (out.length >= limit) return true;
      const { bytes, isRefused } = this.#replies[this.#first]!;
      this.#first += 1;
      this.#bytes -= bytes!.length;
      if (isRefused && bytes![0] !== MINUS) out.error(NOT_ACKNOWLEDGED);
      else out.raw(bytes!);
    }
    if (this.#first === this.#replies.length || this.#first >= MAX_PARKED) {
      this.#replies = this.#replies.slice(this.#first);
      this.#first = 0;
    }
    return false;
  }

  invariants(): void {
    assert(this.#replies.length <= 2 * MAX_PARKED + 1, 'parked: replies are bounded');
    let bytes = 0;
    for (let at = this.#first; at < this.#replies.length; at += 1) {
      const { bytes: its, requestBytes } = this.#replies[at]!;
      bytes += its!.length + requestBytes;
    }
    assert(bytes === this.#bytes, 'parked: bytes are counted');
  }
}
