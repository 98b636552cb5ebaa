/**
 * The whole-structure check that tests call after every step: what must hold between the parts, counted from scratch.
 */
import { assert } from '../base/assert.ts';
import { type Arena, CHUNK_MASK, CHUNK_SHIFT, FIXED, FREE, JUMBO, LOG } from './arena.ts';
import { expiryOf, HAS_TTL, IS_DEAD, IS_JUMBO, jumboCount, jumboWord, recordWords } from './entry.ts';
import type { ExpiryWheel } from './expiry-wheel.ts';
import type { SegmentLog } from './segment-log.ts';
import type { Table } from './table.ts';

/** Throws AssertionError at the first thing that does not hold. O(everything). */
export function checkInvariants(
  arena: Arena,
  log: SegmentLog,
  table: Table,
  wheel: ExpiryWheel,
  reserve: number,
): void {
  const live = checkLog(arena, log);
  checkTable(arena, table, live);
  checkWheel(arena, wheel, live);
  checkArena(arena, log, reserve);
}

/** Walks every queue and record; returns the refs of the live ones. */
function checkLog(arena: Arena, log: SegmentLog): Set<number> {
  const refs = new Set<number>();
  const jumboSegments = new Set<number>();
  let total = 0;
  let liveTotal = 0;
  let segments = 0;
  for (let queue = 0; queue < log.queueCount; queue += 1) {
    let weight = 0;
    let previous = -1;
    for (let segment = log.oldest[queue]!; segment >= 0; segment = arena.next[segment]!) {
      segments += 1;
      assert(arena.owner[segment] === LOG + queue, 'a segment of a queue is labelled so');
      assert(arena.previous[segment] === previous, 'segments of a queue are linked both ways');
      const isOpen = segment === log.open[queue];
      assert(!isOpen || arena.next[segment] === -1, 'the open segment is the newest');
      const used = arena.used[segment]!;
      const start = arena.start[segment]!;
      assert(start <= used && used <= arena.segmentWords, 'consumed <= used <= size');
      let live = 0;
      let jumbos = 0;
      const base = arena.addressOf(segment);
      const words = arena.words[base >>> CHUNK_SHIFT]!;
      let position = start;
      while (position < used) {
        const ref = (base + position) | 0;
        const at = ref & CHUNK_MASK;
        const length = recordWords(words, at, arena.segmentBytes);
        if ((words[at + 1]! & IS_DEAD) === 0) {
          live += length;
          refs.add(ref);
          if ((words[at + 1]! & IS_JUMBO) !== 0) {
            const count = jumboCount(words, at, arena.segmentBytes);
            jumbos += count;
            let chained = 0;
            for (let part = words[jumboWord(words, at)]!; part >= 0; part = arena.next[part]!) {
              assert(arena.owner[part] === JUMBO && !jumboSegments.has(part), 'a jumbo segment has one owner');
              jumboSegments.add(part);
              chained += 1;
            }
            assert(chained === count, 'a jumbo value has the segments that its length asks for');
          }
        }
        position += length;
      }
      assert(position === used, 'records fill a segment without gaps');
      assert(live === arena.live[segment], 'live words of a segment are the sum of its live records');
      assert(jumbos === arena.jumbos[segment], 'jumbo segments of a segment are the sum of its records');
      const here = (isOpen ? used : arena.segmentWords) - start;
      total += here;
      weight += here + jumbos * arena.segmentWords;
      liveTotal += live;
      previous = segment;
    }
    assert(log.newest[queue] === previous, 'the newest segment ends the queue');
    assert(log.weight[queue] === weight, 'the weight of a queue is the sum over its segments');
  }
  assert(log.total === total, 'the total of the log is the sum over its segments');
  assert(log.liveTotal === liveTotal, 'the live words of the log are the sum over its segments');
  assert(jumboSegments.size === arena.countByOwner[JUMBO], 'every jumbo segment belongs to a live record');
  assert(log.compacting < 0 || arena.owner[log.compacting]! >= LOG, 'a segment being compacted belongs to the log');
  let labelled = 0;
  for (let segment = 0; segment < arena.segmentCount; segment += 1) if (arena.owner[segment]! >= LOG) labelled += 1;
  assert(labelled === segments, 'every segment labelled as a queue is in one');
  return refs;
}

function checkTable(arena: Arena, table: Table, live: Set<number>): void {
  let seen = 0;
  table.walk((ref, hash) => {
    assert(live.has(ref), 'a slot points to a live record');
    assert(table.hashOf(ref) === hash, 'a slot holds the hash of its key');
    const words = arena.words[ref >>> CHUNK_SHIFT]!;
    assert((words[ref & CHUNK_MASK]! & 0xffff) >= 0, 'a record has a key');
    seen += 1;
  });
  assert(seen === live.size && table.count === live.size, 'every live record is in the table once');
}

function checkWheel(arena: Arena, wheel: ExpiryWheel, live: Set<number>): void {
  let timed = 0;
  for (const ref of live) {
    const words = arena.words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    if ((words[at + 1]! & HAS_TTL) !== 0 && expiryOf(words, at) !== 0) {
      timed += 1;
      assert(wheel.isLinked(ref), 'a record with an expiry is linked into the wheel');
    }
  }
  let linked = 0;
  wheel.walk((ref) => {
    assert(live.has(ref), 'the wheel links live records only');
    linked += 1;
    assert(linked <= timed, 'the lists of the wheel end');
  });
  assert(linked === timed && wheel.count === timed, 'the wheel holds every record with an expiry once');
}

function checkArena(arena: Arena, log: SegmentLog, reserve: number): void {
  const counts = new Int32Array(256);
  for (let segment = 0; segment < arena.segmentCount; segment += 1) {
    counts[arena.owner[segment]!] = counts[arena.owner[segment]!]! + 1;
  }
  assert(counts[FREE] === arena.freeCount && arena.freeCount === arena.countFree(), 'free segments are counted');
  assert(counts[FIXED] === 1, 'the wheel has its segment');
  let others = 0;
  for (let owner = FIXED; owner < LOG; owner += 1) {
    others += counts[owner]!;
    assert(counts[owner] === arena.countByOwner[owner], 'segments are counted by owner');
  }
  assert(others === arena.otherCount, 'segments not of the log are counted');
  const limit = (arena.segmentCount - arena.otherCount - reserve + 4) * arena.segmentWords;
  assert(log.total <= limit, 'the log is within its limit and the margin of a debt');
}
