/**
 * What a member keeps on disk: who it is, which cluster it belongs to, how often it began, and the rows of its voter's table.
 *
 *   DATA/cluster/member.json     identity, incarnation, the first lives of the cluster, who the members are; replaced whole (written aside, fsync, renamed, fsync of the directory)
 *   DATA/cluster/voter/          a disk log (disk-log/) of rows: each record replaces the rows of its ranges, and the roster's if it has one
 *
 * A promise that is forgotten after it was given is a promise broken, so `write` resolves when the rows are on disk and the answer that rests on them waits for that. Rows are few and are
 * written again and again: when the log has grown, all of them are written once more and what lies before is given up.
 *
 * The log's lock keeps a second process out of the directory. A log that has lost records that were acknowledged is refused, as `disk-log/` says: a voter that goes on with half
 * of what it promised is worse than one that is away. Whoever removes the directory makes a voter that *knows* that it has forgotten, and waits accordingly.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import { isNodeId, type NodeId } from '../../cluster/member.ts';
import type { VoterRow } from '../../cluster/messages.ts';
import { checkRecord } from '../../cluster/record.ts';
import { checkRoster, NO_ROSTER_ROW, type Roster, type RosterRow } from '../../cluster/roster.ts';
import { makeDirectory } from '../../disk-log/directory.ts';
import { DiskLog } from '../../disk-log/log.ts';
import type { Facts, FirstLife } from '../../wire/hello.ts';

export interface MemberState {
  readonly id: NodeId;
  /** Of everything that must be the same everywhere. */
  readonly fingerprint: string;
  readonly incarnation: number;
  /** '' = not in a cluster yet. */
  readonly cluster: string;
  readonly lives: readonly FirstLife[];
  /** The newest roster that it knew; null: the founding one. */
  readonly roster: Roster | null;
  /** What it was told when it joined; null: it is of the list. */
  readonly facts: Facts | null;
  /** It may have voted in a life that this directory knows nothing of, and has not recovered yet. */
  readonly hasForgotten: boolean;
}

const FORMAT = 1;
const SEGMENT_BYTES = 1024 * 1024;
/** Rows are written anew when the log has so much: some thousand takeovers. */
const COMPACT_BYTES = 4 * 1024 * 1024;

export class MemberMemory {
  readonly #directory: string;
  readonly #log: DiskLog;
  readonly #rows: Map<number, VoterRow>;
  #roster: RosterRow | null;
  #state: MemberState | null;
  #isCompacting = false;

  private constructor(
    directory: string,
    log: DiskLog,
    state: MemberState | null,
    rows: Map<number, VoterRow>,
    roster: RosterRow | null,
  ) {
    this.#directory = directory;
    this.#log = log;
    this.#state = state;
    this.#rows = rows;
    this.#roster = roster;
  }

  /** @throws BreakwaterError `CLUSTER_DATA_INVALID`, `CLUSTER_DATA_UNUSABLE`, `DISK_LOG_LOCKED`, `DISK_LOG_CORRUPT` */
  static async open(data: string, rangeCount: number): Promise<MemberMemory> {
    try {
      return await MemberMemory.#open(data, rangeCount);
    } catch (error) {
      if (error instanceof BreakwaterError) throw error;
      throw unusable(data, error);
    }
  }

