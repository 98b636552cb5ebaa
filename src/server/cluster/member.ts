/**
 * A member of a cluster in a process: the machine (`node/cluster-node.ts`), its links, its directory, the driver between them. What clients see of it is the server's
 * (`serve.ts`), as with a node of its own.
 *
 * A start, in order: the directory is opened (its lock keeps a second process out) and says what this member knows; the link port listens and peers are dialled; if nobody
 * remembers a cluster, one is formed, else it is told (`formation.ts`); the machine is made with what is known; and when a majority of the voters answers, the start is done. Who is not of the list that the cluster
 * was formed with asks one of its members to be let in before all that (`joining.ts`), unless it remembers.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { BreakwaterError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { ETCD } from '../../cluster/etcd.ts';
import { checkMember, type Member, type NodeId } from '../../cluster/member.ts';
import type { Message } from '../../cluster/messages.ts';
import type { ClusterEvent } from '../../cluster/outputs.ts';
import { asMember, type Roster, type RosterMember, sameRosterMember } from '../../cluster/roster.ts';
import type { StandingRules } from '../../cluster/standing.ts';
import type { ClusterNodeOptions } from '../../node/cluster-door.ts';
import { ClusterNode } from '../../node/cluster-node.ts';
import type { NodeSession } from '../../node/node-session.ts';
import type { ReplyWriter } from '../../resp/writer.ts';
import type { Facts, TurnedAway, Welcome } from '../../wire/hello.ts';
import type { ListenedNode } from '../resp-listener.ts';
import { Ticker } from '../ticker.ts';
import { Discovery } from './discovery.ts';
import { ClusterDriver } from './driver.ts';
import type { EtcdConfig } from './etcd-address.ts';
import { EtcdCoordination } from './etcd-coordination.ts';
import { Finder } from './finder.ts';
import { Formation, type Formed } from './formation.ts';
import { gather } from './gatherer.ts';
import { askToJoin } from './joining.ts';
import { Links } from './links.ts';
import { MemberMemory, type MemberState } from './memory.ts';
import { type Resolver, systemResolver } from './resolver.ts';
import type { ClusterConfig, JoiningConfig } from './settings.ts';
import { type ClusterSetup, factsOf, founderOf, memberId, setupFrom } from './setup.ts';
import { type EventCounts, noEvents, noHandOvers, type StatusParts } from './status.ts';

export interface MemberOptions {
  readonly config: ClusterConfig | JoiningConfig;
  /** When ranges go home; for tests. Default `STANDING_RULES`. */
  readonly balance?: StandingRules;
  readonly bind: string;
  /** What others are told: RESP, and HTTP (0 = not known). */
  readonly port: number;
  readonly httpPort: number;
  readonly node: ClusterNodeOptions['node'];
  readonly clock: Clock;
  readonly log: Log;
  /** Names and files, where members are looked for. Default: the system's. */
  readonly resolver?: Resolver;
  /** What the start waits for, whenever it is something else. */
  readonly onWaiting?: (why: string) => void;
}

/** How often a member that waits for others says so. */
const WAITING_MS = 5000;
const FORMING_TICK_MS = 20;
/** How often a member looks whether the roster says of it what it says itself. */
const DECLARE_MS = 500;
const FIND_MS = 200;
/** A member that has given everything away sends clients to the new owners for so long at most, or until none has asked for so long. */
const LINGER_MS = 2000;
const QUIET_MS = 100;
/** Lives are counted in tenths of a second since 2026: they grow without a directory too, and a claim's number (a million a life) stays exact for 28 years. */
const LIFE_EPOCH_MS = Date.UTC(2026, 0, 1);
const LIFE_MS = 100;

/** Whatever the cluster has that is to be joined. */
const MOST_RANGES = 16_384;

/** A list that others were to share stands for nothing after so long: they are looked for anew. */
const FORMING_MS = 30_000;

