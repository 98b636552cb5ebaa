import assert from 'node:assert/strict';
import { test } from 'node:test';
import { columnsOf, isTemplate, TagTemplates } from './tag-templates.ts';

const tagsOf = (template: string, row: unknown): string[] => new TagTemplates([template]).of(row, 'x:1');

test('tags of a row', () => {
  assert.deepEqual(tagsOf('org:{org}', { org: 7 }), ['org:7']);
  assert.deepEqual(tagsOf('all', {}), ['all']);
  assert.deepEqual(tagsOf('{a}-{b}', { a: 'x', b: true }), ['x-true']);
  assert.deepEqual(tagsOf('in:{list}', { list: ['a', null, 'b'] }), ['in:a', 'in:b']);
  assert.deepEqual(tagsOf('{a}{b}', { a: [1, 2], b: [3, 4] }), ['13', '14', '23', '24']);
  assert.deepEqual(tagsOf('owner:{owner.id}', { owner: { id: 0 } }), ['owner:0']);
  assert.deepEqual(tagsOf('{{{a}}}', { a: 1 }), ['{1}']);
  for (const row of [{}, { org: null }, { org: '' }, { org: [] }, null, 'text', 7])
    assert.deepEqual(tagsOf('org:{org}', row), []);
  assert.throws(() => tagsOf('org:{org}', { org: { id: 1 } }), { code: 'CACHE_TAGS_INVALID' });
  assert.deepEqual(tagsOf('{__proto__}{constructor}', {}), [], 'own members only');
});

test('what is a template, and the columns that it needs', () => {
  for (const template of ['a', '{a}', 'a{b}c{d.e}', '{{x}}']) assert.ok(isTemplate(template), template);
  for (const template of ['', '{', '}', 'a{b', 'a}b', '{}', '{a{b}}']) assert.ok(!isTemplate(template), template);
  assert.deepEqual(columnsOf('a{b}c{d.e}{{f}}'), ['b', 'd']);
});

test('which tags a namespace could have', () => {
  const templates = new TagTemplates(['org:{org}', 'a.b', '{x}!']);
  for (const tag of ['org:7', 'org:', 'org:a\nb', 'a.b', 'anything!']) assert.ok(templates.canHave(tag), tag);
  for (const tag of ['org', 'aXb', 'other:7']) assert.ok(!templates.canHave(tag), tag);
});
