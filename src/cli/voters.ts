/**
 * `breakwater voters`: who votes, and one change of it at a time. As the other commands of `operate.ts`: one member is asked over HTTP, told over RESP (`BW.MEMBER VOTERS`), and watched until it is so.
 */
import type { Command } from 'commander';
import type { ClusterStatus, MemberStatus } from '../server/cluster/status.ts';
import { addressOf } from './members.ts';
import {
  ask,
  askedItself,
  type Common,
  common,
  memberCalled,
  refusedYet,
  tell,
  tellEnd,
  WHO,
  watch,
} from './operate.ts';
import { say, sayJson } from './output.ts';

const NOTES = `${WHO}
One alone, three up to four members, and five above are advised; five is the most. Each change is agreed upon by a majority of those that vote now, so a majority of them has to be there. Who is to vote should stay, and have a --data directory.

replace: the way to be rid of a voter whose machine is gone. Nothing waits for the newcomer: it votes when it has waited for the takeover time and read what the others agreed upon.
add: the newcomer counts at once; refused while too few of the others are there.

Examples:
  breakwater voters
  breakwater voters replace 10.0.0.3:7379 10.0.0.6:7379
  breakwater voters add 10.0.0.4:7379`;

export function registerVoters(program: Command): void {
  const voters = common(program.command('voters').description('who votes, and changes of that (experimental)'))
    .addHelpText('after', NOTES)
    .action(async (options: Common) => {
      const status = await ask(options);
      if (options.json) sayJson(status.members.filter(({ isVoter }) => isVoter));
      else say(shown(status));
    });
  // The options are those of `voters`, wherever they stand.
  voters
    .command('replace <old> <new>')
    .description('a member votes in the place of another')
    .action((old: string, name: string) => change(voters.opts<Common>(), name, old));
  voters
    .command('add <member>')
    .description('one more votes')
    .action((name: string) => change(voters.opts<Common>(), name, null));
  voters
    .command('remove <member>')
    .description('one votes no more')
    .action((name: string) => change(voters.opts<Common>(), null, name));
}

async function change(options: Common, adding: string | null, removing: string | null): Promise<void> {
  const asked = await ask(options);
  const add = adding === null ? null : memberCalled(asked, adding);
  const remove = removing === null ? null : memberCalled(asked, removing);
  const end = await watch(options, (status) => changeVoters(status, add, remove));
  tellEnd(options, end, shown(end));
}

/** Asks for the change unless it is made. null: it is; and who came votes by now. */
export async function changeVoters(
  status: ClusterStatus,
  add: MemberStatus | null,
  remove: MemberStatus | null,
): Promise<string | null> {
  const votes = (member: MemberStatus | null): boolean | undefined =>
    status.members.find(({ id }) => id === member?.id)?.isVoter;
  if ((add === null || votes(add) === true) && votes(remove) !== true) return null;
  try {
    await tell(askedItself(status), ['VOTERS', add?.id ?? '-', remove?.id ?? '-']);
  } catch (error) {
    return refusedYet(error);
  }
  return 'the voters are asked';
}

/** Whom to give the vote of `leaving` to: who is there, stays, and is where the fewest voters are. null: nobody. */
export function successorOf({ members }: ClusterStatus, leaving: MemberStatus): MemberStatus | null {
  const inZone = (zone: string): number =>
    members.filter((member) => member.isVoter && member.id !== leaving.id && member.zone === zone).length;
  const able = members.filter(
    ({ id, isVoter, health, stance, port }) =>
      id !== leaving.id && !isVoter && health === 'online' && stance === 'here' && port !== 0,
  );
  return able.sort((a, b) => inZone(a.zone) - inZone(b.zone))[0] ?? null;
}

function shown({ members, votersEpoch, coordination }: ClusterStatus): string {
  if (typeof coordination === 'object') return 'no member votes: etcd coordinates this cluster';
  const voters = members.filter(({ isVoter }) => isVoter);
  const lines = voters.map((member) => {
    const zone = member.zone === '' ? '' : ` in ${member.zone}`;
    return `${addressOf(member)}${zone}, ${member.health}`;
  });
  const advised = members.length < 3 ? 1 : members.length <= 4 ? 3 : 5;
  const since = votersEpoch === 0 ? 'as the cluster was formed' : `since epoch ${votersEpoch}`;
  const advice =
    voters.length < advised ? `; with ${members.length} members ${advised} are advised ("breakwater voters add")` : '';
  return [...lines, `${voters.length} voter${voters.length === 1 ? '' : 's'}, ${since}${advice}`].join('\n');
}