/** With what a member begins; `welcome`: what it was told just now; `facts`: of a list that it did not have from the beginning. */
interface LetIn {
  readonly config: ClusterConfig;
  readonly welcome: Welcome | null;
  readonly facts: Facts | null;
}

/** The others of the list that we found do not come: it is no cluster. */
class NotFormed extends Error {}

export class ClusterMember implements ListenedNode<NodeSession> {
  readonly config: ClusterConfig;
  readonly events: EventCounts = noEvents();
  readonly handOvers = noHandOvers();
  /** Set by the server: something may have to be told to sessions. */
  onPushes: () => void = () => {};
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #memory: MemberMemory | null;
  /** What stands in for voters; null: there are voters. */
  readonly #etcd: EtcdCoordination | null;
  readonly #links: Links;
  readonly #formation: Formation;
  readonly #ticker: Ticker;
  /** null: its members were listed. */
  readonly #finder: Finder | null;
  readonly #onWaiting: (why: string) => void;
  readonly #self: Member;
  readonly #members: Map<NodeId, Member>;
  readonly #nodeOptions: ClusterNodeOptions['node'];
  readonly #balance: StandingRules | undefined;
  /** The newest that is known; null: the founding one. */
  #roster: Roster | null;
  /** Who asked to be let in, and what to tell it. */
  readonly #guests = new Map<NodeId, (message: Welcome | TurnedAway) => void>();
  #isForgotten = false;
  #onRefused: (error: BreakwaterError) => void = () => {};
  #machine: ClusterNode | null = null;
  #driver: ClusterDriver | null = null;
  #saidWaitingMs = 0;
  #declareAtMs = 0;
  #findAtMs = 0;
  #onProgress: () => void = () => {};

  /**
   * Resolves when this member is in the cluster and a majority of the voters answers it.
   * @throws BreakwaterError `LISTEN_FAILED`, `MEMBER_REFUSED`, `MEMBER_FORGOTTEN`, `CLUSTER_DATA_INVALID`, `CLUSTER_DATA_UNUSABLE`, `CLUSTER_DATA_FOREIGN`, `DISK_LOG_LOCKED`, `DISK_LOG_CORRUPT`
   */
  static async start(options: MemberOptions): Promise<ClusterMember> {
    const { config, log } = options;
    const { data } = config;
    for (;;) {
      const memory =
        data === null ? null : await MemberMemory.open(data, 'setup' in config ? config.setup.rangeCount : MOST_RANGES);
      const discovery = discoveryOf(options);
      let member: ClusterMember | null = null;
      let etcd: EtcdCoordination | null = null;
      try {
        const found = await letIn(options, memory, discovery);
        const { setup, coordination } = found.config;
        if (coordination !== null) {
          const belongsTo = memory?.state?.cluster || (found.welcome?.cluster ?? '');
          etcd = await EtcdCoordination.find({ config: coordination, setup, belongsTo, log });
        }
        member = new ClusterMember(options, memory, found, discovery, etcd);
        await member.#links.listen(member.config.linkPort, options.bind);
        await member.#join();
        return member;
      } catch (error) {
        discovery?.stop();
        etcd?.close();
        if (member === null) await memory?.close();
        else await member.close();
        if (!(error instanceof NotFormed)) throw error;
        log.warn('the others of the list that was agreed upon did not come: members are looked for anew');
      }
    }
  }

