import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BreakwaterError } from '../base/errors.ts';
import { FailureLog } from './failure-log.ts';

test('one line for each kind every ten seconds, with how many there were; a kind does not hide another of its code', () => {
  const lines: string[] = [];
  const add = (message: string, fields: object = {}): void => void lines.push(`${message} ${JSON.stringify(fields)}`);
  let nowMs = 0;
  const log = new FailureLog({ info: add, warn: add, error: add }, () => nowMs);
  const away = new BreakwaterError('SOURCE_FAILED', 'away');
  log.note('follow changes "breakwater"', away);
  for (let id = 0; id < 1_000; id += 1) log.note(`load product:${id}`, away);
  log.note('write product:7', away);
  log.note('load page:7', away);
  assert.deepEqual(
    lines.map((line) => line.split(' {')[0]),
    ['cannot follow changes "breakwater"', 'cannot load product:0', 'cannot write product:7', 'cannot load page:7'],
  );
  nowMs = 10_000;
  log.note('load product:1', away);
  log.note('load product:2', new Error('a bug'));
  assert.match(lines[4]!, /"alsoSince":999/);
  assert.match(lines[5]!, /"code":"INTERNAL"/);
  assert.equal(lines.length, 6);
});
