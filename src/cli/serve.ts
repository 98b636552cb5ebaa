/**
 * `breakwater serve`: reads the configuration, starts a node, says where it listens and what to try, and stops cleanly on SIGTERM
 * and SIGINT.
 */
import type { Command } from 'commander';
import { formatBytes } from '../base/units.ts';
import type { RunningServer } from '../server/serve.ts';
import { SETTINGS } from '../server/settings.ts';
import { keepYoungGenerationSmall } from '../server/young-generation.ts';
import { say } from './output.ts';
import { endOnBug, untilStopped } from './process.ts';
import { packageVersion } from './version.ts';

const NOTES = `
Every option can also be given as an environment variable (--http-port: BREAKWATER_HTTP_PORT) or as a line of the YAML file
that --config names (http-port: 8080). A flag comes before the environment, that before the file. All of them are explained
in docs/configuration.md.

Examples:
  breakwater serve
  breakwater serve --memory 2gb --eviction lru
  breakwater serve --port 0 --http-port 0             ports picked by the system and printed
  breakwater serve --config breakwater.yaml`;

export function register(program: Command): void {
  const command = program
    .command('serve')
    .description('start a node: RESP for Redis clients, HTTP for everyone, a live status page')
    .option('--config <file>', 'YAML file with any of the options below')
    .addHelpText('after', NOTES);
  for (const { name, placeholder, summary, defaultText } of SETTINGS) {
    command.option(`--${name} ${placeholder}`, `${summary} (default: ${defaultText})`);
  }
  command.action(() => serve(flagsOf(command)));
}

/** Given flags by their kebab-case names. */
function flagsOf(command: Command): Record<string, string> {
  const given: Record<string, string> = {};
  for (const option of command.options) {
    const value: unknown = command.getOptionValue(option.attributeName());
    if (typeof value === 'string') given[option.name()] = value;
  }
  return given;
}

async function serve(flags: Record<string, string>): Promise<void> {
  keepYoungGenerationSmall();
  // Imported here: `breakwater --help` and `breakwater get` do not pay for hono, zod and the engine.
  const [{ resolveConfig }, { createLog }, { startServer }] = await Promise.all([
    import('../server/config.ts'),
    import('../server/log.ts'),
    import('../server/serve.ts'),
  ]);
  const { config: file, ...settings } = flags;
  const { config, warnings } = resolveConfig({
    flags: settings,
    env: process.env,
    file: file ?? process.env['BREAKWATER_CONFIG'] ?? null,
  });
  const log = createLog(config.logFormat);
  endOnBug(log);
  const version = packageVersion();
  const server = await startServer(config, { version, log });
  for (const warning of warnings) log.warn(warning);
  banner(server, version);
  // Ctrl-C means now; a supervisor that asks gives time to hand over.
  await untilStopped(log, (signal) => server.close({ isLeaving: signal === 'SIGTERM' }));
}

function banner({ config, respPort, httpPort }: RunningServer, version: string): void {
  const host = config.bind === '0.0.0.0' || config.bind === '::' ? '127.0.0.1' : config.bind;
  const shown = host.includes(':') ? `[${host}]` : host;
  const redisCli = `redis-cli${host === '127.0.0.1' ? '' : ` -h ${host}`} -p ${respPort}`;
  say(`breakwater ${version}, process ${process.pid}

  RESP   ${shown}:${respPort}
  HTTP   http://${shown}:${httpPort}/   (live status page)
  memory ${formatBytes(config.memoryBytes)}, eviction ${config.eviction}

  try    ${redisCli} SET user:42 '{"name":"Ada"}' EX 300
         curl http://${shown}:${httpPort}/cache/user:42
         npx breakwater get user:42${respPort === 7379 ? '' : ` --port ${respPort}`}

ready`);
}
