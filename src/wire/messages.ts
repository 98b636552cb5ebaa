/**
 * Every frame, as a table: its number, its body, who sends it to whom and why. The compiler checks that each message has its row and each
 * field its place; `wire.test.ts` checks that the text below is this table. Numbers are never used again for another kind.
 *
 * | number | frame | from | to | why | body |
 * | ---: | --- | --- | --- | --- | --- |
 * | 0 | `hello` | anyone | anyone | who speaks, of which cluster, and which frames it reads; the first on each link | cluster: text <= 64, version: count <= 255, member: {id: id, host: text <= 253, port: count <= 65535, httpPort: count <= 65535, linkPort: count <= 65535, zone: text <= 64, machine: text <= 64, weight: time, incarnation: count}, setup: text <= 64, nonce: text <= 64, proof: text <= 64 |
 * | 1 | `heartbeat` | member | voter | I live; this far I know your table | incarnation: count, sentMs: time, life: count, counter: count, lagMs: time, stance: stance, known: ballot (added) |
 * | 2 | `heartbeat-ack` | voter | member | heard; what changed in my table since; who is silent, new, or to be given nothing | incarnation: count, sentMs: time, isVoting: yes/no, life: count, after: count, counter: count, rows: [row], roster: roster-row?, silent: [silence], notes: [note], set: ballot (added), isWhole: yes/no (added), taken: [range] (added) |
 * | 3 | `prepare` | claimant | voter | may I replace these records? | claim: count, epoch: count, items: [{range: range, basis: ballot, owner: id?, isYielded: yes/no}], set: ballot (added) |
 * | 4 | `promised` | voter | claimant | yes, or no and why | claim: count, granted: [range], refused: [refusal], isHasty: yes/no (added) |
 * | 5 | `accept` | claimant | voter | these are the records now | claim: count, records: [record], set: ballot (added) |
 * | 6 | `accepted` | voter | claimant | written down, or not and why | claim: count, ranges: [range], refused: [refusal] |
 * | 7 | `begin` | owner | copy | follow me from this offset on | range: range, reign: ballot, session: count, offset: count, keeps: yes/no, record: ballot |
 * | 8 | `effects` | owner | copy | what was done, numbered | range: range, reign: ballot, session: count, from: count, bodies: [bytes] |
 * | 9 | `applied` | copy | owner | everything up to this offset is applied | range: range, reign: ballot, session: count, offset: count |
 * | 10 | `part` | owner | copy | a piece of the content | range: range, reign: ballot, session: count, number: count, at: count, entries: [bytes], isLast: yes/no |
 * | 11 | `part-ack` | copy | owner | taken, or cut it anew | range: range, reign: ballot, session: count, number: count, isTaken: yes/no |
 * | 12 | `following` | copy | owner | this far I follow you; may I serve reads? | incarnation: count, sentMs: time, positions: [position] |
 * | 13 | `followed` | owner | copy | these you may serve, counted from when you asked | incarnation: count, sentMs: time, leases: [lease] |
 * | 14 | `yield` | owner | copy | I serve these no more, in no life of mine; take them | items: [{range: range, basis: ballot, inSync: [id], leasesMs: time, stays: yes/no, isPinned: yes/no}] |
 * | 15 | `ping` | anyone | anyone | is anybody reading there? Answered over the same link | number: count, isAnswer: yes/no |
 * | 16 | `swim-ping` | member | member | are you there? | number: count, rumors: [rumor] |
 * | 17 | `swim-ping-req` | member | member | is he there? I cannot reach him | number: count, target: id, rumors: [rumor] |
 * | 18 | `swim-ack` | member | member | I am, or he is | number: count, rumors: [rumor] |
 * | 19 | `swim-nack` | member | member | I am, but I cannot reach him either | number: count |
 * | 20 | `swim-gossip` | member | member | what is new, by hearsay | rumors: [rumor] |
 * | 21 | `swim-sync` | member | member | all that I know | rumors: [rumor], isAnswer: yes/no |
 * | 22 | `form` | member | member | the cluster is formed, and these lives began with it | cluster: text <= 64, lives: [{id: id, incarnation: count}] |
 * | 23 | `spread` | member | owner | invalidate these names in those of these ranges that are yours | id: count, names: [name], ranges: [range] |
 * | 24 | `spread-done` | owner | member | these ranges are done, their copies included | id: count, ranges: [range] |
 * | 25 | `proxy` | member | owner | a client of mine asks this of a range of yours | id: count, life: count, ownerLife: count, clockMs: time, settled: count, range: range, ballot: ballot, protocol: count <= 3, request: bytes |
 * | 26 | `proxied` | owner | member | what it is to be told | id: count, life: count, ownerLife: count, clockMs: time, reply: bytes, isElsewhere: yes/no (added), owner: id? (added), ballot: ballot (added) |
 * | 27 | `roster-prepare` | member | voter | may I change who the members are? | claim: count, epoch: count, set: ballot (added) |
 * | 28 | `roster-promised` | voter | member | yes, and this is what I accepted last; or no | claim: count, isGranted: yes/no, promised: ballot, accepted: roster? |
 * | 29 | `roster-accept` | member | voter | these are the members now | claim: count, roster: roster, set: ballot (added) |
 * | 30 | `roster-accepted` | voter | member | written down, or not and why | claim: count, answer: accepted/promised/recovering/named/voters/settling, promised: ballot |
 * | 31 | `join` | newcomer | member | may I be a member? Answered over the same link | member: {id: id, host: text <= 253, linkPort: count <= 65535, labels, weight: time} |
 * | 32 | `welcome` | member | newcomer | you are one; this is what all must have the same | cluster: text <= 64, facts: {name: text <= 64, members: [{host: text <= 253, linkPort: count <= 65535, labels}], voters: count, replicas: count, ranges: count, takeoverMs: time, crashFastPath: yes/no}, setup: text <= 64, roster: roster?, topology: sharded/primary (added) |
 * | 33 | `turned-away` | member | anyone | you are no member, by the roster of this epoch | reason: later/forgotten/full/name/zone, epoch: count |
 * | 34 | `convene` | newcomer | newcomer | these would form a cluster: do you agree? | setup: text <= 64, members: [id] |
 * | 35 | `convened` | newcomer | newcomer | yes, and to no other list for a while; or why not | isAgreed: yes/no, why: text <= 2048 |
 * | 36 | `roster-known` | member | member | these are the members, and who votes; you know an older list | roster: roster |
 * | 37 | `reigning` | owner | member | I own these now: send clients to me | records: [record] |
 *
 * Shapes: count = whole number, 7 bits a byte; range = a count below 16,384; time = double, milliseconds; id = member, spelled out once a body; id? = a member or none; ballot = epoch and id;
 * record = range, ballot, owner, in-sync members; row = range, promised ballot, accepted record;
 * labels = zone, zone|machine or zone|machine|weight; roster = ballot, members (id, host, linkPort, labels, weight), forgotten ids, homes by range, seats? (since ballot, voters, voters before, their since ballot); roster-row = promised ballot, accepted roster?, voted in ballot; rumor = id, state, incarnation, refutation, by, member?; [x] = count, then so many.
 */
