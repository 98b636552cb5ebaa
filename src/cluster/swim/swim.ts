/**
 * SWIM with Lifeguard: who is there, for clusters in which not everybody can ask everybody.
 *
 * Each member probes one other a second, in turn; who does not answer is asked for by three others; who still does not is *suspected*, and everybody is told by
 * rumors that ride on the probes. The suspected hears it too and objects by raising its own number; else, after a while, it is *dead*. So each member
 * sends and receives a constant number of messages whatever N is, a crash is noticed by somebody within about one probe interval (each of N
 * members is probed once an interval on average) and known to everybody some log(N) rounds later.
 *
 * It decides nothing. Who owns a range is the voters' business, by heartbeats: news by hearsay may be late or wrong, and here that costs a wrong line in a table and
 * a placement computed twice. Below some fifty members heartbeats tell everything and this is not needed.
 *
 * A pure machine: `receive` and `tick` return what is to be sent and what is news; time and chance are arguments. Its bounds: one row and one rumor a member, one probe of its own
 * at a time, `MAX_RELAYS` probes for others.
 *
 * Das, Gupta and Motivala, SWIM, DSN 2002; Dadgar, Phillips and Currey, Lifeguard, DSN-W 2018; after HashiCorp's memberlist. Beyond them: a member that finds that
 * it stood still extends everything it waits for by as long, before it accuses anybody (`stallMs`).
 */
import { assert } from '../../base/assert.ts';
import type { Random } from '../../base/random.ts';
import type { Member, NodeId } from '../member.ts';
import { Awareness } from './awareness.ts';
import { compareLives, type Rumor, type SwimMessage, type SwimState } from './messages.ts';
import { SWIM_RULES, type SwimRules } from './rules.ts';
import { Rumors } from './rumors.ts';
import { Suspicion } from './suspicion.ts';

export type SwimOutput =
  | { readonly kind: 'send'; readonly to: Member; readonly message: SwimMessage }
  /** `alive`: new, or back. `suspect`, `dead` and `left` as they say; each once for each change. */
  | { readonly kind: 'news'; readonly id: NodeId; readonly state: SwimState; readonly member: Member };

export interface SwimRow {
  readonly member: Member;
  readonly state: SwimState;
  readonly incarnation: number;
  readonly refutation: number;
  readonly sinceMs: number;
}

interface Probe {
  readonly number: number;
  readonly target: NodeId;
  askOthersMs: number;
  endMs: number;
  /** How many were asked, and said that they are there at least. -1: not asked yet. */
  asked: number;
  nacks: number;
}

interface Relay {
  readonly number: number;
  readonly origin: Member;
  readonly originNumber: number;
  nackMs: number;
  endMs: number;
  isNacked: boolean;
}

/** A member that half the cluster asks for help drops what it cannot keep: their probes fail a little sooner. */
const MAX_RELAYS = 256;
/** A nack comes before the asker gives up. */
const NACK_SHARE = 0.8;
/** Members up to which everything is exchanged each `syncMs`. */
const SYNC_MEMBERS = 32;

export class Swim {
  readonly #rules: SwimRules;
  readonly #random: Random;
  readonly #rows = new Map<NodeId, SwimRow>();
  readonly #suspicions = new Map<NodeId, Suspicion>();
  readonly #rumors = new Rumors();
  readonly #relays = new Map<number, Relay>();
  readonly #awareness: Awareness;
  #self: SwimRow;
  #isLeaving = false;
  /** Everybody else, shuffled: probed in this order, so that each is within two rounds. */
  #order: NodeId[] = [];
  #turn = 0;
  #probe: Probe | null = null;
  #number = 0;
  #nextProbeMs: number;
  #nextGossipMs: number;
  #nextSyncMs: number;
  #lastMs: number;
  #outputs: SwimOutput[] = [];

