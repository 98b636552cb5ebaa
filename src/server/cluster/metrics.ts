/** What a member's `/metrics` says of its cluster, out of the same plain data as `GET /cluster.json`. One row a metric; docs/metrics.md is generated from the table. */
import { counter, gauge, type MetricRow, type Reading } from '../metric-row.ts';
import type { ClusterStatus, EventCounts, MemberStatus } from './status.ts';

export const CLUSTER_METRICS: readonly MetricRow<ClusterStatus>[] = [
  gauge('breakwater_cluster_ok', '1 while a majority of the voters answers this member.', (s) => (s.isOk ? 1 : 0)),
  gauge(
    'breakwater_cluster_members',
    'Members by what this one knows of their health.',
    (s) =>
      (['online', 'suspected', 'failed'] as const).map((health) => ({
        label: health,
        value: s.members.filter((member) => member.health === health).length,
      })),
    'health',
  ),
  gauge('breakwater_cluster_ranges', 'Ranges that the slots are cut into.', (s) => s.ranges),
  gauge('breakwater_cluster_ranges_owned', 'Ranges that this member owns.', (s) => self(s)?.owned ?? 0),
  gauge('breakwater_cluster_ranges_copied', 'Ranges that this member copies.', (s) => self(s)?.copied ?? 0),
  gauge('breakwater_cluster_ranges_unowned', 'Ranges that nobody owns, as far as this member knows.', (s) => s.unowned),
  gauge(
    'breakwater_cluster_ranges_astray',
    'Ranges owned by others than placement wants, of those whose member can take them.',
    (s) => s.astray,
  ),
  gauge(
    'breakwater_cluster_ranges_short',
    'Ranges of this member with fewer copies than they should have.',
    (s) => s.short,
  ),
  gauge(
    'breakwater_cluster_copy_lag_effects',
    "Changes of this member's ranges that a copy has not acknowledged: the most of any range, by the copying member.",
    (s) => Object.entries(s.behind).map(([label, value]) => ({ label, value })),
    'member',
  ),
  gauge(
    'breakwater_cluster_copies_catching_up',
    'Ranges of this member that a member is to copy and does not copy in sync yet, by that member.',
    (s) => Object.entries(s.catchingUp).map(([label, value]) => ({ label, value })),
    'member',
  ),
  counter(
    'breakwater_cluster_copies_resynced_total',
    "Copies of this member's ranges that became whole: they had left the set and went on from where they were (partial); from nothing (full); of a new owner, with what they had (compared).",
    ({ resyncs }) => [
      { label: 'partial', value: resyncs.partial },
      { label: 'full', value: resyncs.full },
      { label: 'compared', value: resyncs.compared },
    ],
    'how',
  ),
  counter(
    'breakwater_cluster_copy_pieces_total',
    'Pieces of ranges that were cut to fill copies.',
    (s) => s.resyncs.pieces,
  ),
  gauge(
    'breakwater_cluster_backlog_bytes',
    'What is kept of changes for copies that have not acknowledged them, estimated.',
    (s) => s.resyncs.backlogBytes,
  ),
  counter('breakwater_cluster_events_total', 'What happened to the ranges of this member.', events, 'event'),
  counter('breakwater_cluster_hand_overs_total', 'Ranges that this member handed over.', (s) => s.handOvers.count),
  counter(
    'breakwater_cluster_hand_over_pause_seconds_total',
    'For how long these had no owner, all together: from freezing a range to the news that somebody reigns over it.',
    (s) => s.handOvers.pausedMs / 1000,
  ),
  gauge(
    'breakwater_cluster_hand_over_pause_longest_seconds',
    'The longest of these.',
    (s) => s.handOvers.longestMs / 1000,
  ),
  counter(
    'breakwater_cluster_held_requests_total',
    'Requests for a range that changed hands: held until it had its owner; of these, held in vain (expired); and refused because too many were held.',
    ({ held }) => [
      { label: 'held', value: held.held },
      { label: 'expired', value: held.expired },
      { label: 'refused', value: held.refused },
    ],
    'outcome',
  ),
  counter(
    'breakwater_cluster_held_seconds_total',
    'For how long requests were held, all together.',
    (s) => s.held.waitedMs / 1000,
  ),
  gauge('breakwater_cluster_held_longest_seconds', 'The longest of these.', (s) => s.held.longestMs / 1000),
  gauge(
    'breakwater_cluster_link_round_trip_seconds',
    'Round trip of the last ping on the link to a member.',
    (s) => ofLinks(s, ({ roundTripMs }) => (roundTripMs === null ? null : roundTripMs / 1000)),
    'member',
  ),
  gauge(
    'breakwater_cluster_link_waiting_bytes',
    'Bytes that wait in the link to a member.',
    (s) => ofLinks(s, ({ waitingBytes }) => waitingBytes),
    'member',
  ),
  counter('breakwater_cluster_links_opened_total', 'Links of this member that were opened.', (s) => s.links.opened),
  counter(
    'breakwater_cluster_links_full_total',
    'How often so much waited in a link, because the member at its other end read slowly, that copies there were sent nothing more for a while.',
    ({ links }) => links.full,
  ),
  counter(
    'breakwater_cluster_links_cut_total',
    'Links that this member cut, by reason.',
    ({ links }) => [
      { label: 'buffer', value: links.cutForBuffer },
      { label: 'silent', value: links.cutSilent },
      { label: 'frame', value: links.refusedFrames },
      { label: 'hello', value: links.refusedHellos },
    ],
    'reason',
  ),
  counter('breakwater_cluster_sent_bytes_total', 'Bytes sent to other members.', (s) => s.links.bytesSent),
  counter(
    'breakwater_cluster_received_bytes_total',
    'Bytes received from other members.',
    (s) => s.links.bytesReceived,
  ),
  counter('breakwater_cluster_frames_sent_total', 'Messages sent to other members.', (s) => s.links.framesSent),
  counter('breakwater_cluster_frames_received_total', 'Messages from other members.', (s) => s.links.framesReceived),
  counter(
    'breakwater_cluster_frames_dropped_total',
    'Messages to members without an open link: whoever wants an answer asks again.',
    (s) => s.links.dropped,
  ),
];

const EVENT_LABELS: Readonly<Record<keyof EventCounts, string>> = {
  reignsBegan: 'owned',
  reignsEnded: 'lost',
  setsChanged: 'set_changed',
  takeovers: 'takeover',
  claimsFailed: 'claim_failed',
  stalls: 'stall',
};

function self({ members }: ClusterStatus): MemberStatus | undefined {
  return members.find(({ isSelf }) => isSelf);
}

function events({ events: counts }: ClusterStatus): Reading {
  return (Object.keys(EVENT_LABELS) as (keyof EventCounts)[]).map((each) => ({
    label: EVENT_LABELS[each],
    value: counts[each] ?? 0,
  }));
}

function ofLinks(
  { members }: ClusterStatus,
  read: (link: NonNullable<MemberStatus['link']>) => number | null,
): Reading {
  return members.flatMap(({ host, port, linkPort, link }) => {
    const value = link === null ? null : read(link);
    return value === null ? [] : [{ label: `${host}:${port === 0 ? linkPort : port}`, value }];
  });
}
