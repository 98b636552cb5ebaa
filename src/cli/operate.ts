/**
 * `breakwater drain`, `move`, `rebalance` (and `forget.ts`, `voters.ts`): what an operator asks of running members. One member is asked over HTTP who is where; those concerned are told over RESP (`BW.MEMBER`), and the map is watched until it is done.
 *
 * Nothing is planned here: each owner hands over its own ranges, one after the other, with both members serving meanwhile. Who stops watching (Ctrl-C, --timeout) stops nothing.
 */
import { type Command, Option } from 'commander';
import { BreakwaterError, messageOf } from '../base/errors.ts';
import { parseDurationMs } from '../base/units.ts';
import { ReplyError } from '../resp/reply.ts';
import type { ClusterStatus, MemberStatus } from '../server/cluster/status.ts';
import { addressOf, askMember } from './members.ts';
import { say, sayJson } from './output.ts';
import { withNode } from './remote.ts';

export interface Common {
  readonly host: string;
  readonly httpPort: string;
  readonly timeout: string;
  readonly json?: boolean;
}

const LOOK_MS = 200;
const SLOTS = 16_384;

export const WHO = `
Any member is asked who is where (--host, --http-port: HTTP); those concerned are told over RESP. A member is named by its RESP address, its link address, its host where it is the only one there, or its id or the beginning of that.`;

const DRAIN_NOTES = `${WHO}
The member goes on voting and answering -MOVED. Others copy what it had before it lets go; nothing is lost, and what clients ask of a range on its way waits for some milliseconds.
It takes nothing back until --undo, or until it is started anew: stop it while it is drained to be rid of it.

Examples:
  breakwater drain 10.0.0.3:7379
  breakwater drain 10.0.0.3:7379 --undo`;

const MOVE_NOTES = `${WHO}
Ranges move whole: a slot takes those of its range with it. They stay where they were moved until that member loses them, or until "breakwater rebalance".

Examples:
  breakwater move 5000 --to 10.0.0.2:7379
  breakwater move 0-255 --to 10.0.0.2:7379`;

const REBALANCE_NOTES = `${WHO}
Every range goes to the member that placement wants, also those that "breakwater move" put elsewhere, without the wait of 15 s that applies otherwise. Members that are down or drained are given nothing.

Examples:
  breakwater rebalance`;

export function registerDrain(program: Command): void {
  common(program.command('drain <member>').description('a member gives away all it owns and copies (experimental)'))
    .option('--undo', 'it takes part again')
    .addHelpText('after', DRAIN_NOTES)
    .action(async (name: string, options: Common & { readonly undo?: boolean }) => {
      const asked = await ask(options);
      const target = memberCalled(asked, name);
      const isUndone = options.undo === true;
      await tell(target, [isUndone ? 'RETURN' : 'DRAIN']);
      const last = await watch(options, (status) => {
        const member = status.members.find(({ id }) => id === target.id)!;
        if (isUndone) return member.stance === 'here' ? null : 'it is drained still';
        if (member.stance !== 'drained') return 'the others do not know yet';
        if (member.owned + member.copied === 0) return null;
        return `it owns ${member.owned} ranges and copies ${member.copied} still`;
      });
      const done = isUndone ? 'takes part again' : 'is drained: it owns nothing and copies nothing';
      tellEnd(options, last, `${addressOf(target)} ${done}`);
    });
}

export function registerMove(program: Command): void {
  common(
    program
      .command('move <slots>')
      .description('ranges go to a member: those of a slot, or of first-last (experimental)'),
  )
    .requiredOption('--to <member>', 'who is to own them')
    .addHelpText('after', MOVE_NOTES)
    .action(async (slots: string, options: Common & { readonly to: string }) => {
      const [first, last] = slotsOf(slots);
      const asked = await ask(options);
      const target = memberCalled(asked, options.to);
      const each = SLOTS / asked.ranges;
      const wanted: number[] = [];
      for (let range = Math.floor(first / each); range <= Math.floor(last / each); range += 1)
        wanted.push(range * each);
      for (const slot of wanted) {
        const owner = asked.members.find((member) => owns(member, slot));
        if (owner === undefined)
          throw new BreakwaterError('SLOT_UNOWNED', `cannot move slot ${slot}: nobody owns it now`);
        await tell(owner, ['MOVE', slot, target.id]);
      }
      const end = await watch(options, (status) => {
        const member = status.members.find(({ id }) => id === target.id)!;
        const missing = wanted.filter((slot) => !owns(member, slot)).length;
        return missing === 0 ? null : `${missing} of ${wanted.length} ranges are not there yet`;
      });
      const what =
        wanted.length === 1 ? `slots ${wanted[0]}-${wanted[0]! + each - 1} are` : `${wanted.length} ranges are`;
      tellEnd(options, end, `${what} at ${addressOf(target)}`);
    });
}

