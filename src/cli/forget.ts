/** `breakwater forget`: a member is to be none any more. Its vote, if it has one, is given to another first. */
import type { Command } from 'commander';
import { BreakwaterError } from '../base/errors.ts';
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
import { changeVoters, successorOf } from './voters.ts';

const FORGET_NOTES = `${WHO}
For a member that is gone for good: drain it first (breakwater drain), or stop it; what it owned and copied is then elsewhere after a while (a dead member's places as a copy are given away after 30 s), and this waits for that as
long as --timeout says. A member that is alive and not drained is refused as long as it owns or copies anything; its vote, if it has one, is given to another member first ("breakwater voters" shows to whom). It may not come back under its address until --undo.

Examples:
  breakwater forget 10.0.0.4:7379
  breakwater forget 5f0c2d8e --undo`;

export function registerForget(program: Command): void {
  common(program.command('forget <member>').description('a member is to be none any more (experimental)'))
    .option('--undo', 'it may come back: name it by its id, or the beginning of it')
    .addHelpText('after', FORGET_NOTES)
    .action(async (name: string, options: Common & { readonly undo?: boolean }) => {
      const asked = await ask(options);
      if (options.undo === true) {
        const id = forgottenCalled(asked, name);
        await tell(askedItself(asked), ['PARDON', id]);
        const end = await watch(options, ({ forgotten }) => (forgotten.includes(id) ? 'it is forgotten still' : null));
        tellEnd(options, end, `${id.slice(0, 8)} may come back`);
        return;
      }
      const target = memberCalled(asked, name);
      // Anybody can ask the voters; but who is to be forgotten should not be the one to do it.
      const helper = target.isSelf ? asked.members.find(canHelp(target)) : askedItself(asked);
      if (helper === undefined) {
        throw new BreakwaterError(
          'NODE_UNREACHABLE',
          `cannot forget ${addressOf(target)}: no other member can be asked`,
        );
      }
      const end = await watch(options, async (status) => {
        const found = status.members.find(({ id }) => id === target.id);
        if (found === undefined) return null;
        if (found.isVoter) {
          if (found.health === 'online' && found.stance === 'here' && found.owned + found.copied > 0) {
            throw new BreakwaterError(
              'MEMBER_REFUSED',
              `cannot forget ${addressOf(target)}: it is alive, and owns or copies ranges; drain it first`,
            );
          }
          const successor = successorOf(status, found);
          if (successor === null) {
            throw new BreakwaterError(
              'MEMBER_REFUSED',
              `cannot forget ${addressOf(target)}: it votes, and there is no other member that could in its place; "breakwater voters remove" leaves one less`,
            );
          }
          return await changeVoters(status, successor, found);
        }
        try {
          await tell(helper, ['FORGET', target.id]);
        } catch (error) {
          return refusedYet(error);
        }
        return 'the voters are asked';
      });
      tellEnd(options, end, `${addressOf(target)} is no member any more`);
    });
}

function canHelp(target: MemberStatus): (member: MemberStatus) => boolean {
  return ({ id, port, health }) => id !== target.id && port !== 0 && health === 'online';
}

/** @throws BreakwaterError `NO_SUCH_MEMBER` */
function forgottenCalled({ forgotten }: ClusterStatus, name: string): string {
  const found = forgotten.filter((id) => name !== '' && id.startsWith(name));
  const [one] = found;
  if (one !== undefined && found.length === 1) return one;
  throw new BreakwaterError(
    'NO_SUCH_MEMBER',
    `cannot find ${JSON.stringify(name)} among those that were forgotten; there are ${forgotten.join(', ') || 'none'}`,
  );
}
