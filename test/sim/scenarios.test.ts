/**
 * Bugs of clusters that have a name, each as a script and what must come of it, word by word (`scenarios/*.txt`; the language is in sim/cluster/scenario.ts).
 *
 * BREAKWATER_UPDATE_GOLDEN=1 writes what comes of them now: read the difference before it is committed.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { play, Scenario } from '../../sim/cluster/scenario.ts';

const folder = join(import.meta.dirname, 'scenarios');

for (const name of readdirSync(folder).filter((file) => file.endsWith('.txt'))) {
  test(`scenario: ${name.replace('.txt', '').replaceAll('-', ' ')}`, () => {
    const path = join(folder, name);
    const text = readFileSync(path, 'utf8');
    const played = play(text);
    if (process.env['BREAKWATER_UPDATE_GOLDEN'] === '1') writeFileSync(path, played);
    else assert.equal(played, text);
    assert.doesNotMatch(played, /WRONG/);
  });
}

test('what is no line of a script is refused', () => {
  assert.throws(() => new Scenario().do('dance m0'), /no such line in a scenario: dance m0/);
});