import { BreakwaterError } from '../base/errors.ts';
import type { Member } from '../cluster/member.ts';
import type {
  Lease,
  Message,
  Note,
  Position,
  PrepareItem,
  Refusal,
  Silence,
  SpreadName,
  VoterRow,
  YieldItem,
} from '../cluster/messages.ts';
import { checkRecord, MAX_COPIES, NO_BALLOT, type OwnershipRecord } from '../cluster/record.ts';
import {
  checkRoster,
  MAX_FORGOTTEN,
  MAX_ROSTER,
  MAX_VOTERS,
  type Roster,
  type RosterMember,
  type RosterRow,
  type Seats,
} from '../cluster/roster.ts';
import type { Rumor, SwimMessage } from '../cluster/swim/messages.ts';
import { BodyReader, type BodyWriter, invalid } from './body.ts';
import {
  added,
  ballot,
  boolean,
  count,
  countUpTo,
  data,
  type Field,
  id,
  list,
  oneOf,
  optionalId,
  record,
  text,
  time,
} from './fields.ts';
import { MAX_BODY_BYTES, WIRE_VERSION } from './frame.ts';
import type { FrameParser } from './frame-parser.ts';
import type { FrameWriter } from './frame-writer.ts';
import type {
  Convene,
  Convened,
  Facts,
  FirstLife,
  Form,
  Hello,
  Join,
  ListedMember,
  Ping,
  TurnedAway,
  Welcome,
} from './hello.ts';

export type WireMessage =
  | Message
  | Hello
  | Form
  | Ping
  | Join
  | Welcome
  | TurnedAway
  | Convene
  | Convened
  | SwimMessage;
