/**
 * The command table: one row a command. Everything that is known about commands is derived from it: dispatch, arity, COMMAND,
 * the counters of INFO. To add a command: write its function in the file of its group, add its row here, add its cases to
 * test/conformance.
 */
import * as cluster from './cluster-commands.ts';
import * as config from './config.ts';
import * as connection from './connection.ts';
import type { CommandFunction, Context } from './context.ts';
import { bwCount } from './count-command.ts';
import * as counters from './counters.ts';
import { commandDocs, commandGetkeys, commandInfo, commandList, help, unknownSubcommand } from './describe.ts';
import { wrongArity } from './errors.ts';
import * as feed from './feed-commands.ts';
import * as freshness from './freshness-commands.ts';
import { info } from './info.ts';
import * as keys from './keys.ts';
import * as reads from './leased-reads.ts';
import * as locks from './lock-commands.ts';
import * as members from './member-commands.ts';
import { NameIndex } from './name-index.ts';
import { type CommandRow, row } from './row.ts';
import * as strings from './strings.ts';
import { wait } from './wait-command.ts';

const NONE = [0, 0, 0] as const;
const ONE = [1, 1, 1] as const;
const ALL = [1, -1, 1] as const;
const PAIRS = [1, -1, 2] as const;

const ANY_TIME = 'noscript loading stale fast no_auth allow_busy';
const READ_FAST = 'readonly fast';
const WRITE = 'write denyoom';
const WRITE_FAST = 'write denyoom fast';
const CHANGE_FAST = 'write fast';
const META = 'noscript loading stale';

const nameOf = (index: number): string => COMMANDS[index]!.name;
const rowOf = (name: string): CommandRow | undefined => {
  const [parent, child] = name.toLowerCase().split('|');
  const found = COMMANDS.find((each) => each.name === parent);
  return child === undefined ? found : found?.subcommands?.find((each) => each.name === `${parent}|${child}`);
};

/** A command whose second word chooses: `CLIENT ID`, `CONFIG GET`. */
function container(
  name: string,
  flags: string,
  group: 'connection' | 'server' | 'freshness' | 'cluster',
  since: string,
  summary: string,
  subcommands: readonly CommandRow[],
  alone?: CommandFunction,
): CommandRow {
  const withHelp = [
    ...subcommands,
    row(`${name}|help`, 2, 'loading stale', NONE, group, since, 'O(1)', 'Prints this help.', (_c, _s, _a, out) =>
      help(made, out),
    ),
  ];
  const index = new NameIndex(withHelp.map((each) => each.name.slice(name.length + 1)));
  const run: CommandFunction = (context, session, args, out) => {
    if (args.count === 1 && alone !== undefined) {
      alone(context, session, args, out);
      return;
    }
    const found = args.count < 2 ? -1 : index.find(args.bytes, args.start[1]!, args.length[1]!);
    if (found < 0) {
      unknownSubcommand(name, args, out);
      return;
    }
    const subcommand = withHelp[found]!;
    if (subcommand.arity > 0 ? args.count !== subcommand.arity : args.count < -subcommand.arity) {
      out.error(wrongArity(subcommand.name));
      return;
    }
    subcommand.run(context, session, args, out);
  };
  const made: CommandRow = row(
    name,
    alone ? -1 : -2,
    flags,
    NONE,
    group,
    since,
    'Depends on subcommand.',
    summary,
    run,
    withHelp,
  );
  return made;
}

// biome-ignore format: one row a line
const client = container('client', '', 'connection', '2.4.0', 'A container for client connection commands.', [
  row('client|id', 2, `${META} fast`, NONE, 'connection', '5.0.0', 'O(1)', 'Return the ID of the current connection.', connection.clientId),
  row('client|info', 2, META, NONE, 'connection', '6.2.0', 'O(1)', 'Return information about the current client connection.', (context, session, _args, out) => connection.clientInfo(context, session, out, nameOf)),
  row('client|list', -2, META, NONE, 'connection', '2.4.0', 'O(N) in the number of connections', 'Return information about client connections.', (context, _session, args, out) => connection.clientList(context, args, out, nameOf)),
  row('client|setname', 3, META, NONE, 'connection', '2.6.9', 'O(1)', 'Assign a name to the current connection.', connection.clientSetname),
  row('client|getname', 2, META, NONE, 'connection', '2.6.9', 'O(1)', 'Return the name of the current connection.', connection.clientGetname),
  row('client|setinfo', 4, META, NONE, 'connection', '7.2.0', 'O(1)', 'Set the name or version of the client library.', connection.clientSetinfo),
  row('client|no-evict', 3, META, NONE, 'connection', '7.0.0', 'O(1)', 'Noted in CLIENT LIST.', connection.clientNoEvict),
  row('client|no-touch', 3, META, NONE, 'connection', '7.2.0', 'O(1)', 'Noted in CLIENT LIST.', connection.clientNoTouch),
]);

