/**
 * Every option of a gateway's configuration file, once: how it is read, its default and what it does. The reader and the tables of docs/gateway-options.md are
 * made of this, so that they cannot disagree. An option stands here only when it does something.
 */

import { BEHIND, POSTGRES, TEMPLATE, WARM } from './database-options.ts';
import {
  choice,
  duration,
  fraction,
  list,
  matching,
  named,
  offOr,
  optional,
  required,
  scalar,
  secret,
  section,
  singleOr,
  size,
  text,
  toggle,
  type Values,
  whole,
} from './kinds.ts';

const MIB = 1024 ** 2;
const NAME = /^[A-Za-z0-9_.-]{1,64}$/;
const NAMES = 'names of 1 to 64 letters, digits, "_", "." or "-"';

const share = fraction('a number above 0 up to 1', (value) => value > 0 && value <= 1);

const BREAKER = {
  window: optional(duration(), '10s', 'Length of the rolling window in which failures are counted.'),
  failureRatio: optional(share, '0.5', 'Share of failures in the window that opens the circuit.'),
  minimumCalls: optional(whole(1, 1_000_000), '20', 'From so many calls in the window on.'),
  consecutiveFailures: optional(whole(1, 1_000_000), '10', 'So many failures in a row open it whatever the share.'),
  open: optional(duration(), '1s', 'How long the first opening lasts; doubled with each failed probe.'),
  maxOpen: optional(duration(), '30s', 'The longest opening.'),
  probes: optional(whole(1, 1000), '3', 'How many probes must succeed to close it.'),
};

const BACKOFF = {
  after: optional(whole(1, 1000), '2', 'How many failures in a row of a key open its first window.'),
  base: optional(duration(), '500ms', 'Length of the first window; doubled with each further failure.'),
  max: optional(duration(), '30s', 'The longest window.'),
  maxKeys: optional(whole(2, 10_000_000), '10000', 'How many failing keys are remembered.'),
};

/** What stands between the gateway and a source. */
const GUARD = {
  concurrency: optional(
    whole(1, 10_000),
    '20',
    'Most loads at the source at once, from this gateway. A batch is one load.',
  ),
  backgroundConcurrency: optional(
    whole(1, 10_000),
    'half of concurrency',
    'How many of them may be reloads that nobody waits for.',
  ),
  rate: optional(
    fraction('a number above 0', (value) => value > 0),
    'no limit',
    'Most loads begun a second.',
  ),
  burst: optional(
    fraction('a number of at least 1', (value) => value >= 1),
    'a tenth of rate',
    'How many may begin at once after a quiet time.',
  ),
  queue: optional(whole(0, 1_000_000), '1000', 'Most loads that wait for their turn; more are answered 503 at once.'),
  queueTimeout: optional(duration(), '5s', 'Longest that a load waits for its turn before it is answered 503.'),
  breaker: optional(
    offOr(section(BREAKER, 'options of the circuit breaker')),
    'on',
    'Circuit breaker: a source that keeps failing is given a rest. `false`: none.',
  ),
  backoff: optional(
    offOr(section(BACKOFF, 'options of the back-off by key')),
    'on',
    'How long a key whose load failed is answered with its error instead of being loaded again. `false`: not at all.',
  ),
};

