/**
 * The feed of a Breakwater node over the store's own connection: BW.FEED out, push frames in, as docs/feed.md has them.
 *
 * The same connection as the reads, on purpose: a push that leaves the node behind a reply arrives behind it, one socket less for each process,
 * and a connection that is dead is noticed by both.
 *
 * Order. The client resolves a reply's promise and calls `onPush` while it parses, so a push that stands right behind the answer to a subscription
 * would be handled before the answer's reaction runs. Pushes are therefore handled in a microtask of their own: reactions and pushes keep the order of the wire.
 */

import { BreakwaterError } from '../base/errors.ts';
import type { Scheduler, Timer } from '../base/scheduler.ts';
import type { RespClient } from '../client/client.ts';
import type { ClientState } from '../client/state.ts';
import type { FeedBallot, FeedHandlers, FeedPosition, FeedStart, StoreFeed } from './feed.ts';

type Reply = Awaited<ReturnType<RespClient['command']>>;

/** Longest that an answer of the feed is waited for; the follower has a shorter patience of its own. */
const ANSWER_MS = 2000;

/** Names are compared by what they are: a byte order mark is part of one. */
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: BreakwaterError) => void;
  readonly timer: Timer;
}

export class BreakwaterFeed implements StoreFeed {
  readonly #client: () => RespClient;
  readonly #peer: string;
  readonly #scheduler: Scheduler;
  #handlers: FeedHandlers | null = null;
  #onLeaseEnded: ((key: string) => void) | null = null;
  /** The link that stands; 0 = none. */
  #link = 0;
  #lastLink = 0;
  #isReady = false;
  /** Those who wait for `everywhere`, by the number they were sent under. */
  readonly #waiters = new Map<number, Waiter>();
  #lastWaiter = 0;

  /** @param peer the node, by address */
  constructor(client: () => RespClient, peer: string, scheduler: Scheduler) {
    this.#client = client;
    this.#peer = peer;
    this.#scheduler = scheduler;
  }

