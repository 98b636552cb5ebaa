/**
 * What the commands that talk to a running node share: where it is, one connection, clear words when it is not there.
 */
import { type Command, Option } from 'commander';
import { BreakwaterError, messageOf } from '../base/errors.ts';
import { RespClient } from '../client/client.ts';
import { type Reply, ReplyError } from '../resp/reply.ts';
import type { CommandArg } from '../resp/request-writer.ts';

export interface RemoteOptions {
  readonly host: string;
  readonly port: string;
  readonly json?: boolean;
}

const CONNECT_TIMEOUT_MS = 2000;
const COMMAND_TIMEOUT_MS = 10_000;

/** Adds `--host`, `--port` and `--json`. */
export function remoteOptions(command: Command): Command {
  return command
    .addOption(new Option('--host <host>', 'where the node is').default('127.0.0.1').env('BREAKWATER_HOST'))
    .addOption(new Option('--port <port>', 'its RESP port').default('7379').env('BREAKWATER_PORT'))
    .option('--json', 'answer as one line of JSON');
}

/** Runs commands on one connection and closes it, whatever happens. An error reply throws. */
export async function withNode<T>(
  { host, port }: RemoteOptions,
  use: (run: (args: readonly CommandArg[]) => Promise<Reply>) => Promise<T>,
): Promise<T> {
  if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535) {
    throw new BreakwaterError(
      'USAGE_INVALID',
      `cannot read --port: expected 1 to 65535, received ${JSON.stringify(port)}`,
    );
  }
  const client = new RespClient({
    host,
    port: Number(port),
    name: 'breakwater-cli',
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    commandTimeoutMs: COMMAND_TIMEOUT_MS,
    whenDown: 'reject',
  });
  try {
    return await use(async (args) => {
      const reply = await client.command(args);
      if (reply instanceof ReplyError) throw reply;
      return reply;
    });
  } catch (error) {
    if (error instanceof BreakwaterError && error.code.startsWith('CLIENT_')) {
      throw new BreakwaterError(error.code, `cannot talk to a node at ${host}:${port}: ${whyNot(error)}`, {
        cause: error,
      });
    }
    throw error;
  } finally {
    await client.close();
  }
}

/** The reason in words, and what to do about it where that is known. */
function whyNot(error: BreakwaterError): string {
  const why = error.cause === undefined ? error.message : messageOf(error.cause);
  if (why.includes('ECONNREFUSED')) return `${why}; "breakwater serve" starts one`;
  if (/EPIPE|ECONNRESET/.test(why))
    return `it closed the connection (${why}), as it does when a value is far too large`;
  return why;
}

/** For options that may be given several times. */
export function collect(value: string, earlier: readonly string[]): readonly string[] {
  return [...earlier, value];
}
