/**
 * Types of key columns, and which ids are keys of them. Postgres reads `042`, ` 42` and `+42` as 42, and a UUID in capitals or braces; a cache
 * keeps each spelling under a name of its own, where an invalidation of `42` never reaches. So there is one spelling: the one that Postgres prints.
 */
export type KeyType = 'text' | 'int' | 'bigint' | 'uuid';

interface Rule {
  /** How the array parameter is cast. */
  readonly cast: string;
  readonly what: string;
  accepts(id: string): boolean;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const INTEGER = /^(?:0|-?[1-9]\d{0,18})$/;

function integer(bits: bigint, cast: string): Rule {
  const most = 2n ** (bits - 1n);
  return {
    cast,
    what: `the key is an integer of ${bits} bits, in decimal without leading zeros`,
    accepts: (id) => {
      if (!INTEGER.test(id)) return false;
      const value = BigInt(id);
      return value >= -most && value < most;
    },
  };
}

export const KEY_TYPES: Readonly<Record<KeyType, Rule>> = {
  // Postgres keeps no NUL in text, and fails the whole query over one.
  text: { cast: 'text[]', what: 'text cannot hold NUL', accepts: (id) => !id.includes('\0') },
  int: integer(32n, 'int4[]'),
  bigint: integer(64n, 'int8[]'),
  uuid: { cast: 'uuid[]', what: 'the key is a UUID, in lower case with hyphens', accepts: (id) => UUID.test(id) },
};

/** By the name that `format_type` gives without its modifier. `smallint` is asked for as an int: there is no row beyond its bounds. */
export const KEY_TYPE_OF: Readonly<Record<string, KeyType>> = {
  text: 'text',
  'character varying': 'text',
  smallint: 'int',
  integer: 'int',
  bigint: 'bigint',
  uuid: 'uuid',
};
