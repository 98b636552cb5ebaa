/**
 * The slot map: all members and all records that one member knows of, as an immutable value that is swapped whole.
 *
 * A command looks its slot up while frames bring news. With a table that is changed in place, a request that asks twice may be told two
 * different things, and "which map was that decided by?" has no answer. Here every decision holds one map in its hand, and news make another one
 * (the idea is Garnet's `ClusterConfig`). A map is cheap to make: the records are shared, only the arrays around them are copied (1,024
 * ranges: some 3 microseconds), and news come in batches.
 *
 * It says what the records say, never who is alive and never whether an owner holds its lease: serving is decided elsewhere, by the owner itself.
 *
 * Invariants: one record a range; a record's ballot never falls from a map to the map made of it; the order of members and of news
 * makes no difference (`slot-map.test.ts` shuffles both).
 */
import { assert } from '../base/assert.ts';
import { compareBallots } from '../base/ballot.ts';
import { compareIds, type Member, type NodeId, sameMember } from './member.ts';
import type { Ranges } from './ranges.ts';
import { NO_BALLOT, type OwnershipRecord, sameRecord, supersedes, unowned } from './record.ts';

/** A run of contiguous slots that one owner and the same copies hold. */
export interface SlotRun {
  readonly first: number;
  /** Inclusive. */
  readonly last: number;
  readonly owner: NodeId;
  /** The in-sync members other than the owner, in the order of the record. */
  readonly copies: readonly NodeId[];
}

interface Parts {
  readonly ranges: Ranges;
  readonly members: ReadonlyMap<NodeId, Member>;
  readonly records: readonly OwnershipRecord[];
}

export class SlotMap {
  readonly ranges: Ranges;
  /** By id, in the order of ids. */
  readonly members: ReadonlyMap<NodeId, Member>;
  /** Index = range. */
  readonly records: readonly OwnershipRecord[];
  #runs: readonly SlotRun[] | null = null;
  #owned: ReadonlyMap<NodeId, readonly number[]> | null = null;
  #copied: ReadonlyMap<NodeId, readonly number[]> | null = null;

  private constructor({ ranges, members, records }: Parts) {
    assert(records.length === ranges.count, 'a map has one record a range');
    this.ranges = ranges;
    this.members = members;
    this.records = records;
  }

  /** Nobody owns anything. */
  static empty(ranges: Ranges, members: Iterable<Member> = []): SlotMap {
    const records = Array.from({ length: ranges.count }, (_, range) => unowned(range));
    return new SlotMap({ ranges, members: sorted(members), records });
  }

  recordOf(slot: number): OwnershipRecord {
    return this.records[this.ranges.of(slot)]!;
  }

  /** null: nobody owns the slot. The id may be of a member that this map does not know. */
  ownerOf(slot: number): NodeId | null {
    return this.recordOf(slot).owner;
  }

  /** The ranges that the member owns, in ascending order. */
  owned(id: NodeId): readonly number[] {
    this.#owned ??= index(this.records, ({ owner }) => (owner === null ? [] : [owner]));
    return this.#owned.get(id) ?? [];
  }

  /** The ranges of which it is an in-sync copy but not the owner, in ascending order. */
  copied(id: NodeId): readonly number[] {
    this.#copied ??= index(this.records, ({ owner, inSync }) => inSync.filter((each) => each !== owner));
    return this.#copied.get(id) ?? [];
  }

  /** The slots that somebody owns, as the fewest runs, in ascending order. What CLUSTER SLOTS lists. O(ranges), once. */
  get runs(): readonly SlotRun[] {
    this.#runs ??= runsOf(this);
    return this.#runs;
  }

  /** The highest epoch of all records. */
  get epoch(): number {
    return this.records.reduce((highest, { ballot }) => Math.max(highest, ballot.epoch), NO_BALLOT.epoch);
  }

  /** Ranges that somebody owns. */
  get ownedCount(): number {
    return this.records.reduce((count, { owner }) => count + (owner === null ? 0 : 1), 0);
  }

  /**
   * The map with every record of `news` that is newer than the one here; this map itself when none is. One that carries the ballot of the record
   * here and says something else is a broken promise of whoever made it, and the assertion says so.
   */
  withRecords(news: Iterable<OwnershipRecord>): SlotMap {
    let records: OwnershipRecord[] | null = null;
    for (const record of news) {
      const held = (records ?? this.records)[record.range];
      assert(held !== undefined, 'a record is of a range that exists');
      if (!supersedes(record, held)) {
        assert(compareBallots(record.ballot, held.ballot) !== 0 || sameRecord(record, held), 'one record a ballot');
        continue;
      }
      records ??= [...this.records];
      records[record.range] = record;
    }
    return records === null ? this : new SlotMap({ ranges: this.ranges, members: this.members, records });
  }

  /** The map with this member added, or as it describes itself now. What an earlier life of it said changes nothing. */
  withMember(member: Member): SlotMap {
    const held = this.members.get(member.id);
    if (held !== undefined && (held.incarnation > member.incarnation || sameMember(held, member))) return this;
    const members = sorted([...[...this.members.values()].filter(({ id }) => id !== member.id), member]);
    return new SlotMap({ ranges: this.ranges, members, records: this.records });
  }

  /** The map without this member. Records that name it stay as they are: they change by a majority only. */
  withoutMember(id: NodeId): SlotMap {
    if (!this.members.has(id)) return this;
    const members = sorted([...this.members.values()].filter((member) => member.id !== id));
    return new SlotMap({ ranges: this.ranges, members, records: this.records });
  }
}

function sorted(members: Iterable<Member>): ReadonlyMap<NodeId, Member> {
  return new Map([...members].sort((a, b) => compareIds(a.id, b.id)).map((member) => [member.id, member]));
}

function index(
  records: readonly OwnershipRecord[],
  idsOf: (record: OwnershipRecord) => readonly NodeId[],
): ReadonlyMap<NodeId, readonly number[]> {
  const found = new Map<NodeId, number[]>();
  for (const record of records) {
    for (const id of idsOf(record)) {
      const ranges = found.get(id);
      if (ranges === undefined) found.set(id, [record.range]);
      else ranges.push(record.range);
    }
  }
  return found;
}

function runsOf({ ranges, records }: SlotMap): SlotRun[] {
  const runs: SlotRun[] = [];
  for (const { range, owner, inSync } of records) {
    if (owner === null) continue;
    const copies = inSync.filter((id) => id !== owner);
    const previous = runs.at(-1);
    if (previous !== undefined && previous.last + 1 === ranges.first(range) && isSameRun(previous, owner, copies)) {
      runs[runs.length - 1] = { ...previous, last: ranges.last(range) };
    } else {
      runs.push({ first: ranges.first(range), last: ranges.last(range), owner, copies });
    }
  }
  return runs;
}

/** Who would take over first makes no difference to clients, so the order of the copies does not cut a run. */
function isSameRun(run: SlotRun, owner: NodeId, copies: readonly NodeId[]): boolean {
  return run.owner === owner && run.copies.length === copies.length && copies.every((id) => run.copies.includes(id));
}
