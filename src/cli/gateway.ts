/**
 * `breakwater gateway`: reads the YAML file, starts the gateway, says where it listens and what to try, and stops cleanly on SIGTERM and SIGINT. `--check` reads the
 * file, asks the database whether it fits, and says what it found.
 */
import type { Command } from 'commander';
import { BreakwaterError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Finding } from '../gateway/check.ts';
import type { GatewayConfig } from '../gateway/config/read.ts';
import type { RunningGateway } from '../gateway/gateway.ts';
import { EXIT_FAILURE, EXIT_USAGE, say, sayError } from './output.ts';
import { endOnBug, untilStopped } from './process.ts';
import { packageVersion } from './version.ts';

const NOTES = `
The file declares what is cached and where it comes from; docs/gateway.md explains it, examples/gateway/breakwater.yaml is one to begin with.
\${NAME} in it is the environment's variable NAME, so that no secret need stand there.

Examples:
  breakwater gateway --config breakwater.yaml
  breakwater gateway --config breakwater.yaml --check             the file, the database's tables and columns, the SQL, the store
  breakwater gateway --config breakwater.yaml --check --offline   the file alone

Exit codes of --check: 0 all is well, 1 something is not there or does not fit, 2 the file is wrong.`;

interface Flags {
  readonly config: string;
  readonly check?: boolean;
  readonly offline?: boolean;
}

export function register(program: Command): void {
  program
    .command('gateway')
    .description('an HTTP front for a database: reads and writes of any language, with every protection of the library')
    .option('--config <file>', 'YAML file', 'breakwater.yaml')
    .option('--check', 'check the file, and what it names, then end')
    .option('--offline', 'with --check: the file alone, nothing is connected to')
    .addHelpText('after', NOTES)
    .action((flags: Flags) => gateway(flags));
}

async function gateway({ config: file, check = false, offline = false }: Flags): Promise<void> {
  if (offline && !check) {
    throw new BreakwaterError('USAGE_INVALID', 'cannot use --offline without --check: a gateway connects');
  }
  // Imported here: `breakwater --help` does not pay for hono, zod and yaml.
  const [{ readConfigFile }, { GatewayConfigError }] = await Promise.all([
    import('../gateway/config/read.ts'),
    import('../gateway/config/problems.ts'),
  ]);
  try {
    const config = readConfigFile(file, process.env);
    if (check) await checkAndSay(config, offline);
    else await serve(config);
  } catch (error) {
    if (!(error instanceof GatewayConfigError)) throw error;
    for (const line of error.lines) sayError(line);
    const count = error.problems.length;
    sayError(`breakwater: the configuration has ${count} ${count === 1 ? 'problem' : 'problems'} [${error.code}]`);
    process.exitCode = EXIT_USAGE;
  }
}

async function checkAndSay(config: GatewayConfig, isOffline: boolean): Promise<void> {
  const { checkGateway } = await import('../gateway/check.ts');
  const findings = await checkGateway(config, isOffline);
  for (const warning of config.warnings) sayError(`${config.file}: warning: ${warning}`);
  const width = Math.max(0, ...findings.map(({ what }) => what.length));
  for (const finding of findings)
    say(`  ${MARKS[finding.kind]}  ${finding.what.padEnd(width)}  ${messageAt(config, finding)}`);
  const wrong = findings.filter(({ kind }) => kind !== 'fine').length;
  const { namespaces, sources } = config;
  const counted = `${plural(namespaces.size, 'namespace')}, ${plural(sources.size, 'source')}`;
  if (wrong > 0) {
    sayError(
      `breakwater: ${config.file} was read (${counted}), and ${plural(wrong, 'part')} of what it names could not be used [GATEWAY_CHECK_FAILED]`,
    );
    process.exitCode = EXIT_FAILURE;
  } else
    say(
      `${config.file}: ${counted}: ${isOffline ? 'the file is well-formed; nothing was connected to' : 'all is well'}`,
    );
}

const MARKS = { fine: 'ok     ', wrong: 'WRONG  ', skipped: 'skipped' } as const;

function messageAt({ file }: GatewayConfig, { kind, message, at }: Finding): string {
  return kind === 'wrong' ? `${file}:${at.line}:${at.column}: ${message}` : message;
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

async function serve(config: GatewayConfig): Promise<void> {
  const [{ startGateway }, { createLog }] = await Promise.all([
    import('../gateway/gateway.ts'),
    import('../server/log.ts'),
  ]);
  const log = createLog(config.log);
  endOnBug(log);
  const version = packageVersion();
  const running = await startGateway(config, { version, log });
  for (const warning of config.warnings) log.warn(warning);
  banner(running, version);
  await untilStopped(log, () => close(running, log));
}

function banner({ config, url, namespaces }: RunningGateway, version: string): void {
  const names = [...namespaces.keys()];
  const { store } = config.store;
  // A URL may hold a password: its scheme says enough.
  const place = store === undefined ? 'embedded' : typeof store === 'string' ? store.split('://')[0] : 'a ring';
  const header = config.access === 'open' ? '' : ` -H 'authorization: Bearer ...'`;
  say(`breakwater gateway ${version}, process ${process.pid}

  HTTP        ${url}/
  namespaces  ${names.join(', ')}
  store       ${place}
  access      ${config.access === 'open' ? 'open' : `${plural(config.access.tokens?.size ?? 0, 'token')}`}

  try         curl${header} ${url}/cache/${names[0]}:1
              curl ${url}/readyz

ready`);
}

/** What is left behind is told. */
async function close(running: RunningGateway, log: Log): Promise<void> {
  const { unacknowledged, isKept, queued } = await running.close();
  if (queued > 0) log.info(`${queued} rows are queued on disk and will be written at the next start`);
  const { keys, tags, namespaces } = unacknowledged;
  const left = keys.length + tags.length + namespaces.length;
  if (left === 0) return;
  log.info(`${left} invalidations were not acknowledged by the store`, {
    isKept,
    keys: keys.slice(0, 10),
    tags,
    namespaces,
  });
}