export type WireKind = WireMessage['kind'];
type MessageOf<K extends WireKind> = Extract<WireMessage, { readonly kind: K }>;

/** As many ranges as there can be. */
const RANGES = 16_384;
const MAX_MEMBERS = 16_384;
/** Names of one BW.INVALIDATE: as many as arguments of a request. */
const MAX_NAMES = 1_048_576;
/** Bodies of effects in one frame: the rest goes into the next. */
const MAX_EFFECTS = 65_536;

function named<T>(field: Field<T>, shape: string): Field<T> {
  return { ...field, shape };
}

const range = named(countUpTo(RANGES - 1), 'range');
const bytes = data(MAX_BODY_BYTES);
const stance = named(oneOf('here', 'leaving', 'drained'), 'stance');

const ownership: Field<OwnershipRecord> = named(
  checked(record<OwnershipRecord>({ range, ballot, owner: optionalId, inSync: list(id, MAX_COPIES) }), (value) =>
    checkRecord(value, RANGES),
  ),
  'record',
);
type PlainRow = Omit<VoterRow, 'isTaken'>;
const row: Field<PlainRow> = named(record<PlainRow>({ range, promised: ballot, accepted: ownership }), 'row');
const refusal = named(
  record<Refusal>({
    range,
    reason: oneOf('promised', 'newer', 'heard', 'recovering', 'stranger', 'voters'),
    promised: ballot,
    accepted: ownership,
    waitMs: time,
  }),
  'refusal',
);
const port = countUpTo(65_535);
const member: Field<Member> = record<Member>({
  id,
  host: text(253),
  port,
  httpPort: port,
  linkPort: port,
  zone: text(64),
  machine: text(64),
  weight: time,
  incarnation: count,
});

/** What is well-formed and yet makes no sense is refused here, before any state machine sees it. */
function checked<T>(field: Field<T>, check: (value: T) => void): Field<T> {
  return {
    ...field,
    read: (from) => {
      const value = field.read(from);
      try {
        check(value);
      } catch (error) {
        if (error instanceof BreakwaterError) invalid(error.message);
        throw error;
      }
      return value;
    },
  };
}

export interface FrameRow<K extends WireKind> {
  readonly number: number;
  readonly body: Field<Omit<MessageOf<K>, 'kind'>>;
  readonly from: string;
  readonly to: string;
  readonly why: string;
}

/** A field that may be absent: a yes or no in front of it. */
function optional<T>(field: Field<T>): Field<T | null> {
  return {
    write: (out, value) => {
      out.boolean(value !== null);
      if (value !== null) field.write(out, value);
    },
    read: (from) => (from.boolean() ? field.read(from) : null),
    shape: `${field.shape}?`,
  };
}

/**
 * Where a member stands, as one text: its zone; `zone|machine`; `zone|machine|weight`. What was added came behind what was there, and only where somebody says it: members that know zones alone read what a cluster without
 * the others writes.
 */
const labels = named(text(160), 'labels');

function labelsOf(zone: string, machine = '', weight = 1): string {
  if (weight !== 1) return `${zone}|${machine}|${weight}`;
  return machine === '' ? zone : `${zone}|${machine}`;
}

function readLabels(from: BodyReader): { readonly zone: string; readonly machine?: string; readonly weight?: number } {
  const [zone = '', machine = '', weight, ...rest] = labels.read(from).split('|');
  if (rest.length > 0 || (weight !== undefined && !/^\d{1,7}(\.\d{1,3})?$/.test(weight))) {
    invalid('its labels are not zone, machine and weight');
  }
  return {
    zone,
    ...(machine === '' ? {} : { machine }),
    ...(weight === undefined ? {} : { weight: Number(weight) }),
  };
}

const founder: Field<RosterMember> = {
  write: (out, { id: its, host, linkPort, zone, machine, weight }) => {
    id.write(out, its);
    text(253).write(out, host);
    port.write(out, linkPort);
    labels.write(out, labelsOf(zone, machine));
    time.write(out, weight);
  },
  read: (from) => {
    const named = { id: id.read(from), host: text(253).read(from), linkPort: port.read(from) };
    return { ...named, ...readLabels(from), weight: time.read(from) };
  },
  shape: `{id: id, host: text <= 253, linkPort: ${port.shape}, labels, weight: time}`,
};

const listed: Field<ListedMember> = {
  write: (out, { host, linkPort, zone, machine, weight }) => {
    text(253).write(out, host);
    port.write(out, linkPort);
    labels.write(out, labelsOf(zone, machine, weight));
  },
  read: (from) => ({ host: text(253).read(from), linkPort: port.read(from), ...readLabels(from) }),
  shape: `{host: text <= 253, linkPort: ${port.shape}, labels}`,
};