// biome-ignore format: one row a line
const command = container(
  'command',
  'loading stale',
  'server',
  '2.8.13',
  'Return details about the commands of this server.',
  [
    row('command|count', 2, 'loading stale', NONE, 'server', '2.8.13', 'O(1)', 'Return the number of commands.', (_c, _s, _a, out) => out.integer(COMMANDS.length)),
    row('command|info', -2, 'loading stale', NONE, 'server', '2.8.13', 'O(N) in the number of commands', 'Return details about commands.', (_c, _s, args, out) => commandInfo(COMMANDS, rowOf, args, out)),
    row('command|docs', -2, 'loading stale', NONE, 'server', '7.0.0', 'O(N) in the number of commands', 'Return documentation about commands.', (_c, _s, args, out) => commandDocs(COMMANDS, rowOf, args, out)),
    row('command|list', -2, 'loading stale', NONE, 'server', '7.0.0', 'O(N) in the number of commands', 'Return the names of the commands.', (_c, _s, args, out) => commandList(COMMANDS, args, out)),
    row('command|getkeys', -4, 'loading stale', NONE, 'server', '2.8.13', 'O(N) in the number of arguments', 'Return the keys of a whole command.', (_c, _s, args, out) => commandGetkeys(rowOf, args, out)),
  ],
  (_c, _s, args, out) => commandInfo(COMMANDS, rowOf, args, out),
);

// biome-ignore format: one row a line
const configuration = container('config', '', 'server', '2.0.0', 'A container for configuration commands.', [
  row('config|get', -3, META, NONE, 'server', '2.0.0', 'O(N) in the number of parameters', 'Return the parameters that match a pattern, and their values.', config.configGet),
  row('config|set', -4, META, NONE, 'server', '2.0.0', 'O(1)', 'Not supported: the configuration is read at start.', config.configSet),
  row('config|resetstat', 2, META, NONE, 'server', '2.0.0', 'O(1)', 'Let the counters of INFO start again.', config.configResetstat),
  row('config|rewrite', 2, META, NONE, 'server', '2.8.0', 'O(1)', 'Not supported: there is no file to rewrite.', config.configRewrite),
]);

// biome-ignore format: one row a line
const clustering = container('cluster', '', 'cluster', '3.0.0', 'A container for cluster commands.', [
  row('cluster|slots', 2, 'loading stale', NONE, 'cluster', '3.0.0', 'O(N) in the number of ranges', 'Return which members own and copy which slots.', cluster.clusterSlots),
  row('cluster|shards', 2, 'loading stale', NONE, 'cluster', '7.0.0', 'O(N) in the number of ranges', 'Return owners with the same copies and their slots.', cluster.clusterShards),
  row('cluster|nodes', 2, 'loading stale', NONE, 'cluster', '3.0.0', 'O(N) in the number of members', 'Return every member with the slots it owns.', cluster.clusterNodes),
  row('cluster|info', 2, 'loading stale', NONE, 'cluster', '3.0.0', 'O(N) in the number of ranges', 'Return the state of the cluster as this member sees it.', cluster.clusterInfo),
  row('cluster|myid', 2, 'loading stale', NONE, 'cluster', '3.0.0', 'O(1)', 'Return the id of this member.', cluster.clusterMyid),
  row('cluster|keyslot', 3, 'loading stale', NONE, 'cluster', '3.0.0', 'O(N) in the length of the key', 'Return the slot of a key.', cluster.clusterKeyslot),
  row('cluster|countkeysinslot', 3, 'stale', NONE, 'cluster', '3.0.0', 'O(N) in the number of keys of this member', 'Return how many keys of a slot this member holds.', cluster.clusterCountKeysInSlot),
  row('cluster|reset', -2, 'admin stale', NONE, 'cluster', '3.0.0', 'O(1)', 'Refused: who is a member is agreed by the voters.', cluster.clusterReset),
  row('cluster|getkeysinslot', 4, 'stale', NONE, 'cluster', '3.0.0', 'O(N) in the number of keys of this member', 'Return keys of a slot that this member holds.', cluster.clusterGetKeysInSlot),
]);

