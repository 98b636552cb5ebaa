/**
 * The judge: who was told what and when, and whether that was allowed.
 *
 * A version of a row is *forbidden* from the moment at which somebody is told that an invalidation which covers it is in force, if it had been replaced when that
 * invalidation began. (By key and namespace every older version is covered; by tag those that carry the tag.) Then, by the true time that nobody in the world can read:
 *
 *   1. A get that began later never gives it. From an L1, where the process has one: not if it was forbidden longer ago than the staleness bound, if the process
 *      forbade it itself, or if it was forbidden *everywhere*.
 *   2. `after: token` and `fresh: true` make no exception for L1; `fresh` gives nothing that was replaced when the call began.
 *   3. Nothing is given that the row never was, nor another row's value.
 *   4. What was replaced without a word (an update that nobody announced) is given no longer than ttl and grace allow.
 *
 *   5. What a process has in its outbox it gives to nobody, from whatever tier; and when everything is healed the outbox empties, which counts as an acknowledgement.
 *   6. Where sets carry versions: once one is acknowledged, nothing older comes back, whatever set of it is still on its way.
 *
 * An invalidation says nothing of what a `set` that is under way when it begins carries: whether that comes before or after it is not decided, and `set` has no lease.
 *
 * One exception, which the documentation states: a `set` that was not acknowledged may take effect later; its value is excused until the key is invalidated after
 * everything was healed, or a later version of it is acknowledged. (And writers that `set` one key without versions take turns: which of two sets comes last is a race of the writers.)
 */
import type { World } from '../world/world.ts';
import { type Database, hasTag, type Row, type Version } from './database.ts';
import type { LibraryProcess } from './process.ts';

/** What an invalidation covers; one of them. */
export interface Cover {
  readonly key?: string;
  readonly namespace?: string;
  readonly tag?: string;
}

/** What `write` gave: by whom, in which of its lives, and when. */
export interface Token {
  readonly token: string;
  readonly process: number;
  readonly startedMs: number;
  readonly madeMs: number;
}

export interface Asked {
  readonly what: string;
  readonly process: LibraryProcess;
  readonly startMs: number;
  /** Its token: all that this run of a process had had acknowledged by then is out of the question, whatever the tier. */
  readonly after: Token | null;
  readonly isFresh: boolean;
  /** How long past its ttl a value may be for this call. */
  readonly maxStaleMs: number;
}

/** Clocks run up to 1 % slow. */
const SLOWEST_RATE = 0.99;
/** Resolution of the node's clock, both ways. */
const ROUNDING_MS = 2;
export interface HistorySettings {
  readonly stalenessMs: number;
  readonly ttlMs: number;
  readonly graceMs: number;
  readonly jitter: number;
  /** Bytes may be late by this much: the longest cut, delay and pause together. */
  readonly latenessMs: number;
}

export class History {
  readonly violations: string[] = [];
  answers = 0;
  fromL1 = 0;
  staleFromL1 = 0;
  readonly #world: World;
  readonly #database: Database;
  readonly #settings: HistorySettings;

  constructor(world: World, database: Database, settings: HistorySettings) {
    this.#world = world;
    this.#database = database;
    this.#settings = settings;
  }

  violate(text: string): void {
    this.#world.trace.note(99, this.violations.length);
    this.#world.trace.say(() => `*** ${text}`);
    if (this.violations.length < 20) this.violations.push(text);
  }

  /** An invalidation begins: the versions that it will forbid. */
  covered(cover: Cover): Version[] {
    const found: Version[] = [];
    for (const [key, versions] of this.#database.rows) {
      if (cover.key !== undefined && key !== cover.key) continue;
      if (cover.namespace !== undefined && !key.startsWith(`${cover.namespace}:`)) continue;
      for (let i = 0; i < versions.length - 1; i += 1) {
        const version = versions[i]!;
        if (cover.tag === undefined || hasTag(key, version, cover.tag)) found.push(version);
      }
    }
    return found;
  }

  /** It was acknowledged to `process`. */
  acknowledged(versions: readonly Version[], process: number, everywhere: boolean): void {
    const { nowMs } = this.#world;
    for (const version of versions) {
      version.forbiddenMs = Math.min(version.forbiddenMs, nowMs);
      if (!version.forbiddenBy.has(process)) version.forbiddenBy.set(process, nowMs);
      if (everywhere) version.everywhereMs = Math.min(version.everywhereMs, nowMs);
    }
  }

