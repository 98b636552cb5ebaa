/** Names of tables as the file says them, for the library and for SQL. */
import { quoted } from '../sources/postgres/table.ts';
import type { NamespaceValues } from './config/options.ts';

/** `shop.product` is schema and table, as in SQL. */
export function tableOf(table: NamespaceValues['table'] = ''): string | readonly [string, string] {
  const [first = '', second] = typeof table === 'string' ? table.split('.') : table;
  return second === undefined ? first : [first, second];
}

/** The table as SQL. */
export function sqlNameOf(table: NamespaceValues['table']): string {
  return [tableOf(table)].flat().map(quoted).join('.');
}
