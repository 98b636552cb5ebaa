#!/usr/bin/env node
/**
 * `breakwater`: the one executable. Each command lives in its own file and registers itself; nothing heavy is imported
 * before the command that needs it runs, so that `breakwater --help` answers at once.
 *
 * Exit codes: 0 done · 1 the answer is "no" or the operation failed · 2 the command line or configuration is wrong.
 */
import { Command, CommanderError } from 'commander';
import { BreakwaterError } from '../base/errors.ts';
import { register as registerBench } from './bench.ts';
import { register as registerCluster } from './cluster.ts';
import { register as registerDel } from './del.ts';
import { register as registerDemo } from './demo.ts';
import { registerForget } from './forget.ts';
import { register as registerGateway } from './gateway.ts';
import { register as registerGet } from './get.ts';
import { register as registerInvalidate } from './invalidate.ts';
import { register as registerNodes } from './nodes.ts';
import { registerDrain, registerMove, registerRebalance } from './operate.ts';
import { EXIT_FAILURE, EXIT_OK, EXIT_USAGE, exitCodeOf, failureLine, oneLine, sayError } from './output.ts';
import { register as registerQueue } from './queue.ts';
import { register as registerServe } from './serve.ts';
import { register as registerSet } from './set.ts';
import { register as registerStats } from './stats.ts';
import { packageVersion } from './version.ts';
import { registerVoters } from './voters.ts';
import { register as registerWarm } from './warm.ts';

const REGISTRARS: readonly ((program: Command) => void)[] = [
  registerServe,
  registerCluster,
  registerNodes,
  registerDrain,
  registerMove,
  registerRebalance,
  registerForget,
  registerVoters,
  registerGateway,
  registerGet,
  registerSet,
  registerDel,
  registerInvalidate,
  registerStats,
  registerWarm,
  registerQueue,
  registerDemo,
  registerBench,
];

const EXAMPLES = `
Examples:
  breakwater serve                                   start a node on 127.0.0.1:7379 (RESP) and :8379 (HTTP)
  breakwater set user:42 '{"name":"Ada"}' --ttl 5m   store a value for five minutes
  breakwater get user:42                             read it back
  breakwater invalidate --tag org:7                  everything tagged org:7 is gone, in O(1)
  breakwater stats                                   what the node is doing
  breakwater cluster --members 3                     three nodes on this machine that copy for each other (experimental)
  breakwater gateway --config breakwater.yaml        an HTTP front for a database, for clients in any language
  breakwater warm --config breakwater.yaml product   fill its store before it is asked
  breakwater demo                                    a real Postgres with and without the cache
  breakwater bench wire                              this node beside redis-server and memcached

Exit codes: 0 done, 1 the key is absent or the operation failed, 2 the command line or configuration is wrong.`;

/** The whole command tree. Every error of commander's is thrown as a {@link BreakwaterError} or {@link CommanderError}. */
export function createProgram(): Command {
  const program = new Command('breakwater')
    .description('A distributed cache that never answers with what was invalidated. Speaks RESP and HTTP.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .addHelpText('after', EXAMPLES)
    .showHelpAfterError(false);
  for (const register of REGISTRARS) register(program);
  harden(program);
  return program;
}

/** Commander prints and exits by itself; we want one line in our own form and one place that decides the exit code. */
function harden(command: Command): void {
  command.exitOverride().configureOutput({ writeErr: () => {} });
  for (const child of command.commands) harden(child);
}

function usageError(error: CommanderError): BreakwaterError {
  if (error.code === 'commander.help') {
    return new BreakwaterError('USAGE_INVALID', 'the command is unknown or only half there; see breakwater --help');
  }
  return new BreakwaterError(
    'USAGE_INVALID',
    `${oneLine(error.message.replace(/^error: /, ''))}; see breakwater --help`,
  );
}

async function main(argv: readonly string[]): Promise<number> {
  try {
    const program = createProgram();
    if (argv.length <= 2) {
      process.stdout.write(program.helpInformation());
      process.stdout.write(`${EXAMPLES}\n`);
      return EXIT_USAGE;
    }
    await program.parseAsync([...argv]);
    return process.exitCode === undefined ? EXIT_OK : Number(process.exitCode);
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT_OK;
      sayError(failureLine(usageError(error)));
      return EXIT_USAGE;
    }
    sayError(failureLine(error));
    return exitCodeOf(error);
  }
}

/** A reader that goes away, as `head` does, is no failure of ours, and ends no node. A full disk is one. */
function onOutputError(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') return;
  sayError(`breakwater: cannot write the output: ${oneLine(error.message)} [OUTPUT_FAILED]`);
  process.exit(EXIT_FAILURE);
}

process.stdout.on('error', onOutputError);
process.stderr.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') process.exit(EXIT_FAILURE);
});
process.exitCode = await main(process.argv);
