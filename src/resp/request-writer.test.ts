import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { REQUEST, RequestParser } from './parser.ts';
import { type CommandArg, commandBytes, RequestWriter } from './request-writer.ts';
import { putInteger } from './writer.ts';

const wire = (arg: CommandArg): Buffer => (typeof arg === 'object' ? Buffer.from(arg) : Buffer.from(String(arg)));

test('what the request writer writes the request parser reads', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 100 }),
    fc.string({ unit: 'binary', maxLength: 100 }),
    fc.constantFrom(
      '\u{1F600}'.repeat(30),
      '\u00e9'.repeat(33),
      '\u00e9'.repeat(50),
      `${'a'.repeat(99)}\u00e9`,
      '\ud800 alone',
      '\u4e16'.repeat(3000),
    ),
  );
  const arg: fc.Arbitrary<CommandArg> = fc.oneof(
    text,
    fc.uint8Array({ maxLength: 200 }),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true }),
    fc.bigInt(),
  );
  fc.assert(
    fc.property(fc.array(fc.array(arg, { minLength: 1, maxLength: 12 }), { maxLength: 5 }), (commands) => {
      const writer = new RequestWriter(32);
      for (const command of commands) writer.command(command);
      const parser = new RequestParser();
      parser.begin(writer.bytes, 0, writer.length);
      for (const command of commands) {
        assert.equal(parser.next(), REQUEST);
        const { args } = parser;
        assert.equal(args.count, command.length);
        command.forEach((arg, i) => {
          const got = Buffer.from(args.bytes.subarray(args.start[i]!, args.start[i]! + args.length[i]!));
          assert.deepEqual(got, wire(arg));
        });
      }
      assert.equal(parser.next(), 0);
    }),
    { numRuns: 300 },
  );
});

test('digits by hand are the digits', () => {
  const bytes = new Uint8Array(32);
  const check = (n: number): void =>
    assert.equal(Buffer.from(bytes.subarray(0, putInteger(bytes, 0, n))).toString(), String(n));
  for (let power = 0; power <= 15; power += 1)
    for (const delta of [-1, 0, 1]) for (const sign of [1, -1]) check(sign * (10 ** power + delta) + 0);
  for (const n of [2 ** 30 - 1, 2 ** 30, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 1 - 2 ** 53]) check(n);
  fc.assert(fc.property(fc.maxSafeInteger(), check));
});

test('the size of a command is estimated without encoding it', () => {
  assert.ok(commandBytes(['SET', 'k', new Uint8Array(1000)]) >= 1000);
});