  /** @param known whom to begin with: one that lives is enough */
  constructor(self: Member, known: Iterable<Member>, random: Random, nowMs: number, rules: Partial<SwimRules> = {}) {
    this.#rules = { ...SWIM_RULES, ...rules };
    this.#random = random;
    this.#awareness = new Awareness(this.#rules.lifeguard ? this.#rules.awareness : 0);
    this.#self = { member: self, state: 'alive', incarnation: self.incarnation, refutation: 0, sinceMs: nowMs };
    this.#rows.set(self.id, this.#self);
    for (const member of known) if (member.id !== self.id) this.#add(member, member.incarnation, 0, nowMs);
    // Not all at once: members that started together would probe together for ever.
    this.#nextProbeMs = nowMs + random.nextFloat() * this.#rules.probeMs;
    this.#nextGossipMs = nowMs + random.nextFloat() * this.#rules.gossipMs;
    this.#nextSyncMs = nowMs;
    this.#lastMs = nowMs;
    this.#rumors.add(this.#rumorOf(this.#self));
  }

  /** Everybody that is remembered, this member included. */
  get rows(): ReadonlyMap<NodeId, SwimRow> {
    return this.#rows;
  }

  /** 0: all is well here. */
  get health(): number {
    return this.#awareness.score;
  }

