/** What a member's copies have of its ranges, as INFO shows it. */
import type { Member, NodeId } from '../cluster/member.ts';
import type { Primary } from '../cluster/primary.ts';
import type { CopyView, ReplicationView } from '../commands/cluster-face.ts';

export function replicationOf(
  primaries: readonly (Primary | null)[],
  members: ReadonlyMap<NodeId, Member>,
  nowMs: number,
): ReplicationView {
  let offset = 0;
  const copies = new Map<NodeId, { -readonly [F in keyof CopyView]: CopyView[F] }>();
  for (const primary of primaries) {
    if (primary === null) continue;
    offset += primary.offset;
    for (const { id, isStaged, applied, movedMs } of primary.followers.values()) {
      let copy = copies.get(id);
      if (copy === undefined) {
        const { host = '', port = 0 } = members.get(id) ?? {};
        copy = { host, port, ranges: 0, staged: 0, applied: 0, behind: 0, behindMs: 0 };
        copies.set(id, copy);
      }
      if (isStaged) {
        copy.staged += 1;
        continue;
      }
      const behind = primary.offset - Math.max(0, applied);
      copy.ranges += 1;
      copy.applied += Math.max(0, applied);
      copy.behind = Math.max(copy.behind, behind);
      if (behind > 0) copy.behindMs = Math.max(copy.behindMs, nowMs - movedMs);
    }
  }
  return { offset, copies: [...copies.values()] };
}
