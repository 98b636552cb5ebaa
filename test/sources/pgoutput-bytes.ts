/** Messages of pgoutput as a server writes them, by hand. */

/** null = null, undefined = unchanged (TOAST). */
export type Value = string | null | undefined;

export const chars = (text: string): number[] => [...Buffer.from(text, 'utf8')];
const be = (value: bigint | number, bytes: number): number[] => {
  const found: number[] = [];
  for (let i = bytes - 1; i >= 0; i -= 1) found.push(Number((BigInt(value) >> BigInt(8 * i)) & 0xffn));
  return found;
};
const name = (text: string): number[] => [...chars(text), 0];
const MICROS_2000_TO = (ms: number): bigint => BigInt(ms - 946_684_800_000) * 1000n;

export const tuple = (...values: Value[]): number[] => [
  ...be(values.length, 2),
  ...values.flatMap((value) =>
    value === null
      ? chars('n')
      : value === undefined
        ? chars('u')
        : [...chars('t'), ...be(chars(value).length, 4), ...chars(value)],
  ),
];

const bytes = (...parts: (number | number[])[]): Uint8Array => Uint8Array.from(parts.flat());

export const begin = (xid: number, lsn = 100n, commitMs = 1_700_000_000_000): Uint8Array =>
  bytes(chars('B'), be(lsn, 8), be(MICROS_2000_TO(commitMs), 8), be(xid, 4));
export const commit = (endLsn: bigint, commitMs = 1_700_000_000_000): Uint8Array =>
  bytes(chars('C'), 0, be(endLsn - 1n, 8), be(endLsn, 8), be(MICROS_2000_TO(commitMs), 8));
/** @param columns a name with `*` is part of the identity */
export const relation = (
  oid: number,
  table: string,
  columns: readonly string[],
  identity = 'd',
  schema = 'public',
): Uint8Array =>
  bytes(
    chars('R'),
    be(oid, 4),
    name(schema),
    name(table),
    chars(identity),
    be(columns.length, 2),
    ...columns.map((column) => [
      column.endsWith('*') ? 1 : 0,
      ...name(column.replace('*', '')),
      ...be(25, 4),
      ...be(0xffffffffn, 4),
    ]),
  );
export const insert = (oid: number, after: number[]): Uint8Array => bytes(chars('I'), be(oid, 4), chars('N'), after);
export const update = (oid: number, after: number[], kind?: 'K' | 'O', before: number[] = []): Uint8Array =>
  bytes(chars('U'), be(oid, 4), kind === undefined ? [] : [...chars(kind), ...before], chars('N'), after);
export const remove = (oid: number, kind: 'K' | 'O', before: number[]): Uint8Array =>
  bytes(chars('D'), be(oid, 4), chars(kind), before);
export const truncate = (...oids: number[]): Uint8Array =>
  bytes(chars('T'), be(oids.length, 4), 0, ...oids.map((oid) => be(oid, 4)));
export const type = (oid: number): Uint8Array => bytes(chars('Y'), be(oid, 4), name('public'), name('mood'));
export const origin = (): Uint8Array => bytes(chars('O'), be(7, 8), name('elsewhere'));