const roster: Field<Roster> = named(
  checked(
    record<Roster>({
      ballot,
      members: list(founder, MAX_ROSTER),
      forgotten: list(id, MAX_FORGOTTEN),
      homes: list(list(countUpTo(MAX_ROSTER - 1), MAX_COPIES), RANGES),
      seats: optional(
        record<Seats>({ since: ballot, voters: list(id, MAX_VOTERS), before: list(id, MAX_VOTERS), behind: ballot }),
      ),
    }),
    checkRoster,
  ),
  'roster',
);
const rosterRow = record<RosterRow>({ promised: ballot, accepted: optional(roster), votedIn: ballot });

const rumors = list(
  named(
    record<Rumor>({
      id,
      state: oneOf('alive', 'suspect', 'dead', 'left'),
      incarnation: count,
      refutation: count,
      by: optionalId,
      member: optional(member),
    }),
    'rumor',
  ),
  MAX_MEMBERS,
);

const frame = <K extends WireKind>(
  number: number,
  from: string,
  to: string,
  why: string,
  fields: { readonly [F in keyof Omit<MessageOf<K>, 'kind'>]-?: Field<Omit<MessageOf<K>, 'kind'>[F]> },
): FrameRow<K> => ({ number, from, to, why, body: record(fields) });

const claim = count;
/** Older members know of one set of voters only. */
const set = added(ballot, NO_BALLOT);
const following = { range, reign: ballot, session: count };

