/**
 * What is asked of a cluster: a command that belongs to a slot, and how all are to be executed.
 */
import type { ReplyError } from '../resp/reply.ts';
import type { Command } from '../resp/request-writer.ts';
import type { ClusterNode } from './cluster-node.ts';

export interface SlotRequest {
  readonly slot: number;
  /** The command as it is sent to `node`; asked again for each node that the request is directed to. */
  build(node: ClusterNode): Command;
}

export interface ExecuteOptions {
  /** For all of it, redirections and pauses included. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Executing a request twice does no harm: it is sent again when its connection is lost. Default false. */
  readonly idempotent?: boolean;
  /** Writes, each to be acknowledged by all replicas of its shard. Default false. */
  readonly acknowledged?: boolean;
}

/** What must have happened on a node before it can be sent a request: scripts loaded, for instance. */
export interface Preparation {
  /** Null when nothing is left to do. */
  prepare(node: ClusterNode, options: { readonly timeoutMs: number }): Promise<void> | null;
  /** An error reply that preparing once more may help against: forgets that the node was prepared, and says true. */
  isUndone(node: ClusterNode, error: ReplyError): boolean;
}

export const NO_PREPARATION: Preparation = { prepare: () => null, isUndone: () => false };
