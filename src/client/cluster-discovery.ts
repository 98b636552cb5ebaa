/**
 * Asks servers, one after the other, what the topology is, and believes the first that knows: CLUSTER SHARDS, or CLUSTER SLOTS where the
 * server is older than that; a server that says it is no cluster is one by itself.
 */
import { BreakwaterError } from '../base/errors.ts';
import { ReplyError } from '../resp/reply.ts';
import type { ClusterNode } from './cluster-node.ts';
import { Topology, topologyOfShards, topologyOfSlots } from './cluster-topology.ts';

export interface DiscoveryOptions {
  readonly tls: boolean;
  /** For each server. */
  readonly timeoutMs: number;
}

/** @throws BreakwaterError the last server's reason when none could say */
export async function discover(nodes: readonly ClusterNode[], options: DiscoveryOptions): Promise<Topology> {
  let lastError: unknown = null;
  for (const node of nodes) {
    try {
      const topology = await ask(node, options);
      if (topology.shards.length > 0) {
        if (topology.mode === 'cluster' || nodes.length === 1) return topology;
        lastError = new BreakwaterError(
          'CLUSTER_EXPECTED',
          `cannot use several servers as one store: ${node.name} is not part of a cluster`,
        );
        continue;
      }
      lastError = new BreakwaterError('CLUSTER_SLOT_UNSERVED', `${node.name} knows of no node that serves slots`);
    } catch (error) {
      lastError = error;
    }
  }
  throw lastError;
}

async function ask(node: ClusterNode, { tls, timeoutMs }: DiscoveryOptions): Promise<Topology> {
  const call = { timeoutMs, idempotent: true };
  const [shards] = await node.reader.pipeline([['CLUSTER', 'SHARDS']], call);
  if (!(shards instanceof ReplyError)) return readable(topologyOfShards(shards!, node.address, tls), node);
  if (isNoCluster(shards)) return Topology.standalone(node.address);
  const [slots] = await node.reader.pipeline([['CLUSTER', 'SLOTS']], call);
  if (!(slots instanceof ReplyError)) return readable(topologyOfSlots(slots!, node.address), node);
  if (isNoCluster(slots)) return Topology.standalone(node.address);
  throw slots;
}

/** A server without cluster support, or one that does not even know the word. */
function isNoCluster(error: ReplyError): boolean {
  return /cluster support disabled|unknown command/i.test(error.message);
}

function readable(topology: Topology | null, node: ClusterNode): Topology {
  if (topology !== null) return topology;
  throw new BreakwaterError('CLUSTER_REPLY_INVALID', `cannot read what ${node.name} says about the cluster`);
}
