/** docs/cluster.md names every frame that members send each other, in its table. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { FRAMES } from '../src/wire/messages.ts';

test('the table of frames in docs/cluster.md has every frame, and says which are sent by nobody', () => {
  const page = readFileSync(new URL('../docs/cluster.md', import.meta.url), 'utf8');
  const section = page.slice(page.indexOf('\n## Frames'), page.indexOf("\n## A member's memory"));
  const named = new Set(
    section
      .split('\n')
      .filter((line) => line.startsWith('| `'))
      .flatMap((line) => [...line.split('|')[1]!.matchAll(/`([a-z-]+)`/g)].map((found) => found[1]!)),
  );
  const kinds = Object.keys(FRAMES).filter((kind) => !kind.startsWith('swim-'));
  assert.deepEqual(
    kinds.filter((kind) => !named.has(kind)),
    [],
    'not in the table',
  );
  assert.deepEqual(
    [...named].filter((kind) => !kinds.includes(kind)),
    [],
    'in the table, and no frame',
  );
  assert.match(section, /swim-\*/);
});
