/** `breakwater nodes`: the members of a cluster as one of them sees them. */
import { type Command, Option } from 'commander';
import { BreakwaterError } from '../base/errors.ts';
import { askMember, behindOf, membersTable } from './members.ts';
import { say, sayJson } from './output.ts';

interface NodesOptions {
  readonly host: string;
  readonly httpPort: string;
  readonly json?: boolean;
}

const NOTES = `
Any member answers; it is asked over HTTP. "owns" and "copies" count ranges; "behind" is the most effects that a copy has not acknowledged to an owner yet, for which
every member is asked. --json gives all that the asked member knows.

Examples:
  breakwater nodes
  breakwater nodes --host 10.0.0.2 --http-port 8379 --json | jq '.members[] | [.host, .owned]'`;

export function register(program: Command): void {
  program
    .command('nodes')
    .description('members of a cluster: health, what each owns and copies (experimental)')
    .addOption(new Option('--host <host>', 'where a member is').default('127.0.0.1').env('BREAKWATER_HOST'))
    .addOption(new Option('--http-port <port>', 'its HTTP port').default('8379').env('BREAKWATER_HTTP_PORT'))
    .option('--json', 'answer as one line of JSON')
    .addHelpText('after', NOTES)
    .action(async ({ host, httpPort, json }: NodesOptions) => {
      if (!/^\d{1,5}$/.test(httpPort) || Number(httpPort) < 1 || Number(httpPort) > 65_535) {
        throw new BreakwaterError(
          'USAGE_INVALID',
          `cannot read --http-port: expected 1 to 65535, received ${JSON.stringify(httpPort)}`,
        );
      }
      const status = await askMember(host, Number(httpPort));
      const behind = await behindOf(status);
      if (json) sayJson({ ...status, behind: Object.fromEntries(behind) });
      else say(membersTable(status, behind));
    });
}
