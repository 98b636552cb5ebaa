/**
 * The same commands to redis-server and to our node; the raw replies must be the same bytes. First the transcripts, which
 * walk through every option and error, then random commands over few keys.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { SeededRandom } from '../../src/base/random.ts';
import { Node } from '../../src/node/node.ts';
import type { NodeSession } from '../../src/node/node-session.ts';
import { ReplyWriter } from '../../src/resp/writer.ts';
import { requires } from '../support/requirements.ts';
import { type RedisConnection, RedisProcess } from './redis-process.ts';
import { disagreement, encodeCommand, parseTranscript, splitArguments } from './transcript.ts';

const folder = join(dirname(fileURLToPath(import.meta.url)), 'transcripts');
const needsRedis = requires('redis-server');

/** Our side: one connection to a node of its own. */
class NodeConnection {
  readonly node = new Node({
    memoryBytes: 64 * 1024 * 1024,
    eviction: 'tinylfu',
    random: new SeededRandom(7),
    startMs: Date.now(),
    version: '0.0.0',
  });
  readonly session: NodeSession = this.node.openSession(Date.now(), { address: 'test:1', kind: 'resp' });
  readonly #out = new ReplyWriter();

  constructor() {
    this.session.outputLimitBytes = Number.MAX_SAFE_INTEGER;
  }

