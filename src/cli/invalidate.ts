/** `breakwater invalidate`: keys, tags and namespaces whose truth has changed. */
import type { Command } from 'commander';
import { BreakwaterError } from '../base/errors.ts';
import { formatCount, say, sayJson } from './output.ts';
import { collect, type RemoteOptions, remoteOptions, withNode } from './remote.ts';

interface InvalidateOptions extends RemoteOptions {
  readonly key: readonly string[];
  readonly tag: readonly string[];
  readonly namespace: readonly string[];
}

const NOTES = `
A tag or namespace is invalidated in constant time, whatever it covers; a load that is under way for one will not be stored. A key's
namespace is what stands before its first ":". When the command returns, it has been applied.

Examples:
  breakwater invalidate --tag org:7
  breakwater invalidate --namespace user --key page:home`;

export function register(program: Command): void {
  remoteOptions(program.command('invalidate').description('invalidate keys, tags and namespaces'))
    .option('--key <key>', 'a key; may be repeated', collect, [])
    .option('--tag <tag>', 'everything stored with this tag; may be repeated', collect, [])
    .option('--namespace <name>', 'everything in this namespace; may be repeated', collect, [])
    .addHelpText('after', NOTES)
    .action(async (options: InvalidateOptions) => {
      const { key, tag, namespace } = options;
      const args: string[] = ['BW.INVALIDATE'];
      for (const [clause, names] of [
        ['KEYS', key],
        ['TAGS', tag],
        ['NAMESPACES', namespace],
      ] as const) {
        if (names.length > 0) args.push(clause, String(names.length), ...names);
      }
      if (args.length === 1) {
        throw new BreakwaterError('USAGE_INVALID', 'cannot invalidate nothing: give --key, --tag or --namespace');
      }
      const keysRemoved = Number(await withNode(options, (run) => run(args)));
      if (options.json) sayJson({ keysRemoved, tags: tag.length, namespaces: namespace.length });
      else
        say(
          `invalidated: ${formatCount(keysRemoved)} keys removed, ${tag.length} tags, ${namespace.length} namespaces`,
        );
    });
}
