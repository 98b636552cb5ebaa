/** One metric of a table: its name, what it is, and how it is read out of what a scrape took. */

/** A value, or one per label value. */
export type Reading = number | readonly { readonly label: string; readonly value: number }[];

export interface MetricRow<S> {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  /** The label's name, when `read` gives several values. */
  readonly label?: string;
  readonly read: (taken: S) => Reading;
}

function rowOf<S>(
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  read: (taken: S) => Reading,
  label?: string,
): MetricRow<S> {
  return label === undefined ? { name, type, help, read } : { name, type, help, read, label };
}

export function counter<S>(name: string, help: string, read: (taken: S) => Reading, label?: string): MetricRow<S> {
  return rowOf('counter', name, help, read, label);
}

export function gauge<S>(name: string, help: string, read: (taken: S) => Reading, label?: string): MetricRow<S> {
  return rowOf('gauge', name, help, read, label);
}