  run(command: readonly Uint8Array[]): Buffer {
    const bytes = encodeCommand(command);
    this.#out.reset();
    this.node.onRequest(this.session, bytes, 0, bytes.length, Date.now(), this.#out);
    return Buffer.from(this.#out.bytes.subarray(0, this.#out.length));
  }
}

let redis: RedisProcess;
if (needsRedis.skip === false) {
  before(async () => {
    redis = await RedisProcess.start();
  });
  after(() => redis?.stop());
}

async function freshConnections(protocol: 2 | 3): Promise<{ theirs: RedisConnection; ours: NodeConnection }> {
  const theirs = await redis.connect();
  const ours = new NodeConnection();
  const hello = splitArguments(`HELLO ${protocol}`);
  await theirs.run([splitArguments('FLUSHALL'), hello]);
  ours.run(hello);
  return { theirs, ours };
}

for (const file of readdirSync(folder).sort()) {
  for (const protocol of [2, 3] as const) {
    test(`transcript ${file}, RESP${protocol}`, needsRedis, async () => {
      const { theirs, ours } = await freshConnections(protocol);
      const failures: string[] = [];
      const lines = parseTranscript(readFileSync(join(folder, file), 'utf8'));
      // RESET and HELLO 2 leave RESP3 on both sides: said again before each line, so that all of it is compared in both.
      const hello = splitArguments(`HELLO ${protocol}`);
      for (const line of lines) {
        const [, reply] = await theirs.run([hello, line.command]);
        ours.run(hello);
        const wrong = disagreement(line.compare, reply!, ours.run(line.command));
        if (wrong !== null) failures.push(`${file}:${line.number} ${line.text}\n${wrong}`);
      }
      theirs.close();
      ours.node.store.invariants();
      assert.equal(failures.length, 0, `${failures.length} of ${lines.length} replies differ\n${failures.join('\n')}`);
    });
  }
}

const key = fc.constantFrom('a', 'b', 'ns:c', '');
const integer = fc.oneof(
  fc.integer({ min: -12, max: 12 }).map(String),
  fc.constantFrom(
    '9223372036854775807',
    '-9223372036854775808',
    '9007199254740991',
    '-9007199254740993',
    '1e3',
    '',
    'x',
    '007',
  ),
);
const value = fc.oneof(
  integer,
  fc.string({ maxLength: 12, unit: 'binary' }).map((text) => Buffer.from(text).toString('latin1')),
  fc.constantFrom('0.5', '-1.25', '1000.001'),
);
/** Fractions that are exact in base two: of others Redis's long double shows its rounding after some sums, where ours is exact (docs/protocol.md). */
const small = fc.constantFrom('0.5', '-1.25', '1000.125', '7', '-12', '1e3', 'x', '');
/** Moments far ahead or long past: what is compared must not depend on the millisecond it is executed in. */
const moment = fc.constantFrom('4102444800', '4102444801', '1', '-1', '0', 'x');
const momentMs = fc.constantFrom('4102444800123', '4102444800500', '4102444801999', '1', '-1', '0', 'x');
const expiry = fc.oneof(
  fc.tuple(fc.constantFrom('EXAT', 'exat'), moment),
  fc.tuple(fc.constant('PXAT'), momentMs),
  fc.constant(['KEEPTTL'] as string[]),
  fc.constant(['PERSIST'] as string[]),
);
const setOptions = fc
  .array(fc.oneof({ weight: 3, arbitrary: expiry }, fc.constantFrom(['NX'], ['XX'], ['GET'], ['bogus'])), {
    maxLength: 3,
  })
  .map((options) => options.flat());
const condition = fc.array(fc.constantFrom('NX', 'XX', 'GT', 'LT'), { maxLength: 2 });
const list = <T>(...parts: readonly fc.Arbitrary<T | T[]>[]): fc.Arbitrary<T[]> =>
  fc.tuple(...parts).map((words) => words.flat() as T[]);
const name = (...names: string[]): fc.Arbitrary<string> => fc.constantFrom(...names);
const command: fc.Arbitrary<string[]> = fc.oneof(
  { weight: 3, arbitrary: list<string>(name('SET'), key, value) },
  { weight: 3, arbitrary: list<string>(name('SET'), key, value, setOptions) },
  { weight: 2, arbitrary: list<string>(name('GET', 'GETDEL', 'STRLEN', 'TYPE', 'INCR', 'DECR', 'PERSIST'), key) },
  {
    weight: 2,
    arbitrary: list<string>(name('EXPIRETIME', 'PEXPIRETIME', 'EXISTS', 'DEL', 'UNLINK', 'TOUCH', 'MGET'), key),
  },
  { weight: 2, arbitrary: list<string>(name('INCRBY', 'DECRBY'), key, integer) },
  { weight: 2, arbitrary: list<string>(name('APPEND', 'GETSET', 'SETNX'), key, value) },
  // A key of its own: Redis's long double rounds huge integers, too.
  { weight: 1, arbitrary: list<string>(name('INCRBYFLOAT', 'SET', 'GETSET'), fc.constant('f'), small) },
  { weight: 2, arbitrary: list<string>(name('GETEX'), key, setOptions) },
  { weight: 1, arbitrary: list<string>(name('EXPIREAT'), key, moment, condition) },
  { weight: 1, arbitrary: list<string>(name('PEXPIREAT'), key, momentMs, condition) },
  { weight: 1, arbitrary: list<string>(name('EXPIRE', 'PEXPIRE'), key, fc.constantFrom('0', '-1', 'x'), condition) },
  { weight: 1, arbitrary: list<string>(name('GETRANGE'), key, integer, integer) },
  { weight: 1, arbitrary: list<string>(name('SETRANGE'), key, fc.constantFrom('0', '3', '20', '-1', 'x'), value) },
  { weight: 1, arbitrary: list<string>(name('MSET', 'MSETNX'), key, value, key, value) },
  { weight: 1, arbitrary: list<string>(name('EXISTS', 'DEL', 'MGET', 'TOUCH'), key, key, key) },
  { weight: 1, arbitrary: list<string>(name('DBSIZE', 'PING', 'nosuch')) },
  { weight: 1, arbitrary: list<string>(name('GET', 'set', 'TTL', 'EXPIRE')) },
);

/**
 * Redis counts what was stored with a moment long past until somebody asks for it or its background cycle comes by, we never do: ask for every
 * key first, so that DBSIZE does not depend on when that was.
 */
const afterExpiry = (words: string[]): string[][] =>
  words[0] === 'DBSIZE' ? [['EXISTS', 'a', 'b', 'ns:c', '', 'f'], words] : [words];

test('random commands over few keys get the same bytes', needsRedis, async () => {
  const { theirs, ours } = await freshConnections(2);
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(2, 3),
      fc.array(command, { minLength: 1, maxLength: 60 }),
      async (protocol, words) => {
        const commands = [['FLUSHALL'], ['HELLO', String(protocol)], ...words.flatMap(afterExpiry)].map((parts) =>
          parts.map((part) => Buffer.from(part, 'latin1')),
        );
        const replies = await theirs.run(commands);
        commands.forEach((parts, index) => {
          const mine = ours.run(parts);
          if (index === 1) return;
          assert.equal(mine.toString('latin1'), replies[index]!.toString('latin1'), `${index}: ${parts.join(' ')}`);
        });
        ours.node.store.invariants();
      },
    ),
    { numRuns: Number(process.env['BREAKWATER_RUNS'] ?? 300) },
  );
  theirs.close();
});
