/**
 * Where the tables of invalidations live. A *sector* is a sixteenth of the slots with a table of its own, kept under one key in the first slot
 * of the sector. Every table has all invalidations; an entry is judged by the table of its own sector.
 *
 * Why not one table: every read of every client asks it, so the whole fleet would wait for the one server that has it. Why not one per slot:
 * an invalidation goes to all of them. With sixteen, most keys find their table on their own server (slots are dealt out in long runs), an
 * invalidation is sixteen short scripts however many entries it covers, and no server is asked more than its share.
 *
 * A server that is no cluster has one sector. So all clients of one store must see it as the same thing: half of them behind a
 * proxy that hides the cluster would not find the others' tables.
 */
import { slotOf } from '../../hash/slot.ts';

/** Entries cannot be under these: no cache has this name unless somebody chose it, and then its reads are refused. */
const PREFIX = 'bw.invalidations';

/** Hash tags of slots 0, 1024, 2048, ...: the shortest there are, found by trying. */
const TAGS = [
  '1bz',
  'dlj',
  '5nw',
  '5j7',
  '17p',
  '130',
  'h85',
  'qsu',
  'fjl',
  'ng4',
  '7l1',
  '7hq',
  '356',
  '31v',
  'b3k',
  '7ys',
];

const SECTORS = TAGS.length;
const SLOTS_PER_SECTOR = 16_384 / SECTORS;

const encoder = new TextEncoder();

export interface Sector {
  readonly slot: number;
  readonly key: string;
}

export interface Layout {
  readonly sectors: readonly Sector[];
  /** Keys of one slot may travel in one command: on a single server. In a cluster such a command has to wait while the slot moves. */
  readonly keysPerCall: number;
  slotOf(key: string): number;
  sectorOf(slot: number): Sector;
}

const SINGLE: Sector = { slot: 0, key: PREFIX };

/** One server: everything is in "slot 0", so everything may travel in one command. */
export const STANDALONE: Layout = { sectors: [SINGLE], keysPerCall: 64, slotOf: () => 0, sectorOf: () => SINGLE };

let clusterLayout: Layout | null = null;

export function layoutOfCluster(): Layout {
  if (clusterLayout !== null) return clusterLayout;
  const sectors = TAGS.map((tag, index): Sector => ({ slot: index * SLOTS_PER_SECTOR, key: `${PREFIX}{${tag}}` }));
  clusterLayout = {
    sectors,
    keysPerCall: 1,
    slotOf: slotOfText,
    sectorOf: (slot) => sectors[Math.floor(slot / SLOTS_PER_SECTOR)]!,
  };
  return clusterLayout;
}

export function isReserved(key: string): boolean {
  return key.startsWith(PREFIX);
}

function slotOfText(key: string): number {
  const bytes = encoder.encode(key);
  return slotOf(bytes, 0, bytes.length);
}