export const FRAMES: { readonly [K in WireKind]: FrameRow<K> } = {
  hello: frame<'hello'>(
    0,
    'anyone',
    'anyone',
    'who speaks, of which cluster, and which frames it reads; the first on each link',
    {
      cluster: text(64),
      version: countUpTo(255),
      member,
      setup: text(64),
      nonce: text(64),
      proof: text(64),
    },
  ),
  heartbeat: frame<'heartbeat'>(1, 'member', 'voter', 'I live; this far I know your table', {
    incarnation: count,
    sentMs: time,
    life: count,
    counter: count,
    lagMs: time,
    stance,
    known: added(ballot, NO_BALLOT),
  }),
  'heartbeat-ack': frame<'heartbeat-ack'>(
    2,
    'voter',
    'member',
    'heard; what changed in my table since; who is silent, new, or to be given nothing',
    {
      incarnation: count,
      sentMs: time,
      isVoting: boolean,
      life: count,
      after: count,
      counter: count,
      rows: list(row, RANGES),
      roster: named(optional(rosterRow), 'roster-row?'),
      silent: list(named(record<Silence>({ id, ms: time }), 'silence'), MAX_MEMBERS),
      notes: list(named(record<Note>({ id, stance, lifeMs: time }), 'note'), MAX_MEMBERS),
      set,
      isWhole: added(boolean, true),
      taken: added(list(range, RANGES), []),
    },
  ),
  prepare: frame<'prepare'>(3, 'claimant', 'voter', 'may I replace these records?', {
    claim,
    epoch: count,
    items: list(record<PrepareItem>({ range, basis: ballot, owner: optionalId, isYielded: boolean }), RANGES),
    set,
  }),
  promised: frame<'promised'>(4, 'voter', 'claimant', 'yes, or no and why', {
    claim,
    granted: list(range, RANGES),
    refused: list(refusal, RANGES),
    isHasty: added(boolean, false),
  }),
  accept: frame<'accept'>(5, 'claimant', 'voter', 'these are the records now', {
    claim,
    records: list(ownership, RANGES),
    set,
  }),
  accepted: frame<'accepted'>(6, 'voter', 'claimant', 'written down, or not and why', {
    claim,
    ranges: list(range, RANGES),
    refused: list(refusal, RANGES),
  }),
  begin: frame<'begin'>(7, 'owner', 'copy', 'follow me from this offset on', {
    ...following,
    offset: count,
    keeps: boolean,
    record: ballot,
  }),
  effects: frame<'effects'>(8, 'owner', 'copy', 'what was done, numbered', {
    ...following,
    from: count,
    bodies: list(bytes, MAX_EFFECTS),
  }),
  applied: frame<'applied'>(9, 'copy', 'owner', 'everything up to this offset is applied', {
    ...following,
    offset: count,
  }),
  part: frame<'part'>(10, 'owner', 'copy', 'a piece of the content', {
    ...following,
    number: count,
    at: count,
    entries: list(bytes, MAX_EFFECTS),
    isLast: boolean,
  }),
  'part-ack': frame<'part-ack'>(11, 'copy', 'owner', 'taken, or cut it anew', {
    ...following,
    number: count,
    isTaken: boolean,
  }),
  following: frame<'following'>(12, 'copy', 'owner', 'this far I follow you; may I serve reads?', {
    incarnation: count,
    sentMs: time,
    positions: list(named(record<Position>({ ...following, offset: count }), 'position'), RANGES),
  }),
  followed: frame<'followed'>(13, 'owner', 'copy', 'these you may serve, counted from when you asked', {
    incarnation: count,
    sentMs: time,
    leases: list(named(record<Lease>({ range, reign: ballot }), 'lease'), RANGES),
  }),
  yield: frame<'yield'>(14, 'owner', 'copy', 'I serve these no more, in no life of mine; take them', {
    items: list(
      record<YieldItem>({
        range,
        basis: ballot,
        inSync: list(id, MAX_COPIES),
        leasesMs: time,
        stays: boolean,
        isPinned: boolean,
      }),
      RANGES,
    ),
  }),
  ping: frame<'ping'>(15, 'anyone', 'anyone', 'is anybody reading there? Answered over the same link', {
    number: count,
    isAnswer: boolean,
  }),
  form: frame<'form'>(22, 'member', 'member', 'the cluster is formed, and these lives began with it', {
    cluster: text(64),
    lives: list(record<FirstLife>({ id, incarnation: count }), MAX_MEMBERS),
  }),
  spread: frame<'spread'>(23, 'member', 'owner', 'invalidate these names in those of these ranges that are yours', {
    id: count,
    names: list(
      named(record<SpreadName>({ kind: oneOf('tag', 'namespace', 'everything'), name: bytes }), 'name'),
      MAX_NAMES,
    ),
    ranges: list(range, RANGES),
  }),
  'spread-done': frame<'spread-done'>(24, 'owner', 'member', 'these ranges are done, their copies included', {
    id: count,
    ranges: list(range, RANGES),
  }),
  proxy: frame<'proxy'>(25, 'member', 'owner', 'a client of mine asks this of a range of yours', {
    id: count,
    life: count,
    ownerLife: count,
    clockMs: time,
    settled: count,
    range,
    ballot,
    protocol: countUpTo(3),
    request: bytes,
  }),
  proxied: frame<'proxied'>(26, 'owner', 'member', 'what it is to be told', {
    id: count,
    life: count,
    ownerLife: count,
    clockMs: time,
    reply: bytes,
    isElsewhere: added(boolean, false),
    owner: added(optionalId, null),
    ballot: added(ballot, NO_BALLOT),
  }),
  'roster-prepare': frame<'roster-prepare'>(27, 'member', 'voter', 'may I change who the members are?', {
    claim,
    epoch: count,
    set,
  }),
  'roster-promised': frame<'roster-promised'>(28, 'voter', 'member', 'yes, and this is what I accepted last; or no', {
    claim,
    isGranted: boolean,
    promised: ballot,
    accepted: named(optional(roster), 'roster?'),
  }),
  'roster-accept': frame<'roster-accept'>(29, 'member', 'voter', 'these are the members now', {
    claim,
    roster,
    set,
  }),
  'roster-accepted': frame<'roster-accepted'>(30, 'voter', 'member', 'written down, or not and why', {
    claim,
    answer: oneOf('accepted', 'promised', 'recovering', 'named', 'voters', 'settling'),
    promised: ballot,
  }),
  reigning: frame<'reigning'>(37, 'owner', 'member', 'I own these now: send clients to me', {
    records: list(ownership, RANGES),
  }),
  join: frame<'join'>(31, 'newcomer', 'member', 'may I be a member? Answered over the same link', { member: founder }),
  welcome: frame<'welcome'>(32, 'member', 'newcomer', 'you are one; this is what all must have the same', {
    cluster: text(64),
    facts: record<Omit<Facts, 'topology'>>({
      name: text(64),
      members: list(listed, MAX_ROSTER),
      voters: count,
      replicas: count,
      ranges: count,
      takeoverMs: time,
      crashFastPath: boolean,
    }),
    setup: text(64),
    roster: named(optional(roster), 'roster?'),
    topology: added(oneOf('sharded', 'primary'), 'sharded'),
  }),
  'turned-away': frame<'turned-away'>(33, 'member', 'anyone', 'you are no member, by the roster of this epoch', {
    reason: oneOf('later', 'forgotten', 'full', 'name', 'zone'),
    epoch: count,
  }),
  convene: frame<'convene'>(34, 'newcomer', 'newcomer', 'these would form a cluster: do you agree?', {
    setup: text(64),
    members: list(id, MAX_ROSTER),
  }),
  convened: frame<'convened'>(35, 'newcomer', 'newcomer', 'yes, and to no other list for a while; or why not', {
    isAgreed: boolean,
    why: text(2048),
  }),
  'roster-known': frame<'roster-known'>(
    36,
    'member',
    'member',
    'these are the members, and who votes; you know an older list',
    {
      roster,
    },
  ),
  'swim-ping': frame<'swim-ping'>(16, 'member', 'member', 'are you there?', { number: count, rumors }),
  'swim-ping-req': frame<'swim-ping-req'>(17, 'member', 'member', 'is he there? I cannot reach him', {
    number: count,
    target: id,
    rumors,
  }),
  'swim-ack': frame<'swim-ack'>(18, 'member', 'member', 'I am, or he is', { number: count, rumors }),
  'swim-nack': frame<'swim-nack'>(19, 'member', 'member', 'I am, but I cannot reach him either', { number: count }),
  'swim-gossip': frame<'swim-gossip'>(20, 'member', 'member', 'what is new, by hearsay', { rumors }),
  'swim-sync': frame<'swim-sync'>(21, 'member', 'member', 'all that I know', { rumors, isAnswer: boolean }),
};

