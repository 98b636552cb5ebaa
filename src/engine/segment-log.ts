/**
 * The log: queues of segments that records are appended to and consumed from in the order they came.
 *
 * Why a log and not slabs or a free list: an append is a bump of a pointer, memory never fragments into holes of the wrong
 * size when value sizes drift, and the two queues of the eviction policies (first in, first out; and CLOCK) *are* logs. Nothing
 * is linked per entry. (Segcache, Yang et al., NSDI '21, has segments of like expiry; ours are of like age.)
 *
 *     queue:   oldest ── … ── newest          a list of segments
 *                │              └ `open` when records may still be appended, else sealed
 *                └ consumed from `start[segment]` on
 *
 *     segment: |  consumed  | dead | live | dead | live |  slack  |
 *              0         start                        used    segmentWords
 *
 * Accounting, in words, exact after every call:
 *   total      = over all segments in queues: (sealed ? segmentWords : used) - start
 *   liveTotal  = over all segments: live
 *   weight[q]  = total of queue q + what its jumbo values hold
 */
import { assert } from '../base/assert.ts';
import { type Arena, CHUNK_MASK, CHUNK_SHIFT, LOG } from './arena.ts';
import { IS_DEAD, recordWords } from './entry.ts';

export class SegmentLog {
  readonly arena: Arena;
  readonly queueCount: number;
  /** Ends of each queue's list; -1 when empty. */
  readonly oldest: Int32Array;
  readonly newest: Int32Array;
  /** The segment of the queue that takes appends, always its newest; -1 when that is sealed. */
  readonly open: Int32Array;
  readonly weight: Float64Array;
  total = 0;
  liveTotal = 0;
  /** The sealed segment that is being compacted, -1 when none; forgotten when it is freed by whatever way. */
  compacting = -1;

  constructor(arena: Arena, queueCount: number) {
    this.arena = arena;
    this.queueCount = queueCount;
    this.oldest = new Int32Array(queueCount).fill(-1);
    this.newest = new Int32Array(queueCount).fill(-1);
    this.open = new Int32Array(queueCount).fill(-1);
    this.weight = new Float64Array(queueCount);
  }

  /** Address of `words` fresh words at the newest end of `queue`. The caller has made room. */
  append(queue: number, words: number): number {
    const { used, live, segmentWords, segmentWordsLog2 } = this.arena;
    let segment = this.open[queue]!;
    if (segment < 0 || used[segment]! + words > segmentWords) segment = this.#openNext(queue);
    const at = used[segment]!;
    used[segment] = at + words;
    live[segment] = live[segment]! + words;
    this.weight[queue] = this.weight[queue]! + words;
    this.total += words;
    this.liveTotal += words;
    return (segment << segmentWordsLog2) + at;
  }

  /** Notes that the live record at `ref` is no longer one. Its words stay until the segment is consumed. */
  kill(ref: number): void {
    const { arena } = this;
    const words = arena.words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    assert((words[at + 1]! & IS_DEAD) === 0, 'a record dies once');
    const length = recordWords(words, at, arena.segmentBytes);
    words[at + 1] = words[at + 1]! | IS_DEAD;
    const segment = ref >>> arena.segmentWordsLog2;
    arena.live[segment] = arena.live[segment]! - length;
    this.liveTotal -= length;
  }

  /** Adds (or takes away) jumbo segments owned by a record in `segment`. */
  addJumbos(segment: number, count: number): void {
    const { arena } = this;
    arena.jumbos[segment] = arena.jumbos[segment]! + count;
    const queue = arena.owner[segment]! - LOG;
    this.weight[queue] = this.weight[queue]! + count * arena.segmentWords;
  }

  /** The oldest live record of a queue, or 0: consumes the dead before it and gives back segments used up. */
  oldestLive(queue: number): number {
    for (;;) {
      const segment = this.oldest[queue]!;
      if (segment < 0) return 0;
      const ref = this.firstLive(segment);
      if (ref !== 0) return ref;
      if (segment === this.open[queue]) {
        // Used up while still open: start it again from its beginning.
        this.arena.used[segment] = 0;
        this.arena.start[segment] = 0;
        return 0;
      }
      this.free(segment);
    }
  }

  /** The first live record of a segment, or 0: consumes the dead before it. */
  firstLive(segment: number): number {
    const { arena } = this;
    const base = arena.addressOf(segment);
    const words = arena.words[base >>> CHUNK_SHIFT]!;
    const first = base & CHUNK_MASK;
    const used = arena.used[segment]!;
    const before = arena.start[segment]!;
    let start = before;
    let ref = 0;
    if (arena.live[segment] === 0) {
      start = used;
    } else {
      while (start < used) {
        const at = first + start;
        if (words[at + 1]! >= 0) {
          // The dead bit is the sign.
          ref = base + start;
          break;
        }
        start += recordWords(words, at, arena.segmentBytes);
      }
    }
    arena.start[segment] = start;
    const queue = arena.owner[segment]! - LOG;
    this.total -= start - before;
    this.weight[queue] = this.weight[queue]! - (start - before);
    return ref;
  }

