/** `breakwater set KEY VALUE`. */
import { type Command, Option } from 'commander';
import { BreakwaterError } from '../base/errors.ts';
import { parseDurationMs } from '../base/units.ts';
import { EXIT_FAILURE, say, sayError, sayJson } from './output.ts';
import { collect, type RemoteOptions, remoteOptions, withNode } from './remote.ts';

interface SetOptions extends RemoteOptions {
  readonly ttl?: string;
  readonly tag: readonly string[];
  readonly if?: 'absent' | 'present';
}

const NOTES = `
The value is stored byte for byte; "-" reads it from stdin. Prints "created" or "replaced"; exit code 1 when --if was not met.

Examples:
  breakwater set user:42 '{"name":"Ada"}' --ttl 5m --tag org:7
  breakwater set job:7 taken --if absent --ttl 30s
  breakwater set page:home - < page.html`;

export function register(program: Command): void {
  remoteOptions(
    program.command('set').argument('<key>').argument('<value>', '"-" = from stdin').description('store an entry'),
  )
    .option('--ttl <duration>', 'how long it lives, such as 250ms, 30s, 5m, 1h, 7d (default: for ever)')
    .option('--tag <tag>', 'a tag that can be invalidated; may be repeated', collect, [])
    .addOption(new Option('--if <state>', 'store only if the key is').choices(['absent', 'present']))
    .addHelpText('after', NOTES)
    .action(async (key: string, value: string, options: SetOptions) => {
      const args: (string | Uint8Array)[] = ['BW.SET', key, value === '-' ? await readStdin() : value];
      if (options.ttl !== undefined) {
        const ttlMs = parseDurationMs(options.ttl, '--ttl');
        if (ttlMs < 1)
          throw new BreakwaterError('USAGE_INVALID', 'cannot use --ttl: expected at least 1 ms, received 0');
        args.push('PX', String(ttlMs));
      }
      if (options.tag.length > 0) args.push('TAGS', String(options.tag.length), ...options.tag);
      if (options.if !== undefined) args.push(options.if === 'absent' ? 'NX' : 'XX');
      const result = await withNode(options, (run) => run(args));
      if (result === null) {
        if (options.json) sayJson({ key, result: 'kept' });
        sayError(
          `breakwater: not stored: ${JSON.stringify(key)} is ${options.if === 'absent' ? 'present' : 'absent'} [CONDITION_NOT_MET]`,
        );
        process.exitCode = EXIT_FAILURE;
        return;
      }
      if (options.json) sayJson({ key, result });
      else say(String(result));
    });
}

async function readStdin(): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
