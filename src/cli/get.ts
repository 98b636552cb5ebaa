/** `breakwater get KEY`: the value on stdout, or exit code 1. */
import type { Command } from 'commander';
import { BreakwaterError } from '../base/errors.ts';
import { type Shown, showValue } from '../server/json-value.ts';
import { EXIT_FAILURE, say, sayError } from './output.ts';
import { type RemoteOptions, remoteOptions, withNode } from './remote.ts';

const NOTES = `
Prints the value, and nothing else, on stdout; what the library stored is shown without its envelope. Exit code 1 when there is
no such entry. With --json: {"key","value","ttlSeconds","version"}; bytes that are no text are base64 with "encoding":"base64".

Examples:
  breakwater get user:42
  breakwater get user:42 --json | jq .ttlSeconds`;

export function register(program: Command): void {
  remoteOptions(program.command('get').argument('<key>').description('read an entry'))
    .addHelpText('after', NOTES)
    .action(async (key: string, options: RemoteOptions) => {
      const reply = await withNode(options, (run) => run(['BW.GET', key]));
      const [value, ttlMs, version] = Array.isArray(reply) ? reply : [null];
      const shown: Shown | null = value instanceof Uint8Array ? showValue(value) : null;
      if (shown?.kind !== 'value') {
        if (options.json) say('null');
        sayError(
          `breakwater: no entry for ${JSON.stringify(key)}${shown === null ? '' : ` (${describe(shown)})`} [KEY_NOT_FOUND]`,
        );
        process.exitCode = EXIT_FAILURE;
        return;
      }
      if (options.json) {
        const ttl = Number(ttlMs) < 0 ? 'null' : String(Number(ttlMs) / 1000);
        const encoding = shown.base64 ? ',"encoding":"base64"' : '';
        say(
          `{"key":${JSON.stringify(key)},"value":${shown.json},"ttlSeconds":${ttl},"version":${Number(version)}${encoding}}`,
        );
        return;
      }
      if (!(value instanceof Uint8Array))
        throw new BreakwaterError('REPLY_UNEXPECTED', "cannot read the node's reply to BW.GET");
      process.stdout.write(shown.plain);
      if (!shown.base64) process.stdout.write('\n');
    });
}

function describe(shown: Exclude<Shown, { kind: 'value' }>): string {
  return shown.kind === 'absent' ? 'the library remembers that its source has none' : `unreadable: ${shown.reason}`;
}
