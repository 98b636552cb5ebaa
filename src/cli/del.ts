/** `breakwater del KEY...`. */
import type { Command } from 'commander';
import { formatCount, say, sayJson } from './output.ts';
import { type RemoteOptions, remoteOptions, withNode } from './remote.ts';

const NOTES = `
Deleting what is not there is no error: the exit code is 0 as long as the node answered.

Examples:
  breakwater del user:42 user:43`;

export function register(program: Command): void {
  remoteOptions(program.command('del').argument('<keys...>').description('delete entries'))
    .addHelpText('after', NOTES)
    .action(async (keys: string[], options: RemoteOptions) => {
      const deleted = Number(await withNode(options, (run) => run(['DEL', ...keys])));
      if (options.json) sayJson({ deleted });
      else say(`${formatCount(deleted)} deleted`);
    });
}
