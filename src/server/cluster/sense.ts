/**
 * The last look at a message before the machine takes it: what is well-formed and cannot be meant. `wire/` does not know how many ranges there are, nor who spoke; the machine indexes
 * its tables by range and trusts its callers, as a pure core may. Returns why not, or null.
 */
import type { NodeId } from '../../cluster/member.ts';
import type { Message } from '../../cluster/messages.ts';
import type { Roster } from '../../cluster/roster.ts';

export function nonsenseIn(message: Message, from: NodeId, rangeCount: number): string | null {
  for (const range of rangesOf(message)) {
    if (range >= rangeCount) return `a ${message.kind} speaks of range ${range}; there are ${rangeCount}`;
  }
  if (message.kind === 'accept' && message.records.some(({ ballot }) => ballot.node !== from)) {
    return 'an accept carries a record of another member';
  }
  if (message.kind === 'reigning' && message.records.some(({ owner }) => owner !== from)) {
    return 'a reigning carries a record of another owner';
  }
  for (const roster of rostersIn(message)) {
    if (roster.homes.length !== rangeCount)
      return `a roster has homes for ${roster.homes.length} ranges; there are ${rangeCount}`;
  }
  if (message.kind === 'roster-accept' && message.roster.ballot.node !== from) {
    return 'a roster-accept carries a roster of another member';
  }
  return null;
}

function rostersIn(message: Message): readonly Roster[] {
  switch (message.kind) {
    case 'heartbeat-ack':
      return message.roster?.accepted == null ? [] : [message.roster.accepted];
    case 'roster-promised':
      return message.accepted === null ? [] : [message.accepted];
    case 'roster-accept':
    case 'roster-known':
      return [message.roster];
    default:
      return [];
  }
}

function rangesOf(message: Message): readonly number[] {
  switch (message.kind) {
    case 'heartbeat':
    case 'proxied':
    case 'roster-prepare':
    case 'roster-promised':
    case 'roster-accept':
    case 'roster-accepted':
    case 'roster-known':
      return [];
    case 'heartbeat-ack':
      return message.rows.flatMap(({ range, accepted }) => [range, accepted.range]);
    case 'prepare':
    case 'yield':
      return message.items.map(({ range }) => range);
    case 'promised':
      return [...message.granted, ...message.refused.flatMap(({ range, accepted }) => [range, accepted.range])];
    case 'accept':
    case 'reigning':
      return message.records.map(({ range }) => range);
    case 'accepted':
      return [...message.ranges, ...message.refused.flatMap(({ range, accepted }) => [range, accepted.range])];
    case 'following':
      return message.positions.map(({ range }) => range);
    case 'followed':
      return message.leases.map(({ range }) => range);
    case 'spread':
    case 'spread-done':
      return message.ranges;
    case 'begin':
    case 'effects':
    case 'applied':
    case 'part':
    case 'part-ack':
    case 'proxy':
      return [message.range];
  }
}