  follow(handlers: FeedHandlers): void {
    this.#handlers = handlers;
    if (this.#isReady) this.#openLink();
  }

  listen(onLeaseEnded: (key: string) => void): void {
    this.#onLeaseEnded = onLeaseEnded;
  }

  readonly tellsOfReadsOnly = false;
  readonly tellsOfLeases = true;

  /** It turned out to be a member of a cluster: nothing more is told. Returns the last number that was given to a link. */
  retire(): number {
    this.#closeLink();
    this.#handlers = null;
    this.#onLeaseEnded = null;
    for (const id of [...this.#waiters.keys()]) this.#settle(id, lostError());
    return this.#lastLink;
  }

  /** Are ends of leases of use to anybody? */
  get isListenedTo(): boolean {
    return this.#onLeaseEnded !== null;
  }

  /** The client's `onState`. */
  readonly onState = (state: ClientState): void => {
    const isReady = state.kind === 'ready' && state.protocol === 3;
    if (isReady === this.#isReady) return;
    this.#isReady = isReady;
    if (isReady) this.#openLink();
    else {
      this.#closeLink();
      for (const id of [...this.#waiters.keys()]) this.#settle(id, lostError());
    }
  };

  /** The client's `onPush`. */
  readonly onPush = (kind: string, items: Reply[]): void => {
    if (kind === 'bw.lease') {
      // Later still: the reader whose answer came just before has to be waiting by then.
      this.#scheduler.setTimer(0, () => this.#onLeaseEnded?.(textOf(items[0])));
      return;
    }
    const link = this.#link;
    queueMicrotask(() => {
      if (kind === 'bw.feed') this.#onRecord(link, items);
      else if (kind === 'bw.everywhere') this.#settle(Number(items[0]), null);
    });
  };

  subscribe(link: number, id: number, boundMs: number, positions: readonly FeedPosition[]): void {
    const command: (string | number)[] = ['BW.FEED', 'SUBSCRIBE', id, boundMs, positions.length];
    for (const { range, ballot, number } of positions) command.push(range, `${ballot.epoch}:${ballot.node}`, number);
    this.#send(link, id, command, (reply) => {
      const answer = readSubscription(reply);
      if (answer === null) this.#handlers?.refused(link, id, true);
      else this.#handlers?.subscribed(link, id, answer.seq, answer.streams);
    });
  }

  ping(link: number, id: number, applied: number): void {
    this.#send(link, id, ['BW.FEED', 'PING', id, applied], (reply) => {
      if (!Array.isArray(reply)) return;
      const [answered, head] = reply;
      if (typeof answered === 'number' && typeof head === 'number') this.#handlers?.pong(link, answered, head);
    });
  }

  acknowledge(link: number, applied: number): void {
    this.#send(link, 0, ['BW.FEED', 'ACK', applied], () => undefined);
  }

  reconnect(link: number): void {
    if (link !== this.#link) return;
    this.#closeLink();
    if (this.#isReady) this.#openLink();
  }

  everywhere(timeoutMs: number): Promise<void> {
    this.#lastWaiter += 1;
    const id = this.#lastWaiter;
    return new Promise((resolve, reject) => {
      const timer = this.#scheduler.setTimer(timeoutMs, () =>
        this.#settle(id, notProven(`not within ${timeoutMs} ms`)),
      );
      this.#waiters.set(id, { resolve, reject, timer });
      this.#client()
        .command(['BW.FEED', 'EVERYWHERE', id], { timeoutMs })
        .then(
          (reply) => {
            if (textOf(reply) === 'done') this.#settle(id, null);
          },
          (error: unknown) =>
            this.#settle(id, notProven(error instanceof Error ? error.message : String(error), error)),
        );
    });
  }

  #settle(id: number, error: BreakwaterError | null): void {
    const waiter = this.#waiters.get(id);
    if (waiter === undefined) return;
    this.#waiters.delete(id);
    waiter.timer.cancel();
    if (error === null) waiter.resolve();
    else waiter.reject(error);
  }

  #openLink(): void {
    if (this.#handlers === null) return;
    this.#lastLink += 1;
    this.#link = this.#lastLink;
    this.#handlers.open(this.#link, this.#peer);
  }

  #closeLink(): void {
    const link = this.#link;
    this.#link = 0;
    if (link !== 0) this.#handlers?.closed(link);
  }

  #onRecord(link: number, items: Reply[]): void {
    const handlers = this.#handlers;
    if (handlers === null || link === 0 || link !== this.#link) return;
    if (items.length === 1) {
      handlers.cut(link);
      return;
    }
    const [seq, range, ballot, number, kind, name] = items;
    const reign = readBallot(textOf(ballot));
    if (typeof seq !== 'number' || typeof range !== 'number' || typeof number !== 'number' || reign === null) return;
    handlers.record(link, seq, range, reign, number, textOf(kind), textOf(name));
  }

  #send(link: number, id: number, command: (string | number)[], onReply: (reply: Reply) => void): void {
    if (link !== this.#link) return;
    this.#client()
      .command(command, { timeoutMs: ANSWER_MS })
      .then(
        (reply) => {
          if (link === this.#link) onReply(reply);
        },
        (error: unknown) => {
          if (link !== this.#link) return;
          const code = error instanceof BreakwaterError ? error.code : '';
          if (code === 'FEEDGAP') this.#handlers?.cut(link);
          else if (code === 'FEEDFULL' || code === 'FEEDPAUSED') this.#handlers?.refused(link, id, false);
          else if (!code.startsWith('CLIENT_')) this.#handlers?.refused(link, id, true);
          // A timeout or a lost connection: the follower notices the silence, `onState` the loss.
        },
      );
  }
}

function readSubscription(reply: Reply): { readonly seq: number; readonly streams: FeedStart[] } | null {
  if (typeof reply !== 'object' || reply === null || Array.isArray(reply) || !('flat' in reply)) return null;
  let seq = -1;
  const streams: FeedStart[] = [];
  for (let i = 0; i + 1 < reply.flat.length; i += 2) {
    const name = textOf(reply.flat[i]);
    const value = reply.flat[i + 1];
    if (name === 'seq' && typeof value === 'number') seq = value;
    if (name !== 'streams' || !Array.isArray(value)) continue;
    for (const stream of value) {
      if (!Array.isArray(stream)) return null;
      const [range, ballot, number, replay] = stream;
      const reign = readBallot(textOf(ballot));
      if (typeof range !== 'number' || typeof number !== 'number' || reign === null) return null;
      streams.push({ range, ballot: reign, number, replay: replay === true });
    }
  }
  return seq < 0 ? null : { seq, streams };
}

function readBallot(text: string): FeedBallot | null {
  const colon = text.indexOf(':');
  const epoch = Number(text.slice(0, Math.max(0, colon)));
  return colon < 1 || !Number.isSafeInteger(epoch) ? null : { epoch, node: text.slice(colon + 1) };
}

function textOf(reply: Reply | undefined): string {
  if (typeof reply === 'string') return reply;
  return reply instanceof Uint8Array ? decoder.decode(reply) : '';
}

function notProven(why: string, cause?: unknown): BreakwaterError {
  return new BreakwaterError(
    'STORE_NOT_EVERYWHERE',
    `cannot prove that the invalidation has reached every process: ${why}`,
    { cause },
  );
}

function lostError(): BreakwaterError {
  return notProven('the connection was lost');
}