// biome-ignore format: one row a line
const membership = container('bw.member', '', 'cluster', '0.1.0', 'What an operator asks of a member of a cluster.', [
  row('bw.member|drain', 2, 'admin stale', NONE, 'cluster', '0.1.0', 'O(1)', 'Give away what this member owns and copies, and take nothing', members.memberDrain),
  row('bw.member|return', 2, 'admin stale', NONE, 'cluster', '0.1.0', 'O(1)', 'Undo DRAIN', members.memberReturn),
  row('bw.member|move', 4, 'admin stale', NONE, 'cluster', '0.1.0', 'O(1)', 'Move the range of a slot that this member owns to another', members.memberMove),
  row('bw.member|rebalance', 2, 'admin stale', NONE, 'cluster', '0.1.0', 'O(N) in the number of ranges', 'Send the ranges of this member where placement wants them', members.memberRebalance),
  row('bw.member|forget', 3, 'admin stale', NONE, 'cluster', '0.1.0', 'O(N) in the number of ranges', 'Have another member forgotten', members.memberForget),
  row('bw.member|voters', 4, 'admin stale', NONE, 'cluster', '0.1.0', 'O(N) in the number of ranges', 'Let another member vote, one vote no more, or both', members.memberVoters),
  row('bw.member|pardon', 3, 'admin stale', NONE, 'cluster', '0.1.0', 'O(N) in the number of ranges', 'Let a member that was forgotten come back', members.memberPardon),
]);

// biome-ignore format: one row a line
const feeding = container('bw.feed', '', 'freshness', '0.1.0', 'The invalidation feed, for those who keep entries of their own.', [
  row('bw.feed|subscribe', -5, META, NONE, 'freshness', '0.1.0', 'O(N) in the records held', 'Follow the feed from the positions given', feed.feedSubscribe),
  row('bw.feed|ping', 4, META, NONE, 'freshness', '0.1.0', 'O(1)', 'Heartbeat and acknowledgement of a follower', feed.feedPing),
  row('bw.feed|ack', 3, META, NONE, 'freshness', '0.1.0', 'O(1)', 'Acknowledge everything up to a record', feed.feedAck),
  row('bw.feed|unsubscribe', 2, META, NONE, 'freshness', '0.1.0', 'O(1)', 'Nothing is served from the L1 any more', feed.feedUnsubscribe),
  row('bw.feed|everywhere', 3, META, NONE, 'freshness', '0.1.0', 'O(N) in the subscribers', 'Be told when all invalidations so far have reached every follower', feed.feedEverywhere),
]);

