/**
 * The settings by which a node becomes a member of a cluster. `join` is what makes it one; the others are refused without it, since they would do nothing.
 *
 * A list that has the node itself in it forms a cluster: everybody on it is started with the whole list, and what must be the same everywhere is compared when members meet (`setup.ts`). A list without it names
 * members of a cluster that is to be joined; what must be the same everywhere is told by them then (`joining.ts`), and given here it is refused.
 */
import { BreakwaterError } from '../../base/errors.ts';
import { MAX_WEIGHT } from '../../cluster/member.ts';
import { TOPOLOGIES, type Topology } from '../../cluster/topology.ts';
import { DEFAULT_GUTTER_MS, MINORITY_MODES, type MinorityMode } from '../../node/gutter.ts';
import { WRITE_MODES, type WriteMode } from '../../node/write-modes.ts';
import type { ListedMember } from '../../wire/hello.ts';
import {
  address,
  duration,
  integer,
  invalid,
  modesByNamespace,
  oneOf,
  PORT_MAX,
  type Read,
  type Setting,
} from '../setting.ts';
import { type EtcdAddress, type EtcdConfig, readEtcdAddress } from './etcd-address.ts';
import type { Wishes } from './gatherer.ts';
import {
  type ClusterSetup,
  defaultReplicas,
  MAX_MEMBERS,
  MAX_TAKEOVER_MS,
  MIN_TAKEOVER_MS,
  makeSetup,
} from './setup.ts';
import { isSource, type Source, sourceIn } from './sources.ts';

export interface ClusterConfig {
  readonly setup: ClusterSetup;
  /** What clients and other members are told to reach this one by. */
  readonly announce: string;
  readonly linkPort: number;
  /** For clients that know nothing of clusters; null = none. */
  readonly proxyPort: number | null;
  /** null = nothing is kept on disk. */
  readonly data: string | null;
  /** When writes are acknowledged, by namespace. */
  readonly writeModes: Readonly<Record<string, WriteMode>>;
  /** What is answered without a majority, by namespace. */
  readonly minorityModes: Readonly<Record<string, MinorityMode>>;
  readonly gutterMs: number;
  readonly labels: Labels;
  /** The etcd that coordinates the cluster; null: members vote. */
  readonly coordination: EtcdConfig | null;
}

/** What a member says of where it stands and how much it carries; what the roster says of it is changed to this. */
export interface Labels {
  readonly zone: string;
  /** '' = by its address. */
  readonly machine: string;
  readonly weight: number;
}

/** For a node that joins a running cluster. */
export interface JoiningConfig {
  /** Link addresses of members, in the order in which they are asked. */
  readonly seeds: readonly { readonly host: string; readonly linkPort: number }[];
  readonly name: string;
  readonly secret: string;
  readonly labels: Labels;
  readonly announce: string;
  readonly linkPort: number;
  readonly proxyPort: number | null;
  readonly data: string | null;
  readonly writeModes: Readonly<Record<string, WriteMode>>;
  /** What is answered without a majority, by namespace. */
  readonly minorityModes: Readonly<Record<string, MinorityMode>>;
  readonly gutterMs: number;
  /** Where members are looked for, in place of `seeds`. */
  readonly discovery?: DiscoveryConfig;
  /** As the cluster that is to be joined: null: members vote. */
  readonly coordination: EtcdConfig | null;
}

export interface DiscoveryConfig {
  readonly sources: readonly Source[];
  /** So many members form a cluster where there is none; null: it is only joined. */
  readonly expect: number | null;
  /** What a cluster that is formed is to be. */
  readonly wishes: Wishes;
}

interface JoinList {
  readonly listed: readonly ListedMember[];
  /** Not empty: members are looked for there, at the listed ones too. */
  readonly sources: readonly Source[];
}

const LINK_OFFSET = 10_000;
const DEFAULT_TAKEOVER_MS = 1500;

