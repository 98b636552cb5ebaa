/**
 * How values of Postgres become JSON: so that nothing is lost, and what was read can be written back as it is. The driver's own parsers are made for
 * programs in JavaScript, and lose things on the way to others: a `timestamptz` becomes a Date without its microseconds, a `date` a midnight of this
 * machine's time zone that JSON shifts to the day before, a `numeric[]` floating-point numbers.
 *
 *     boolean                         true, false
 *     smallint, integer, oid, real, double precision
 *                                     a number; NaN and the infinities, which JSON lacks, as text
 *     bigint, numeric                 text: "12345678901234567890". JSON's readers round numbers beyond 2^53
 *     json, jsonb                     what it is
 *     timestamp, timestamptz          text as in RFC 3339: "2026-11-21T08:00:00.123456Z"
 *     arrays of these, of text, uuid  lists
 *     everything else                 text as Postgres prints it
 */
type Parse = (text: string) => unknown;

/** As much of `pg.types` as is used. */
export interface ArrayParser {
  create(text: string, parse: Parse): { parse(): unknown[] };
}

/** Of the server's catalogue: they never change. */
const PARSERS: ReadonlyMap<number, Parse> = new Map<number, Parse>([
  [16, (text) => text === 't'],
  ...[21, 23, 26, 700, 701].map((oid): [number, Parse] => [oid, number]),
  [114, (text) => JSON.parse(text) as unknown],
  [3802, (text) => JSON.parse(text) as unknown],
  [1114, rfc3339],
  [1184, rfc3339],
]);

/** Array types and what they are arrays of; those of text are here so that they become lists. */
const ELEMENTS: ReadonlyMap<number, number> = new Map([
  [1000, 16],
  [1005, 21],
  [1007, 23],
  [1028, 26],
  [1021, 700],
  [1022, 701],
  [199, 114],
  [3807, 3802],
  [1115, 1114],
  [1185, 1184],
  ...[1016, 1231, 1009, 1014, 1015, 1182, 1183, 1187, 2951].map((oid): [number, number] => [oid, 25]),
]);

const asText: Parse = (text) => text;

/** For `types` of a Pool. */
export function postgresTypes(arrays: ArrayParser): { getTypeParser(oid: number): Parse } {
  return {
    getTypeParser: (oid) => {
      const element = ELEMENTS.get(oid);
      if (element === undefined) return PARSERS.get(oid) ?? asText;
      const parse = PARSERS.get(element) ?? asText;
      return (text) => arrays.create(text, parse).parse();
    },
  };
}

function number(text: string): number | string {
  const value = Number(text);
  return Number.isFinite(value) ? value : text;
}

/** Text that is not of this form (`infinity`, years before Christ) stays as it is. */
function rfc3339(text: string): string {
  const match = /^(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)(?:([+-]\d\d)(?::?(\d\d))?)?$/.exec(text);
  if (match === null) return text;
  const [, date, time, hours, minutes = '00'] = match;
  const offset = hours === undefined ? '' : hours === '+00' && minutes === '00' ? 'Z' : `${hours}:${minutes}`;
  return `${date}T${time}${offset}`;
}