  /** When `tick` wants to be called at the latest. */
  get nextTickMs(): number {
    let next = Math.min(this.#nextProbeMs, this.#nextGossipMs, this.#nextSyncMs);
    if (this.#probe !== null)
      next = Math.min(next, this.#probe.asked < 0 ? this.#probe.askOthersMs : this.#probe.endMs);
    for (const { nackMs, endMs, isNacked } of this.#relays.values()) next = Math.min(next, isNacked ? endMs : nackMs);
    for (const suspicion of this.#suspicions.values()) next = Math.min(next, suspicion.endMs);
    return next;
  }

  /** Tells a few others that it goes, so that nobody needs to suspect it. To be called once, with a few ticks before the end. */
  leave(nowMs: number): SwimOutput[] {
    this.#isLeaving = true;
    this.#self = { ...this.#self, state: 'left', sinceMs: nowMs };
    this.#rows.set(this.#self.member.id, this.#self);
    this.#rumors.add(this.#rumorOf(this.#self));
    this.#gossip();
    return this.#taken();
  }

  tick(nowMs: number): SwimOutput[] {
    this.#noticeStall(nowMs);
    this.#lastMs = nowMs;
    this.#settleProbe(nowMs);
    for (const [number, relay] of this.#relays) {
      if (!relay.isNacked && nowMs >= relay.nackMs) {
        relay.isNacked = true;
        if (this.#rules.lifeguard) this.#send(relay.origin, { kind: 'swim-nack', number: relay.originNumber });
      }
      if (nowMs >= relay.endMs) this.#relays.delete(number);
    }
    for (const [id, suspicion] of this.#suspicions) {
      if (nowMs < suspicion.endMs) continue;
      const row = this.#rows.get(id)!;
      this.#suspicions.delete(id);
      this.#change({ ...row, state: 'dead', sinceMs: nowMs }, this.#self.member.id);
    }
    if (nowMs >= this.#nextProbeMs) this.#startProbe(nowMs);
    if (nowMs >= this.#nextGossipMs) {
      this.#nextGossipMs = nowMs + this.#rules.gossipMs;
      this.#gossip();
    }
    if (nowMs >= this.#nextSyncMs) this.#startSync(nowMs);
    return this.#taken();
  }

  receive(from: Member, message: SwimMessage, nowMs: number): SwimOutput[] {
    switch (message.kind) {
      case 'swim-ping':
        this.#hear(message.rumors, nowMs);
        this.#send(from, {
          kind: 'swim-ack',
          number: message.number,
          rumors: this.#some(this.#objectionWanted(from.id)),
        });
        break;
      case 'swim-ping-req':
        this.#hear(message.rumors, nowMs);
        this.#relay(from, message.number, message.target, nowMs);
        break;
      case 'swim-ack':
        this.#hear(message.rumors, nowMs);
        this.#acked(message.number);
        break;
      case 'swim-nack':
        if (this.#probe?.number === message.number) this.#probe.nacks += 1;
        break;
      case 'swim-gossip':
        this.#hear(message.rumors, nowMs);
        break;
      case 'swim-sync':
        this.#hear(message.rumors, nowMs);
        if (!message.isAnswer) this.#send(from, { kind: 'swim-sync', rumors: this.#everything(), isAnswer: true });
        break;
    }
    return this.#taken();
  }

  // -- probing

  #startProbe(nowMs: number): void {
    const { probeMs, timeoutMs } = this.#rules;
    const factor = this.#awareness.factor;
    this.#nextProbeMs = nowMs + probeMs * factor;
    const target = this.#nextTarget(nowMs);
    if (target === null) return;
    this.#number += 1;
    const askOthersMs = nowMs + timeoutMs * factor;
    this.#probe = { number: this.#number, target, askOthersMs, endMs: this.#nextProbeMs, asked: -1, nacks: 0 };
    const row = this.#rows.get(target)!;
    // The buddy system: whoever is suspected hears it from the first that asks whether it is there.
    const first = this.#rules.lifeguard && row.state === 'suspect' ? target : null;
    if (first !== null) this.#rumors.add(this.#rumorOf(row, this.#self.member.id));
    this.#send(row.member, { kind: 'swim-ping', number: this.#number, rumors: this.#some(first) });
  }

  /** Ends the probe under way, or asks others for help with it. */
  #settleProbe(nowMs: number): void {
    const probe = this.#probe;
    if (probe === null) return;
    const row = this.#rows.get(probe.target);
    if (row === undefined || row.state === 'dead' || row.state === 'left') {
      this.#probe = null;
      return;
    }
    if (probe.asked < 0 && nowMs >= probe.askOthersMs) {
      const helpers = this.#others(
        this.#rules.indirect,
        (other) => other.state === 'alive' && other.member.id !== probe.target,
      );
      probe.asked = helpers.length;
      for (const { member } of helpers) {
        this.#send(member, {
          kind: 'swim-ping-req',
          number: probe.number,
          target: probe.target,
          rumors: this.#some(null),
        });
      }
    }
    if (nowMs < probe.endMs) return;
    this.#probe = null;
    // Helpers that said nothing at all are on our side of the trouble.
    this.#awareness.add(probe.asked > 0 ? probe.asked - Math.min(probe.asked, probe.nacks) : 1);
    this.#suspect(row, this.#self.member.id, nowMs);
  }

  #acked(number: number): void {
    if (this.#probe?.number === number) {
      this.#probe = null;
      this.#awareness.add(-1);
      return;
    }
    const relay = this.#relays.get(number);
    if (relay === undefined) return;
    this.#relays.delete(number);
    this.#send(relay.origin, { kind: 'swim-ack', number: relay.originNumber, rumors: this.#some(null) });
  }

  #relay(origin: Member, originNumber: number, target: NodeId, nowMs: number): void {
    const row = this.#rows.get(target);
    if (row === undefined || this.#relays.size >= MAX_RELAYS) return;
    this.#number += 1;
    const { timeoutMs, probeMs } = this.#rules;
    this.#relays.set(this.#number, {
      number: this.#number,
      origin,
      originNumber,
      nackMs: nowMs + NACK_SHARE * timeoutMs,
      endMs: nowMs + probeMs,
      isNacked: false,
    });
    this.#send(row.member, { kind: 'swim-ping', number: this.#number, rumors: this.#some(null) });
  }

  /** The next in turn that is not dead; forgets those that are so for long. */
  #nextTarget(nowMs: number): NodeId | null {
    for (let tried = 0; tried <= this.#order.length; tried += 1) {
      if (this.#turn >= this.#order.length) {
        this.#forget(nowMs);
        this.#shuffle();
        this.#turn = 0;
      }
      const id = this.#order[this.#turn];
      this.#turn += 1;
      if (id === undefined) return null;
      const state = this.#rows.get(id)?.state;
      if (state === 'alive' || state === 'suspect') return id;
    }
    return null;
  }

  #forget(nowMs: number): void {
    this.#order = this.#order.filter((id) => {
      const row = this.#rows.get(id);
      if (row === undefined) return false;
      const isGone = (row.state === 'dead' || row.state === 'left') && nowMs - row.sinceMs >= this.#rules.forgetMs;
      if (isGone) this.#rows.delete(id);
      return !isGone;
    });
  }

  #shuffle(): void {
    for (let at = this.#order.length - 1; at > 0; at -= 1) {
      const other = this.#random.nextUint32() % (at + 1);
      [this.#order[at], this.#order[other]] = [this.#order[other]!, this.#order[at]!];
    }
  }

  /** A machine that was not called cannot have heard anybody: what it waits for gets as much more time. */
  #noticeStall(nowMs: number): void {
    const lagMs = nowMs - this.#lastMs;
    if (!this.#rules.lifeguard || lagMs < this.#rules.stallMs) return;
    this.#awareness.add(1);
    if (this.#probe !== null) {
      this.#probe.askOthersMs += lagMs;
      this.#probe.endMs += lagMs;
    }
    for (const relay of this.#relays.values()) {
      relay.nackMs += lagMs;
      relay.endMs += lagMs;
    }
    for (const suspicion of this.#suspicions.values()) suspicion.extend(lagMs);
  }

  /** Who asks whether we are there, is there: if it is thought dead or suspected, it hears so at once, and objects. */
  #objectionWanted(id: NodeId): NodeId | null {
    const row = this.#rows.get(id);
    if (row === undefined || (row.state !== 'suspect' && row.state !== 'dead')) return null;
    this.#rumors.add(this.#rumorOf(row, this.#self.member.id));
    return id;
  }

  // -- what is said of members

  #hear(rumors: readonly Rumor[], nowMs: number): void {
    for (const rumor of rumors) {
      if (rumor.id === this.#self.member.id) this.#hearOfSelf(rumor, nowMs);
      else this.#hearOf(rumor, nowMs);
    }
  }

  #hearOfSelf(rumor: Rumor, nowMs: number): void {
    if (this.#isLeaving || rumor.state === 'alive' || compareLives(rumor, this.#self) < 0) return;
    const { incarnation, refutation } = rumor;
    this.#self = { ...this.#self, incarnation, refutation: refutation + 1, sinceMs: nowMs };
    this.#rows.set(this.#self.member.id, this.#self);
    this.#rumors.add(this.#rumorOf(this.#self));
    // Others could not reach us: something here is slow.
    this.#awareness.add(1);
  }

  #hearOf(rumor: Rumor, nowMs: number): void {
    const row = this.#rows.get(rumor.id);
    const { incarnation, refutation } = rumor;
    if (row === undefined) {
      // Of somebody unknown only how to reach him is of use; that he is dead, nobody needs to hear.
      if (rumor.state === 'alive' && rumor.member !== null) {
        this.#add(rumor.member, incarnation, refutation, nowMs);
        this.#change(this.#rows.get(rumor.id)!, null);
      }
      return;
    }
    const later = compareLives(rumor, row);
    switch (rumor.state) {
      case 'alive':
        if (later <= 0 || rumor.member === null) return;
        this.#suspicions.delete(rumor.id);
        this.#change({ member: rumor.member, state: 'alive', incarnation, refutation, sinceMs: nowMs }, null);
        return;
      case 'suspect':
        if (later < 0 || (later === 0 && (row.state === 'dead' || row.state === 'left'))) return;
        this.#suspect({ ...row, incarnation, refutation }, rumor.by ?? rumor.id, nowMs);
        return;
      case 'dead':
      case 'left':
        if (later < 0 || (later === 0 && (row.state === 'dead' || row.state === 'left'))) return;
        this.#suspicions.delete(rumor.id);
        this.#change({ ...row, incarnation, refutation, state: rumor.state, sinceMs: nowMs }, rumor.by);
        return;
    }
  }

  #suspect(row: SwimRow, accuser: NodeId, nowMs: number): void {
    const { id } = row.member;
    const held = this.#rows.get(id)!;
    const suspicion = this.#suspicions.get(id);
    if (suspicion !== undefined && compareLives(row, held) === 0) {
      // Another one's word for it is passed on: it shortens the wait everywhere.
      if (suspicion.confirm(accuser)) this.#rumors.add(this.#rumorOf(held, accuser));
      return;
    }
    const { suspicion: factor, suspicionMax, probeMs, lifeguard } = this.#rules;
    const minMs = factor * Math.max(1, Math.log10(this.#rows.size)) * probeMs;
    const others = this.#rows.size - 2;
    const wanted = lifeguard && others >= factor - 2 ? Math.max(0, factor - 2) : 0;
    this.#suspicions.set(
      id,
      new Suspicion(nowMs, accuser, { minMs, maxMs: lifeguard ? minMs * suspicionMax : minMs, wanted }),
    );
    this.#change({ ...row, state: 'suspect', sinceMs: nowMs }, accuser);
  }

  #add(member: Member, incarnation: number, refutation: number, nowMs: number): void {
    this.#rows.set(member.id, { member, state: 'alive', incarnation, refutation, sinceMs: nowMs });
    // At a random place of the round: a new member is probed after half a round on average, not by all at once.
    const at = this.#random.nextUint32() % (this.#order.length + 1);
    this.#order.push(member.id);
    [this.#order[at], this.#order[this.#order.length - 1]] = [this.#order.at(-1)!, this.#order[at]!];
  }

  /** A row changes: it is remembered, passed on, and news. */
  #change(row: SwimRow, by: NodeId | null): void {
    const before = this.#rows.get(row.member.id);
    this.#rows.set(row.member.id, row);
    this.#rumors.add(this.#rumorOf(row, by));
    if (before === row || before?.state !== row.state) {
      this.#outputs.push({ kind: 'news', id: row.member.id, state: row.state, member: row.member });
    }
  }

  #rumorOf({ member, state, incarnation, refutation }: SwimRow, by: NodeId | null = null): Rumor {
    return { id: member.id, state, incarnation, refutation, by, member: state === 'alive' ? member : null };
  }

  // -- telling

  #gossip(): void {
    if (this.#rumors.size === 0) return;
    for (const { member } of this.#others(
      this.#rules.fanout,
      (row) => row.state === 'alive' || row.state === 'suspect',
    )) {
      const rumors = this.#some(null);
      if (rumors.length > 0) this.#send(member, { kind: 'swim-gossip', rumors });
    }
  }

  #startSync(nowMs: number): void {
    const doublings = Math.max(0, Math.ceil(Math.log2(this.#rows.size / SYNC_MEMBERS)));
    this.#nextSyncMs = nowMs + this.#rules.syncMs * (1 + doublings) * (0.5 + this.#random.nextFloat());
    // One that is thought dead too: after a cut both halves think so of the other, and nobody else would ever ask.
    for (const state of ['alive', 'dead'] as const) {
      const [partner] = this.#others(1, (row) => row.state === state);
      if (partner === undefined) continue;
      this.#send(partner.member, { kind: 'swim-sync', rumors: this.#everything(), isAnswer: false });
    }
  }

  #everything(): Rumor[] {
    return [...this.#rows.values()].map((row) => this.#rumorOf(row));
  }

  #some(first: NodeId | null): Rumor[] {
    const limit = this.#rules.retransmit * Math.ceil(Math.log10(this.#rows.size + 1));
    return this.#rumors.take(this.#rules.rumorBytes, limit, first);
  }

  /** Up to `count` others, picked at random. */
  #others(count: number, isWanted: (row: SwimRow) => boolean): SwimRow[] {
    const found: SwimRow[] = [];
    // A few tries each, rather than a list of all that would do: nearly all do.
    for (let tried = 0; tried < 4 * count + 8 && found.length < Math.min(count, this.#order.length); tried += 1) {
      const row = this.#rows.get(this.#order[this.#random.nextUint32() % this.#order.length]!);
      if (row !== undefined && isWanted(row) && !found.includes(row)) found.push(row);
    }
    return found;
  }

  #send(to: Member, message: SwimMessage): void {
    this.#outputs.push({ kind: 'send', to, message });
  }

  #taken(): SwimOutput[] {
    const taken = this.#outputs;
    this.#outputs = [];
    return taken;
  }

  /** For tests. @throws AssertionError */
  invariants(): void {
    assert(this.#rows.get(this.#self.member.id) === this.#self, 'a member has a row for itself');
    for (const id of this.#suspicions.keys())
      assert(this.#rows.get(id)?.state === 'suspect', 'a timer for each suspect only');
    for (const [id, { state }] of this.#rows)
      assert(state !== 'suspect' || this.#suspicions.has(id), 'each suspect has a timer');
    assert(this.#relays.size <= MAX_RELAYS, 'probes for others are bounded');
    assert(this.#rumors.size <= this.#rows.size + this.#order.length + 1, 'one rumor a member');
  }
}