  private constructor(
    { port, httpPort, node, clock, log, balance, onWaiting }: MemberOptions,
    memory: MemberMemory | null,
    { config, welcome, facts }: LetIn,
    discovery: Discovery | null,
    etcd: EtcdCoordination | null,
  ) {
    const { setup, announce, linkPort } = config;
    this.config = config;
    this.#balance = balance;
    this.#clock = clock;
    this.#log = log;
    this.#memory = memory;
    this.#etcd = etcd;
    this.#nodeOptions = node;
    this.#onWaiting = onWaiting ?? (() => {});
    const known = memory?.state ?? null;
    // Who looks for others and was in no cluster yet may be of another list now.
    const isBound = known !== null && (discovery === null || known.cluster !== '');
    if (isBound && (known.id !== setup.self || known.fingerprint !== setup.fingerprint)) {
      throw new BreakwaterError(
        'CLUSTER_DATA_FOREIGN',
        `cannot start from ${config.data}: it belongs to ${known.id === setup.self ? 'a cluster with another list of members, number of voters (or etcd in their place), ranges or replicas, takeover time or crash fast path' : 'another member'}; a member that changes these starts without it`,
      );
    }
    const incarnation = lifeAfter(known);
    this.#roster = welcome === null ? (known?.roster ?? null) : welcome.roster;
    const listed = (this.#roster?.members ?? setup.members.map(founderOf)).map(asMember);
    this.#self = { id: setup.self, host: announce, port, httpPort, linkPort, ...config.labels, incarnation };
    this.#members = new Map(
      [...listed, this.#self].map((each) => [each.id, each.id === setup.self ? this.#self : each]),
    );
    this.#links = new Links({
      setup,
      member: this.#self,
      onComplaint: (peer, why) => log.warn('a link between members', { peer: this.#nameOf(peer), why }),
      onMember: (member) => this.#onMember(member),
      peers: [...this.#members.values()],
      onForm: (_from, form) => this.#formation.onForm(form),
      onGuest: (guest, answer) => this.#onGuest(guest, answer),
      onTurnedAway: (_peer, message) => this.#onTurnedAway(message),
      onGone: (peer) => this.#onGone(peer),
      onBack: (peer) => this.#driver?.onBack(peer),
      onOpen: (peer, cluster) => {
        this.#formation.onOpen(peer, cluster);
        this.#tellRoster(peer);
        this.#links.flush();
      },
      onMessage: (from, message) => this.#onMessage(from, message),
      onFull: (peer, isFull) => this.#machine?.onLinkFull(peer, isFull),
    });
    const voted: Formed | null =
      known !== null && known.cluster !== ''
        ? { cluster: known.cluster, lives: known.lives, hasForgotten: known.hasForgotten }
        : welcome !== null
          ? // A voter that asks to be let in has lost its memory; others have none to lose.
            { cluster: welcome.cluster, lives: [], hasForgotten: true }
          : null;
    // Nobody votes where etcd coordinates, and nobody has forgotten a promise.
    const formed = etcd === null ? voted : { cluster: etcd.cluster, lives: [], hasForgotten: false };
    if (this.#roster !== null) this.#links.know(this.#roster.members, this.#roster.forgotten, this.#epoch);
    memory?.keep({
      id: setup.self,
      fingerprint: setup.fingerprint,
      incarnation,
      cluster: formed?.cluster ?? '',
      lives: formed?.lives ?? [],
      roster: this.#roster,
      facts: welcome?.facts ?? facts ?? known?.facts ?? null,
      hasForgotten: formed?.hasForgotten ?? false,
    });
    this.#formation = new Formation(setup, incarnation, formed, {
      isOpen: (peer) => this.#links.isOpen(peer),
      send: (to, form) => this.#links.send(to, form),
      makeIdentity: () => randomBytes(16).toString('hex'),
      onFormed: (found) => this.#onFormed(found, false),
    });
    this.#finder =
      discovery === null
        ? null
        : new Finder({
            discovery,
            links: this.#links,
            self: this.#self,
            secret: setup.secret,
            members: () => this.#members.values(),
            cluster: () => this.#formation.formed?.cluster ?? '',
            log,
          });
    this.#ticker = new Ticker(
      () => performance.now(),
      () => this.#onTick(),
      () => {},
    );
  }

  /** @throws AssertionError before `start` has resolved */
  get machine(): ClusterNode {
    const machine = this.#machine;
    if (machine === null) throw new Error('a member has its machine when it has started');
    return machine;
  }

  /** Heard by a majority of the voters. */
  get isOk(): boolean {
    return this.machine.isOk;
  }