  static async #open(data: string, rangeCount: number): Promise<MemberMemory> {
    const directory = join(data, 'cluster');
    makeDirectory(directory, 0o700);
    const log = await DiskLog.open(join(directory, 'voter'), { segmentBytes: SEGMENT_BYTES });
    try {
      const state = readState(join(directory, 'member.json'));
      const rows = new Map<number, VoterRow>();
      let roster: RosterRow | null = null;
      for await (const { bytes } of log.read()) {
        const found = rowsIn(bytes, rangeCount, directory);
        for (const row of found.rows) rows.set(row.range, row);
        roster = found.roster ?? roster;
      }
      return new MemberMemory(directory, log, state, rows, roster);
    } catch (error) {
      await log.close();
      throw error;
    }
  }

  /** null: this directory has never been a member's. */
  get state(): MemberState | null {
    return this.#state;
  }

  get rows(): readonly VoterRow[] {
    return [...this.#rows.values()];
  }

  /** What it promised and accepted of rosters; null: nothing. */
  get roster(): RosterRow | null {
    return this.#roster;
  }

  /**
   * On disk when it returns. Rare: at a start, when the cluster is formed, when the roster changes, when a voter has recovered.
   * @throws BreakwaterError `CLUSTER_DATA_UNUSABLE`
   */
  keep(state: MemberState): void {
    try {
      this.#keep(state);
    } catch (error) {
      throw unusable(this.#directory, error);
    }
  }

  #keep(state: MemberState): void {
    const path = join(this.#directory, 'member.json');
    const draft = `${path}.new`;
    const fd = openSync(draft, 'w', 0o600);
    try {
      writeSync(fd, `${JSON.stringify({ format: FORMAT, ...state }, null, 2)}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(draft, path);
    syncDirectory(this.#directory);
    this.#state = state;
  }

  /**
   * Resolves when they are on disk. Calls are done in their order.
   * @throws BreakwaterError `CLUSTER_DATA_UNUSABLE`: nothing more can be promised
   */
  async write(rows: readonly VoterRow[], roster: RosterRow | null = null): Promise<void> {
    try {
      await this.#write(rows, roster);
    } catch (error) {
      throw unusable(this.#directory, error);
    }
  }

  async #write(rows: readonly VoterRow[], roster: RosterRow | null): Promise<void> {
    for (const row of rows) this.#rows.set(row.range, row);
    if (roster !== null) this.#roster = roster;
    await this.#log.append(bytesOf(rows, roster));
    if (this.#log.stats.bytes > COMPACT_BYTES && !this.#isCompacting) {
      this.#isCompacting = true;
      try {
        // Everything that was written before this is in it.
        const position = await this.#log.append(bytesOf(this.rows, this.#roster));
        await this.#log.trim(position - 1);
      } finally {
        this.#isCompacting = false;
      }
    }
  }

  async close(): Promise<void> {
    await this.#log.close();
  }
}

function unusable(directory: string, error: unknown): BreakwaterError {
  const why = messageOf(error);
  return new BreakwaterError('CLUSTER_DATA_UNUSABLE', `cannot keep anything in ${directory} (--data): ${why}`, {
    cause: error,
  });
}

function bytesOf(rows: readonly VoterRow[], roster: RosterRow | null): Uint8Array {
  const plain: (PlainRow | RosterRow)[] = rows.map(
    ({ range, promised, accepted, isTaken }): PlainRow => [
      range,
      promised.epoch,
      promised.node,
      accepted.ballot.epoch,
      accepted.ballot.node,
      accepted.owner,
      accepted.inSync,
      ...(isTaken === true ? ([true] as [true]) : ([] as [])),
    ],
  );
  // A roster is rare; a version before it could not read it, and says so.
  if (roster !== null) plain.push(roster);
  return Buffer.from(JSON.stringify(plain));
}

type PlainRow = [number, number, string, number, string, string | null, readonly string[], true?];

function rowsIn(
  bytes: Uint8Array,
  rangeCount: number,
  directory: string,
): { readonly rows: VoterRow[]; readonly roster: RosterRow | null } {
  try {
    const all = JSON.parse(Buffer.from(bytes).toString()) as (PlainRow | RosterRow)[];
    const plain = all.filter((each): each is PlainRow => Array.isArray(each));
    const found = all.find((each): each is RosterRow => !Array.isArray(each)) ?? null;
    // Versions before voters changed wrote neither who votes nor in which set this one did.
    const roster = found && { ...NO_ROSTER_ROW, ...found, accepted: found.accepted && seated(found.accepted) };
    if (roster?.accepted != null) checkRoster(roster.accepted);
    const rows = plain.map(([range, promisedEpoch, promisedNode, epoch, node, owner, inSync, isTaken]) => {
      const accepted = { range, ballot: { epoch, node }, owner, inSync };
      checkRecord(accepted, rangeCount);
      const isBallot = Number.isSafeInteger(promisedEpoch) && (promisedEpoch === 0 || isNodeId(promisedNode));
      if (!isBallot) throw new Error('a promise in it names no member');
      const row = { range, promised: { epoch: promisedEpoch, node: promisedNode }, accepted };
      return isTaken === true ? { ...row, isTaken } : row;
    });
    return { rows, roster };
  } catch (error) {
    throw invalid(directory, messageOf(error));
  }
}

function readState(path: string): MemberState | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    const read = JSON.parse(text) as MemberState & { readonly format: number };
    const { format, id, fingerprint, incarnation, cluster, lives, hasForgotten } = read;
    // Versions before rosters wrote none.
    const { facts = null } = read;
    const roster = read.roster == null ? null : seated(read.roster);
    if (roster !== null) checkRoster(roster);
    const isWhole =
      format === FORMAT &&
      isNodeId(id) &&
      typeof fingerprint === 'string' &&
      Number.isSafeInteger(incarnation) &&
      typeof cluster === 'string' &&
      typeof hasForgotten === 'boolean' &&
      lives.every((life) => isNodeId(life.id) && Number.isSafeInteger(life.incarnation));
    if (!isWhole) throw new Error('it is not what this version writes');
    return { id, fingerprint, incarnation, cluster, lives, roster, facts, hasForgotten };
  } catch (error) {
    throw invalid(path, messageOf(error));
  }
}

function seated(roster: Roster): Roster {
  return { ...roster, seats: roster.seats ?? null };
}

function syncDirectory(path: string): void {
  if (process.platform === 'win32') return;
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function invalid(path: string, why: string): BreakwaterError {
  return new BreakwaterError(
    'CLUSTER_DATA_INVALID',
    `cannot start from ${path}: ${why}; a member whose directory is removed comes back empty, asks the others what it may have promised, and is one again`,
  );
}
