/** What `breakwater nodes` and `breakwater cluster` share: what a member says of its cluster, and the table that people read. */
import Table from 'cli-table3';
import { BreakwaterError, messageOf } from '../base/errors.ts';
import type { ClusterStatus, MemberStatus } from '../server/cluster/status.ts';

const ASK_MS = 5000;

/**
 * What the member whose HTTP port this is knows of its cluster.
 * @throws BreakwaterError `NODE_UNREACHABLE`, `NOT_A_MEMBER`
 */
export async function askMember(host: string, httpPort: number, timeoutMs = ASK_MS): Promise<ClusterStatus> {
  const shown = host.includes(':') ? `[${host}]` : host;
  let response: Response;
  try {
    response = await fetch(`http://${shown}:${httpPort}/cluster.json`, { signal: AbortSignal.timeout(timeoutMs) });
  } catch (error) {
    const why = error instanceof Error && error.cause instanceof Error ? error.cause.message : messageOf(error);
    throw new BreakwaterError('NODE_UNREACHABLE', `cannot ask the member at ${shown}:${httpPort} (HTTP): ${why}`);
  }
  if (response.status === 404) {
    await response.body?.cancel();
    throw new BreakwaterError('NOT_A_MEMBER', `the node at ${shown}:${httpPort} is no member of a cluster`);
  }
  if (!response.ok) {
    await response.body?.cancel();
    throw new BreakwaterError('NODE_UNREACHABLE', `the member at ${shown}:${httpPort} answers ${response.status}`);
  }
  return (await response.json()) as ClusterStatus;
}

/** How far copies are behind, by member: only owners know, so each is asked. Those that do not answer in time are left out. */
export async function behindOf(status: ClusterStatus): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  const answers = await Promise.allSettled(
    status.members.map(({ isSelf, host, httpPort }) => {
      if (isSelf) return status;
      if (httpPort === 0) throw new BreakwaterError('NODE_UNREACHABLE', 'it has not said where its HTTP port is');
      return askMember(host, httpPort, ASK_MS / 2);
    }),
  );
  for (const answer of answers) {
    if (answer.status !== 'fulfilled') continue;
    for (const [id, effects] of Object.entries(answer.value.behind)) {
      found.set(id, Math.max(found.get(id) ?? 0, effects));
    }
  }
  return found;
}

/** Members, what they own and copy, and how they are. `behind`: null = not asked. */
export function membersTable(status: ClusterStatus, behind: ReadonlyMap<string, number> | null): string {
  // Columns that would say the same of everybody are left out.
  const hasMachines = status.members.some(({ machine }) => machine !== '');
  const hasWeights = status.members.some(({ weight }) => weight !== 1);
  const head = ['member', 'zone', 'role', 'health', 'owns', 'copies', 'slots', 'link'];
  const labels = [...(hasMachines ? ['machine'] : []), ...(hasWeights ? ['weight'] : [])];
  head.splice(2, 0, ...labels);
  if (behind !== null) head.push('behind');
  const table = new Table({
    head,
    style: { head: [], border: [] },
    // No line between members: a cluster of many fits on a screen.
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    colAligns: head.map((name) => (['owns', 'copies', 'weight', 'behind'].includes(name) ? 'right' : 'left')),
  });
  for (const member of status.members) {
    const row = [
      `${addressOf(member)}${member.isSelf ? ' *' : ''}`,
      member.zone || '-',
      ...(hasMachines ? [member.machine || '-'] : []),
      ...(hasWeights ? [String(member.weight)] : []),
      member.isVoter ? 'voter' : 'member',
      [
        member.health,
        ...(member.stance === 'here' ? [] : [member.stance]),
        ...(member.isFlapping ? ['flapping'] : []),
      ].join(', '),
      String(member.owned),
      String(member.copied),
      slotsOf(member),
      linkOf(member),
    ];
    if (behind !== null) row.push(behind.has(member.id) ? String(behind.get(member.id)) : '-');
    table.push(row);
  }
  const notes = [
    `cluster ${status.name}, ${status.ranges} ranges of ${16_384 / status.ranges} slots, each on ${status.copies} member${status.copies === 1 ? '' : 's'}, takeover after ${status.takeoverMs} ms${status.topology === 'primary' ? '; one primary for all of them' : ''}; * answered`,
  ];
  const { coordination } = status;
  // Members of versions that knew voters alone say nothing of it.
  if (typeof coordination === 'object') {
    const { hosts, prefix, roundTripMs, isLost } = coordination;
    notes.push(
      `etcd coordinates, at ${hosts} under ${prefix}${roundTripMs === null ? '' : `; its last answer took ${roundTripMs} ms`}`,
    );
    if (isLost) notes.push('etcd is not what it was to this member, which serves nothing until it is restarted');
    else if (!status.isOk)
      notes.push('etcd does not answer this member: it serves nothing, and what it knows may be old');
  } else if (!status.isOk)
    notes.push('no majority of the voters answers this member: it serves nothing, and what it knows may be old');
  if (status.rosterEpoch > 0) {
    const { length } = status.forgotten;
    notes.push(
      `the members have changed since the cluster was formed (epoch ${status.rosterEpoch})${length === 0 ? '' : `; forgotten: ${status.forgotten.map((id) => id.slice(0, 8)).join(', ')}`}`,
    );
  }
  if (status.unowned > 0) notes.push(`${status.unowned} ranges have no owner`);
  if (status.discovery !== null) notes.push(...status.discovery.problems);
  return [table.toString(), ...notes].join('\n');
}

export function addressOf({ host, port, linkPort }: MemberStatus): string {
  // Its link port is the list's; where clients reach it only itself can say.
  const shown = host.includes(':') ? `[${host}]` : host;
  return port === 0 ? `${shown} (link ${linkPort})` : `${shown}:${port}`;
}

/** The first few runs, and how many slots there are. */
function slotsOf({ slots }: MemberStatus): string {
  if (slots.length === 0) return '-';
  const runs: [number, number][] = [];
  for (const run of slots) {
    const [first, last] = run.split('-').map(Number) as [number, number];
    const previous = runs.at(-1);
    if (previous !== undefined && previous[1] + 1 === first) previous[1] = last;
    else runs.push([first, last]);
  }
  const count = runs.reduce((sum, [first, last]) => sum + last - first + 1, 0);
  const shown = runs.slice(0, 3).map(([first, last]) => `${first}-${last}`);
  return `${count}: ${shown.join(' ')}${runs.length > 3 ? ` and ${runs.length - 3} more` : ''}`;
}

function linkOf({ link, isSelf }: MemberStatus): string {
  if (isSelf || link === null) return '-';
  if (link.state !== 'open') return link.state;
  return link.roundTripMs === null ? 'open' : `open, ${link.roundTripMs.toFixed(1)} ms`;
}