  /** What `status.ts` makes a report of. */
  get parts(): StatusParts {
    return {
      config: this.config,
      cluster: this.#formation.formed?.cluster ?? '',
      incarnation: this.#self.incarnation,
      machine: this.machine,
      members: this.#members,
      links: this.#links,
      events: this.events,
      handOvers: this.handOvers,
      discovery: this.#finder?.status ?? null,
      coordination: this.#etcd?.status ?? 'voters',
      nowMs: this.#clock.now(),
    };
  }

  // -- ListenedNode: the machine's doors, with what they want done behind each

  openSession(...args: Parameters<ClusterNode['openSession']>): NodeSession {
    return this.machine.openSession(...args);
  }

  closeSession(session: NodeSession): void {
    this.machine.closeSession(session);
    this.#driver!.settle();
  }

  onRequest(
    session: NodeSession,
    chunk: Uint8Array,
    start: number,
    end: number,
    nowMs: number,
    out: ReplyWriter,
  ): void {
    this.#machine!.onRequest(session, chunk, start, end, nowMs, out);
    this.#driver!.settle();
  }

  get hasPushes(): boolean {
    return this.#machine!.hasPushes;
  }

  takePushed(): NodeSession[] {
    return this.machine.takePushed();
  }

  onPush(session: NodeSession, out: ReplyWriter): boolean {
    return this.machine.onPush(session, out);
  }

  // -- the end