const KINDS = Object.keys(FRAMES) as WireKind[];
const BY_NUMBER: readonly (WireKind | undefined)[] = Array.from({ length: 256 }, (_, number) =>
  KINDS.find((kind) => FRAMES[kind].number === number),
);

/**
 * Appends the message as a frame. Effects that do not fit into one become several: they are numbered, so the parts say the same as the whole. For
 * everything else a body above {@link MAX_BODY_BYTES} is a bug of whoever made the message.
 */
export function writeMessage(out: FrameWriter, message: WireMessage): void {
  if (message.kind === 'effects') {
    let from = 0;
    let size = 0;
    for (let at = 0; at < message.bodies.length; at += 1) {
      // What a body takes beside its bytes, generously.
      const next = message.bodies[at]!.length + 8;
      if (at > from && size + next > MAX_BODY_BYTES / 2) {
        writeWhole(out, { ...message, from: message.from + from, bodies: message.bodies.slice(from, at) });
        from = at;
        size = 0;
      }
      size += next;
    }
    if (from > 0) {
      writeWhole(out, { ...message, from: message.from + from, bodies: message.bodies.slice(from) });
      return;
    }
  }
  writeWhole(out, message);
}

function writeWhole(out: FrameWriter, message: WireMessage): void {
  const { number, body } = FRAMES[message.kind] as FrameRow<WireKind>;
  out.frame(number, (to: BodyWriter) => body.write(to, message));
}

const reader = new BodyReader();

/**
 * The message in the parser's frame; null: a kind or a version that this member does not know, to be skipped and counted. Bytes in it are views of the frame,
 * valid until the parser is asked for the next one.
 *
 * @throws BreakwaterError `FRAME_INVALID`: nothing else, whatever the bytes
 */
export function readMessage(frame: FrameParser): WireMessage | null {
  const kind = BY_NUMBER[frame.kind];
  if (kind === undefined || frame.version > WIRE_VERSION) return null;
  reader.begin(frame.bytes, frame.bodyStart, frame.bodyEnd);
  // What stands behind the fields known here comes from a later version of the same frame, and is not for us.
  return { kind, ...(FRAMES[kind] as FrameRow<WireKind>).body.read(reader) } as WireMessage;
}

/** The table as text, for the header above and for the documentation. */
export function frameTable(): string {
  const rows = KINDS.map((kind) => ({ kind, ...(FRAMES[kind] as FrameRow<WireKind>) })).sort(
    (a, b) => a.number - b.number,
  );
  const lines = rows.map(
    ({ number, kind, from, to, why, body }) =>
      `| ${number} | \`${kind}\` | ${from} | ${to} | ${why} | ${body.shape.slice(1, -1)} |`,
  );
  return ['| number | frame | from | to | why | body |', '| ---: | --- | --- | --- | --- | --- |', ...lines].join('\n');
}
