/**
 * What the servers say of themselves, summed over the primaries.
 */
import type { ClusterNode } from '../../client/cluster-node.ts';
import type { StoreFacts } from '../store.ts';
import type { Deadline } from './shards.ts';

export interface ServerNumbers {
  /** Keys, those of other users of the servers, leases and tables included. */
  readonly entries: number;
  readonly usedBytes: number;
  /** `maxmemory`; 0 when a server has none. */
  readonly memoryBytes: number;
  readonly evictions: number;
  readonly shards: number;
}

const decoder = new TextDecoder();

/** How the first of the primaries is configured. */
export async function serverFacts(
  nodes: readonly ClusterNode[],
  isCluster: boolean,
  replicasAreStated: boolean,
  deadline: Deadline,
): Promise<StoreFacts> {
  const commands = [
    ['INFO', 'memory'],
    ['INFO', 'replication'],
    ['INFO', 'keyspace'],
  ];
  const replies = await nodes[0]!.send(commands, { ...deadline.options(), idempotent: true });
  const text = replies.map((reply) => (reply instanceof Uint8Array ? decoder.decode(reply) : String(reply))).join('\n');
  const field = (pattern: RegExp): string | null => pattern.exec(text)?.[1] ?? null;
  const keys = Number(field(/^db0:keys=(\d+)/m) ?? 0);
  return {
    evictionPolicy: field(/^maxmemory_policy:([a-z-]+)/m),
    memoryBytes: Number(field(/^maxmemory:(\d+)/m) ?? 0),
    replicas: isCluster ? 0 : Number(field(/^connected_slaves:(\d+)/m) ?? 0),
    replicasAreStated,
    keysWithoutTtl: keys - Number(field(/^db0:.*expires=(\d+)/m) ?? 0),
  };
}

export async function serverNumbers(nodes: readonly ClusterNode[], deadline: Deadline): Promise<ServerNumbers> {
  const sums = { entries: 0, usedBytes: 0, memoryBytes: 0, evictions: 0, shards: nodes.length };
  await Promise.all(
    nodes.map(async (node) => {
      const [size, memory, stats] = await node.send([['DBSIZE'], ['INFO', 'memory'], ['INFO', 'stats']], {
        ...deadline.options(),
        idempotent: true,
      });
      if (typeof size === 'number') sums.entries += size;
      const field = (info: unknown, name: string): number => {
        const text = info instanceof Uint8Array ? decoder.decode(info) : String(info);
        return Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(text)?.[1] ?? 0);
      };
      sums.usedBytes += field(memory, 'used_memory');
      sums.memoryBytes += field(memory, 'maxmemory');
      sums.evictions += field(stats, 'evicted_keys');
    }),
  );
  return sums;
}