  /** Gives back a sealed segment without live records. */
  free(segment: number): void {
    const { arena } = this;
    const queue = arena.owner[segment]! - LOG;
    assert(arena.live[segment] === 0 && arena.jumbos[segment] === 0, 'a freed segment holds nothing live');
    assert(segment !== this.open[queue], 'a freed segment is sealed');
    const rest = arena.segmentWords - arena.start[segment]!;
    this.total -= rest;
    this.weight[queue] = this.weight[queue]! - rest;
    this.#unlink(queue, segment);
    arena.release(segment);
    if (segment === this.compacting) this.compacting = -1;
  }

  /**
   * Gives back every sealed segment in which nothing is alive any more: what expired or was invalidated together stands together, and its memory is free
   * before anybody needs it. O(segments), of which there are one or two thousand.
   */
  freeEmpty(): void {
    const { arena } = this;
    if (this.total - this.liveTotal < arena.segmentWords) return;
    const { owner, live, jumbos, segmentCount } = arena;
    for (let segment = 0; segment < segmentCount; segment += 1) {
      if (live[segment] !== 0 || jumbos[segment] !== 0 || owner[segment]! < LOG) continue;
      if (this.open[owner[segment]! - LOG] !== segment) this.free(segment);
    }
  }

  /** Closes the open segment of a queue; its slack counts from now on. */
  seal(queue: number): void {
    const segment = this.open[queue]!;
    if (segment < 0) return;
    const slack = this.arena.segmentWords - this.arena.used[segment]!;
    this.total += slack;
    this.weight[queue] = this.weight[queue]! + slack;
    this.open[queue] = -1;
  }

  /** Hands the oldest segment of `from` over as the newest sealed one of `to`: no record moves. It must be sealed. */
  handOver(from: number, to: number): void {
    const { arena } = this;
    const segment = this.oldest[from]!;
    assert(segment >= 0 && segment !== this.open[from], 'a segment handed over is sealed');
    this.#unlink(from, segment);
    const weight = arena.segmentWords - arena.start[segment]! + arena.jumbos[segment]! * arena.segmentWords;
    this.weight[from] = this.weight[from]! - weight;
    this.weight[to] = this.weight[to]! + weight;
    arena.relabel(segment, LOG + to);
    const open = this.open[to]!;
    const older = open >= 0 ? arena.previous[open]! : this.newest[to]!;
    arena.previous[segment] = older;
    arena.next[segment] = open;
    if (older >= 0) arena.next[older] = segment;
    else this.oldest[to] = segment;
    if (open >= 0) arena.previous[open] = segment;
    else this.newest[to] = segment;
  }

  /** Makes all of queue `from` the newest part of queue `to`, its open segment included; `from` is empty afterwards. */
  joinNewer(from: number, to: number): void {
    const { arena } = this;
    const first = this.oldest[from]!;
    if (first < 0) return;
    this.seal(to);
    for (let segment = first; segment >= 0; segment = arena.next[segment]!) arena.relabel(segment, LOG + to);
    const last = this.newest[to]!;
    if (last >= 0) {
      arena.next[last] = first;
      arena.previous[first] = last;
    } else {
      this.oldest[to] = first;
    }
    this.newest[to] = this.newest[from]!;
    this.open[to] = this.open[from]!;
    this.weight[to] = this.weight[to]! + this.weight[from]!;
    this.oldest[from] = -1;
    this.newest[from] = -1;
    this.open[from] = -1;
    this.weight[from] = 0;
  }

  /**
   * The sealed segment with the most dead words, and at least `minimumDead` of them; -1 when none. Slack does not count:
   * moving large records leaves as much of it behind as before. O(segments).
   */
  emptiest(minimumDead: number): number {
    const { owner, live, start, used, segmentCount } = this.arena;
    let best = -1;
    let bestDead = minimumDead - 1;
    for (let segment = 0; segment < segmentCount; segment += 1) {
      if (owner[segment]! < LOG) continue;
      const dead = used[segment]! - start[segment]! - live[segment]!;
      if (dead > bestDead && this.open[owner[segment]! - LOG] !== segment) {
        best = segment;
        bestDead = dead;
      }
    }
    return best;
  }

  reset(): void {
    this.oldest.fill(-1);
    this.newest.fill(-1);
    this.open.fill(-1);
    this.weight.fill(0);
    this.total = 0;
    this.liveTotal = 0;
    this.compacting = -1;
  }

  #openNext(queue: number): number {
    const { arena } = this;
    this.seal(queue);
    const segment = arena.allocate(LOG + queue);
    assert(segment >= 0, 'the reserve holds a segment for every append');
    const last = this.newest[queue]!;
    arena.previous[segment] = last;
    if (last >= 0) arena.next[last] = segment;
    else this.oldest[queue] = segment;
    this.newest[queue] = segment;
    this.open[queue] = segment;
    return segment;
  }

  #unlink(queue: number, segment: number): void {
    const { next, previous } = this.arena;
    const newer = next[segment]!;
    const older = previous[segment]!;
    if (older >= 0) next[older] = newer;
    else this.oldest[queue] = newer;
    if (newer >= 0) previous[newer] = older;
    else this.newest[queue] = older;
    next[segment] = -1;
    previous[segment] = -1;
  }
}