  /** Gives its ranges to others, and sends clients there until they ask no more; resolves then, or when nobody takes them in time. */
  async leave(): Promise<void> {
    const { machine } = this;
    const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, FORMING_TICK_MS));
    const ownedAny = machine.ownedCount > 0;
    machine.leave(true);
    this.#driver!.settle();
    const { takeoverMs, heartbeatMs } = this.config.setup.timing;
    const deadline = performance.now() + takeoverMs + 1000;
    while (!machine.hasGivenAll && performance.now() < deadline) await turn();
    if (!ownedAny || !machine.hasGivenAll) return;
    // Others know the new owners in a heartbeat's time; clients that ask here are told meanwhile, and go there.
    const sinceMs = performance.now();
    let quietMs = sinceMs;
    let asked = machine.node.context.commandsProcessed;
    for (let nowMs = sinceMs; nowMs - sinceMs < LINGER_MS; nowMs = performance.now()) {
      if (nowMs - sinceMs >= 2 * heartbeatMs && nowMs - quietMs >= QUIET_MS) return;
      await turn();
      const { commandsProcessed } = machine.node.context;
      if (commandsProcessed !== asked) quietMs = performance.now();
      asked = commandsProcessed;
    }
  }

  async close(): Promise<void> {
    this.#ticker.stop();
    this.#finder?.stop();
    // Before the port closes: others may take us for dead when it refuses.
    this.#machine?.retire(this.#clock.now());
    this.#driver?.stop();
    this.#etcd?.close();
    await this.#links.close();
    await this.#memory?.close();
  }

  // -- within

  async #join(): Promise<void> {
    const { formed } = this.#formation;
    if (formed !== null) this.#onFormed(formed, true);
    this.#saidWaitingMs = this.#clock.now();
    this.#ticker.start();
    const { setup } = this.config;
    const since = performance.now();
    await new Promise<void>((resolve, reject) => {
      this.#onRefused = reject;
      this.#onProgress = () => {
        if (this.#finder !== null && this.#machine === null && performance.now() - since >= FORMING_MS) {
          reject(new NotFormed());
        }
        if (this.#machine?.isOk !== true) return;
        // Who sends clients to others knows where they are; those that are away are not waited for.
        const isKnown = [...this.#members.values()].every(({ port }) => port !== 0);
        if (isKnown || performance.now() - since >= setup.timing.takeoverMs) resolve();
      };
      this.#onProgress();
    });
    this.#onProgress = () => {};
    this.#onRefused = () => {};
  }

  // -- who the members are

  get #epoch(): number {
    return this.#roster?.ballot.epoch ?? 0;
  }

  /** Who began anew without a directory knows the list that the cluster was formed with, and may know nobody of those who vote now. */
  #tellRoster(peer: NodeId): void {
    const roster = this.#machine?.core.membership.known;
    if (roster !== undefined && roster.ballot.epoch > 0) this.#links.send(peer, { kind: 'roster-known', roster });
  }

  #onRoster(roster: Roster): void {
    const { self } = this.config.setup;
    const { seats: votersBefore } = this.#roster ?? { seats: null };
    if (roster.seats !== null && roster.seats.since.epoch !== votersBefore?.since.epoch) {
      const { voters } = roster.seats;
      this.#log.info('the voters have changed', {
        voters: voters.map((id) => this.#nameOf(id)),
        votes: voters.includes(self),
      });
    }
    const before = new Set(this.#members.keys());
    this.#roster = roster;
    for (const each of roster.members) {
      const { zone, machine, weight, ...address } = asMember(each);
      const held = before.delete(each.id) ? this.#members.get(each.id)! : address;
      // Where it listens is its own to say, once it has.
      this.#members.set(each.id, { ...(held.port === 0 ? address : held), zone, machine, weight });
    }
    for (const id of before) if (id !== self) this.#members.delete(id);
    this.#links.know(roster.members, roster.forgotten, roster.ballot.epoch);
    this.#memory?.keep({ ...this.#memory.state!, roster });
    this.#log.info('the members have changed', { epoch: roster.ballot.epoch, members: roster.members.length });
    if (roster.forgotten.includes(self)) this.#beForgotten();
  }

  /** It knows the secret and wants to be a member. */
  #onGuest(guest: RosterMember, answer: (message: Welcome | TurnedAway) => void): void {
    const { setup } = this.config;
    const machine = this.#machine;
    const away = (reason: TurnedAway['reason']): void => answer({ kind: 'turned-away', reason, epoch: this.#epoch });
    const isListed = setup.members.some(({ id }) => id === guest.id);
    if (machine === null && isListed && this.#finder !== null) {
      // Of the list that stands: it is formed when all its voters are here.
      answer({
        kind: 'welcome',
        cluster: '',
        facts: factsOf(setup),
        setup: setup.fingerprint,
        roster: null,
        topology: setup.topology,
      });
      return;
    }
    if (machine === null || !machine.isOk) {
      away('later');
      return;
    }
    if (!isMeant(guest) || guest.id !== memberId(setup.name, guest.host, guest.linkPort)) {
      away('name');
      return;
    }
    const known = machine.core.membership.known.members.find(({ id }) => id === guest.id);
    if (known !== undefined) {
      // Where it stands now it says itself, as a member. The id of one that has moved is not whose address it was made of.
      if (isAt(known, guest)) this.#welcome(answer);
      else away('name');
      return;
    }
    const refused = machine.core.changeRoster({ kind: 'add', member: guest }, this.#clock.now());
    if (refused === null) this.#guests.set(guest.id, answer);
    else away(refused === 'forgotten' || refused === 'full' ? refused : 'later');
    this.#driver!.settle();
  }

  #onChange({ change, fate }: Extract<ClusterEvent, { readonly kind: 'roster-change' }>): void {
    if (change.kind !== 'add') {
      if (change.kind !== 'update' || fate === 'chosen') {
        this.#log.info('a change of the members', { change: change.kind, fate });
      }
      return;
    }
    const answer = this.#guests.get(change.member.id);
    this.#guests.delete(change.member.id);
    if (answer === undefined) return;
    if (fate === 'chosen' || fate === 'done') this.#welcome(answer);
    else {
      const reason = fate === 'forgotten' || fate === 'full' ? fate : 'later';
      answer({ kind: 'turned-away', reason, epoch: this.#epoch });
    }
  }

  #welcome(answer: (message: Welcome) => void): void {
    const { setup } = this.config;
    const { cluster } = this.#formation.formed!;
    const { known } = this.machine.core.membership;
    const roster = known.ballot.epoch === 0 ? null : known;
    answer({
      kind: 'welcome',
      cluster,
      facts: factsOf(setup),
      setup: setup.fingerprint,
      roster,
      topology: setup.topology,
    });
  }

  /** What the roster says of this member is what it was started with, or is about to be. */
  #declare(): void {
    const nowMs = this.#clock.now();
    const { core, isOk } = this.#machine!;
    if (nowMs < this.#declareAtMs || !isOk) return;
    this.#declareAtMs = nowMs + DECLARE_MS;
    const { id, linkPort, zone, machine, weight } = this.#self;
    const known = core.membership.known.members.find((member) => member.id === id);
    if (known === undefined) return;
    const host = isAt(known, this.#self) ? known.host : this.#self.host;
    const member = { id, host, linkPort, zone, ...(machine === '' ? {} : { machine }), weight };
    if (!sameRosterMember(known, member)) core.changeRoster({ kind: 'update', member }, nowMs);
  }

  #find(): void {
    const nowMs = performance.now();
    if (this.#finder === null || nowMs < this.#findAtMs) return;
    this.#findAtMs = nowMs + FIND_MS;
    this.#finder.tick(nowMs);
  }

  #onTurnedAway({ reason, epoch }: TurnedAway): void {
    // Who knows less than we do may not have heard of us yet.
    if (reason === 'forgotten' && epoch > this.#epoch) this.#beForgotten();
  }

  #beForgotten(): void {
    if (this.#isForgotten) return;
    this.#isForgotten = true;
    const error = new BreakwaterError(
      'MEMBER_FORGOTTEN',
      `cannot be a member of cluster ${this.config.setup.name}: this one was forgotten ("breakwater forget"); "breakwater forget --undo" lets it come back`,
    );
    this.#log.error('this member was forgotten: it serves nothing any more, and is to be stopped', {
      id: this.#self.id,
    });
    this.#onRefused(error);
  }

  #onTick(): number {
    if (this.#driver !== null) {
      const wantedMs = this.#driver.onTick();
      this.#declare();
      this.#find();
      this.#onProgress();
      return wantedMs;
    }
    const nowMs = this.#clock.now();
    this.#links.tick(nowMs);
    this.#formation.tick(nowMs);
    this.#links.flush();
    this.#find();
    this.#onProgress();
    if (nowMs - this.#saidWaitingMs >= WAITING_MS) {
      this.#saidWaitingMs = nowMs;
      const missing = this.config.setup.voters.filter((id) => id !== this.#self.id && !this.#links.isOpen(id));
      const names = missing.map((id) => this.#nameOf(id));
      this.#log.info('waiting for the voters of the cluster', { missing: names });
      this.#onWaiting(`waiting for the voters of the cluster: ${names.join(' ')}`);
    }
    return FORMING_TICK_MS;
  }

  #onFormed(formed: Formed, isRemembered: boolean): void {
    const { setup } = this.config;
    const { cluster, lives, hasForgotten } = formed;
    const memory = this.#memory;
    if (!isRemembered) memory?.keep({ ...memory.state!, cluster, lives, hasForgotten });
    this.#links.cluster = cluster;
    const machine = new ClusterNode({
      node: { ...this.#nodeOptions, startMs: this.#clock.now() },
      cluster: {
        self: setup.self,
        members: [...this.#members.values()],
        founding: setup.members.map(founderOf),
        roster: this.#roster,
        voters: setup.voters,
        rangeCount: setup.rangeCount,
        copies: setup.copies,
        topology: setup.topology,
        writeModes: this.config.writeModes,
        minorityModes: this.config.minorityModes,
        gutterMs: this.config.gutterMs,
        timing: setup.timing,
        // In every life: a first record is only made where no majority knows of any, and who dies while founding must be able to go on.
        // Where etcd coordinates, whoever is of the list makes first records: it takes one of each.
        isFounder:
          this.#etcd === null ? setup.members[0]!.id === setup.self : setup.members.some(({ id }) => id === setup.self),
        isDurable: memory !== null,
        restored: memory === null ? null : memory.rows,
        restoredRoster: memory?.roster ?? null,
        hasForgotten,
        ...(this.#balance === undefined ? {} : { balance: this.#balance }),
      },
    });
    this.#machine = machine;
    const etcd = this.#etcd;
    const driver = new ClusterDriver({
      doors: machine,
      nowMs: () => this.#clock.now(),
      send: (to, message) => {
        if (to === ETCD && etcd !== null) etcd.say(message);
        else this.#links.send(to, message);
      },
      flush: () => this.#links.flush(),
      tickLinks: (nowMs) => {
        this.#links.tick(nowMs);
        etcd?.tick(nowMs);
      },
      write: memory === null ? null : (rows, roster) => memory.write(rows, roster),
      onEvent: (event) => this.#onEvent(event),
      onTurn: () => {
        if (machine.hasPushes) this.onPushes();
      },
      onFailure: (error) => {
        // Nothing can be promised any more: the process ends, and what is left of it is another life's.
        setImmediate(() => {
          throw error;
        });
      },
    });
    this.#driver = driver;
    etcd?.attach({
      life: this.#self.incarnation,
      nowMs: () => this.#clock.now(),
      hear: (message) => driver.onMessage(ETCD, message),
    });
    this.#log.info('in the cluster', { cluster, members: this.#members.size, remembers: !hasForgotten });
  }

  #onGone(peer: NodeId): void {
    this.#log.info('the process of a member is gone', { peer: this.#nameOf(peer) });
    if (this.#driver === null) return;
    this.#driver.onGone(peer);
    this.#ticker.wake();
  }

  #onMember(member: Member): void {
    const known = this.#members.get(member.id);
    if (known === undefined || known.incarnation > member.incarnation) return;
    // Labels are the roster's, which is the same everywhere; where it listens is its own to say.
    const { zone, machine, weight } = known;
    const told = { ...member, zone, machine, weight };
    this.#members.set(member.id, told);
    this.#links.move(member.id, member);
    this.#formation.onMember(member.id, member.incarnation);
    this.#machine?.onMember(told);
    this.#onProgress();
  }

  #onMessage(from: NodeId, message: Message): void {
    this.#driver?.onMessage(from, message);
  }

  #onEvent(event: ClusterEvent): void {
    const { events } = this;
    switch (event.kind) {
      case 'reign-began':
        events.reignsBegan += 1;
        return;
      case 'reign-ended':
        events.reignsEnded += 1;
        return;
      case 'handed-over': {
        const { handOvers } = this;
        handOvers.count += 1;
        handOvers.pausedMs += event.pausedMs;
        handOvers.longestMs = Math.max(handOvers.longestMs, event.pausedMs);
        return;
      }
      case 'in-sync-changed':
        events.setsChanged += 1;
        return;
      case 'claim':
        if (event.how !== 'takeover') return;
        events.takeovers += 1;
        this.#log.info('taking over', { ranges: event.ranges.length, epoch: event.epoch });
        return;
      case 'claim-failed':
        events.claimsFailed += 1;
        return;
      case 'copy-began':
      case 'copy-resynced':
        return;
      case 'roster':
        this.#onRoster(event.roster);
        return;
      case 'roster-change':
        this.#onChange(event);
        return;
      case 'voter-recovered':
        this.#log.info('votes again: what it may have promised before is known', { life: event.life });
        // Its rows are on their way to the disk in front of this: a life that begins before they are there has forgotten still.
        if (this.#memory !== null) void this.#remembers(this.#memory);
        return;
      case 'stalled':
        events.stalls += 1;
        if (event.lagMs >= this.config.setup.timing.leaseMs) {
          this.#log.warn('the process stood still', { ms: Math.round(event.lagMs) });
        }
    }
  }

  async #remembers(memory: MemberMemory): Promise<void> {
    await memory.write([]);
    memory.keep({ ...memory.state!, hasForgotten: false });
  }

  #nameOf(id: string): string {
    const found = this.#members.get(id);
    return found === undefined ? id : `${found.host}:${found.linkPort}`;
  }
}

