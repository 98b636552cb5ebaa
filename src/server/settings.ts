/**
 * Every setting of a node, once: its name, how it is read, its default and what it costs to change it. Flags
 * (`--max-clients`), environment (`BREAKWATER_MAX_CLIENTS`), the YAML file (`max-clients:`), `serve --help` and
 * `docs/configuration.md` are all made from this table, so that they cannot disagree.
 *
 * A setting stands here only when it does something today: an option that is parsed and ignored is a lie.
 */
import { CLUSTER_SETTINGS, type ClusterConfig, type JoiningConfig } from './cluster/settings.ts';
import {
  address,
  duration,
  integer,
  invalid,
  modesByNamespace,
  oneOf,
  PORT_MAX,
  type Setting,
  size,
} from './setting.ts';

export { environmentName, type Setting } from './setting.ts';

export const EVICTION_POLICIES = ['tinylfu', 'lru', 'lfu', 'fifo', 'random', 'ttl', 'noeviction'] as const;
export type EvictionSetting = (typeof EVICTION_POLICIES)[number];

export const PLAIN_SETS = ['write', 'holdoff', 'refuse'] as const;
export type PlainSet = (typeof PLAIN_SETS)[number];

export const LOG_FORMATS = ['auto', 'text', 'json'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** What a node runs with; every field validated. */
export interface ServerConfig {
  /** RESP port; 0 = the operating system picks one. */
  readonly port: number;
  /** HTTP port; 0 = the operating system picks one. */
  readonly httpPort: number;
  /** Address both listeners bind to. */
  readonly bind: string;
  /** Names that HTTP clients may call the node by, beside those of loopback. */
  readonly httpHosts: readonly string[];
  /** By namespace: what a plain SET may do after an invalidation; `*` = every other namespace. */
  readonly plainSet: Readonly<Record<string, PlainSet>>;
  /** Memory for entries and everything that finds them. */
  readonly memoryBytes: number;
  readonly eviction: EvictionSetting;
  /** Largest value, bytes. */
  readonly maxValueBytes: number;
  /** RESP connections; one more is refused. */
  readonly maxClients: number;
  /** Buffers of all RESP connections together (requests half arrived, replies not yet read). */
  readonly clientMemoryBytes: number;
  /** A client that does not read its replies this long is closed. */
  readonly stallTimeoutMs: number;
  /** A client silent this long is closed; 0 = never. */
  readonly idleTimeoutMs: number;
  readonly logFormat: LogFormat;
  /** null = a node of its own, or one that joins a running cluster. */
  readonly cluster: ClusterConfig | null;
  /** null = it joins none. */
  readonly joining: JoiningConfig | null;
}

const MEMORY_MIN = 8 * 1024 ** 2;
const VALUE_MAX = 512 * 1024 ** 2;

function hostNames(text: string, what: string): readonly string[] {
  return text.split(',').map((part) => {
    const name = part.trim().toLowerCase();
    if (!/^(?:\*|[a-z0-9.-]{1,255}|\[[0-9a-f:.]{2,45}\])$/.test(name)) {
      throw invalid(what, 'host names without ports, separated by commas, or *', text);
    }
    return name;
  });
}

/** The table, in the order of `--help` and of the documentation. */
export const SETTINGS: readonly Setting[] = [
  {
    field: 'port',
    name: 'port',
    placeholder: '<port>',
    defaultText: '7379',
    summary: 'RESP port (redis-cli, any Redis client, the library)',
    effect: '0 lets the operating system pick a free port, which is printed.',
    read: integer(0, PORT_MAX, 'a port'),
  },
  {
    field: 'httpPort',
    name: 'http-port',
    placeholder: '<port>',
    defaultText: 'port + 1000 (0 when port is 0)',
    summary: 'HTTP port (JSON API, metrics, status page)',
    effect: '0 lets the operating system pick a free port, which is printed.',
    read: integer(0, PORT_MAX, 'a port'),
  },
  {
    field: 'bind',
    name: 'bind',
    placeholder: '<address>',
    defaultText: '127.0.0.1',
    summary: 'address to listen on, for RESP and HTTP',
    effect:
      'There is no authentication yet: anything but a loopback address lets everyone who reaches the machine read and write, and a warning says so.',
    read: address,
  },
  {
    field: 'httpHosts',
    name: 'http-hosts',
    placeholder: '<names>',
    defaultText: 'none',
    summary: 'names that HTTP clients may call this node by, beside those of loopback',
    effect:
      'On a loopback address requests for any other name are refused (403 HOST_REFUSED), so that no web page can reach the node through a name that its owner points here. Comma-separated, without ports; * allows every name. On other addresses all names are accepted unless this is given.',
    read: hostNames,
  },
  {
    field: 'plainSet',
    name: 'plain-set',
    placeholder: '<ns=mode>',
    defaultText: '*=write',
    summary: `what a plain SET may do in a namespace: ${PLAIN_SETS.join(', ')}`,
    effect:
      'A SET after a miss, without a lease, may put back what was just invalidated (docs/protocol.md). holdoff: for 2 s after its key or namespace was invalidated it is not stored, and answered with null. refuse: never stored, answered with an error. Comma-separated, * stands for all other namespaces: user=holdoff,*=write.',
    read: modesByNamespace(PLAIN_SETS),
  },
  {
    field: 'memoryBytes',
    name: 'memory',
    placeholder: '<size>',
    defaultText: 'a quarter of the memory of the machine or container, at most 1gb, at least 64mb',
    summary: 'memory for entries, index and bookkeeping',
    effect:
      'When it is full, entries are evicted. The process needs some 60 MB beside it, and client-memory on top when clients are slow. kb, mb, gb are powers of 1024.',
    read: size(MEMORY_MIN, 1024 ** 4, '8mb', '1024gb'),
  },
  {
    field: 'eviction',
    name: 'eviction',
    placeholder: '<policy>',
    defaultText: 'tinylfu',
    summary: `what goes when memory is full: ${EVICTION_POLICIES.join(', ')}`,
    effect:
      "tinylfu keeps what is asked for often and resists scans; fifo lets the oldest go, random any (by segments), ttl what would expire soonest; noeviction refuses writes when full. Redis's names allkeys-lru, allkeys-lfu and allkeys-random are accepted. The volatile-* policies are not offered: nothing is kept for ever because it has no TTL.",
    read: oneOf(EVICTION_POLICIES, { 'allkeys-lru': 'lru', 'allkeys-lfu': 'lfu', 'allkeys-random': 'random' }),
  },
  {
    field: 'maxValueBytes',
    name: 'max-value',
    placeholder: '<size>',
    defaultText: '8mb, at most half of memory',
    summary: 'largest value that is stored',
    effect:
      'A larger one is refused: over HTTP with 413, over RESP with an error. Every value passes through memory whole.',
    read: size(1024, VALUE_MAX, '1kb', '512mb'),
  },
  {
    field: 'maxClients',
    name: 'max-clients',
    placeholder: '<count>',
    defaultText: '10000',
    summary: 'RESP connections at the same time',
    effect:
      'One more is answered "-ERR max number of clients reached" and closed. Each open connection costs about 8 KB. The limit of open files (ulimit -n) must allow it.',
    read: integer(1, 1_000_000, 'a count'),
  },
  {
    field: 'clientMemoryBytes',
    name: 'client-memory',
    placeholder: '<size>',
    defaultText: '256mb',
    summary: 'buffers of all connections together: requests half arrived, replies not yet read',
    effect: 'Above it the connection that holds the most is closed and counted, until the rest fits.',
    read: size(1024 ** 2, 1024 ** 4, '1mb', '1024gb'),
  },
  {
    field: 'stallTimeoutMs',
    name: 'stall-timeout',
    placeholder: '<duration>',
    defaultText: '30s',
    summary: 'a client that does not read its replies this long is closed',
    effect: 'Until then nothing more is read from it, so it costs no more than its output limit.',
    read: duration(100),
  },
  {
    field: 'idleTimeoutMs',
    name: 'idle-timeout',
    placeholder: '<duration>',
    defaultText: '0 (never)',
    summary: 'a client that says nothing this long is closed',
    effect: "As Redis's timeout. Connection pools keep silent connections on purpose; leave it at 0 for them.",
    read: duration(0),
  },
  {
    field: 'logFormat',
    name: 'log-format',
    placeholder: '<format>',
    defaultText: 'auto',
    summary: `how the log looks: ${LOG_FORMATS.join(', ')}`,
    effect: 'auto: plain lines on a terminal, JSON lines (pino) elsewhere.',
    read: oneOf(LOG_FORMATS),
  },
  ...CLUSTER_SETTINGS,
];
