/** The slot map with what this member thinks of the others, as commands show it: made anew when either changes. */
import type { Member, NodeId } from '../cluster/member.ts';
import type { SlotMap } from '../cluster/slot-map.ts';
import type { ClusterView, MemberHealth, MemberView } from '../commands/cluster-face.ts';

/** What this member knows of another by its heartbeats; moments in milliseconds since the epoch. */
export interface Heard {
  readonly health: MemberHealth;
  readonly pingSentMs: number;
  readonly pongReceivedMs: number;
}

export interface OwnState {
  readonly self: NodeId;
  /** Heard by a majority of the voters. */
  readonly isOk: boolean;
  readonly framesSent: number;
  readonly framesReceived: number;
}

/** Runs whose owner the map does not know are left out: nobody could be sent there. O(members + ranges). */
export function clusterViewOf(map: SlotMap, heard: (member: Member) => Heard, own: OwnState): ClusterView {
  const epochs = new Map<NodeId, number>();
  for (const { owner, ballot } of map.records) {
    if (owner !== null) epochs.set(owner, Math.max(epochs.get(owner) ?? 0, ballot.epoch));
  }
  const views = new Map<NodeId, MemberView>();
  for (const member of map.members.values()) {
    const { id, host, port, linkPort, zone } = member;
    views.set(id, { id, host, port, linkPort, zone, epoch: epochs.get(id) ?? 0, ...heard(member) });
  }
  const unknown: MemberView = {
    id: own.self,
    host: '',
    port: 0,
    linkPort: 0,
    zone: '',
    health: 'online',
    epoch: 0,
    pingSentMs: 0,
    pongReceivedMs: 0,
  };
  return {
    self: views.get(own.self) ?? unknown,
    isOk: own.isOk,
    epoch: map.epoch,
    members: [...views.values()],
    runs: map.runs.flatMap(({ first, last, owner, copies }) => {
      const by = views.get(owner);
      if (by === undefined) return [];
      return [{ first, last, owner: by, copies: copies.flatMap((id) => views.get(id) ?? []) }];
    }),
    framesSent: own.framesSent,
    framesReceived: own.framesReceived,
  };
}
