import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Kind, namespaceOf, Pending } from './pending.ts';

test('each name once; registered again it is the same entry with its first time', () => {
  const pending = new Pending(10);
  assert.ok(pending.add('key', 'user:1', 100));
  assert.ok(pending.add('tag', 'org:7', 150));
  assert.ok(pending.add('key', 'user:1', 200));
  assert.deepEqual(pending.list(), { keys: ['user:1'], tags: ['org:7'], namespaces: [] });
  assert.equal(pending.oldestSinceMs(), 100);
  assert.deepEqual(pending.takeChanges(), [
    { op: 'add', kind: 'key', name: 'user:1' },
    { op: 'add', kind: 'tag', name: 'org:7' },
  ]);
  assert.deepEqual([pending.withholdsKey('user:1'), pending.withholdsKey('user:2')], [true, false]);
  assert.deepEqual([pending.withholdsTags(['a', 'org:7']), pending.withholdsTags(['user:1'])], [true, false]);
});

test('what was registered again while its retry was under way is not settled by it', () => {
  const pending = new Pending(10);
  pending.add('key', 'user:1', 0);
  const sent = pending.sequence;
  pending.add('key', 'user:1', 5);
  assert.equal(pending.settle('key', 'user:1', sent), false);
  assert.equal(pending.settle('key', 'user:1', pending.sequence), true);
  assert.equal(pending.size, 0);
});

test('a key of a namespace that is registered counts as the namespace registered again', () => {
  const pending = new Pending(10);
  pending.add('key', 'user:1', 3);
  pending.add('namespace', 'user', 7);
  assert.deepEqual(pending.list(), { keys: [], tags: [], namespaces: ['user'] });
  assert.equal(pending.oldestSinceMs(), 3, 'its oldest key has waited since then');
  const sent = pending.sequence;
  pending.add('key', 'user:2', 9);
  assert.equal(pending.size, 1);
  assert.equal(pending.settle('namespace', 'user', sent), false);
  assert.ok(pending.withholdsKey('user:2'));
});

test('without room: keys become their namespace, tags become all known caches, and beyond that one is refused', () => {
  const pending = new Pending(4);
  for (const name of ['a:1', 'a:2', 'a:3', 'b:1']) pending.add('key', name, 0);
  assert.ok(pending.add('key', 'c:1', 0));
  assert.deepEqual(pending.list(), { keys: ['b:1', 'c:1'], tags: [], namespaces: ['a'] });
  pending.know('b');
  assert.ok(pending.add('tag', 't1', 0));
  assert.ok(pending.add('tag', 't2', 0), 't1 becomes b, which takes b:1 with it');
  assert.deepEqual(pending.list(), { keys: ['c:1'], tags: ['t2'], namespaces: ['a', 'b'] });
  assert.ok(pending.add('key', 'c:2', 0), 'in the place of t2, which b stands for');
  assert.deepEqual(pending.list(), { keys: ['c:1', 'c:2'], tags: [], namespaces: ['a', 'b'] });
  assert.ok(pending.add('namespace', 'd', 0));
  assert.deepEqual(pending.list(), { keys: [], tags: [], namespaces: ['a', 'b', 'c', 'd'] });
  assert.equal(pending.add('namespace', 'e', 0), false);
});

test('more namespaces than room: the next one is refused, a tag that is covered is not', () => {
  const pending = new Pending(2);
  pending.add('namespace', 'a', 0);
  pending.add('namespace', 'b', 0);
  assert.equal(pending.add('namespace', 'c', 0), false);
  assert.equal(pending.add('key', 'c:1', 0), false);
  assert.equal(pending.add('tag', 't', 0), false, 'nobody knows what it may cover');
  pending.know('a');
  assert.equal(pending.add('tag', 't', 0), true);
  assert.deepEqual(pending.counts, { folded: 1, refused: 3 });
});

const NAMES = fc.constantFrom('a:1', 'a:2', 'a:3', 'b:1', 'b:2', 'c:1', 'd:1', 'x');
const STEP = fc.oneof(
  fc.record({ op: fc.constant('key' as const), name: NAMES }),
  fc.record({ op: fc.constant('tag' as const), name: fc.constantFrom('t1', 't2', 't3', 't4') }),
  fc.record({ op: fc.constant('namespace' as const), name: fc.constantFrom('a', 'b', 'c', 'd') }),
  fc.record({ op: fc.constant('retry' as const), name: fc.constantFrom('good', 'bad') }),
);

test('whatever happens: the bound holds, and what was registered is covered until a later retry was acknowledged', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.array(STEP, { maxLength: 60 }), (most, steps) => {
      const pending = new Pending(most);
      const known = ['a', 'b', 'c'];
      for (const name of known) pending.know(name);
      /** What must be covered still. */
      const owed = new Map<string, { kind: Kind; name: string }>();
      const mirror = new Set<string>();
      const isCovered = (kind: Kind, name: string): boolean => {
        const { keys, tags, namespaces } = pending.list();
        if (kind === 'key') return keys.includes(name) || namespaces.includes(namespaceOf(name));
        if (kind === 'namespace') return namespaces.includes(name);
        return tags.includes(name) || known.every((each) => namespaces.includes(each));
      };
      for (const { op, name } of steps) {
        if (op === 'retry') {
          const batch = pending.take(3);
          if (name === 'bad') pending.postpone(batch);
          else {
            const { sequence } = pending;
            for (const item of batch) assert.ok(pending.settle(item.kind, item.name, sequence));
            // The store has done it: whatever these names stood for is in force.
            for (const [id, each] of owed) if (!isCovered(each.kind, each.name)) owed.delete(id);
          }
        } else if (pending.add(op, name, 0)) owed.set(`${op[0]}${name}`, { kind: op, name });
        for (const { kind, name } of owed.values()) assert.ok(isCovered(kind, name), `${kind} ${name} is forgotten`);
        assert.ok(pending.size <= most, `${pending.size} of ${most}`);
        for (const change of pending.takeChanges()) {
          if (change.op === 'add') mirror.add(`${change.kind} ${change.name}`);
          else mirror.delete(`${change.kind} ${change.name}`);
        }
        const listed = pending.take(100).map((item) => `${item.kind} ${item.name}`);
        assert.deepEqual([...mirror].sort(), listed.sort(), 'the changes tell the whole story');
        assert.equal(pending.tags + pending.namespaces + pending.list().keys.length, pending.size);
      }
    }),
    { numRuns: 500 },
  );
});
