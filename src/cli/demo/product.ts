/**
 * The demo's data: product rows made by a formula that SQL and TypeScript both know, so that every answer of the service
 * can be checked against what the row must say, and an answer for the wrong id, a torn one or a stale one is counted.
 */

/** One row of the table `product`, as the service answers it. */
export interface Product {
  readonly id: number;
  readonly sku: string;
  readonly name: string;
  readonly priceCents: number;
  readonly stock: number;
  readonly description: string;
}

const ADJECTIVES = ['Quiet', 'Bright', 'Sturdy', 'Light', 'Folding', 'Woven', 'Cast', 'Double'] as const;
const NOUNS = [
  'kettle',
  'lamp',
  'chair',
  'basket',
  'compass',
  'blanket',
  'ladder',
  'drum',
  'rope',
  'anchor',
  'oar',
] as const;
const SENTENCE = 'Made to be used every day and repaired when it breaks. ';

/** What the row with this id (from 1) says. */
export function productOf(id: number): Product {
  const name = `${ADJECTIVES[id % ADJECTIVES.length]!} ${NOUNS[id % NOUNS.length]!} no. ${id}`;
  return {
    id,
    sku: `SKU-${String(id).padStart(8, '0')}`,
    name,
    priceCents: 99 + ((id * 7919) % 100_000),
    stock: (id * 31) % 500,
    description: `${name}. ${SENTENCE.repeat(1 + (id % 4))}`,
  };
}

export const CREATE_TABLE = `
  CREATE TABLE product (
    id integer PRIMARY KEY, sku text NOT NULL, name text NOT NULL,
    "priceCents" integer NOT NULL, stock integer NOT NULL, description text NOT NULL
  )`;

const list = (words: readonly string[]): string => `ARRAY[${words.map((word) => `'${word}'`).join(',')}]`;

/** Fills rows $1 .. $2. The modulo is taken in bigint where the product leaves 32 bits. */
export const INSERT_ROWS = `
  INSERT INTO product
  SELECT id, 'SKU-' || lpad(id::text, 8, '0'), name, 99 + ((id::bigint * 7919) % 100000)::integer, ((id::bigint * 31) % 500)::integer,
         name || '. ' || repeat('${SENTENCE}', 1 + (id % 4))
  FROM (SELECT id, (${list(ADJECTIVES)})[1 + id % ${ADJECTIVES.length}] || ' ' || (${list(NOUNS)})[1 + id % ${NOUNS.length}] || ' no. ' || id AS name
        FROM generate_series($1::integer, $2::integer) AS id) AS made`;

/** Changes row $1: the number of the change is its stock. */
export const SET_STOCK = 'UPDATE product SET stock = $2 WHERE id = $1';

/** What the service asks for; also how the statement is found again in pg_stat_statements. */
export const SELECT_PRODUCTS =
  'SELECT id, sku, name, "priceCents", stock, description FROM product WHERE id = ANY($1::integer[])';