/** All commands. The index of a row is what counters and sessions know it by. */
// biome-ignore format: a table is read by its rows, one a line
export const COMMANDS: readonly CommandRow[] = [
  // -- strings
  row('get', 2, READ_FAST, ONE, 'string', '1.0.0', 'O(1)', 'Get the value of a key', strings.get),
  row('set', -3, WRITE, ONE, 'string', '1.0.0', 'O(1)', 'Set the string value of a key', strings.set),
  row('setex', 4, WRITE, ONE, 'string', '2.0.0', 'O(1)', 'Set the value and expiration of a key', strings.setex),
  row('psetex', 4, WRITE, ONE, 'string', '2.6.0', 'O(1)', 'Set the value and expiration in milliseconds of a key', strings.psetex),
  row('setnx', 3, WRITE_FAST, ONE, 'string', '1.0.0', 'O(1)', 'Set the value of a key, only if the key does not exist', strings.setnx),
  row('getset', 3, WRITE_FAST, ONE, 'string', '1.0.0', 'O(1)', 'Set the string value of a key and return its old value', strings.getset),
  row('getdel', 2, CHANGE_FAST, ONE, 'string', '6.2.0', 'O(1)', 'Get the value of a key and delete the key', strings.getdel),
  row('getex', -2, CHANGE_FAST, ONE, 'string', '6.2.0', 'O(1)', 'Get the value of a key and optionally set its expiration', strings.getex),
  row('mget', -2, READ_FAST, ALL, 'string', '1.0.0', 'O(N) in the number of keys', 'Get the values of all the given keys', strings.mget),
  row('mset', -3, WRITE, PAIRS, 'string', '1.0.1', 'O(N) in the number of keys', 'Set multiple keys to multiple values', strings.mset),
  row('msetnx', -3, WRITE, PAIRS, 'string', '1.0.1', 'O(N) in the number of keys', 'Set multiple keys to multiple values, only if none of the keys exist', strings.msetnx),
  row('append', 3, WRITE_FAST, ONE, 'string', '2.0.0', 'O(N) in the length of the value', 'Append a value to a key', strings.append),
  row('strlen', 2, READ_FAST, ONE, 'string', '2.2.0', 'O(1)', 'Get the length of the value stored in a key', strings.strlen),
  row('getrange', 4, 'readonly', ONE, 'string', '2.4.0', 'O(N) in the length of the range', 'Get a substring of the string stored at a key', strings.getrange),
  row('setrange', 4, WRITE, ONE, 'string', '2.2.0', 'O(N) in the length of the value', 'Overwrite part of a string at key starting at the specified offset', strings.setrange),
  row('incr', 2, WRITE_FAST, ONE, 'string', '1.0.0', 'O(1)', 'Increment the integer value of a key by one', counters.incr),
  row('decr', 2, WRITE_FAST, ONE, 'string', '1.0.0', 'O(1)', 'Decrement the integer value of a key by one', counters.decr),
  row('incrby', 3, WRITE_FAST, ONE, 'string', '1.0.0', 'O(1)', 'Increment the integer value of a key by the given amount', counters.incrby),
  row('decrby', 3, WRITE_FAST, ONE, 'string', '1.0.0', 'O(1)', 'Decrement the integer value of a key by the given number', counters.decrby),
  row('incrbyfloat', 3, WRITE_FAST, ONE, 'string', '2.6.0', 'O(1)', 'Increment the float value of a key by the given amount', counters.incrbyfloat),

  // -- keys
  row('del', -2, 'write', ALL, 'generic', '1.0.0', 'O(N) in the number of keys', 'Delete a key', keys.del),
  row('unlink', -2, CHANGE_FAST, ALL, 'generic', '4.0.0', 'O(N) in the number of keys', 'Delete a key', keys.del),
  row('exists', -2, READ_FAST, ALL, 'generic', '1.0.0', 'O(N) in the number of keys', 'Determine if a key exists', keys.exists),
  row('touch', -2, READ_FAST, ALL, 'generic', '3.2.1', 'O(N) in the number of keys', 'Counts existing keys and marks them used', keys.touch),
  row('type', 2, READ_FAST, ONE, 'generic', '1.0.0', 'O(1)', 'Determine the type stored at key', keys.type),
  row('expire', -3, CHANGE_FAST, ONE, 'generic', '1.0.0', 'O(1)', "Set a key's time to live in seconds", keys.expire),
  row('pexpire', -3, CHANGE_FAST, ONE, 'generic', '2.6.0', 'O(1)', "Set a key's time to live in milliseconds", keys.pexpire),
  row('expireat', -3, CHANGE_FAST, ONE, 'generic', '1.2.0', 'O(1)', 'Set the expiration for a key as a UNIX timestamp', keys.expireat),
  row('pexpireat', -3, CHANGE_FAST, ONE, 'generic', '2.6.0', 'O(1)', 'Set the expiration for a key as a UNIX timestamp in milliseconds', keys.pexpireat),
  row('ttl', 2, READ_FAST, ONE, 'generic', '1.0.0', 'O(1)', 'Get the time to live for a key in seconds', keys.ttl),
  row('pttl', 2, READ_FAST, ONE, 'generic', '2.6.0', 'O(1)', 'Get the time to live for a key in milliseconds', keys.pttl),
  row('expiretime', 2, READ_FAST, ONE, 'generic', '7.0.0', 'O(1)', 'Get the expiration Unix timestamp for a key', keys.expiretime),
  row('pexpiretime', 2, READ_FAST, ONE, 'generic', '7.0.0', 'O(1)', 'Get the expiration Unix timestamp for a key in milliseconds', keys.pexpiretime),
  row('persist', 2, CHANGE_FAST, ONE, 'generic', '2.2.0', 'O(1)', 'Remove the expiration from a key', keys.persist),
  row('scan', -2, 'readonly', NONE, 'generic', '2.8.0', 'O(1) for every call', 'Incrementally iterate the keys space', keys.scan),
  row('keys', 2, 'readonly', NONE, 'generic', '1.0.0', 'O(N) in the number of keys', 'Find all keys matching the given pattern', keys.keys),
  row('randomkey', 1, 'readonly', NONE, 'generic', '1.0.0', 'O(1)', 'Return a random key from the keyspace', keys.randomkey),
  row('dbsize', 1, READ_FAST, NONE, 'generic', '1.0.0', 'O(1)', 'Return the number of keys', keys.dbsize),
  row('flushall', -1, 'write', NONE, 'generic', '1.0.0', 'O(N) in the size of the memory', 'Remove all keys', keys.flushall),
  row('flushdb', -1, 'write', NONE, 'generic', '1.0.0', 'O(N) in the size of the memory', 'Remove all keys', keys.flushall),

  // -- connection
  row('ping', -1, 'fast', NONE, 'connection', '1.0.0', 'O(1)', 'Ping the server', connection.ping),
  row('echo', 2, 'loading stale fast', NONE, 'connection', '1.0.0', 'O(1)', 'Echo the given string', connection.echo),
  row('hello', -1, ANY_TIME, NONE, 'connection', '6.0.0', 'O(1)', 'Handshake with the server', connection.hello),
  row('auth', -2, ANY_TIME, NONE, 'connection', '1.0.0', 'O(1)', 'Authenticate to the server', connection.auth),
  row('select', 2, 'loading stale fast', NONE, 'connection', '1.0.0', 'O(1)', 'Change the selected database: there is one', connection.select),
  row('quit', -1, ANY_TIME, NONE, 'connection', '1.0.0', 'O(1)', 'Close the connection', connection.quit),
  row('reset', 1, ANY_TIME, NONE, 'connection', '6.2.0', 'O(1)', 'Reset the connection', connection.reset),
  client,

  // -- cluster
  clustering,
  row('wait', 3, 'blocking', NONE, 'generic', '3.0.0', 'O(N) in the number of ranges that the connection wrote', 'Wait until copies have what this connection wrote', wait),
  row('readonly', 1, 'loading stale fast', NONE, 'connection', '3.0.0', 'O(1)', 'Let this connection read in-sync copies', cluster.readonly),
  row('readwrite', 1, 'loading stale fast', NONE, 'connection', '3.0.0', 'O(1)', 'Let this connection read owners only', cluster.readwrite),

  // -- server
  command,
  configuration,
  row('info', -1, 'loading stale', NONE, 'server', '1.0.0', 'O(1)', 'Get information and statistics about the server', (context, _session, args, out) => info(context, args, out, nameOf)),
  row('time', 1, 'loading stale fast', NONE, 'server', '2.6.0', 'O(1)', 'Return the current server time', time),

  // -- freshness: ours
  row('bw.get', -2, 'readonly fast', ONE, 'freshness', '0.1.0', 'O(1)', 'Get a value with TTL and version, or a lease to load it', reads.bwGet),
  row('bw.mget', -3, 'readonly movablekeys', NONE, 'freshness', '0.1.0', 'O(N) in the number of keys', 'BW.GET for a batch of keys', reads.bwMget),
  row('bw.set', -3, WRITE, ONE, 'freshness', '0.1.0', 'O(N) in the number of tags', 'Set a value with TTL and tags, under the lease of its miss', freshness.bwSet),
  row('bw.fill', -7, `${WRITE} movablekeys`, NONE, 'freshness', '0.1.0', 'O(N) in the number of entries and tags', 'Store a batch of loaded values, each under its lease', freshness.bwFill),
  row('bw.invalidate', -3, 'write movablekeys', NONE, 'freshness', '0.1.0', 'O(N) in the number of names', 'Invalidate keys, tags and namespaces', freshness.bwInvalidate),
  row('bw.lease', -3, 'fast movablekeys', NONE, 'freshness', '0.1.0', 'O(N) in the number of keys', 'Leases to load keys anew, whether they have an entry or not', reads.bwLease),
  row('bw.release', -3, 'fast', [1, -2, 2], 'freshness', '0.1.0', 'O(N) in the number of keys', 'Give leases back whose loads will not fill', freshness.bwRelease),
  row('bw.lock', 4, 'fast', ONE, 'freshness', '0.1.0', 'O(1)', 'Acquire a lock with a fencing token', locks.bwLock),
  row('bw.renew', 4, 'fast', ONE, 'freshness', '0.1.0', 'O(1)', 'Hold a lock for longer', locks.bwRenew),
  row('bw.unlock', 3, 'fast', ONE, 'freshness', '0.1.0', 'O(1)', 'Give a lock back', locks.bwUnlock),
  row('bw.count', -2, 'fast', ONE, 'freshness', '0.1.0', 'O(1)', 'Add to a counter that is not evicted, or read it', bwCount),
  row('bw.stats', 1, 'loading stale fast', NONE, 'freshness', '0.1.0', 'O(1)', 'Counters as a map', freshness.bwStats),
  feeding,
  membership,
];

/** TIME: seconds and microseconds. The node is told whole milliseconds. */
function time(context: Context, _session: unknown, _args: unknown, out: Parameters<CommandFunction>[3]): void {
  out.array(2);
  out.bulkText(String(Math.floor(context.nowMs / 1000)));
  out.bulkText(String((context.nowMs % 1000) * 1000));
}
