/**
 * One server of a topology, with two connections.
 *
 *   reader   everything that need not wait for replicas
 *   writer   invalidations and overwrites. Behind them stands WAIT, which blocks its connection until the replicas have
 *            answered; on the reader's it would hold up every read of the process while a replica is slow.
 *
 * WAIT counts the replicas that have everything this connection wrote. How many there must be is the most that anybody has named: the topology
 * (a cluster knows failed replicas), the server itself (INFO replication, read along with every write), or what it said
 * earlier. A primary that is cut off says "0 replicas" and would otherwise acknowledge what a failover is about to lose.
 * A standalone server does not tell that a replica was taken away for good; then the number is given (`expectedReplicas`).
 */
import { BreakwaterError } from '../base/errors.ts';
import { ReplyError, replyText } from '../resp/reply.ts';
import type { Command } from '../resp/request-writer.ts';
import { type ClientOptions, type CommandOptions, RespClient } from './client.ts';
import type { Outcome } from './cluster-outcome.ts';
import { addressOf } from './cluster-topology.ts';
import type { HostPort } from './url.ts';

/** A server looks at its waiting clients ten times a second; the answer that not all have it should come before the deadline too. */
const WAIT_SLACK_MS = 120;

export class ClusterNode {
  readonly address: HostPort;
  readonly name: string;
  readonly reader: RespClient;
  readonly #options: Omit<ClientOptions, 'host' | 'port'>;
  readonly #expectedReplicas: number | null;
  #writer: RespClient | null = null;
  #replicas = 0;
  #closed = false;

  /**
   * @param expectedReplicas always this many, whatever anybody says; null: find out
   * @param reader who hears what the reader's connection is told and becomes
   */
  constructor(
    address: HostPort,
    options: Omit<ClientOptions, 'host' | 'port'>,
    expectedReplicas: number | null = null,
    reader: Pick<ClientOptions, 'onPush' | 'onState'> = {},
  ) {
    this.address = address;
    this.name = addressOf(address);
    this.#options = options;
    this.#expectedReplicas = expectedReplicas;
    this.reader = new RespClient({ ...options, ...reader, ...address });
  }

  /** How many replicas an acknowledged write must have reached. */
  get replicas(): number {
    return this.#expectedReplicas ?? this.#replicas;
  }

  /** What the topology says, which knows of a replica that was removed for good. */
  setReplicas(count: number): void {
    this.#replicas = count;
  }

  /** As `RespClient.pipeline`. */
  send(commands: readonly Command[], options: CommandOptions): Promise<Outcome[]> {
    return this.reader.pipeline(commands, options);
  }

  /**
   * The same, and each reply that is no error stands for a write that all replicas have: else a `NOT_ACKNOWLEDGED` is in its place. The write
   * itself has been done on the primary then.
   */
  async sendAcknowledged(
    commands: readonly Command[],
    options: CommandOptions & { timeoutMs: number },
  ): Promise<Outcome[]> {
    if (this.#closed) throw new BreakwaterError('CLIENT_CLOSED', 'cannot send the command: the client was closed');
    this.#writer ??= new RespClient({ ...this.#options, ...this.address });
    const waitMs = Math.max(1, Math.floor(Math.min(options.timeoutMs * 0.8, options.timeoutMs - WAIT_SLACK_MS)));
    const wait = (count: number): Command => ['WAIT', count, waitMs];
    const asked = this.replicas;
    const trailer: Command[] = asked === 0 ? [] : [wait(asked)];
    if (this.#expectedReplicas === null) trailer.unshift(['INFO', 'replication']);
    const replies: Outcome[] = await this.#writer.pipeline([...commands, ...trailer], options);
    const tail = replies.splice(commands.length);
    if (this.#expectedReplicas === null) this.#replicas = Math.max(this.#replicas, connectedReplicas(tail[0]!));
    let have: Outcome = asked === 0 ? 0 : tail.at(-1)!;
    if (this.replicas > asked && replies.some((reply) => !(reply instanceof Error))) {
      have = await this.#writer.command(wait(this.replicas), options);
    }
    if (this.replicas === 0 || (typeof have === 'number' && have >= this.replicas)) return replies;
    const error =
      have instanceof ReplyError
        ? have
        : new BreakwaterError(
            'NOT_ACKNOWLEDGED',
            `${this.name} has done the write, but only ${String(have)} of its ${this.replicas} replicas have it`,
          );
    return replies.map((reply) => (reply instanceof Error ? reply : error));
  }

  async close(options: { readonly drain: boolean }): Promise<void> {
    this.#closed = true;
    await Promise.all([this.reader.close(options), this.#writer?.close(options)]);
  }
}

function connectedReplicas(info: Outcome): number {
  const text = info instanceof Error ? null : replyText(info);
  return Number(/^connected_slaves:(\d+)/m.exec(text ?? '')?.[1] ?? 0);
}
