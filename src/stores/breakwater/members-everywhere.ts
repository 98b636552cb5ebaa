/**
 * `wait: 'everywhere'` over a cluster of nodes: when can no L1 of any process serve what was invalidated so far? (What a member promises is told in docs/feed.md.)
 *
 * Each member knows its own followers and nobody else's, and may own another part of the slots from one moment to the next. So the members are asked *for slots*:
 *
 *   asked   BW.FEED EVERYWHERE <id>     each owner of a slot that is missing still, by the map
 *   told    [done | waiting, first, last, ...]   the slots that it owned under a lease when it was asked; after `waiting` the push `bw.everywhere <id>`
 *   done    when every slot was among those of a member that said so. Slots that nobody has named are asked for again, of whoever has them by then
 *
 * Why one owner of a slot is enough, whichever it is, if it was asked after the acknowledgement. Somebody's L1 has an old `user:42`, which it read of Y, at the time its owner. Y is asked: its followers
 * have applied the invalidation, or can trust what they have no longer. Another one is asked, X: its reign over the slot began after Y's had ended, and no member says "everywhere" before its
 * newest reign is one (largest) bound old. By then whoever trusted Y's word has heard of the end of that reign, or has heard nothing and trusts it no more. What X was told (or its copies) before it reigned is
 * applied there, so nobody reads the old value of X. And what becomes of the slot after the question changes nothing.
 *
 * So a takeover under way costs time, never a promise: a member that dies before it has said so is not counted, and its slots are asked of their next owner.
 */
import { BreakwaterError } from '../../base/errors.ts';
import type { Scheduler } from '../../base/scheduler.ts';
import type { ClusterClient } from '../../client/cluster.ts';
import type { ClusterNode } from '../../client/cluster-node.ts';
import { addressOf, type Shard } from '../../client/cluster-topology.ts';
import { SLOT_COUNT } from '../../hash/slot.ts';
import { type Reply, textOf } from './words.ts';

/** Between two rounds. */
const AGAIN_MS = 50;

interface Waiter {
  readonly node: ClusterNode;
  readonly id: number;
  readonly settle: (isEverywhere: boolean) => void;
}

/** One call, and what ends it early. */
interface Call {
  isOver: boolean;
  readonly over: Promise<void>;
  readonly timeoutMs: number;
  /** Why the last member that did not say so did not. */
  why: unknown;
}

export class MembersEverywhere {
  readonly #client: () => ClusterClient;
  readonly #scheduler: Scheduler;
  readonly #waiters = new Set<Waiter>();
  #lastId = 0;

  constructor(client: () => ClusterClient, scheduler: Scheduler) {
    this.#client = client;
    this.#scheduler = scheduler;
  }

  /** Resolves when everything that was acknowledged before is everywhere. @throws BreakwaterError `STORE_NOT_EVERYWHERE` */
  async everywhere(timeoutMs: number): Promise<void> {
    let end: () => void = () => {};
    const over = new Promise<void>((resolve) => {
      end = resolve;
    });
    const call: Call = { isOver: false, over, timeoutMs, why: 'no member could be asked' };
    const timer = this.#scheduler.setTimer(timeoutMs, () => {
      call.isOver = true;
      end();
    });
    try {
      await this.#rounds(call);
    } finally {
      timer.cancel();
      end();
    }
  }

  onPush(node: ClusterNode, id: Reply | undefined): void {
    for (const waiter of this.#waiters) if (waiter.node === node && waiter.id === id) waiter.settle(true);
  }

  /** A connection is lost: what was to be told over it will not be. */
  onLost(node: ClusterNode): void {
    for (const waiter of this.#waiters) if (waiter.node === node) waiter.settle(false);
  }

  // -- within

  async #rounds(call: Call): Promise<void> {
    const missing = new Uint8Array(SLOT_COUNT).fill(1);
    for (;;) {
      const owners = await this.#ownersOf(missing, call);
      const answers = await Promise.all(owners.map((node) => this.#ask(node, call)));
      for (const runs of answers) {
        for (let at = 0; at + 1 < runs.length; at += 2) missing.fill(0, runs[at]!, runs[at + 1]! + 1);
      }
      if (!missing.includes(1)) return;
      if (call.isOver || isForGood(call.why)) throw notProven(call);
      this.#client().refreshSoon();
      await Promise.race([call.over, new Promise<void>((resolve) => this.#scheduler.setTimer(AGAIN_MS, resolve))]);
    }
  }

  async #ownersOf(missing: Uint8Array, call: Call): Promise<readonly ClusterNode[]> {
    const client = this.#client();
    try {
      const topology = await client.topology({ timeoutMs: call.timeoutMs });
      const shards = new Set<Shard>();
      for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
        if (missing[slot] === 0) continue;
        const shard = topology.ownerOf(slot);
        if (shard !== null) shards.add(shard);
      }
      const addresses = new Set([...shards].map(({ primary }) => addressOf(primary)));
      return client.primaries().filter(({ address }) => addresses.has(addressOf(address)));
    } catch (error) {
      call.why = error;
      return [];
    }
  }

  /** The runs of slots that the member vouches for: none when it did not say so in time. */
  async #ask(node: ClusterNode, call: Call): Promise<readonly number[]> {
    this.#lastId += 1;
    const id = this.#lastId;
    let settle: (isEverywhere: boolean) => void = () => {};
    const told = new Promise<boolean>((resolve) => {
      settle = resolve;
    });
    const waiter: Waiter = { node, id, settle };
    // Before it is asked: the push may stand right behind the reply.
    this.#waiters.add(waiter);
    try {
      const asked = node.reader.command(['BW.FEED', 'EVERYWHERE', id], { timeoutMs: call.timeoutMs });
      const reply = await Promise.race([asked, call.over]);
      if (!Array.isArray(reply)) {
        asked.catch(ignore);
        return [];
      }
      const [status, ...slots] = reply;
      const isEverywhere =
        textOf(status ?? null) === 'done' || (await Promise.race([told, call.over.then(() => false)]));
      if (isEverywhere) return slots.map(Number);
      call.why = call.isOver ? `${node.name} has followers that have not answered yet` : 'the connection was lost';
      return [];
    } catch (error) {
      call.why = error;
      return [];
    } finally {
      this.#waiters.delete(waiter);
    }
  }
}

/** It would say the same in a moment: an older member, or a connection without RESP3. */
function isForGood(why: unknown): boolean {
  return why instanceof BreakwaterError && (why.code === 'ERR' || why.code === 'CLIENT_CLOSED');
}

function notProven({ why, isOver, timeoutMs }: Call): BreakwaterError {
  const reason = why instanceof Error ? why.message : String(why);
  return new BreakwaterError(
    'STORE_NOT_EVERYWHERE',
    `cannot prove that the invalidation has reached every process: ${isOver ? `not within ${timeoutMs} ms, ` : ''}${reason}`,
    { cause: why },
  );
}

function ignore(): void {}
