/**
 * From flags, environment and file to one validated {@link ServerConfig}.
 *
 * Precedence: flag, then environment, then file, then default. Every value is text until here and is read by the one
 * parser of its row in `settings.ts`, so that `--memory 256mb`, `BREAKWATER_MEMORY=256mb` and `memory: 256mb` mean the same
 * and fail with the same sentence. A name that nobody knows is refused in flags and file (a misspelt `--memroy` must not
 * silently run with the default) and warned about in the environment, which others write too.
 */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import { BreakwaterError, messageOf } from '../base/errors.ts';
import { isLoopback } from '../http/host-check.ts';
import { clusterConfigOf } from './cluster/settings.ts';
import { environmentName, SETTINGS, type ServerConfig, type Setting } from './settings.ts';

const DEFAULT_PORT = 7379;
const HTTP_OFFSET = 1000;
const GIB = 1024 ** 3;
const MIB = 1024 ** 2;

/** Variables of ours that are not settings of a node. */
const OTHER_VARIABLES = new Set(['BREAKWATER_CONFIG', 'BREAKWATER_NO_SKIP', 'BREAKWATER_HOST']);

export interface ConfigSources {
  /** By setting name (`http-port`); only what was given. */
  readonly flags: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Path of a YAML file, or null. */
  readonly file: string | null;
}

export interface ResolvedConfig {
  readonly config: ServerConfig;
  /** One sentence each: things that work but deserve a look. */
  readonly warnings: readonly string[];
}

/** A value and where it was written, for the error sentence. */
interface Given {
  readonly text: string;
  readonly where: string;
}

/**
 * @throws BreakwaterError `CONFIG_INVALID`, `CONFIG_UNKNOWN`, `CONFIG_FILE`, `SIZE_INVALID`, `DURATION_INVALID`
 */
export function resolveConfig(sources: ConfigSources): ResolvedConfig {
  const given = new Map<string, Given>();
  if (sources.file !== null) for (const [name, value] of readConfigFile(sources.file)) given.set(name, value);
  for (const { name } of SETTINGS) {
    const variable = environmentName(name);
    const fromEnv = sources.env[variable];
    if (fromEnv !== undefined && fromEnv !== '') given.set(name, { text: fromEnv, where: variable });
    const fromFlag = sources.flags[name];
    if (fromFlag !== undefined) given.set(name, { text: fromFlag, where: `--${name}` });
  }
  const read = <T>(setting: Setting): T | undefined => {
    const value = given.get(setting.name);
    return value === undefined ? undefined : (setting.read(value.text, value.where) as T);
  };
  const values = new Map<string, unknown>(SETTINGS.map((setting) => [setting.field, read(setting)]));
  const pick = <K extends keyof ServerConfig>(field: K, fallback: ServerConfig[K]): ServerConfig[K] =>
    (values.get(field) as ServerConfig[K] | undefined) ?? fallback;

  const port = pick('port', DEFAULT_PORT);
  const httpPort = pick('httpPort', port === 0 ? 0 : port + HTTP_OFFSET);
  if (httpPort > 65_535) {
    throw new BreakwaterError(
      'CONFIG_INVALID',
      `cannot choose the HTTP port: port + ${HTTP_OFFSET} is ${httpPort}, above 65535; give --http-port`,
    );
  }
  if (port !== 0 && port === httpPort) {
    throw new BreakwaterError('CONFIG_INVALID', `cannot listen: RESP and HTTP were both given port ${port}`);
  }
  const bind = pick('bind', '127.0.0.1');
  const memoryBytes = pick('memoryBytes', defaultMemoryBytes(machineMemoryBytes()));
  const member = clusterConfigOf(values, { port, httpPort, bind });
  const config: ServerConfig = {
    port,
    httpPort,
    bind,
    httpHosts: pick('httpHosts', []),
    plainSet: pick('plainSet', {}),
    memoryBytes,
    eviction: pick('eviction', 'tinylfu'),
    maxValueBytes: pick('maxValueBytes', Math.min(8 * MIB, Math.floor(memoryBytes / 2))),
    maxClients: pick('maxClients', 10_000),
    clientMemoryBytes: pick('clientMemoryBytes', 256 * MIB),
    stallTimeoutMs: pick('stallTimeoutMs', 30_000),
    idleTimeoutMs: pick('idleTimeoutMs', 0),
    logFormat: pick('logFormat', 'auto'),
    cluster: member !== null && 'setup' in member ? member : null,
    joining: member !== null && !('setup' in member) ? member : null,
  };
  if (config.maxValueBytes * 2 > config.memoryBytes) {
    throw new BreakwaterError(
      'CONFIG_INVALID',
      `cannot use max-value ${config.maxValueBytes} with memory ${config.memoryBytes}: a value may take at most half of the memory`,
    );
  }
  return { config, warnings: [...unknownVariables(sources.env), ...exposure(config)] };
}

