/** What a namespace of a gateway holds: a row as JSON has it. Of an HTTP source, or where clients PUT, it may be any JSON value. */
export type Row = Record<string, unknown>;