const LISTED =
  /^(?:\[([0-9A-Fa-f:.%]{2,64})\]|([0-9A-Za-z._-]{1,253})):(\d{1,5})(?:@([A-Za-z0-9._:/-]{1,64}))?(?:#([A-Za-z0-9._:/-]{1,64}))?(?:=(\d{1,7}(?:\.\d{1,3})?))?$/;

const members: Read<JoinList> = (text, what) => {
  const listed: ListedMember[] = [];
  const sources: Source[] = [];
  for (const part of text.split(',').map((each) => each.trim())) {
    if (!isSource(part)) {
      listed.push(listedIn(part, text, what));
      continue;
    }
    const source = sourceIn(part);
    if (source === null) {
      throw invalid(what, 'dns:NAME or dns:NAME:PORT, srv:_SERVICE._tcp.NAME, file:PATH', part);
    }
    sources.push(source);
  }
  if (sources.length === 0) return { listed, sources };
  if (listed.some(({ zone, machine, weight }) => zone !== '' || machine !== undefined || weight !== undefined)) {
    throw invalid(what, 'addresses beside dns:, srv: or file: without zones: each member says its own by --zone', text);
  }
  const addresses = listed.map(({ host, linkPort }): Source => ({ kind: 'address', address: { host, linkPort } }));
  return { listed: [], sources: [...sources, ...addresses] };
};

function listedIn(part: string, text: string, what: string): ListedMember {
  const match = LISTED.exec(part);
  const linkPort = Number(match?.[3]);
  if (match === null || linkPort < 1 || linkPort > PORT_MAX) {
    throw invalid(
      what,
      'the link addresses of all members, host:port, host:port@zone or host:port@zone#machine=weight, separated by commas; or dns:NAME, srv:NAME, file:PATH',
      text,
    );
  }
  return {
    host: match[1] ?? match[2]!,
    linkPort,
    zone: match[4] ?? '',
    ...(match[5] === undefined ? {} : { machine: match[5] }),
    ...(match[6] === undefined ? {} : { weight: weight(match[6], what) }),
  };
}

/** Ratios: three decimals are enough to say them, and are the same text everywhere. */
const weight: Read<number> = (text, what) => {
  const value = /^\d{1,7}(?:\.\d{1,3})?$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (!(value <= MAX_WEIGHT)) {
    throw invalid(what, `a weight from 0 to ${MAX_WEIGHT} with three decimals at most`, text);
  }
  return value;
};

const label: Read<string> = (text, what) => {
  if (!/^[A-Za-z0-9._:/-]{1,64}$/.test(text.trim())) {
    throw invalid(what, 'at most 64 letters, digits and . _ : / -', text);
  }
  return text.trim();
};

const secret: Read<string> = (text, what) => {
  // What was received is not repeated: it would stand in logs.
  if (text.length < 16 || text.length > 256) throw invalid(what, '16 to 256 characters', `${text.length} characters`);
  return text;
};

const directory: Read<string> = (text, what) => {
  if (text.trim() === '' || text.includes('\0')) throw invalid(what, 'a directory', text);
  return text;
};

const file: Read<string> = (text, what) => {
  if (text.trim() === '' || text.includes('\0')) throw invalid(what, 'a file', text);
  return text;
};

export const CLUSTER_SETTINGS: readonly Setting[] = [
  {
    field: 'join',
    name: 'join',
    placeholder: '<members>',
    defaultText: 'none: a node of its own',
    summary:
      'makes the node a member of a cluster: the link addresses of all that form it, this one included, or of one or several members of a running one',
    effect:
      'host:port of each, separated by commas; behind it @zone where members fail together by zone, #machine where several are on one, and =weight where shares differ (10.0.0.1:17379@a#rack-7=2). With this node among them it is the list that forms a cluster: the same in the same order at each of them (docs/cluster.md); the first of it vote; the cluster begins when all its voters are there. Without this node among them they are asked, one after the other, to let it into their cluster. Or where to look for members: dns:NAME (all its addresses; dns:NAME:PORT where the link port is another than ours), srv:_SERVICE._tcp.NAME (hosts and ports), file:PATH (one address a line, # comments; read again when it changes), several of them separated by commas, addresses among them. Who is found there in a cluster lets this node in; with expect they form one.',
    read: members,
  },
  {
    field: 'expect',
    name: 'expect',
    placeholder: '<count>',
    defaultText: 'none: no cluster is formed, one is joined',
    summary: 'how many members that were found by dns:, srv: or file: form a cluster where there is none',
    effect:
      'Nobody forms anything before so many are there, all have found the same ones, and no address that was found is in doubt. Take the number that is started first, and leave it: who comes later finds the cluster, and joins. The same at every member.',
    read: integer(1, MAX_MEMBERS, 'a count'),
  },
  {
    field: 'linkPort',
    name: 'link-port',
    placeholder: '<port>',
    defaultText: 'port + 10000',
    summary: 'port for the links between members',
    effect: 'Whoever reaches it and knows the cluster-secret is believed; nothing on it is encrypted.',
    read: integer(1, PORT_MAX, 'a port'),
  },
  {
    field: 'proxyPort',
    name: 'proxy-port',
    placeholder: '<port>',
    defaultText: 'none',
    summary: 'RESP port for clients that know nothing of clusters',
    effect:
      'Every command is answered here, whoever owns its keys: this member asks the owner, over the link. A client that knows clusters belongs to the other port: here it would never be told where its keys are. May differ from member to member.',
    read: integer(1, PORT_MAX, 'a port'),
  },
  {
    field: 'announce',
    name: 'announce',
    placeholder: '<host>',
    defaultText: 'bind',
    summary: 'name or address by which members and clients reach this node',
    effect:
      'With the link port it says which member of the list this is, so it must stand there as it does here. Clients are redirected to it.',
    read: address,
  },
  {
    field: 'zone',
    name: 'zone',
    placeholder: '<label>',
    defaultText: 'none',
    summary: 'what fails together with this member on the large scale: an availability zone, a room',
    effect:
      'Copies are placed in different zones where there are several. In the list that forms a cluster it is written @zone; given here too, it must be the same. Who joined and is started with another one changes it.',
    read: label,
  },
  {
    field: 'machine',
    name: 'machine',
    placeholder: '<label>',
    defaultText: 'what #machine says in the list of join, else by announce: one address is one machine',
    summary: 'what fails together with this member on the small scale: the host of several members',
    effect:
      'Copies are placed on other machines than the owner where there are several. In the list it is written #machine. Another one at a restart changes it.',
    read: label,
  },
  {
    field: 'weight',
    name: 'weight',
    placeholder: '<number>',
    defaultText: 'what =weight says in the list of join, else 1',
    summary: 'how much this member is to own and copy, relative to the others',
    effect:
      'A member of weight 2 gets twice the share of one of weight 1. 0: it owns and copies nothing, and votes if it is a voter. In the list it is written =weight: then shares are right from the first moment. Another one at a restart changes it, and ranges move until the shares are right.',
    read: weight,
  },
  {
    field: 'data',
    name: 'data',
    placeholder: '<directory>',
    defaultText: 'none: nothing is kept',
    summary: 'directory in which a member keeps who it is and what it has promised as a voter',
    effect:
      'Entries are not kept. Without it a voter that was restarted waits for takeover and asks the others before it votes again, and a cluster of which the majority of voters restarts at once is without them until all were restarted.',
    read: directory,
  },
  {
    field: 'clusterName',
    name: 'cluster-name',
    placeholder: '<name>',
    defaultText: 'breakwater',
    summary: 'name of the cluster',
    effect: 'Members of clusters with different names refuse each other. The same at every member.',
    read: label,
  },
  {
    field: 'clusterSecret',
    name: 'cluster-secret',
    placeholder: '<text>',
    defaultText: 'none: whoever reaches the link port is believed',
    summary: 'secret that members prove to each other that they know, 16 characters or more',
    effect:
      'It is never sent. A command line is visible to other users of the machine: give it by BREAKWATER_CLUSTER_SECRET or in the file. The same at every member.',
    read: secret,
  },
  {
    field: 'voters',
    name: 'voters',
    placeholder: '<count>',
    defaultText: '1 for up to two members, 3 for up to four, else 5',
    summary: 'how many members vote on who owns what: 1, 3 or 5, the first of the list',
    effect: 'While a majority of them is away nothing is served. The same at every member.',
    read: (text, what) => {
      const count = integer(1, 5, 'a count')(text, what);
      if (count % 2 === 0) throw invalid(what, '1, 3 or 5', text);
      return count;
    },
  },
  {
    field: 'coordination',
    name: 'coordination',
    placeholder: '<etcd>',
    defaultText: 'none: members vote',
    summary: 'an etcd that decides who owns what, in place of voters among the members: etcd://host:2379',
    effect:
      'More hosts of the same etcd behind commas; etcds:// where it speaks TLS; user:password@ in front of the hosts; /prefix for its keys behind them (default /breakwater/ and the cluster-name). While it does not answer nothing is served. Members do not vote then, and voters is refused. A command line is visible to other users of the machine: give a password by BREAKWATER_COORDINATION or in the file. The same etcd and prefix at every member.',
    read: readEtcdAddress,
  },
  {
    field: 'coordinationCa',
    name: 'coordination-ca',
    placeholder: '<file>',
    defaultText: 'who this machine trusts',
    summary: "certificate (PEM) of who signed etcd's, for etcds://",
    effect: 'May differ from member to member.',
    read: file,
  },
  {
    field: 'coordinationCert',
    name: 'coordination-cert',
    placeholder: '<file>',
    defaultText: 'none',
    summary: 'certificate (PEM) that this member shows to etcd, for etcds://',
    effect: 'With coordination-key, where etcd asks for one (--client-cert-auth).',
    read: file,
  },
  {
    field: 'coordinationKey',
    name: 'coordination-key',
    placeholder: '<file>',
    defaultText: 'none',
    summary: 'private key (PEM) of coordination-cert',
    effect: 'Read once, when the member starts.',
    read: file,
  },
  {
    field: 'replicas',
    name: 'replicas',
    placeholder: '<count>',
    defaultText: '1 (0 for a single member); with topology primary 2, as far as there are members',
    summary: 'copies of each range beside its owner',
    effect:
      'An invalidation is acknowledged when all of them have applied it. 0: a member that dies takes its entries along. The same at every member.',
    read: integer(0, 7, 'a count'),
  },
  {
    field: 'ranges',
    name: 'ranges',
    placeholder: '<count>',
    defaultText: '64, for more than four members 16 for each, up to 1024',
    summary: 'into how many ranges the 16384 slots are cut, a power of two',
    effect: 'More: evener shares, a longer CLUSTER SLOTS. The same at every member.',
    read: integer(1, 16_384, 'a count'),
  },
  {
    field: 'topology',
    name: 'topology',
    placeholder: '<kind>',
    defaultText: 'sharded',
    summary: 'sharded: each member owns its share of the ranges; primary: one member owns all, the others copy or wait',
    effect:
      'primary is one primary with replicas: the heaviest member (weight), of equals the first of the list, owns every range, the next ones copy all of it, and one of them takes over when it is gone. Who was the primary comes back as a replica; "breakwater move 0-16383 --to" makes it the primary again. The same at every member.',
    read: oneOf(TOPOLOGIES),
  },
  {
    field: 'writeModes',
    name: 'write-mode',
    placeholder: '<ns=mode>',
    defaultText: '*=safe',
    summary: `when writes of a namespace are acknowledged: ${WRITE_MODES.join(', ')}`,
    effect:
      'safe: invalidations and overwrites when every in-sync copy has them, first SETs and fills at once. async: everything at once; an owner that dies takes deletes of its last moments along, and what was deleted is served again until its TTL ends. all: first SETs and fills wait for the copies too. Comma-separated, * stands for all other namespaces: session=all,page=async. Tags and whole namespaces are always safe. Each owner goes by its own: give all members the same.',
    read: modesByNamespace(WRITE_MODES),
  },
  {
    field: 'minorityModes',
    name: 'on-minority',
    placeholder: '<ns=mode>',
    defaultText: '*=miss',
    summary: `what reads of a namespace are answered by an owner without a majority of the voters: ${MINORITY_MODES.join(', ')}`,
    effect:
      'It may have lost its ranges to others, so what it holds is not served: CLUSTERDOWN for as long as a takeover takes, then what this says. miss: reads miss, and what is loaded is not kept. gutter: what is loaded is kept in a memory of 8 MiB beside the entries, for at most gutter-ttl, and served; what is invalidated elsewhere meanwhile is served for that long. error: CLUSTERDOWN, so that clients look for another member. Writes and invalidations get CLUSTERDOWN in all of them. Comma-separated, * stands for all other namespaces: page=gutter,session=error.',
    read: modesByNamespace(MINORITY_MODES),
  },
  {
    field: 'gutterMs',
    name: 'gutter-ttl',
    placeholder: '<duration>',
    defaultText: '10s',
    summary:
      'for how long at most an owner without a majority serves what it was given since, where on-minority says gutter',
    effect:
      'Counted from the miss for which it was loaded. Longer: fewer loads while cut off, and for longer what was invalidated elsewhere.',
    read: (text, what) => {
      const ms = duration(MIN_GUTTER_MS)(text, what);
      if (ms > MAX_GUTTER_MS) throw invalid(what, `a duration of at most ${MAX_GUTTER_MS / 1000}s`, text);
      return ms;
    },
  },
  {
    field: 'takeoverMs',
    name: 'takeover',
    placeholder: '<duration>',
    defaultText: '1500ms',
    summary: 'silence after which the ranges of a member are taken over',
    effect:
      'All times of the protocol keep their ratio to it: a heartbeat each 2/15 of it, an owner without a majority stops after 2/3. Less: shorter outages; a machine that pauses longer than that loses its ranges. The same at every member.',
    read: (text, what) => {
      const ms = duration(MIN_TAKEOVER_MS)(text, what);
      if (ms > MAX_TAKEOVER_MS) throw invalid(what, `a duration of at most ${MAX_TAKEOVER_MS / 1000}s`, text);
      return ms;
    },
  },
  {
    field: 'crashFastPath',
    name: 'crash-fast-path',
    placeholder: '<on|off>',
    defaultText: 'off',
    summary: 'whether a member whose process has died is taken over at once, and not after the takeover time: on, off',
    effect:
      'on: when its connections have closed and its link port refuses two dials in a row, its ranges are taken over in some milliseconds. Only where nothing between members refuses connections in the place of another: no proxy, NAT or firewall that resets, and no address that wanders from machine to machine; there two members would serve one range. A machine that is lost, or cut off, is taken over after the takeover time as ever. The same at every member.',
    read: (text, what) => oneOf(['off', 'on'], { false: 'off', true: 'on' })(text, what) === 'on',
  },
];

const MIN_GUTTER_MS = 100;
const MAX_GUTTER_MS = 600_000;

/** Decided when the cluster is formed. */
const FACTS = ['voters', 'replicas', 'ranges', 'takeoverMs', 'crashFastPath', 'topology'] as const;

/** What the cluster's settings make of a node, or null without `join`. @throws BreakwaterError `CONFIG_INVALID` */
export function clusterConfigOf(
  values: ReadonlyMap<string, unknown>,
  node: { readonly port: number; readonly httpPort: number; readonly bind: string },
): ClusterConfig | JoiningConfig | null {
  const pick = <T>(field: string, fallback: T): T => (values.get(field) as T | undefined) ?? fallback;
  const join = pick<JoinList | null>('join', null);
  if (join === null) {
    const given = CLUSTER_SETTINGS.find(({ field }) => values.get(field) !== undefined);
    if (given !== undefined) refuse(`${given.name} is for a member of a cluster, which a node becomes by --join`);
    return null;
  }
  const { port, httpPort, bind } = node;
  if (port === 0) refuse('a member of a cluster needs a port that clients can be told: give --port');
  const linkPort = pick('linkPort', port + LINK_OFFSET);
  if (linkPort > PORT_MAX) refuse(`port + ${LINK_OFFSET} is ${linkPort}, above ${PORT_MAX}: give --link-port`);
  if (linkPort === port || linkPort === httpPort) refuse(`port ${linkPort} was given twice`);
  const announce = pick('announce', bind);
  if (announce === '0.0.0.0' || announce === '::') {
    refuse(`${announce} is no address by which others reach this node: give --announce`);
  }
  const proxyPort = pick<number | null>('proxyPort', null);
  if (proxyPort !== null && [port, httpPort, linkPort].includes(proxyPort)) refuse(`port ${proxyPort} was given twice`);
  const name = pick('clusterName', 'breakwater');
  const zone = pick<string | null>('zone', null);
  const machine = pick<string | null>('machine', null);
  const weight = pick<number | null>('weight', null);
  const data = pick<string | null>('data', null);
  const modes = {
    writeModes: pick<Readonly<Record<string, WriteMode>>>('writeModes', {}),
    minorityModes: pick<Readonly<Record<string, MinorityMode>>>('minorityModes', {}),
    gutterMs: pick('gutterMs', DEFAULT_GUTTER_MS),
  };
  const secret = pick('clusterSecret', '');
  const coordination = etcdOf(pick);
  const expect = pick<number | null>('expect', null);
  const { listed, sources } = join;
  const topology = pick<Topology>('topology', 'sharded');
  if (sources.length > 0) {
    if (coordination !== null && expect !== null) {
      refuse(
        'a cluster that etcd coordinates is formed by a list of its members: --expect is for one whose members vote',
      );
    }
    const fact = FACTS.find((field) => values.get(field) !== undefined);
    if (expect === null && fact !== undefined) {
      const what = CLUSTER_SETTINGS.find(({ field }) => field === fact)!.name;
      refuse(
        `without --expect this node forms no cluster, and ${what} was decided when the one that it joins was formed`,
      );
    }
    const wishes: Wishes = {
      voters: pick('voters', null),
      replicas: pick('replicas', null),
      ranges: pick('ranges', null),
      takeoverMs: pick('takeoverMs', DEFAULT_TAKEOVER_MS),
      crashFastPath: pick('crashFastPath', false),
      topology,
    };
    if (expect !== null) checkWishes(name, wishes, expect);
    const labels = { zone: zone ?? '', machine: machine ?? '', weight: weight ?? 1 };
    const discovery = { sources, expect, wishes };
    return {
      seeds: [],
      name,
      secret,
      labels,
      announce,
      linkPort,
      proxyPort,
      data,
      ...modes,
      discovery,
      coordination,
    };
  }
  if (expect !== null && expect !== listed.length) {
    refuse(
      `the list of --join has ${listed.length} members, --expect says ${expect}; it is for members that are looked for by dns:, srv: or file:`,
    );
  }
  const own = listed.find((each) => each.host.toLowerCase() === announce.toLowerCase() && each.linkPort === linkPort);
  if (own === undefined) {
    const fact = FACTS.find((field) => values.get(field) !== undefined);
    if (fact !== undefined) {
      const what = CLUSTER_SETTINGS.find(({ field }) => field === fact)!.name;
      refuse(
        `this node, ${announce}:${linkPort}, is not in the list of --join, so it joins a running cluster, and ${what} was decided when that was formed`,
      );
    }
    if (listed.some((each) => each.zone !== '' || each.machine !== undefined || each.weight !== undefined)) {
      refuse(
        `this node, ${announce}:${linkPort}, is not in the list of --join, so it joins a running cluster, and the zones, machines and weights of its members are known: give --zone, --machine and --weight for this one`,
      );
    }
    const seeds = listed.map((each) => ({ host: each.host, linkPort: each.linkPort }));
    const labels = { zone: zone ?? '', machine: machine ?? '', weight: weight ?? 1 };
    return { seeds, name, secret, labels, announce, linkPort, proxyPort, data, ...modes, coordination };
  }
  if (zone !== null && zone !== own.zone) {
    refuse(
      `the list of --join says that the zone of this node is ${own.zone || 'none'} (host:port@zone), --zone says ${zone}`,
    );
  }
  if (coordination !== null && values.get('voters') !== undefined) {
    refuse('nobody votes where etcd coordinates: voters is for a cluster without coordination');
  }
  if (coordination !== null && pick('crashFastPath', false)) {
    refuse('crash-fast-path is for voters: etcd hears of nobody whose process is gone');
  }
  const setup = makeSetup({
    name,
    members: listed,
    self: { host: announce, linkPort },
    voters: coordination === null ? pick('voters', null) : 0,
    replicas: pick('replicas', defaultReplicas(listed.filter((each) => each.weight !== 0).length, topology)),
    topology,
    ranges: pick('ranges', null),
    takeoverMs: pick('takeoverMs', DEFAULT_TAKEOVER_MS),
    crashFastPath: pick('crashFastPath', false),
    secret,
  });
  const labels = { zone: own.zone, machine: machine ?? own.machine ?? '', weight: weight ?? own.weight ?? 1 };
  return { setup, announce, linkPort, proxyPort, data, ...modes, labels, coordination };
}

function etcdOf(pick: <T>(field: string, fallback: T) => T): EtcdConfig | null {
  const address = pick<EtcdAddress | null>('coordination', null);
  const ca = pick<string | null>('coordinationCa', null);
  const cert = pick<string | null>('coordinationCert', null);
  const key = pick<string | null>('coordinationKey', null);
  if (address?.isTls !== true && (ca ?? cert ?? key) !== null) {
    refuse('coordination-ca, coordination-cert and coordination-key are for an etcd that speaks TLS: etcds://');
  }
  if ((cert === null) !== (key === null)) refuse('coordination-cert and coordination-key are given both, or neither');
  return address === null ? null : { ...address, files: { ca, cert, key } };
}

/** Could so many members form a cluster like this? @throws BreakwaterError `CONFIG_INVALID`, `TIMING_INVALID` */
function checkWishes(name: string, wishes: Wishes, expect: number): void {
  const members = Array.from({ length: expect }, (_, index) => ({ host: 'expected', linkPort: index + 1 }));
  const replicas = wishes.replicas ?? defaultReplicas(expect, wishes.topology);
  makeSetup({ ...wishes, replicas, name, members, self: members[0]!, secret: '' });
}

function refuse(why: string): never {
  throw new BreakwaterError('CONFIG_INVALID', `cannot use the settings of the cluster: ${why}`);
}
