/**
 * The part of the options that is about databases: Postgres as a source, its change stream, and the queues of writes behind. See `options.ts`.
 */
import { isTemplate } from '../tag-templates.ts';
import {
  choice,
  duration,
  type Kind,
  list,
  matching,
  named,
  optional,
  required,
  secret,
  section,
  size,
  text,
  toggle,
  type Values,
  whole,
} from './kinds.ts';

const MIB = 1024 ** 2;
const SAYS = 'a tag such as "org:{org}"';

/** Text with `{column}` in it. */
export const TEMPLATE: Kind<string> = {
  says: SAYS,
  read: (reader, place) => {
    const given = reader.scalar(place, SAYS);
    if (given === null) return undefined;
    const template = String(given.value);
    if (isTemplate(template)) return template;
    reader.problem(place, `expected ${SAYS}, received ${given.shown}; write {{ and }} for braces themselves`);
    return undefined;
  },
};

const FOLLOWED = {
  keys: optional(
    list(TEMPLATE, 'a list of keys such as "summary:{product}"'),
    'none',
    'Keys that a row makes untrue, as in `"purchase-summary:{product}"`: `{column}` stands for the row’s value as text, of the row before the change and after it.',
  ),
  tags: optional(
    list(TEMPLATE, 'a list of tags such as "org:{org}"'),
    'none',
    'Tags that a row makes untrue, as in `"org:{org}"`.',
  ),
  namespaces: optional(
    list(text('a namespace'), 'a list of namespaces'),
    'those of the keys',
    'Every namespace that has anything made of this table. They are invalidated whole where it cannot be told which keys are meant (a truncation, a bulk change, a gap in the stream); without `keys` and `tags`: by every change. Must be said with `tags`.',
  ),
};

const CHANGES = {
  via: optional(
    choice('replication', 'triggers'),
    'replication',
    '`replication`: logical replication, which needs `wal_level = logical` and a role that may replicate. `triggers`: triggers that write into a table of changes; for stores that gateways share.',
  ),
  url: optional(
    secret('a URL as in postgres://user:password@host:5432/database', /^postgres(?:ql)?:\/\/\S+$/),
    'the `url` of the source',
    'Where the stream is read, if `url` is a pooler or its role may not replicate. The primary itself.',
  ),
  slot: optional(
    matching('a name of 1 to 40 of a-z, 0-9 and _', /^[a-z0-9_]{1,40}$/),
    'breakwater',
    'Name of the replication slot (of the table of changes, with triggers). Gateways that share a store share it, and one of them reads. With the embedded store each gateway has a temporary slot of its own, whose name begins so.',
  ),
  publication: optional(
    matching('a name of 1 to 63 bytes', /^[^\0]{1,63}$/),
    'the name of the slot',
    'Name of the publication.',
  ),
  create: optional(
    toggle(),
    'true',
    'Makes what is missing in the database: publication and slot, or table and triggers. `false`: only checks that they are there.',
  ),
  foldAbove: optional(
    whole(1, 1_000_000),
    '10000',
    'Rows of one table in one transaction beyond which its namespaces are invalidated instead.',
  ),
  tables: optional(
    named(
      /^[^.\0]+(?:\.[^.\0]+)?$/,
      'names of tables, or schema.table',
      section(FOLLOWED, 'keys, tags and namespaces'),
      '.<table>',
    ),
    'the tables that namespaces show',
    'What else a changed row makes untrue, by table. A namespace with `table` needs nothing here: its rows are followed by their key.',
  ),
};

const REPLICA = {
  urls: required(
    list(
      secret('a URL as in postgres://user:password@host:5432/database', /^postgres(?:ql)?:\/\/\S+$/),
      'a list of URLs',
    ),
    'Where the replicas are, asked in turn; also one address behind which there are several.',
  ),
  bound: optional(
    duration(),
    'positions in the log are compared',
    'Your word that no replica lags longer, instead of comparing positions, where the server has no such functions. Nobody checks it. For the embedded store.',
  ),
  wait: optional(
    duration(0, 60_000),
    '0',
    'How long a load waits for a replica that is behind before it asks the primary.',
  ),
  pool: optional(whole(1, 10_000), 'that of the source', 'Most connections to each.'),
};