export function registerRebalance(program: Command): void {
  common(program.command('rebalance').description('ranges go where placement wants them, now (experimental)'))
    .addHelpText('after', REBALANCE_NOTES)
    .action(async (options: Common) => {
      let moved = 0;
      const end = await watch(options, async (status) => {
        const able = status.members.filter(({ health, stance }) => health === 'online' && stance === 'here');
        const left = await Promise.all(able.map((member) => tell(member, ['REBALANCE'])));
        const sum = left.map(Number).reduce((a, b) => a + b, 0);
        moved = Math.max(moved, sum);
        // A range on its way is nobody's to count, and the others may know later who takes part again: the map says when it is done.
        return status.astray === 0 ? null : `${status.astray} ranges are not home yet`;
      });
      tellEnd(options, end, moved === 0 ? 'every range is where it should be' : `every range is home; ${moved} moved`);
    });
}

/** Why it is not done yet. @throws what will not be done at all */
export function refusedYet(error: unknown): string {
  if (error instanceof BreakwaterError && / refuses: NOTREADY /.test(error.message)) return error.message;
  throw error;
}

export function askedItself({ members }: ClusterStatus): MemberStatus {
  return members.find(({ isSelf }) => isSelf)!;
}

export function common(command: Command): Command {
  return command
    .addOption(new Option('--host <host>', 'where a member is').default('127.0.0.1').env('BREAKWATER_HOST'))
    .addOption(new Option('--http-port <port>', 'its HTTP port').default('8379').env('BREAKWATER_HTTP_PORT'))
    .option('--timeout <duration>', 'how long to watch', '60s')
    .option('--json', 'answer with all that the asked member knows in the end, as one line of JSON');
}

export function ask({ host, httpPort }: Common): Promise<ClusterStatus> {
  if (!/^\d{1,5}$/.test(httpPort) || Number(httpPort) < 1 || Number(httpPort) > 65_535) {
    throw new BreakwaterError(
      'USAGE_INVALID',
      `cannot read --http-port: expected 1 to 65535, received ${JSON.stringify(httpPort)}`,
    );
  }
  return askMember(host, Number(httpPort));
}

/**
 * By address or id, by its host, or by the beginning of its id. Not by the beginning of an address: where 10.0.0.1 has gone, that is not to mean 10.0.0.10.
 * @throws BreakwaterError `NO_SUCH_MEMBER`
 */
export function memberCalled({ members }: Pick<ClusterStatus, 'members'>, name: string): MemberStatus {
  const namesOf = (member: MemberStatus): string[] => [
    addressOf(member),
    `${member.host}:${member.linkPort}`,
    member.id,
  ];
  const exact = members.filter((member) => namesOf(member).includes(name));
  const found =
    exact.length > 0 || name === ''
      ? exact
      : members.filter((member) => member.host === name || member.id.startsWith(name));
  const [one] = found;
  if (one !== undefined && found.length === 1) return one;
  const why = found.length === 0 ? 'no member is called so' : `${found.length} members are called so`;
  throw new BreakwaterError(
    'NO_SUCH_MEMBER',
    `cannot find ${JSON.stringify(name)}: ${why}; there are ${members.map(addressOf).join(', ')}`,
  );
}

/** `5000` or `0-255`. @throws BreakwaterError `USAGE_INVALID` */
export function slotsOf(text: string): readonly [first: number, last: number] {
  const found = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const first = Number(found?.[1] ?? Number.NaN);
  const last = Number(found?.[2] ?? found?.[1] ?? Number.NaN);
  if (first <= last && last < SLOTS) return [first, last];
  throw new BreakwaterError(
    'USAGE_INVALID',
    `cannot read the slots: expected 0 to ${SLOTS - 1}, or first-last, received ${JSON.stringify(text)}`,
  );
}

function owns({ slots }: MemberStatus, slot: number): boolean {
  return slots.some((run) => {
    const [first, last] = run.split('-').map(Number) as [number, number];
    return first <= slot && slot <= last;
  });
}

/** @throws BreakwaterError `NODE_UNREACHABLE`, `MEMBER_REFUSED`, `CLIENT_...` */
export async function tell(member: MemberStatus, words: readonly (string | number)[]): Promise<unknown> {
  if (member.port === 0) {
    throw new BreakwaterError(
      'NODE_UNREACHABLE',
      `cannot talk to ${addressOf(member)}: it has not said where clients reach it`,
    );
  }
  try {
    return await withNode({ host: member.host, port: String(member.port) }, (run) =>
      run(['BW.MEMBER', ...words.map(String)]),
    );
  } catch (error) {
    if (!(error instanceof ReplyError)) throw error;
    throw new BreakwaterError('MEMBER_REFUSED', `${addressOf(member)} refuses: ${messageOf(error)}`);
  }
}

/** Looks until `left` says null. @throws BreakwaterError `NOT_DONE_IN_TIME` */
export async function watch(
  options: Common,
  left: (status: ClusterStatus) => string | null | Promise<string | null>,
): Promise<ClusterStatus> {
  const untilMs = performance.now() + parseDurationMs(options.timeout, '--timeout');
  for (;;) {
    const status = await ask(options);
    const what = await left(status);
    if (what === null) return status;
    if (performance.now() >= untilMs) {
      throw new BreakwaterError('NOT_DONE_IN_TIME', `not done within ${options.timeout}, and going on: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

export function tellEnd({ json }: Common, status: ClusterStatus, text: string): void {
  if (json) sayJson(status);
  else say(text);
}
