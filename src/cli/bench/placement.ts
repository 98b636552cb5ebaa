/**
 * `bench placement`: on which server does a key live, and how many keys change their server when one joins or leaves?
 *
 * For a cache a moved key is a lost key: its next read is a miss and a load. The ideal is plain arithmetic: a joining server should
 * take 1/(N+1) of the keys and nobody else should move; a leaving one should give away its 1/N, evenly to all others. The
 * bench counts what each scheme makes of it, over real keys and several fleets (other names, other luck):
 *
 *   moved on join / on leave   share of all keys that change their server
 *   needless                   how many of those on leave lived on a server that stayed: 0 for every consistent scheme
 *   spread                     standard deviation of the keys per server over the mean, and the fullest server over the mean
 *   heaviest heir              of the leaving server's keys, what the survivor that inherits most gets, over an even part
 *
 * It counts and takes no time, so a busy machine changes nothing and the same options give the same figures everywhere.
 */
import { createHash } from 'node:crypto';
import { assert } from '../../base/assert.ts';
import { KETAMA_POINTS, KetamaRing, ketamaHash } from '../../hash/ketama.ts';
import { moduloOwner } from '../../hash/modulo.ts';
import { Rendezvous } from '../../hash/rendezvous.ts';
import type { WeightedServer } from '../../hash/servers.ts';
import { SLOT_COUNT, slotOf } from '../../hash/slot.ts';
import { hashBytes } from '../../hash/table-hash.ts';

export interface PlacementOptions {
  /** Servers before one joins or leaves. Default 10. */
  readonly servers?: number;
  /** Default 100,000. */
  readonly keys?: number;
  /** Fleets whose figures are averaged. Default 5. */
  readonly fleets?: number;
  /** Virtual nodes of the rings. Default 1, 10, 40, 100, 160, 500. */
  readonly virtualNodes?: readonly number[];
}

/** One scheme's figures, means over the fleets (`fullest` and `heaviestHeir` too). Shares are 0..1. */
export interface PlacementRow {
  readonly scheme: string;
  readonly movedOnJoin: number;
  readonly movedOnLeave: number;
  /** Share of all keys that moved on leave though their server stayed. */
  readonly needless: number;
  /** Standard deviation of keys per server / mean, before the change. */
  readonly spread: number;
  /** Fullest server / mean, before the change. */
  readonly fullest: number;
  readonly heaviestHeir: number;
}

export interface PlacementReport {
  readonly servers: number;
  readonly keys: number;
  readonly fleets: number;
  readonly idealJoin: number;
  readonly idealLeave: number;
  /** The spread that pure chance would give: sqrt((servers - 1) / keys). No hash does better on average. */
  readonly chanceSpread: number;
  readonly rows: readonly PlacementRow[];
}

/** Owner of each key, as an index into the fleet's names, which keeps its meaning when the fleet changes. */
type Owners = Uint16Array;

interface Keys {
  /** Seeded hash of each key, as the engine's. */
  readonly hashes: Uint32Array;
  /** MD5 position of each key, as ketama clients compute it. */
  readonly positions: Uint32Array;
  readonly slots: Uint16Array;
}

interface Fleet {
  /** The last one is the one that joins. */
  readonly names: readonly string[];
  /** Indices before, after the join, after the leave. */
  readonly before: readonly number[];
  readonly joined: readonly number[];
  readonly left: readonly number[];
  readonly leaver: number;
}

interface Change {
  readonly before: Owners;
  readonly joined: Owners;
  readonly left: Owners;
}

interface Scheme {
  readonly name: string;
  place(keys: Keys, fleet: Fleet): Change;
}

const DEFAULT_VIRTUAL_NODES: readonly number[] = [1, 10, 40, 100, KETAMA_POINTS, 500];

/** Counts for every scheme. Deterministic; some seconds for the default. */
export function runPlacementBench(options: PlacementOptions = {}): PlacementReport {
  const { servers = 10, keys: keyCount = 100_000, fleets = 5, virtualNodes = DEFAULT_VIRTUAL_NODES } = options;
  assert(servers >= 2 && servers < 65_535 && keyCount >= 1 && fleets >= 1, 'a server has to stay when one leaves');
  const keys = makeKeys(keyCount);
  const schemes: readonly Scheme[] = [MODULO, ...virtualNodes.map((count) => ketama(count)), RENDEZVOUS, SLOTS];
  const rows = schemes.map((scheme) => {
    const measured: PlacementRow[] = [];
    for (let number = 0; number < fleets; number += 1) {
      const fleet = makeFleet(servers, number);
      measured.push(measure(scheme, scheme.place(keys, fleet), fleet));
    }
    return meanOf(scheme.name, measured);
  });
  return {
    servers,
    keys: keyCount,
    fleets,
    idealJoin: 1 / (servers + 1),
    idealLeave: 1 / servers,
    chanceSpread: Math.sqrt((servers - 1) / keyCount),
    rows,
  };
}

function makeKeys(count: number): Keys {
  const keys: Keys = {
    hashes: new Uint32Array(count),
    positions: new Uint32Array(count),
    slots: new Uint16Array(count),
  };
  const encoder = new TextEncoder();
  for (let index = 0; index < count; index += 1) {
    const key = `user:${index}`;
    const bytes = encoder.encode(key);
    keys.hashes[index] = hashBytes(bytes, 0, bytes.length, 0x5eed);
    keys.positions[index] = ketamaHash(md5(key));
    keys.slots[index] = slotOf(bytes, 0, bytes.length);
  }
  return keys;
}