/** A quarter of the machine, between 64 MiB and 1 GiB. */
export function defaultMemoryBytes(machineBytes: number): number {
  return Math.min(GIB, Math.max(64 * MIB, Math.floor(machineBytes / 4 / MIB) * MIB));
}

/** Memory of the container when there is a limit, else of the machine. */
function machineMemoryBytes(): number {
  const limit = process.constrainedMemory?.() ?? 0;
  const total = totalmem();
  return limit > 0 && limit < total ? limit : total;
}

function exposure(config: ServerConfig): string[] {
  if (isLoopback(config.bind)) return [];
  const found = [
    `listening on ${config.bind} without authentication: everyone who can reach this machine can read and write`,
  ];
  const { cluster, joining } = config;
  const secret = cluster?.setup.secret ?? joining?.secret;
  if (secret === '') {
    found.push(
      `everyone who can reach port ${(cluster ?? joining)!.linkPort} can pass for a member: give BREAKWATER_CLUSTER_SECRET`,
    );
  }
  return found;
}

function unknownVariables(env: ConfigSources['env']): string[] {
  const known = new Set(SETTINGS.map((setting) => environmentName(setting.name)));
  return Object.keys(env)
    .filter((name) => name.startsWith('BREAKWATER_') && !known.has(name) && !OTHER_VARIABLES.has(name))
    .sort()
    .map((name) => `the environment variable ${name} is no setting of a node and is ignored`);
}

/** Names and texts of a YAML file, with `file:line` of each. */
function readConfigFile(path: string): Map<string, Given> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new BreakwaterError('CONFIG_FILE', `cannot read the configuration file ${path}: ${messageOf(error)}`);
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem !== undefined) {
    throw new BreakwaterError(
      'CONFIG_FILE',
      `cannot read ${path}:${lines.linePos(problem.pos[0]).line}: ${problem.message}`,
    );
  }
  const values = new Map<string, Given>();
  const root = document.contents;
  if (root === null) return values;
  if (!isMap(root)) throw new BreakwaterError('CONFIG_FILE', `cannot read ${path}:1: expected "name: value" lines`);
  for (const { key, value } of root.items) {
    const range = isScalar(key) ? key.range : undefined;
    const where = `${path}:${range ? lines.linePos(range[0]).line : 1}`;
    const name = isScalar(key) ? String(key.value) : '';
    if (!SETTINGS.some((setting) => setting.name === name)) {
      throw new BreakwaterError(
        'CONFIG_UNKNOWN',
        `cannot use ${where}: no setting is called ${JSON.stringify(name)}${suggest(name)}`,
      );
    }
    if (!isScalar(value) || value.value === null || value.value === '') {
      throw new BreakwaterError('CONFIG_INVALID', `cannot use ${where}: ${name} needs one plain value`);
    }
    values.set(name, { text: value.source ?? String(value.value), where: `${name} (${where})` });
  }
  return values;
}

/** ` (did you mean x?)` for a name one slip away from a setting, else nothing. */
function suggest(name: string): string {
  const plain = (text: string): string => text.toLowerCase().replace(/[^a-z]/g, '');
  const letters = (text: string): string => [...plain(text)].sort().join('');
  const found = SETTINGS.find(
    (setting) => plain(setting.name) === plain(name) || letters(setting.name) === letters(name),
  );
  return found === undefined ? '' : ` (did you mean ${found.name}?)`;
}
