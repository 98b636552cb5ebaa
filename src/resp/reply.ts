/**
 * What a reply looks like as a JavaScript value, on the client.
 *
 *   RESP                                 value
 *   + simple string                      string
 *   $ bulk, = verbatim (prefix removed)  Uint8Array, never of the read buffer (or string, when the command asked for text)
 *   : integer                            number; bigint outside the safe integers
 *   ( big number                         bigint
 *   , double                             number
 *   # boolean                            boolean
 *   _ null, $-1, *-1                     null
 *   * array, ~ set                       array
 *   % map                                ReplyMap (RESP2 servers send a flat array instead: `replyMap` reads both)
 *   - error, ! blob error                ReplyError, as a value: whoever waits for the reply decides to throw it
 *   > push                               not a reply: goes to the push callback
 *   | attribute                          skipped
 */
import { BreakwaterError } from '../base/errors.ts';

export type Reply = null | number | bigint | boolean | string | Uint8Array | Reply[] | ReplyMap | ReplyError;

/** An error that the server replied with. `code` is its first word: `ERR`, `WRONGTYPE`, `MOVED`, `LEASEVOID`. */
export class ReplyError extends BreakwaterError {
  constructor(text: string) {
    const space = text.indexOf(' ');
    super(space < 0 ? text : text.slice(0, space), text);
    this.name = 'ReplyError';
  }
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Text of a string or bulk reply; null for anything else. */
export function replyText(reply: Reply | undefined): string | null {
  if (typeof reply === 'string') return reply;
  return reply instanceof Uint8Array ? decoder.decode(reply) : null;
}

/** A map reply: its keys and values in turn, in the order sent. */
export class ReplyMap {
  readonly flat: readonly Reply[];

  constructor(flat: readonly Reply[]) {
    this.flat = flat;
  }

  get size(): number {
    return this.flat.length >>> 1;
  }

  /** The value of the first key that reads as `name`; undefined when there is none. O(size): meant for small maps of fields. */
  get(name: string): Reply | undefined {
    for (let i = 0; i + 1 < this.flat.length; i += 2) {
      if (replyText(this.flat[i]) === name) return this.flat[i + 1];
    }
    return undefined;
  }
}

/** The map in a reply of either protocol: a ReplyMap, or a flat array of even length; null for anything else. */
export function replyMap(reply: Reply): ReplyMap | null {
  if (reply instanceof ReplyMap) return reply;
  return Array.isArray(reply) && reply.length % 2 === 0 ? new ReplyMap(reply) : null;
}