function makeFleet(servers: number, number: number): Fleet {
  const names = Array.from({ length: servers + 1 }, (_, index) => `10.${number}.0.${index + 1}:7379`);
  const joined = names.map((_, index) => index);
  const before = joined.slice(0, -1);
  // One from the middle of the list: nothing special about its place.
  const leaver = Math.floor(servers / 2);
  return { names, before, joined, left: before.filter((index) => index !== leaver), leaver };
}

const md5 = (text: string): Uint8Array => createHash('md5').update(text).digest();

/** A scheme that knows nothing of how things were: it places on each list of servers anew. */
function memoryless(
  name: string,
  ownersAmong: (keys: Keys, names: readonly string[]) => (key: number) => number,
): Scheme {
  return {
    name,
    place: (keys, fleet) => {
      const among = (indices: readonly number[]): Owners => {
        const ownerOf = ownersAmong(
          keys,
          indices.map((index) => fleet.names[index]!),
        );
        return Uint16Array.from(keys.hashes, (_, key) => indices[ownerOf(key)]!);
      };
      return { before: among(fleet.before), joined: among(fleet.joined), left: among(fleet.left) };
    },
  };
}

const equalWeights = (names: readonly string[]): WeightedServer[] => names.map((name) => ({ name, weight: 1 }));

const MODULO: Scheme = memoryless('modulo', (keys, names) => (key) => moduloOwner(keys.hashes[key]!, names.length));

const RENDEZVOUS: Scheme = memoryless('rendezvous', (keys, names) => {
  const placed = new Rendezvous(equalWeights(names));
  return (key) => placed.ownerOf(keys.hashes[key]!);
});

function ketama(virtualNodes: number): Scheme {
  return memoryless(`ketama, ${virtualNodes} virtual ${virtualNodes === 1 ? 'node' : 'nodes'}`, (keys, names) => {
    const ring = new KetamaRing(equalWeights(names), md5, virtualNodes);
    return (key) => ring.ownerOf(keys.positions[key]!);
  });
}

/**
 * 16,384 slots, dealt to members as `redis-cli --cluster create` and `rebalance` do: equal ranges at first; a member that joins takes
 * its part evenly from all; the slots of one that leaves are dealt to the others in turn. The table remembers, so nothing else moves.
 */
const SLOTS: Scheme = {
  name: 'slots (16,384)',
  place: (keys, fleet) => {
    const table = new Uint16Array(SLOT_COUNT);
    for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
      table[slot] = fleet.before[Math.floor((slot * fleet.before.length) / SLOT_COUNT)]!;
    }
    const ownersBy = (slots: Uint16Array): Owners => keys.slots.map((slot) => slots[slot]!);
    return {
      before: ownersBy(table),
      joined: ownersBy(join(table, fleet)),
      left: ownersBy(leave(table, fleet)),
    };
  },
};

function join(table: Uint16Array, fleet: Fleet): Uint16Array {
  const joiner = fleet.names.length - 1;
  const slots = table.slice();
  // Every (N+1)th slot of each member, from its own count, so that all give the same number.
  const seen = new Uint32Array(fleet.names.length);
  for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
    const owner = table[slot]!;
    seen[owner]! += 1;
    if (seen[owner]! % fleet.joined.length === 0) slots[slot] = joiner;
  }
  return slots;
}

function leave(table: Uint16Array, fleet: Fleet): Uint16Array {
  const slots = table.slice();
  let turn = 0;
  for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
    if (table[slot] !== fleet.leaver) continue;
    slots[slot] = fleet.left[turn % fleet.left.length]!;
    turn += 1;
  }
  return slots;
}

function measure(scheme: Scheme, { before, joined, left }: Change, fleet: Fleet): PlacementRow {
  const count = before.length;
  const load = new Float64Array(fleet.names.length);
  const inherited = new Float64Array(fleet.names.length);
  let movedOnJoin = 0;
  let movedOnLeave = 0;
  let orphans = 0;
  for (let key = 0; key < count; key += 1) {
    const home = before[key]!;
    load[home]! += 1;
    if (joined[key] !== home) movedOnJoin += 1;
    if (left[key] !== home) movedOnLeave += 1;
    if (home === fleet.leaver) {
      orphans += 1;
      inherited[left[key]!]! += 1;
    }
  }
  const mean = count / fleet.before.length;
  const variance = fleet.before.reduce((sum, index) => sum + (load[index]! - mean) ** 2, 0) / fleet.before.length;
  return {
    scheme: scheme.name,
    movedOnJoin: movedOnJoin / count,
    movedOnLeave: movedOnLeave / count,
    needless: (movedOnLeave - orphans) / count,
    spread: Math.sqrt(variance) / mean,
    fullest: Math.max(...load) / mean,
    heaviestHeir: orphans === 0 ? 1 : Math.max(...inherited) / (orphans / fleet.left.length),
  };
}

function meanOf(scheme: string, rows: readonly PlacementRow[]): PlacementRow {
  const mean = (read: (row: PlacementRow) => number): number =>
    rows.reduce((sum, row) => sum + read(row), 0) / rows.length;
  return {
    scheme,
    movedOnJoin: mean((row) => row.movedOnJoin),
    movedOnLeave: mean((row) => row.movedOnLeave),
    needless: mean((row) => row.needless),
    spread: mean((row) => row.spread),
    fullest: mean((row) => row.fullest),
    heaviestHeir: mean((row) => row.heaviestHeir),
  };
}
