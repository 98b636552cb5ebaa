/**
 * Between the machine of a member and the world: real time goes in, messages of peers go in; messages, rows for the disk and news come out. It decides nothing.
 *
 *   link  -> onMessage     a frame of a peer
 *   timer -> onTick        when the machine wished, at most 50 ms later
 *   link  -> onGone        its process is gone (crash fast path)
 *   disk  -> onPersisted   the rows are on disk; the machine gives out what waited for that
 *   after each of them, and after every request of a client: `takeEffects`, and do them
 *
 * Messages are written into their links as they come and leave once a turn of the event loop, one write a peer: a burst of requests is one packet to each copy.
 *
 * Rows that cannot be written end the process: a voter that cannot keep its word must not give it, and what it knows is not what its disk knows.
 */
import type { NodeId } from '../../cluster/member.ts';
import type { Message, VoterRow } from '../../cluster/messages.ts';
import type { ClusterEvent } from '../../cluster/outputs.ts';
import type { RosterRow } from '../../cluster/roster.ts';
import type { ClusterDoors, ClusterEffect } from '../../node/cluster-door.ts';

export interface DriverOptions {
  readonly doors: Pick<ClusterDoors, 'onGone' | 'onBack' | 'onMessage' | 'onPersisted' | 'onTick' | 'takeEffects'>;
  /** Milliseconds; never goes back; may have a fraction. The clock by which clients' requests are answered. */
  readonly nowMs: () => number;
  readonly send: (to: NodeId, message: Message) => void;
  readonly flush: () => void;
  /** Links are dialled, pinged and given up. */
  readonly tickLinks: (nowMs: number) => void;
  /** null: nothing is kept. */
  readonly write: ((rows: readonly VoterRow[], roster: RosterRow | null) => Promise<void>) | null;
  readonly onEvent: (event: ClusterEvent) => void;
  /** Something has come or gone that sessions may have to be told of. */
  readonly onTurn: () => void;
  /** The rows could not be written, or the machine has a bug: nothing more is done. */
  readonly onFailure: (error: unknown) => void;
}

export class ClusterDriver {
  readonly #options: DriverOptions;
  #isFlushing = false;
  #isStopped = false;

  constructor(options: DriverOptions) {
    this.#options = options;
  }

  /** To be called by the server's ticker; milliseconds until the next call is wanted. */
  onTick(): number {
    if (this.#isStopped) return TICK_MS;
    const nowMs = this.#options.nowMs();
    this.#options.tickLinks(nowMs);
    const wantedMs = this.#options.doors.onTick(nowMs);
    this.settle();
    return Math.min(TICK_MS, wantedMs);
  }

  onMessage(from: NodeId, message: Message): void {
    if (this.#isStopped) return;
    this.#options.doors.onMessage(from, message, this.#options.nowMs());
    this.settle();
  }

  onGone(peer: NodeId): void {
    if (this.#isStopped) return;
    this.#options.doors.onGone(peer, this.#options.nowMs());
    this.settle();
  }

  onBack(peer: NodeId): void {
    if (!this.#isStopped) this.#options.doors.onBack(peer, this.#options.nowMs());
  }

  /** Does what the machine wants done. To be called after each of its doors. */
  settle(): void {
    const { doors, onTurn } = this.#options;
    let effects = doors.takeEffects();
    while (effects.length > 0) {
      for (const effect of effects) this.#do(effect);
      effects = doors.takeEffects();
    }
    onTurn();
  }

  /** Nothing of the machine reaches the world any more. */
  stop(): void {
    this.#isStopped = true;
  }

  #do(effect: ClusterEffect): void {
    if (this.#isStopped) return;
    switch (effect.kind) {
      case 'send':
        this.#options.send(effect.to, effect.message);
        this.#flushSoon();
        return;
      case 'persist':
        void this.#persist(effect.number, effect.rows, effect.roster);
        return;
      case 'event':
        this.#options.onEvent(effect.event);
        return;
    }
  }

  async #persist(number: number, rows: readonly VoterRow[], roster: RosterRow | null): Promise<void> {
    const { write, doors, nowMs, onFailure } = this.#options;
    try {
      await write?.(rows, roster);
      if (this.#isStopped) return;
      doors.onPersisted(number, nowMs());
      this.settle();
    } catch (error) {
      if (this.#isStopped) return;
      this.stop();
      onFailure(error);
    }
  }

  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    setImmediate(() => {
      this.#isFlushing = false;
      if (!this.#isStopped) this.#options.flush();
    });
  }
}

/** The machine's own longest. */
const TICK_MS = 50;
