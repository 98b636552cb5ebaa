/**
 * A cluster of many members in simulated time: the production core of each, placement as production has it, a calm network. For what grows with their number: traffic, shares, time until everybody agrees.
 *
 * Three zones; one copy beside the owner; three voters up to four members, else five; 16 ranges a member, rounded up to a power of two.
 */
import { SeededRandom } from '../../src/base/random.ts';
import type { Member, NodeId } from '../../src/cluster/member.ts';
import type { Message, MessageKind } from '../../src/cluster/messages.ts';
import { place } from '../../src/cluster/placement.ts';
import { Ranges } from '../../src/cluster/ranges.ts';
import { FrameWriter } from '../../src/wire/frame-writer.ts';
import { writeMessage } from '../../src/wire/messages.ts';
import { World } from '../world/world.ts';
import { ScaleHost, Tally } from './host.ts';

/** One way, milliseconds: a data centre. */
const LEAST_MS = 0.2;
const MOST_MS = 1;
const ZONES = 3;
/** Written frames are thrown away when they are so many bytes. */
const SCRATCH_BYTES = 1 << 20;

/** 16 a member, from 64 to 16,384. */
export function rangesFor(members: number): number {
  let ranges = 64;
  while (ranges < 16_384 && ranges < 16 * members) ranges *= 2;
  return ranges;
}

export interface FleetOptions {
  readonly members: number;
  readonly seed: number;
  /** Default: {@link rangesFor}. */
  readonly ranges?: number;
}

export class ScaleFleet {
  readonly world: World;
  readonly hosts: readonly ScaleHost[];
  readonly ids: readonly NodeId[];
  readonly voterIds: readonly NodeId[];
  readonly rangeCount: number;
  readonly copies = 2;
  /** Are frames written, to count their bytes? */
  isCounting = false;
  /** While counted, by kind: frames and bytes. */
  readonly kinds = new Map<MessageKind, { count: number; bytes: number }>();
  /** Called when a member begins to reign. */
  onReign: (host: ScaleHost, range: number, how: string, isEmpty: boolean) => void = () => undefined;
  readonly random: SeededRandom;
  readonly #byId: ReadonlyMap<NodeId, ScaleHost>;
  readonly #homes: readonly (readonly NodeId[])[];
  readonly #orders = new Map<number, readonly NodeId[]>();
  #out = new FrameWriter();

  constructor({ members, seed, ranges = rangesFor(members) }: FleetOptions) {
    this.world = new World(seed);
    this.world.mostEvents = Number.POSITIVE_INFINITY;
    this.random = new SeededRandom(seed);
    this.rangeCount = ranges;
    const all = Array.from({ length: members }, (_, index) => memberOf(index));
    this.ids = all.map(({ id }) => id);
    this.voterIds = this.ids.slice(0, members < 3 ? 1 : members <= 4 ? 3 : 5);
    this.#homes = place(all, new Ranges(ranges), [], { copies: this.copies }).map(({ inSync }) => inSync);
    this.hosts = this.ids.map((id, index) => new ScaleHost(this, index, id));
    this.#byId = new Map(this.hosts.map((host) => [host.id, host]));
  }

  get live(): ScaleHost[] {
    return this.hosts.filter(({ isUp }) => isUp);
  }

  hostOf(id: NodeId): ScaleHost {
    return this.#byId.get(id)!;
  }

  /** Who should own it. */
  homeOf(range: number): NodeId {
    return this.#homes[range]![0]!;
  }

  /** As `node/cluster-node.ts`: placement, and behind it everybody else, beginning elsewhere for each range. Made when it is asked for, and once for all members. */
  readonly order = (range: number): readonly NodeId[] => {
    const known = this.#orders.get(range);
    if (known !== undefined) return known;
    const { ids } = this;
    const first = this.#homes[range]!;
    const rest = ids.map((_, index) => ids[(range + index) % ids.length]!).filter((id) => !first.includes(id));
    const order = [...first, ...rest];
    this.#orders.set(range, order);
    return order;
  };

  send(from: ScaleHost, to: NodeId, message: Message): void {
    const { world } = this;
    const target = this.#byId.get(to)!;
    if (target === from) {
      world.after(0, () => target.receive(from.id, message));
      return;
    }
    let size = 0;
    if (this.isCounting) {
      size = this.#sizeOf(message);
      const kind = this.kinds.get(message.kind) ?? { count: 0, bytes: 0 };
      kind.count += 1;
      kind.bytes += size;
      this.kinds.set(message.kind, kind);
    }
    from.tally.sent += 1;
    from.tally.sentBytes += size;
    world.after(world.between(LEAST_MS, MOST_MS), () => {
      target.tally.received += 1;
      target.tally.receivedBytes += size;
      target.receive(from.id, message);
    });
  }

  began(host: ScaleHost, range: number, how: string, isEmpty: boolean): void {
    this.onReign(host, range, how, isEmpty);
  }

  /** Frames and bytes are counted anew from here. */
  count(isCounting: boolean): void {
    this.isCounting = isCounting;
    this.kinds.clear();
    for (const host of this.hosts) host.tally = new Tally();
  }

  run(forMs: number): void {
    this.world.runPure(this.world.nowMs + forMs);
  }

  /** Lets time pass until it is so, asked every `everyMs`. Milliseconds until then; null: not within `atMostMs`. */
  until(isSo: () => boolean, atMostMs: number, everyMs = 10): number | null {
    const startMs = this.world.nowMs;
    while (!isSo()) {
      if (this.world.nowMs - startMs >= atMostMs) return null;
      this.run(everyMs);
    }
    return this.world.nowMs - startMs;
  }

  #sizeOf(message: Message): number {
    if (this.#out.length > SCRATCH_BYTES) this.#out = new FrameWriter();
    const before = this.#out.length;
    writeMessage(this.#out, message);
    return this.#out.length - before;
  }
}

function memberOf(index: number): Member {
  const id = (Math.imul(index + 1, 0x9e37_79b1) >>> 0).toString(16).padStart(8, '0').repeat(5);
  return {
    id,
    host: `10.0.${index >> 8}.${index & 255}`,
    port: 7379,
    httpPort: 8379,
    linkPort: 17_379,
    zone: `zone-${index % ZONES}`,
    machine: '',
    weight: 1,
    incarnation: 1,
  };
}