  /** It was not acknowledged to `process`, which has it in its outbox. */
  withheld(versions: readonly Version[], process: number): void {
    for (const version of versions) version.withheldBy.set(process, this.#world.nowMs);
  }

  /** A set of `version` was answered: the store has it, or a later one, or has dropped what it had and takes no older one. Sets of older ones that are still on their way change nothing. */
  superseded(key: string, version: Version, process: number): void {
    const { nowMs } = this.#world;
    for (const older of this.#database.versions(key)) {
      if (older.n >= version.n || !older.mayResurface) continue;
      older.mayResurface = false;
      // It may have been there until now, and in L1s.
      older.forbiddenMs = nowMs;
      older.forbiddenBy.clear();
      older.forbiddenBy.set(process, nowMs);
      older.everywhereMs = Number.POSITIVE_INFINITY;
    }
  }

  /** The answer to a get, or what `peek` had. `tier` null: not known. */
  answered(asked: Asked, key: string, row: Row | null, tier: string | null): void {
    this.answers += 1;
    const versions = this.#database.versions(key);
    this.#world.trace.note(30, row === null ? -1 : row.n, asked.process.index);
    const { world } = { world: this.#world };
    world.trace.say(
      () =>
        `p${asked.process.index}: ${asked.what} gave ${key} ${row === null ? 'nothing' : `version ${row.n}`}${tier === null ? '' : ` from ${tier}`}`,
    );
    let why = 'no such version of this row was ever committed';
    if (row === null || row.key === key) {
      for (const version of versions) {
        if (row === null ? !version.isAbsent : version.n !== row.n || version.isAbsent) continue;
        const objection = this.#objection(asked, key, version, tier);
        if (objection === null) {
          if (tier === 'l1') this.fromL1 += 1;
          if (tier === 'l1' && version.forbiddenMs < asked.startMs) this.staleFromL1 += 1;
          return;
        }
        why = objection;
      }
    } else why = `that is the value of ${row.key}`;
    const { process } = asked;
    this.violate(
      `${process.setup.l1 ? 'with L1: ' : ''}p${process.index} ${asked.what}, begun at ${asked.startMs.toFixed(3)}, got ${key} ${
        row === null ? 'absent' : `version ${row.n}`
      }${tier === null ? '' : ` from ${tier}`} at ${this.#world.nowMs.toFixed(3)}: ${why}`,
    );
  }

  /** Why `version` is no answer; null when it is one. */
  #objection(asked: Asked, key: string, version: Version, tier: string | null): string | null {
    const { process, startMs } = asked;
    const versions = this.#database.versions(key);
    const successor = versions[version.n + 1];
    if (successor === undefined) return null;
    if (asked.isFresh && successor.committedMs < startMs) {
      return `it was replaced at ${successor.committedMs.toFixed(3)}, and a fresh value was asked for`;
    }
    const expired = this.#isExpired(asked, version, successor);
    if (expired !== null) return expired;
    if (version.mayResurface) return null;
    const withheldMs = version.withheldBy.get(process.index);
    if (withheldMs !== undefined && withheldMs < startMs && withheldMs >= process.startedMs) {
      return `its invalidation has been in the outbox of this process since ${withheldMs.toFixed(3)}`;
    }
    if (version.forbiddenMs >= startMs) return null;
    if (asked.after !== null) {
      const { process: by, startedMs, madeMs } = asked.after;
      const covered = version.forbiddenBy.get(by);
      if (covered !== undefined && covered >= startedMs && covered <= madeMs) {
        return `the token of p${by}, made at ${madeMs.toFixed(3)}, covers its invalidation`;
      }
    }
    if (process.setup.l1 && !asked.isFresh && (tier === null || tier === 'l1' || tier === 'stale')) {
      const { stalenessMs } = this.#settings;
      const own = version.forbiddenBy.get(process.index);
      const agoMs = startMs - version.forbiddenMs;
      if (version.everywhereMs < startMs) {
        return `its invalidation was everywhere at ${version.everywhereMs.toFixed(3)}`;
      }
      if (own !== undefined && own < startMs && own >= process.startedMs) {
        return `this process invalidated it itself, acknowledged at ${own.toFixed(3)}`;
      }
      if (agoMs <= stalenessMs / SLOWEST_RATE + ROUNDING_MS) return null;
      return `its invalidation was acknowledged ${agoMs.toFixed(1)} ms before, the bound is ${stalenessMs}`;
    }
    return `its invalidation was acknowledged at ${version.forbiddenMs.toFixed(3)}`;
  }

  #isExpired(asked: Asked, version: Version, successor: Version): string | null {
    const { ttlMs, graceMs, jitter, latenessMs } = this.#settings;
    const lifeMs = (ttlMs * (1 + jitter) + Math.min(graceMs, asked.maxStaleMs)) / SLOWEST_RATE + latenessMs;
    const fromMs = Math.max(version.sourcedMs, successor.committedMs);
    if (this.#world.nowMs - fromMs <= lifeMs || version.mayResurface) return null;
    return `it was replaced at ${successor.committedMs.toFixed(3)}, last read from the source at ${version.sourcedMs.toFixed(3)}, and lives ${lifeMs.toFixed(0)} ms`;
  }
}