export const POSTGRES = {
  url: required(
    secret('a URL as in postgres://user:password@host:5432/database', /^postgres(?:ql)?:\/\/\S+$/),
    'Where it is: `postgres://user:password@host:5432/database?sslmode=verify-full`. Put `${DATABASE_URL}` here rather than a password.',
  ),
  pool: optional(
    whole(1, 10_000),
    'concurrency of the guard + 2',
    'Most connections. Below the concurrency of the guard the queue moves into the pool, where nobody sees it.',
  ),
  connectTimeout: optional(duration(), '2s', 'Longest wait for a connection of the pool.'),
  statementTimeout: optional(
    duration(0),
    '10s',
    'Set as `statement_timeout` of every connection: bounds what the server does for a load that was cut off. 0: the server’s own.',
  ),
  replica: optional(
    section(REPLICA, 'urls, and more'),
    'none',
    'Loads read a replica that is known to show all that was invalidated before; else, and for writes, `url`, which is the primary’s.',
  ),
  changes: optional(
    section(CHANGES, 'options of the change stream'),
    'none',
    'Follow the database: rows that anybody changes, in SQL too, are invalidated. `{}` switches it on for the tables that namespaces show.',
  ),
  idleTimeout: optional(duration(0), '30s', 'A connection that is not used this long is closed. 0: never.'),
  prepare: optional(
    toggle(),
    'true',
    '`false`: no prepared statements, for poolers that change the server connection between statements.',
  ),
};

export const BEHIND = {
  queue: optional(
    choice('disk', 'streams'),
    'disk',
    'Where writes are kept until the database has them. `disk`: in `directory`. `streams`: in streams of the `store`, Redis or Valkey, where another gateway goes on with what a dead one has left; they keep what their servers keep.',
  ),
  directory: optional(
    text('a path'),
    'none; needed on disk',
    'Where writes are kept on disk until the database has them. Of this gateway alone, and the same one at the next start. Relative to the configuration file.',
  ),
  flushInterval: optional(
    duration(0),
    '1s',
    'How long a write waits for later ones of its row, with which it becomes one.',
  ),
  maxDelay: optional(
    duration(0),
    'ten times flushInterval, at most 10s',
    'Longest that a row waits that is written again and again. `0`: all rows wait for `flushInterval` alike.',
  ),
  maxBatch: optional(whole(1, 10_000), '500', 'Most rows of one batch.'),
  flushTimeout: optional(duration(), '10s', 'Longest that one batch may take at the database.'),
  maxEntries: optional(whole(1, 10_000_000), '100000', 'Most rows that wait. Beyond it PUTs wait, for `writeTimeout`.'),
  maxBytes: optional(size(32 * MIB, 1024 ** 4, 'from 32mb to 1024gb'), '1gb; 256mb in streams', 'Bound of the log.'),
  writeTimeout: optional(duration(), '5s', 'Longest that a PUT waits for room and for its acknowledgement.'),
  drainTimeout: optional(
    duration(0),
    '5s',
    'At the end, longest that what waits is tried to be written. What is left stays on disk.',
  ),
  attempts: optional(
    whole(1, 1000),
    '3',
    'How often a row that the database refuses is tried before it becomes a dead letter (`breakwater queue`).',
  ),
  takeover: optional(
    duration(1_000, 600_000),
    '10s',
    'With streams: how long a gateway may be silent before another one goes on with what it has queued.',
  ),
  hold: optional(
    duration(1000),
    '1h',
    'How long other processes still see what this one has queued, should it die and not come back.',
  ),
};

/** Of a namespace. */
export const WARM = {
  sql: optional(
    text('SQL'),
    'all keys of the table',
    'A query for the ids, in its first column: `SELECT id FROM product ORDER BY sold DESC LIMIT 10000`; or page by page, `WHERE id > $1 ORDER BY id LIMIT $2` (`$1` is null at first). Needed with `sql`.',
  ),
  rate: optional(whole(1, 10_000_000), 'no limit but the guard’s', 'Most ids loaded a second.'),
  batch: optional(whole(1, 65_536), '100', 'Ids of one query; at most `maxBatch`.'),
  concurrency: optional(
    whole(1, 1_000),
    '2',
    'Batches at once; those of them that load have background slots of the guard.',
  ),
  page: optional(whole(1, 100_000), '1000', 'Ids of one page.'),
};

export type ChangesValues = Values<typeof CHANGES>;