function lifeAfter(known: MemberState | null): number {
  return Math.max((known?.incarnation ?? 0) + 1, Math.floor((Date.now() - LIFE_EPOCH_MS) / LIFE_MS), 1);
}

function isMeant(guest: RosterMember): boolean {
  try {
    checkMember(asMember(guest));
    return guest.linkPort > 0;
  } catch {
    return false;
  }
}

function isAt(a: Pick<Member, 'host' | 'linkPort'>, b: Pick<Member, 'host' | 'linkPort'>): boolean {
  return a.host.toLowerCase() === b.host.toLowerCase() && a.linkPort === b.linkPort;
}

/** Nothing, for who is of the list or remembers; who joins asks the members that it was told. @throws BreakwaterError `MEMBER_REFUSED`, `CONFIG_INVALID` */
async function letIn(
  { config, bind, port, httpPort, log, onWaiting = () => {} }: MemberOptions,
  memory: MemberMemory | null,
  discovery: Discovery | null,
): Promise<LetIn> {
  if ('setup' in config) return { config, welcome: null, facts: null };
  const {
    seeds,
    name,
    secret,
    labels,
    announce,
    linkPort,
    proxyPort,
    data,
    writeModes,
    minorityModes,
    gutterMs,
    coordination,
  } = config;
  const self = { host: announce, linkPort };
  const made = { announce, linkPort, proxyPort, data, writeModes, minorityModes, gutterMs, labels, coordination };
  const known = memory?.state ?? null;
  if (known !== null && known.facts !== null && known.cluster !== '') {
    // Who it is was decided when it came; it may have another address since.
    const setup = setupFrom(known.facts, { ...self, id: known.id }, secret);
    checkCoordination(setup, coordination);
    return { config: { ...made, setup }, welcome: null, facts: null };
  }
  const id = memberId(name, announce, linkPort);
  const incarnation = lifeAfter(known);
  const member = { id, host: announce, port, httpPort, linkPort, ...labels, incarnation };
  let welcome: Welcome;
  if (discovery === null) welcome = await askToJoin({ seeds, secret, member, log });
  else {
    const { expect, wishes } = config.discovery!;
    const end = await gather({ discovery, name, secret, wishes, expect, member, bind, log, onWaiting });
    if (end.kind === 'listed') {
      log.info('of the list that forms a cluster', { members: end.facts.members.length });
      return { config: { ...made, setup: setupFrom(end.facts, self, secret) }, welcome: null, facts: end.facts };
    }
    welcome = end.welcome;
  }
  const setup = setupFrom(welcome.facts, self, secret);
  if (setup.fingerprint !== welcome.setup) {
    throw new BreakwaterError(
      'MEMBER_REFUSED',
      'cannot join the cluster: its members mean something else by what they said of it than this version does',
    );
  }
  if (setup.name !== name) {
    throw new BreakwaterError(
      'MEMBER_REFUSED',
      `cannot join the cluster: it is called ${setup.name}, and --cluster-name says ${name}`,
    );
  }
  checkCoordination(setup, coordination);
  return { config: { ...made, setup }, welcome, facts: null };
}

/** null: its members are listed. */
function discoveryOf({ config, resolver = systemResolver(), log }: MemberOptions): Discovery | null {
  if ('setup' in config || config.discovery === undefined) return null;
  const { sources } = config.discovery;
  return new Discovery({ sources, linkPort: config.linkPort, resolver, log });
}

/** Who votes was decided when the cluster was formed. @throws BreakwaterError `MEMBER_REFUSED` */
function checkCoordination({ coordination }: ClusterSetup, given: EtcdConfig | null): void {
  if ((coordination === 'etcd') === (given !== null)) return;
  throw new BreakwaterError(
    'MEMBER_REFUSED',
    coordination === 'etcd'
      ? 'cannot join the cluster: etcd coordinates it, and this node was not told which: give --coordination'
      : 'cannot join the cluster: its members vote, and this node was given --coordination',
  );
}
