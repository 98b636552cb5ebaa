/**
 * The store's way to its servers: requests in, outcomes out, with the port's deadlines, signals and error codes; and the layout (one sector, or
 * sixteen) that follows from what the servers turned out to be.
 */
import { BreakwaterError } from '../../base/errors.ts';
import { ClusterClient, type ClusterOptions } from '../../client/cluster.ts';
import type { ClusterNode } from '../../client/cluster-node.ts';
import type { Outcome } from '../../client/cluster-outcome.ts';
import type { ExecuteOptions, SlotRequest } from '../../client/cluster-request.ts';
import type { StoreCall } from '../store.ts';
import { storeError } from './errors.ts';
import { type Layout, layoutOfCluster, STANDALONE } from './sectors.ts';

export class Shards {
  readonly client: ClusterClient;
  readonly #options: ClusterOptions;
  #closed = false;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.client = new ClusterClient(options);
  }

  /** The call with its end as a moment. @throws BreakwaterError `STORE_CLOSED`; the signal's reason */
  begin(call: StoreCall): Deadline {
    if (this.#closed) throw new BreakwaterError('STORE_CLOSED', 'cannot use the store: it was closed');
    if (call.signal?.aborted === true) throw call.signal.reason;
    return new Deadline(call, this.#options);
  }

  async layout(deadline: Deadline): Promise<Layout> {
    try {
      const topology = await this.client.topology(deadline.options());
      return topology.mode === 'cluster' ? layoutOfCluster() : STANDALONE;
    } catch (error) {
      throw storeError(error, deadline.signal);
    }
  }

  /** Outcomes aligned with the requests; rejects only when none can be had. */
  async execute(
    requests: readonly SlotRequest[],
    deadline: Deadline,
    how: Pick<ExecuteOptions, 'idempotent' | 'acknowledged'>,
  ): Promise<Outcome[]> {
    try {
      return await this.client.execute(requests, { ...deadline.options(), ...how });
    } catch (error) {
      throw storeError(error, deadline.signal);
    }
  }

  /** Every primary, once there is a topology. */
  async primaries(deadline: Deadline): Promise<readonly ClusterNode[]> {
    await this.layout(deadline);
    return this.client.primaries();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.client.close();
  }
}

/** What is left of a call's time, for calls of several steps. */
export class Deadline {
  readonly signal: AbortSignal | undefined;
  readonly #clock: ClusterOptions['clock'];
  readonly #endMs: number;

  constructor(call: StoreCall, { clock }: Pick<ClusterOptions, 'clock'>) {
    this.signal = call.signal;
    this.#clock = clock;
    this.#endMs = clock.now() + call.timeoutMs;
  }

  /** At least 1 ms: who comes too late is told so by the timeout. */
  options(): ExecuteOptions & { readonly timeoutMs: number } {
    return { timeoutMs: Math.max(1, this.#endMs - this.#clock.now()), signal: this.signal };
  }
}
