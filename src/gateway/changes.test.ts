/** What a configuration says of changes, as the mapping that follows them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ChangesTable } from '../sources/postgres/changes.ts';
import { streamsOf } from './changes.ts';
import { readConfig } from './config/read.ts';

const tablesOf = (purchase: string, store = 'embedded'): Readonly<Record<string, ChangesTable>> => {
  const yaml = `
store: "${store}"
sources:
  shop: { postgres: { url: "postgres://u@h/d", changes: { tables: { shop.purchase: ${purchase}, Product: { tags: ["all", "org:{org}"], namespaces: [summary] } } } } }
namespaces:
  product: { source: shop, table: Product, key: "the id", columns: [name] }
  brief: { source: shop, table: Product, key: name, columns: [name] }
  summary: { source: shop, sql: "SELECT $1", key: id }
`;
  return streamsOf(readConfig('b.yaml', yaml, {})).get('shop')!.tables;
};

test('a table is followed by the keys of all who show it, and by what the file says besides', () => {
  const { '"Product"': product, '"shop"."purchase"': purchase } = tablesOf('{ keys: ["summary:{product}"] }');
  assert.deepEqual(product?.columns, ['the id', 'name', 'org']);
  assert.deepEqual(product?.namespaces, ['product', 'brief', 'summary']);
  const row = { 'the id': '7', name: 'Tea', org: '3' };
  assert.deepEqual(product?.keys?.(row), ['product:7', 'brief:Tea']);
  assert.deepEqual(product?.tags?.(row), ['all', 'org:3']);
  assert.deepEqual(product?.keys?.({ 'the id': '7', name: null, org: null }), ['product:7'], 'NULL is no key');
  assert.deepEqual([purchase?.columns, purchase?.namespaces], [['product'], ['summary']]);
  assert.deepEqual(purchase?.keys?.({ product: '9' }), ['summary:9']);
  const { '"shop"."purchase"': whole } = tablesOf('{ namespaces: [summary] }');
  assert.deepEqual([whole?.keys, whole?.tags, whole?.namespaces], [undefined, undefined, ['summary']]);
});

test('two gateways with other templates are known to map otherwise: the text of the mapping says so', () => {
  const text = (purchase: string): string => String(tablesOf(purchase)['"shop"."purchase"']?.keys);
  assert.equal(text('{ keys: ["summary:{product}"] }'), text('{ keys: ["summary:{product}"] }'));
  assert.notEqual(text('{ keys: ["summary:{product}"] }'), text('{ keys: ["summary:0{product}"] }'));
});
