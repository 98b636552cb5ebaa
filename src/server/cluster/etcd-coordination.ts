/**
 * A member's side of a cluster that etcd coordinates: finds the cluster in etcd or makes it, and stands between the core and etcd from then on (`cluster/etcd-voter.ts` decides, `etcd-gateway.ts` asks).
 *
 * *Forming* asks nobody: whoever comes first writes the cluster's mark, an identity drawn by chance with the fingerprint of what must be the same everywhere, in a transaction that does so only where there is none. Everybody else
 * finds it. A member that remembers a cluster never makes one: an etcd without it was emptied, and that is for an operator to know.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { EtcdKeys, type EtcdTxn, lookAt, readMark, writeMark } from '../../cluster/etcd.ts';
import { EtcdVoter } from '../../cluster/etcd-voter.ts';
import type { Message } from '../../cluster/messages.ts';
import { type EtcdConfig, hostsOf } from './etcd-address.ts';
import { EtcdGateway, type EtcdTls } from './etcd-gateway.ts';
import type { ClusterSetup } from './setup.ts';

export interface FindOptions {
  readonly config: EtcdConfig;
  readonly setup: ClusterSetup;
  /** The cluster that this member belongs to, as it remembers or was told by those that let it in; '' = none yet. */
  readonly belongsTo: string;
  readonly log: Log;
}

/** What a member says of it: `GET /cluster.json`. */
export interface EtcdStatus {
  readonly hosts: string;
  readonly prefix: string;
  /** As of the newest answer. */
  readonly revision: number;
  /** Of the last answer; null: there was none. */
  readonly roundTripMs: number | null;
  readonly answered: number;
  readonly failed: number;
  /** It is not the etcd that it was when this member started: nothing is served. */
  readonly isLost: boolean;
}

export interface AttachOptions {
  readonly life: number;
  readonly nowMs: () => number;
  /** To the core, as said by `ETCD`; never while it is being asked. */
  readonly hear: (message: Message) => void;
}

const FIND_MS = 3000;
const RETRY_MS = 300;
const SAY_MS = 5000;
/** Errors of etcd are worth a line so often. */
const COMPLAIN_MS = 30_000;

export class EtcdCoordination {
  /** Identity of the cluster. */
  readonly cluster: string;
  readonly #gateway: EtcdGateway;
  readonly #options: FindOptions;
  readonly #prefix: string;
  readonly #mark: string;
  readonly #clusterId: string;
  #voter: EtcdVoter | null = null;
  #attached: AttachOptions | null = null;
  #isClosed = false;
  #complainedMs = Number.NEGATIVE_INFINITY;

