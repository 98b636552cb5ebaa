/** The picture of a takeover in docs/cluster.md is what its script's trace says; a protocol that changes changes it, or this fails. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { storyOf } from '../../sim/picture/story.ts';
import { drawTakeover } from '../../sim/picture/takeover.ts';
import type { ScaleResult } from '../../sim/scale/measure.ts';
import { drawScale } from '../../sim/scale/plot.ts';
import { scaleTable } from '../../sim/scale/table.ts';

const read = (...path: string[]): string => readFileSync(join(import.meta.dirname, '..', '..', ...path), 'utf8');

test('docs/pictures/takeover.svg is drawn from the trace (npm run sim -- --picture test/sim/scenarios/takeover.txt docs/pictures/takeover.svg)', () => {
  const story = storyOf(read('test', 'sim', 'scenarios', 'takeover.txt'));
  assert.equal(drawTakeover(story), read('docs', 'pictures', 'takeover.svg'));
  const [before, after] = story.spans.filter(({ untilMs }) => untilMs > 1000);
  assert.deepEqual(
    [before!.member, before!.untilMs],
    ['m0', 1800],
    'the owner serves until F after its last heartbeat that was heard',
  );
  assert.equal(after!.member, 'm1');
  assert.ok(after!.fromMs > before!.untilMs);
});

test('docs/pictures/cluster-scale.svg and the table are of the results that are committed', () => {
  const { results } = JSON.parse(read('bench', 'results', '2026-11-21-cluster-scale.json')) as {
    results: ScaleResult[];
  };
  assert.equal(drawScale(results), read('docs', 'pictures', 'cluster-scale.svg'));
  assert.ok(read('bench', 'results', '2026-11-21-cluster-scale.md').includes(scaleTable(results)));
});
