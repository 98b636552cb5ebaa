/**
 * A simulated member of a cluster that etcd coordinates: the production `EtcdVoter` beside its core, and a pretended etcd at the other end of the network. Questions and answers are lost, late, doubled and overtaken
 * as messages between members are; so a transaction may be done twice, or long after it was given up, or without an answer.
 */
import { EtcdKeys, readRecord, readRoster, writeMark } from '../../src/cluster/etcd.ts';
import { EtcdVoter } from '../../src/cluster/etcd-voter.ts';
import type { NodeId } from '../../src/cluster/member.ts';
import type { Accepted, Message } from '../../src/cluster/messages.ts';
import type { OwnershipRecord } from '../../src/cluster/record.ts';
import type { Timing } from '../../src/cluster/timing.ts';
import type { Machine } from '../world/machine.ts';
import { FakeEtcd } from './fake-etcd.ts';
import type { Judge } from './judge.ts';
import type { Scene } from './member-host.ts';

export const ETCD_NAME = 'etcd';
const PREFIX = '/sim';
const MARK = writeMark({ cluster: '0'.repeat(32), setup: 'sim' });
const CALL_MS = 2;
const MOST_CLAIMS = 100;

/** One for all members; the cluster stands in it. The judge sees what is written. */
export function formedEtcd(judge: Judge, ranges: number): FakeEtcd {
  const etcd = new FakeEtcd();
  etcd.run({
    compare: [],
    success: [{ kind: 'put', key: new EtcdKeys(PREFIX).cluster, value: MARK }],
    failure: [],
  });
  const { roster } = new EtcdKeys(PREFIX);
  etcd.onPut = (key, value) => {
    if (key.startsWith(`${PREFIX}/record/`)) judge.told(readRecord({ key, value, modRevision: 0 }, ranges));
    if (key === roster) judge.toldRoster(readRoster({ key, value, modRevision: 0 }, ranges));
  };
  return etcd;
}

export interface EtcdSideOptions {
  readonly scene: Scene;
  readonly name: string;
  readonly self: NodeId;
  readonly life: number;
  readonly timing: Timing;
  readonly machine: Machine;
  /** To the core. */
  readonly hear: (message: Message) => void;
}

export class EtcdSide {
  readonly #options: EtcdSideOptions;
  readonly #etcd: FakeEtcd;
  readonly #voter: EtcdVoter;
  /** What the core asked to be written, by claim; the last ones. */
  readonly #claims = new Map<number, readonly OwnershipRecord[]>();

  constructor(options: EtcdSideOptions) {
    const { scene, self, life, timing, machine } = options;
    const { setup, hosts } = scene;
    this.#options = options;
    this.#etcd = scene.etcd!;
    this.#voter = new EtcdVoter({
      self,
      life,
      rangeCount: setup.ranges,
      founding: hosts.slice(0, setup.members).map(({ id }) => id),
      timing,
      prefix: PREFIX,
      mark: MARK,
      clusterId: this.#etcd.clusterId,
      nowMs: machine.clock.now(),
    });
  }

  /** The core says it to etcd. */
  say(message: Message): void {
    if (message.kind === 'accept') {
      this.#claims.set(message.claim, message.records);
      if (this.#claims.size > MOST_CLAIMS) this.#claims.delete(this.#claims.keys().next().value!);
    }
    this.#voter.onMessage(message, this.#now());
    this.#drain();
  }

  tick(): void {
    this.#voter.onTick(this.#now());
    this.#drain();
  }

  invariants(): void {
    this.#voter.invariants();
  }

  #now(): number {
    return this.#options.machine.clock.now();
  }

  /** What the core is told to be written is what was written. */
  #accepted({ claim, ranges }: Accepted): void {
    for (const record of this.#claims.get(claim) ?? []) {
      if (ranges.includes(record.range)) this.#options.scene.judge.told(record);
    }
  }

  #drain(): void {
    const { scene, name, machine, hear } = this.#options;
    const { world, datagrams, judge } = scene;
    for (let wishes = this.#voter.take(); wishes.length > 0; wishes = this.#voter.take()) {
      for (const wish of wishes) {
        switch (wish.kind) {
          case 'ask':
            datagrams.send(name, ETCD_NAME, () => {
              const answer = this.#etcd.run(wish.txn);
              world.after(world.between(0, CALL_MS), () =>
                datagrams.send(ETCD_NAME, name, () =>
                  machine.deliver(() => {
                    this.#voter.onAnswer(wish.number, answer, this.#now());
                    this.#drain();
                  }),
                ),
              );
            });
            break;
          case 'say':
            if (wish.message.kind === 'accepted') this.#accepted(wish.message);
            world.after(0, () => machine.deliver(() => hear(wish.message)));
            break;
          case 'lost':
            judge.violate(8, `${name} takes etcd for another: ${wish.why}`);
            break;
        }
      }
    }
  }
}