  /**
   * Resolves when etcd has answered, however long that takes.
   * @throws BreakwaterError `MEMBER_REFUSED`: another cluster is there; `CLUSTER_DATA_FOREIGN`: the one that this member remembers is not; `ETCD_REFUSED`; `CONFIG_INVALID`: a file of TLS
   */
  static async find(options: FindOptions): Promise<EtcdCoordination> {
    const { config, setup, belongsTo, log } = options;
    const prefix = config.prefix ?? `/breakwater/${setup.name}`;
    const key = new EtcdKeys(prefix).cluster;
    const made = writeMark({ cluster: randomBytes(16).toString('hex'), setup: setup.fingerprint });
    const txn: EtcdTxn =
      belongsTo === ''
        ? {
            compare: [{ key, mod: 'equal', revision: 0 }],
            success: [{ kind: 'put', key, value: made }, lookAt(key)],
            failure: [lookAt(key)],
          }
        : { compare: [], success: [lookAt(key)], failure: [] };
    const gateway = new EtcdGateway(config, tlsOf(config));
    try {
      for (let saidMs = performance.now(); ; ) {
        try {
          const answer = await gateway.run(txn, FIND_MS);
          const last = answer.results.at(-1)!;
          const entry = last.kind === 'range' ? last.entries[0] : undefined;
          if (entry === undefined) {
            throw new BreakwaterError(
              'CLUSTER_DATA_FOREIGN',
              `cannot be a member of cluster ${belongsTo}: etcd at ${hostsOf(config)} has none at ${prefix}; it was emptied, or is another one. A founding member that starts without its directory forms a new cluster there, empty`,
            );
          }
          const { cluster, setup: fingerprint } = readMark(entry);
          if (fingerprint !== setup.fingerprint) {
            throw new BreakwaterError(
              'MEMBER_REFUSED',
              `cannot be a member of the cluster at ${prefix} of etcd at ${hostsOf(config)}: it was formed with another cluster name, list of members, number of ranges or replicas, or takeover time; they must be the same everywhere`,
            );
          }
          if (belongsTo !== '' && belongsTo !== cluster) {
            throw new BreakwaterError(
              'CLUSTER_DATA_FOREIGN',
              `cannot be a member of the cluster at ${prefix} of etcd at ${hostsOf(config)}: that is ${cluster}, and this member belongs to ${belongsTo}, as its directory or those that let it in say; a member that is to be of the first starts without its directory`,
            );
          }
          if (answer.isSuccess && belongsTo === '') log.info('a new cluster in etcd', { cluster, prefix });
          return new EtcdCoordination(options, gateway, {
            prefix,
            mark: entry.value,
            cluster,
            clusterId: answer.clusterId,
          });
        } catch (error) {
          if (!(error instanceof BreakwaterError) || error.code !== 'ETCD_AWAY') throw error;
          if (performance.now() - saidMs >= SAY_MS) {
            saidMs = performance.now();
            log.info('waiting for etcd', { why: error.message });
          }
        }
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    } catch (error) {
      gateway.close();
      throw error;
    }
  }

  private constructor(
    options: FindOptions,
    gateway: EtcdGateway,
    found: { readonly prefix: string; readonly mark: string; readonly cluster: string; readonly clusterId: string },
  ) {
    this.#options = options;
    this.#gateway = gateway;
    this.#prefix = found.prefix;
    this.#mark = found.mark;
    this.cluster = found.cluster;
    this.#clusterId = found.clusterId;
  }

  /** The core is there. */
  attach(options: AttachOptions): void {
    const { setup } = this.#options;
    this.#attached = options;
    this.#voter = new EtcdVoter({
      self: setup.self,
      life: options.life,
      rangeCount: setup.rangeCount,
      founding: setup.members.map(({ id }) => id),
      timing: setup.timing,
      prefix: this.#prefix,
      mark: this.#mark,
      clusterId: this.#clusterId,
      nowMs: options.nowMs(),
    });
  }

  /** The core says this to `ETCD`. */
  say(message: Message): void {
    this.#voter!.onMessage(message, this.#attached!.nowMs());
    this.#drain();
  }

  tick(nowMs: number): void {
    this.#voter?.onTick(nowMs);
    this.#drain();
  }

  get status(): EtcdStatus {
    const { roundTripMs, answered, failed } = this.#gateway;
    return {
      hosts: hostsOf(this.#options.config),
      prefix: this.#prefix,
      revision: this.#voter?.revision ?? 0,
      roundTripMs: Number.isNaN(roundTripMs) ? null : Math.round(roundTripMs * 1000) / 1000,
      answered,
      failed,
      isLost: this.#voter?.isLost ?? false,
    };
  }

  close(): void {
    this.#isClosed = true;
    this.#gateway.close();
  }

  // -- within

  #drain(): void {
    const voter = this.#voter!;
    for (let wishes = voter.take(); wishes.length > 0; wishes = voter.take()) {
      for (const wish of wishes) {
        switch (wish.kind) {
          case 'ask':
            void this.#ask(wish.number, wish.txn, wish.timeoutMs);
            break;
          case 'say':
            // Not from within the core's own saying.
            queueMicrotask(() => {
              if (!this.#isClosed) this.#attached!.hear(wish.message);
            });
            break;
          case 'lost':
            this.#options.log.error(
              'etcd is not what it was to this member, which serves nothing any more until it is restarted (docs/operating.md)',
              { why: wish.why },
            );
            break;
        }
      }
    }
  }

  async #ask(number: number, txn: EtcdTxn, timeoutMs: number): Promise<void> {
    const voter = this.#voter!;
    const { nowMs } = this.#attached!;
    try {
      const answer = await this.#gateway.run(txn, timeoutMs);
      if (this.#isClosed) return;
      voter.onAnswer(number, answer, nowMs());
    } catch (error) {
      if (this.#isClosed) return;
      const now = performance.now();
      if (now - this.#complainedMs >= COMPLAIN_MS) {
        this.#complainedMs = now;
        this.#options.log.warn('etcd does not answer', { why: messageOf(error) });
      }
      voter.onFailure(number, nowMs());
    }
    this.#drain();
  }
}

function tlsOf({ files }: EtcdConfig): EtcdTls {
  const read = (path: string): string => {
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      throw new BreakwaterError('CONFIG_INVALID', `cannot read ${path}, a file of TLS for etcd: ${messageOf(error)}`);
    }
  };
  const { ca, cert, key } = files;
  return {
    ...(ca === null ? {} : { ca: read(ca) }),
    ...(cert === null ? {} : { cert: read(cert) }),
    ...(key === null ? {} : { key: read(key) }),
  };
}
