/**
 * The part of the store port for write-behind queues (cache/write/stream-queue.ts): records that the store's servers keep for a process, so that another one can go on with them when it dies.
 *
 * A *queue* (one a cache) has *streams*. A stream is held by one process, which alone appends to it, and proves with each call that it is there: the call raises the stream's *beat*. Whoever
 * has seen the same beat for as long as the holder itself has said (by his own clock, which need not agree with anybody's) may take the stream; from then on the former holder is refused, however
 * late it comes back. So nothing that is acknowledged to it can be lost between the two.
 *
 *     A: begin s1 --- push 1 2 3 --- beat --- beat ---x dies
 *     B:   looks: s1 of A, beat 5 ... beat 5 ... 10 s later still beat 5: takes s1 (if it is still A's, and beat 5), reads 1 2 3, pushes them to its own s2, drops s1
 *
 * What a server promises of what it has acknowledged is its own configuration's ({@link QueueDurability}), and of its replicas WAIT's: a call that not all known replicas have rejects.
 */
import type { StoreCall } from './call.ts';

export interface StoreQueues {
  /** Of the server that has this queue. What it does not tell (a rule about CONFIG) is null. */
  durability(queue: string, call: StoreCall): Promise<QueueDurability>;
  /** A new stream, held by `holder`. @param about for people: where the holder is */
  begin(
    queue: string,
    stream: string,
    holder: string,
    terms: { readonly holdMs: number; readonly about: string },
    call: StoreCall,
  ): Promise<void>;
  /**
   * Appends `records` as positions `first`, `first + 1`, ..., and removes `gone`; with neither it is a beat. All at once. Sent again it does the same once; so a call must not be sent while
   * another of the stream is under way.
   */
  push(queue: string, stream: string, holder: string, batch: QueueBatch, call: StoreCall): Promise<PushAnswer>;
  /** All streams of a queue. */
  look(queue: string, call: StoreCall): Promise<StreamView[]>;
  /** Takes a stream, unless its holder or its beat are others by now. */
  take(queue: string, seen: StreamView, holder: string, call: StoreCall): Promise<boolean>;
  /** Up to `count` records behind position `after`, in order. */
  read(queue: string, stream: string, after: number, count: number, call: StoreCall): Promise<QueueRecord[]>;
  /** Removes a stream with all it has, if `holder` holds it. */
  drop(queue: string, stream: string, holder: string, call: StoreCall): Promise<void>;
  /** It is nobody's, and may be taken at once, if `holder` holds it. */
  release(queue: string, stream: string, holder: string, call: StoreCall): Promise<void>;
  /** Beside the records a stream has letters by name. */
  letters(queue: string, stream: string, call: StoreCall): Promise<ReadonlyMap<string, Uint8Array>>;
  /** False: `holder` does not hold the stream. */
  addLetter(
    queue: string,
    stream: string,
    holder: string,
    name: string,
    letter: Uint8Array,
    call: StoreCall,
  ): Promise<boolean>;
  /** How many were there. */
  removeLetters(queue: string, stream: string, names: readonly string[], call: StoreCall): Promise<number>;
  /** Each letter that is there becomes a record of a new stream `to`, which is nobody's; the names of these. */
  moveLetters(
    queue: string,
    stream: string,
    to: string,
    letters: ReadonlyMap<string, Uint8Array>,
    call: StoreCall,
  ): Promise<string[]>;
  /** Queues that there are or were. */
  names(call: StoreCall): Promise<string[]>;
}

export interface QueueBatch {
  readonly first: number;
  readonly records: readonly Uint8Array[];
  readonly gone: readonly number[];
}

/**
 * `taken`: another holds it. `restarted`: the server may have lost what it had acknowledged. `missing`: it is not there; taken and dropped, or lost. None of the three has done anything.
 */
export type PushAnswer = 'done' | 'taken' | 'restarted' | 'missing';

export interface QueueRecord {
  readonly position: number;
  readonly record: Uint8Array;
}

export interface StreamView {
  readonly stream: string;
  /** '' = nobody. */
  readonly holder: string;
  readonly beat: number;
  readonly holdMs: number;
  readonly about: string;
  readonly records: number;
  readonly letters: number;
}

export interface QueueDurability {
  readonly appendOnly: boolean | null;
  /** `always`, `everysec`, `no`. */
  readonly appendFsync: string | null;
  readonly evictionPolicy: string | null;
  readonly maxMemoryBytes: number | null;
}
