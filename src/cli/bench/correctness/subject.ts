/**
 * The port of the correctness bench: what a library must offer to be measured, and nothing about how it does it. Each maker opens
 * *instances*, which stand for processes of one service: they share the server and nothing else.
 *
 * A subject is configured as its own documentation recommends for several processes (an L1, an L2, a bus, where it has
 * them), and says so in `configuration`, which is printed under the table. What it has no word for is left out of the table, not simulated, unless
 * people commonly write it by hand around it (cache-aside): then the maker does what they do.
 */

/** A row of the service's table, and how often it was updated. */
export interface Row {
  readonly id: string;
  readonly version: number;
}

/** The one namespace and the tags of all scenarios: `user:7`, of organisation 1. */
export const NAMESPACE = 'user';

export function tagOf(id: string): string {
  return `org:${Number(id) % 3}`;
}

/** Where an instance lives. Every port leads through a link that the scenarios can hold and cut. */
export interface Place {
  readonly l2Port: number;
  /** Of a ring every server; of a cluster its own addresses, past the link: a client finds them out anyhow. */
  readonly l2Ports: readonly number[];
  /** The same server for publish and subscribe. A library that has one connection for all uses `l2Port` only. */
  readonly busPort: number;
  readonly ttlMs: number;
  /** Longest that a load may take, where the library has such a setting. */
  readonly loadTimeoutMs: number;
  load(id: string): Promise<Row>;
}

export interface Instance {
  /** Through the cache: the loader is asked on a miss. */
  get(id: string): Promise<Row | null | undefined>;
  /** Resolves when the library says that it is done. */
  invalidateKey(id: string): Promise<unknown>;
  invalidateTag?(tag: string): Promise<unknown>;
  invalidateNamespace?(): Promise<unknown>;
  /** Fills the library's memory of invalidated tags, where it is bounded, with `count` others. */
  crowdTags?(count: number): Promise<unknown>;
  close(): Promise<unknown>;
}

/** What runs behind the links; a cluster is reached past them. */
export type ServerKind = 'redis' | 'breakwater' | 'redis-cluster' | 'breakwater-members' | 'breakwater-ring' | 'none';

export interface Subject {
  readonly name: string;
  /** Its word in the roster, by which another process can open it. Absent: none can. */
  readonly word?: string;
  readonly version: string;
  /** One sentence: how it is set up here. */
  readonly configuration: string;
  readonly server: ServerKind;
  /** Longest that it may serve what another process has invalidated, where it declares that; without it every wrong hit is beyond. */
  readonly boundMs?: number;
  /** Which link carries invalidations to other processes: cut in the scenario of that name. */
  readonly news: 'bus' | 'l2' | 'none';
  open(place: Place): Promise<Instance>;
}
