/** CLUSTER ..., READONLY and READWRITE. On a single node all say what Redis says without cluster support, by which clients know it as one. */
import { SLOT_COUNT, slotOf } from '../hash/slot.ts';
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import type { ClusterFace } from './cluster-face.ts';
import { infoText, nodesText, writeShards, writeSlots } from './cluster-replies.ts';
import type { CommandFunction, Context } from './context.ts';
import { NOT_INTEGER } from './errors.ts';
import { integerAt } from './numbers.ts';

const NO_CLUSTER = 'ERR This instance has cluster support disabled';
const INVALID_SLOT = 'ERR Invalid slot';
/** Buckets looked at in one step of a walk over everything. */
const SCAN_BUCKETS = 1 << 30;

type InCluster = (cluster: ClusterFace, context: Context, args: Args, out: ReplyWriter) => void;

function inCluster(run: InCluster): CommandFunction {
  return (context, _session, args, out) => {
    if (context.cluster === null) out.error(NO_CLUSTER);
    else run(context.cluster, context, args, out);
  };
}

export const clusterSlots = inCluster(({ view }, _context, _args, out) => writeSlots(view, out));
export const clusterShards = inCluster(({ view }, _context, _args, out) => writeShards(view, out));
export const clusterNodes = inCluster(({ view }, _context, _args, out) => out.verbatim(nodesText(view)));
export const clusterInfo = inCluster(({ view }, _context, _args, out) => out.verbatim(infoText(view)));
export const clusterMyid = inCluster(({ view }, _context, _args, out) => out.bulkText(view.self.id));

/** CLUSTER RESET [HARD|SOFT]: Redis's way of making a node forget its cluster, by itself. Here that would let a voter forget what it promised. */
export const clusterReset = inCluster((_cluster, _context, _args, out) =>
  out.error(
    'ERR cannot reset: a member does not leave its cluster by itself, for it may be a copy or a voter that others count on; drain it (`breakwater drain`), then stop it and remove its data directory',
  ),
);

/** CLUSTER KEYSLOT key */
export const clusterKeyslot = inCluster((_cluster, _context, args, out) =>
  out.integer(slotOf(args.bytes, args.start[2]!, args.start[2]! + args.length[2]!)),
);

/** CLUSTER COUNTKEYSINSLOT slot: walks everything, as there is no list of keys by slot. For people and tests. */
export const clusterCountKeysInSlot = inCluster((_cluster, context, args, out) => {
  const slot = integerAt(args.bytes, args.start[2]!, args.length[2]!);
  if (Number.isNaN(slot)) out.error(NOT_INTEGER);
  else if (slot < 0 || slot >= SLOT_COUNT) out.error(INVALID_SLOT);
  else out.integer(refsInSlot(context, slot, Number.POSITIVE_INFINITY).length);
});

/** CLUSTER GETKEYSINSLOT slot count */
export const clusterGetKeysInSlot = inCluster((_cluster, context, args, out) => {
  const slot = integerAt(args.bytes, args.start[2]!, args.length[2]!);
  const most = integerAt(args.bytes, args.start[3]!, args.length[3]!);
  if (Number.isNaN(slot) || Number.isNaN(most)) {
    out.error(NOT_INTEGER);
    return;
  }
  if (slot < 0 || slot >= SLOT_COUNT || most < 0) {
    out.error('ERR Invalid slot or number of keys');
    return;
  }
  const refs = refsInSlot(context, slot, most);
  out.array(refs.length);
  for (const ref of refs) {
    const size = context.store.keyLength(ref);
    const at = out.beginBulk(size);
    context.store.copyKey(ref, out.bytes, at);
    out.endBulk(size);
  }
});

function refsInSlot(context: Context, slot: number, most: number): number[] {
  const refs: number[] = [];
  const seen = new Set<number>();
  let cursor = 0;
  do {
    cursor = context.store.scan(cursor, SCAN_BUCKETS, context.nowMs, (ref) => {
      if (refs.length >= most || seen.has(ref)) return;
      const size = context.store.keyLength(ref);
      const key = context.scratch(size);
      context.store.copyKey(ref, key, 0);
      if (slotOf(key, 0, size) !== slot) return;
      seen.add(ref);
      refs.push(ref);
    });
  } while (cursor !== 0 && refs.length < most);
  return refs;
}

/** READONLY: from now on this session reads copies too. */
export const readonly: CommandFunction = (context, session, _args, out) => {
  if (context.cluster === null) {
    out.error(NO_CLUSTER);
    return;
  }
  session.readsCopies = true;
  out.ok();
};

export const readwrite: CommandFunction = (context, session, _args, out) => {
  if (context.cluster === null) {
    out.error(NO_CLUSTER);
    return;
  }
  session.readsCopies = false;
  out.ok();
};
