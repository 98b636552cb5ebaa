/** What a second process and a server under memory pressure do in the bench, for real. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { requires } from '../../../../test/support/requirements.ts';
import { Children } from '../../children/children.ts';
import { notesAmong } from './pressure.ts';
import { findSubjects } from './roster.ts';
import { ALL_SCENARIOS, type CorrectnessCell, runCorrectness } from './run.ts';

const SIZE = { keys: 2, callers: 5, operations: 200, seed: 1 };
const children = new Children();
after(() => children.close());

async function run(word: string, scenario: string, settleMs: number): Promise<CorrectnessCell> {
  const { subjects } = await findSubjects([word]);
  const scenarios = ALL_SCENARIOS.filter(({ name }) => name === scenario);
  const settings = { ttlMs: 600_000, loadTimeoutMs: 30_000, settleMs, readDeadlineMs: 30_000 };
  const [cell] = await runCorrectness({ subjects, scenarios, size: SIZE, settings }, children, () => {});
  assert.equal(cell!.failure, null, `${word}, ${scenario}`);
  return cell!;
}

test('what is a note and what an entry', () => {
  const keys = ['user:100', 'user:1000', 'tag:org:100', 'r:org:1', 'bw.tags', 'filler:1', 'user-101'];
  assert.deepEqual(notesAmong(keys, ['100', '101']), ['user:1000', 'tag:org:100', 'r:org:1', 'bw.tags']);
});

describe('on a real redis-server', { ...requires('redis-server'), timeout: 120_000 }, () => {
  test('a server under pressure evicts notes and keeps entries: sets of keys lose their members, generations do not', async () => {
    const naive = await run('cache-aside', 'tags-evicted', 60);
    assert.equal(naive.tally?.leftStale, SIZE.keys);
    const ours = await run('breakwater-redis', 'tags-evicted', 30_000);
    assert.deepEqual([ours.tally?.wrongHits, ours.tally?.leftStale], [0, 0]);
  });

  test('the holder of a lease is a process, which is killed', async () => {
    const { tally } = await run('breakwater-redis', 'holder-killed', 30_000);
    assert.match(tally!.note, /^others /);
    // One to connect, and the holder's.
    assert.ok(tally!.loads >= 2);
  });
});