const HTTP = {
  base: required(
    matching('a URL as in https://api.example', /^https?:\/\/[^\s?#]+$/),
    'Where it is, without a query: `https://api.example/v1`. The `path` of each namespace is put behind it.',
  ),
  headers: optional(
    named(/^[A-Za-z0-9-]{1,64}$/, 'names of headers', secret('text', /^[^\r\n]+$/), '.<name>'),
    'none',
    'Sent with each request, as in `authorization: "Bearer ${API_TOKEN}"`.',
  ),
  concurrency: optional(
    whole(1, 1000),
    '8',
    'Most requests at once of one namespace. The concurrency of the guard counts loads, each of which may be several requests.',
  ),
  timeout: optional(duration(), '5s', 'Longest that one request may take.'),
  maxBytes: optional(size(1, 1024 ** 3, 'up to 1gb'), '8mb', 'Longest answer that is read.'),
  check: optional(
    matching('a path that begins with /', /^\/[^\s#]*$/),
    'the root of the host',
    'What /readyz and --check ask for behind `base`, and must answer 200. Of the root any answer but 5xx will do.',
  ),
};

const SOURCE = {
  postgres: optional(
    section(POSTGRES, 'options of Postgres'),
    'none',
    'A Postgres database, version 13 or later. Needs the package `pg`.',
  ),
  http: optional(
    section(HTTP, 'options of an HTTP API'),
    'none',
    'Or a JSON API, which can be read only. Values are revalidated by their ETag.',
  ),
  guard: optional(
    section(GUARD, 'options of the guard'),
    'on',
    'What stands between the gateway and this source, for all namespaces that load from it.',
  ),
  maxWrites: optional(
    whole(1, 1_000_000),
    '1000',
    'Most writes under way to this source; more are answered 503 at once.',
  ),
};

const L1 = {
  maxEntries: optional(whole(1, 10_000_000), '10000', 'Most entries.'),
  maxBytes: optional(
    size(1, 1024 ** 4, 'up to 1024gb'),
    '32mb',
    'Most bytes, by an estimate of what the live objects take.',
  ),
  ttl: optional(
    duration(),
    'none',
    'Longest that an entry is served from L1. Required where the store tells nobody of invalidations (a ring, or `staleness: false`): there it is the bound on staleness.',
  ),
};

const COMPRESSION = {
  threshold: optional(
    size(0, 1024 ** 3, 'up to 1gb'),
    '1kb',
    'Values of at least so many bytes are compressed, when that saves an eighth.',
  ),
  algorithm: optional(choice('auto', 'zstd', 'deflate'), 'auto', 'auto: zstd where the runtime has it, else deflate.'),
};

const SAMPLE = {
  rate: required(share, 'Share of the hits that is compared with the source, in the background.'),
  confirmAfter: optional(duration(), '1s', 'When to look a second time at what differs.'),
};

/** What `defaults` sets for all namespaces and each namespace for itself. */
const FRESHNESS = {
  ttl: optional(duration(), '5m', 'How long a loaded row is fresh.'),
  negativeTtl: optional(
    duration(0),
    '30s',
    'How long "there is no such row" is remembered; never longer than ttl. 0: not at all.',
  ),
  jitter: optional(
    fraction('a number from 0 up to below 1', (value) => value >= 0 && value < 1),
    '0.1',
    'Spreads every ttl by this fraction to both sides, so that what was loaded together does not expire together.',
  ),
  grace: optional(
    duration(0),
    '0',
    'For how long after its ttl a row may still be served, while it is reloaded and when the source fails. Never one that was invalidated.',
  ),
  staleWhileReload: optional(
    toggle(),
    'true',
    '`false`: a row within `grace` is served only when its reload fails, is shed, or outlasts `softTimeout`.',
  ),
  softTimeout: optional(
    duration(0),
    'as long as the load takes',
    'With `staleWhileReload: false`: how long a request waits for the reload before it takes the stale row.',
  ),
  early: optional(
    offOr(
      scalar('"xfetch" or an eagerness above 0 up to 100', (value) => {
        if (value === 'xfetch') return 'xfetch';
        const eagerness = typeof value === 'number' ? value : Number.NaN;
        return eagerness > 0 && eagerness <= 100 ? eagerness : null;
      }),
    ),
    'false',
    '`xfetch`: rows in demand are reloaded a little before their ttl ends, so that nobody meets the end of it. A number is the eagerness, 1 = xfetch.',
  ),
  loadTimeout: optional(
    duration(1, 3_500_000),
    '5s',
    'Longest that one load, or one write, may take; then it is cut off and answered 504.',
  ),
  leaseWait: optional(
    duration(0),
    '2s',
    'How long other gateways wait for one’s load of a key before the next of them may load it too.',
  ),
  maxBatch: optional(whole(1, 65_536), '1000', 'Most keys of one query.'),
  l1: optional(
    offOr(section(L1, 'options of L1')),
    'on for the embedded store, else off',
    'Live objects in this process, in front of the store. `{}` switches it on.',
  ),
  compression: optional(
    offOr(section(COMPRESSION, 'options of the compression')),
    'false',
    'Compress what the store keeps. `{}` switches it on.',
  ),
  sample: optional(
    offOr(section(SAMPLE, 'options of the sampler')),
    'false',
    'Compares some hits with the source and counts those that are wrong (docs/observing.md).',
  ),
};

export const FRESHNESS_NAMES = Object.keys(FRESHNESS) as (keyof typeof FRESHNESS)[];

const WRITE = {
  upsert: optional(
    text('SQL'),
    'none',
    'SQL of PUT: gets the rows as a JSON array in `$1`, and returns two columns, the key and the version of each row written (`NULL` where there are no versions).',
  ),
  delete: optional(
    text('SQL'),
    'none',
    'SQL of DELETE: gets the ids as the array `$1`, and returns the same of each row deleted.',
  ),
};

const NAMESPACE = {
  source: required(
    matching('the name of a source, or none', NAME),
    'Which source it loads from; `none`: nothing is loaded, entries are what clients PUT.',
  ),
  table: optional(
    singleOr(
      matching('a table, or schema.table', /^[^.\0]+(?:\.[^.\0]+)?$/),
      list(text('a name'), 'a schema and a table'),
    ),
    'none',
    'The table (or view) that it shows: `product`, `shop.product`, or `[schema, table]` for names with a dot in them. Taken literally: a name in capitals is in capitals.',
  ),
  sql: optional(
    text('SQL'),
    'none',
    'Instead of a table, a query: gets the ids as the array `$1`, as in `SELECT ... WHERE p.id = ANY($1::bigint[])`. Its columns are the row.',
  ),
  key: optional(
    text('a column'),
    'none',
    'The column that ids are values of. Of an HTTP source: the property that holds the id; needed with `{ids}`.',
  ),
  path: optional(
    matching('a path that begins with / and has {id} or {ids}', /^\/\S*\{ids?\}\S*$/),
    'none',
    'Of an HTTP source: where a value is, behind its `base`: `/products/{id}`, or `/products?ids={ids}` for many at once.',
  ),
  pick: optional(
    text('the path of a property'),
    'all of it',
    'Of an HTTP source: which property of the answer is the value (or the list of values): `data.product`.',
  ),
  absent: optional(
    list(whole(400, 499), 'a list of statuses'),
    '[404, 410]',
    'Of an HTTP source, with `{id}`: answers that mean that there is no such value.',
  ),
  keyType: optional(
    choice('text', 'int', 'bigint', 'uuid'),
    'text',
    'With `sql`: which ids can be keys; others are refused without a query. Of a table the catalogue says it.',
  ),
  columns: optional(
    list(text('a column'), 'a list of columns'),
    'none',
    'With `table`: what a row consists of, in this order.',
  ),
  version: optional(
    text('a column'),
    'none',
    'With `table`: an integer column drawn from a sequence, which rises with every change of its row. Reloads then fetch only rows that changed.',
  ),
  write: optional(
    section(WRITE, 'SQL that writes'),
    'none',
    'With `sql` and a `policy`: how rows are written. A table needs none.',
  ),
  policy: optional(
    choice('read', 'aside', 'through', 'behind'),
    'read',
    'What PUT and DELETE do. `read`: they are refused. `aside`: the database is written, then the cached copy is invalidated. `through`: database and cache in one, so that the next GET loads nothing. `behind` (a table alone): acknowledged when it is on disk here, and written to the database later.',
  ),
  tags: optional(
    list(TEMPLATE, 'a list of tags'),
    'none',
    'Tags of a row, for POST /cache/invalidate. `{column}` stands for the row’s value; a list gives one tag each; a row where it is null has no such tag.',
  ),
  fresh: optional(
    toggle(),
    'true',
    'Whether `Cache-Control: no-cache` of a request asks the source. `false`: it is ignored.',
  ),
  maxAge: optional(
    duration(1000),
    'none',
    'Lets clients and proxies answer by themselves so long, by `Cache-Control: max-age`. No invalidation reaches them: this is the longest that they may be wrong.',
  ),
  warm: optional(
    section(WARM, 'options of warming'),
    'none',
    'Fill it at the start, in the background: `{}` loads every row of the table. What is there and fresh is passed over.',
  ),
  guard: optional(
    section(GUARD, 'options of the guard'),
    'the source’s',
    'A guard of this namespace alone, instead of its source’s.',
  ),
  ...FRESHNESS,
};

const TLS = {
  cert: required(text('a path'), 'File of the certificate chain, PEM. Relative to the configuration file.'),
  key: required(text('a path'), 'File of its key, PEM.'),
};

const LISTEN = {
  host: optional(
    matching('an address or host name', /^[0-9A-Za-z.:_%-]{1,255}$/),
    '127.0.0.1',
    'Address to listen on. Beyond loopback `access` must be said.',
  ),
  port: optional(whole(0, 65_535), '8380', 'Port. 0 lets the operating system pick one, which is printed.'),
  hosts: optional(
    list(
      matching('a host name without port, in lower case, or *', /^(?:\*|[a-z0-9.-]{1,255}|\[[0-9a-f:.]{2,45}\])$/),
      'a list of host names',
    ),
    'those of loopback; on other addresses all',
    'Names that clients may call the gateway by. On a loopback address others are refused, so that no web page can reach it through a name of its own.',
  ),
  tls: optional(section(TLS, 'certificate and key'), 'none', 'HTTPS instead of HTTP.'),
  maxClients: optional(whole(1, 1_000_000), '10000', 'Connections at the same time; more are closed at once.'),
  maxValue: optional(size(1024, 512 * MIB, 'from 1kb to 512mb'), '8mb', 'Largest value of a PUT.'),
  clientMemory: optional(
    size(MIB, 1024 ** 4, 'from 1mb to 1024gb'),
    '256mb',
    'Bound of all bodies streaming in, and again of all large answers not yet read.',
  ),
  stallTimeout: optional(duration(100), '30s', 'A client that does not read its answer this long is closed.'),
};

export const RIGHTS = ['read', 'write', 'invalidate', 'metrics'] as const;
const RIGHT = choice(...RIGHTS);

const TOKEN = {
  token: required(
    secret(
      '16 characters or more without blanks, or sha256: and 64 hex digits',
      /^(?:sha256:[0-9a-fA-F]{64}|(?!sha256:)[\x21-\x7e]{16,512})$/,
    ),
    'What clients send as `Authorization: Bearer ...`, or its SHA-256 as `sha256:<64 hex digits>`, which lets nobody in who reads the file.',
  ),
  rights: required(
    list(RIGHT, 'a list of rights'),
    'What it may do: `read`, `write` (PUT and DELETE, which change the database), `invalidate`, `metrics`.',
  ),
  namespaces: optional(
    list(matching('a namespace', /^[A-Za-z0-9_.-]{1,64}$/), 'a list of namespaces'),
    'all',
    'Where it may do it.',
  ),
};

const ACCESS = {
  anonymous: optional(
    list(RIGHT, 'a list of rights', 0),
    'none',
    'What requests without a token may do, in all namespaces.',
  ),
  tokens: optional(
    named(NAME, NAMES, section(TOKEN, 'token and rights'), '.<name>'),
    'none',
    'Tokens, each under a name of yours that shows in logs and metrics.',
  ),
};

const SHUTDOWN = {
  delay: optional(
    duration(0, 600_000),
    '0',
    'After SIGTERM, how long it goes on serving while /readyz says 503: as long as load balancers need to see that.',
  ),
  drain: optional(duration(0, 600_000), '10s', 'Then, how long requests under way may take.'),
};

const OUTBOX = {
  directory: optional(
    text('a path'),
    'in memory only',
    'Where invalidations that the store has not acknowledged survive this process. A directory of this gateway alone.',
  ),
  maxEntries: optional(
    whole(1, 1_000_000),
    '10000',
    'Most that wait; beyond it they become invalidations of whole namespaces.',
  ),
};

const STORE_URL = secret(
  'embedded, or a URL that begins with breakwater://, redis:// or valkey:// (with an s for TLS)',
  /^(?:embedded|(?:breakwater|redis|valkey)s?:\/\/\S+)$/,
);
const RING = {
  ring: required(
    list(
      secret('a URL that begins with breakwater://, redis:// or valkey://', /^(?:breakwater|redis|valkey)s?:\/\/\S+$/),
      'a list of URLs',
    ),
    'Independent servers; each key has its place on one of them.',
  ),
};

export const OPTIONS = {
  listen: optional(section(LISTEN), 'http://127.0.0.1:8380', 'Where clients connect.'),
  access: optional(
    singleOr(
      scalar('"open", or anonymous and tokens', (value) => (value === 'open' ? 'open' : null)),
      section(ACCESS, 'anonymous and tokens'),
    ),
    'open on loopback, else required',
    'Who may do what. `open`: everyone who reaches it may do everything.',
  ),
  store: optional(
    singleOr(STORE_URL, section(RING, 'ring: [...]')),
    'embedded',
    'Where entries live: `embedded` in this process; a node (`breakwater://host:7379`); Redis or Valkey, alone or in Cluster; or a ring of them. docs/stores.md says what each promises.',
  ),
  memory: optional(size(8 * MIB, 1024 ** 4, 'from 8mb to 1024gb'), '64mb', 'Embedded store: its memory.'),
  eviction: optional(
    choice('tinylfu', 'lru', 'lfu', 'fifo', 'random', 'ttl', 'noeviction'),
    'tinylfu',
    'Embedded store: who goes when memory is full.',
  ),
  outbox: optional(
    section(OUTBOX),
    'in memory',
    'Networked stores: invalidations that the store does not acknowledge are kept and retried.',
  ),
  behind: optional(
    section(BEHIND, 'directory, and more'),
    'none',
    'The write-behind queues of namespaces with `policy: behind`.',
  ),
  staleness: optional(
    offOr(duration(10, 1000)),
    '250ms',
    'Networked stores: the longest that an L1 may serve what another process invalidated. `false`: it is not followed.',
  ),
  readTimeout: optional(
    duration(),
    '250ms',
    'Longest that a read of the store may take before the source is asked instead.',
  ),
  writeTimeout: optional(duration(), '2s', 'Longest that writes and invalidations wait for the store.'),
  sources: optional(
    named(NAME, NAMES, section(SOURCE, 'options of a source'), '.<name>'),
    'none',
    'Databases and APIs, each under a name of yours.',
  ),
  defaults: optional(section(FRESHNESS), 'none', 'Options of all namespaces that they do not set themselves.'),
  namespaces: required(
    named(NAME, NAMES, section(NAMESPACE, 'options of a namespace'), '.<name>'),
    'What is cached: a namespace `product` answers /cache/product:42.',
  ),
  shutdown: optional(section(SHUTDOWN), 'at once, drain 10s', 'How it stops.'),
  log: optional(
    choice('auto', 'text', 'json'),
    'auto',
    'How the log looks. auto: lines on a terminal, JSON elsewhere.',
  ),
};

export type GatewayValues = Values<typeof OPTIONS>;
export type NamespaceValues = Values<typeof NAMESPACE>;
export type SourceValues = Values<typeof SOURCE>;
export type PostgresValues = Values<typeof POSTGRES>;
export type HttpValues = Values<typeof HTTP>;
export type GuardValues = Values<typeof GUARD>;
export type FreshnessValues = Values<typeof FRESHNESS>;
export type AccessValues = Values<typeof ACCESS>;
export type Right = (typeof RIGHTS)[number];
