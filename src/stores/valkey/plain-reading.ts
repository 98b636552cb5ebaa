/**
 * Reads what is there and in date with plain commands, no scripts: the common case at the price of a few GETs. A script costs the server ten times a command.
 * Whatever is not clearly a hit (absent, of another life or epoch, with tags that this process has not met, an error of any kind) is left to the scripts
 * (reading.ts), which alone grant leases. So this may say no as it likes, and a yes must be one that the scripts would have said.
 *
 * One pipeline on the connection for reads:
 *
 *   PTTL key        a read command, so CLIENT TRACKING remembers the key *before* it is read
 *   GETEX key       without options a GET that counts as a write: a replica refuses it, and so does a primary that may not write. It is not tracked.
 *   MGET key ...    of a batch for one server alone only the first key goes the way of GETEX, and the others come with this, which tracks what it reads.
 *   TIME            their time to live, then: an entry says when it expires by the server's own clock (format.ts), as the server keeps it. What another client has made
 *                   of it with EXPIRE since is not seen here: who makes it shorter has it gone earlier, who makes it longer a miss of this reader.
 *   ZMSCORE table h<life><epoch> f n<namespace> t<tag>...   names the head of the table that we know. No score for it: the table is another one.
 *
 * Nothing holds these together on the server, so anything may happen between two of them:
 *
 *   before GETEX     1. PTTL sees entry A, an hour to live.   2. A is replaced by B, a second to live, acknowledged.   3. GETEX brings B. B is the truth.
 *                    The time to live is A's. The value's envelope bounds it: the age is what it was kept for less what remains, at least 0, and B is that
 *                    young. The tracking told of 2 in a push that stands before 3's reply, so nothing of it is kept in L1.
 *                    A without a time to live, or gone: -1 is a value of no known age, -2 is left to the scripts.
 *   entry, table     1. GETEX brings an entry of number 5.   2. org:7 is invalidated as 6, acknowledged.   3. ZMSCORE tells 6. A miss.
 *                    Or: 2. the key is deleted, acknowledged.   3. ZMSCORE knows of nothing. Served. The read began before 2 was acknowledged.
 *   MGET, TIME       1. MGET brings an entry with a millisecond to live.   2. TIME is later than that. A miss. Never the other way round: time goes on between them.
 *   table, lost      2. the table is evicted, or made anew by a script.   3. No score for the head that we know. A miss.
 *   the server       1. GETEX: it is the primary.   2. It is demoted, and others are invalidated elsewhere.   3. ZMSCORE is answered from what it had at 1, or
 *                    (resynchronised) from later. Served or not, it was so at 1, and the read began before.
 *   two servers      In a cluster the table may be with another server than the entry. Then the order is open, which survey.ts allows, and an empty ZREM is sent
 *                    before the ZMSCORE, to be refused where a GETEX would be.
 *   a slot moves     What is absent on the old owner is answered ASK or MOVED, an error. What is there is in force, as for the scripts.
 *
 * And a restart. The scripts carry the server's run id in their text; plain commands do not. But a connection ends with the server's life, so what was once
 * proven on a connection holds while it stands: a survey that was *sent and answered on one connection* by a script of life R (a script of R exists in no other
 * life) says that this connection leads to life R, and which epoch its table has. Plain reads go out on that very connection, at once, or not at all, and
 * are never sent again on another. Behind a proxy that puts another server under a standing connection this would not hold: see docs/stores.md.
 *
 * When more than a quarter of recent keys were no hits, reads go to the scripts at once: one round trip instead of two.
 */
import { BreakwaterError } from '../../base/errors.ts';
import type { ClusterClient } from '../../client/cluster.ts';
import type { ClusterNode } from '../../client/cluster-node.ts';
import type { Outcome } from '../../client/cluster-outcome.ts';
import type { ExecuteOptions, SlotRequest } from '../../client/cluster-request.ts';
import { isSame, type Shard, type Topology } from '../../client/cluster-topology.ts';
import { HitPack, PackedHit } from '../packed-hit.ts';
import type { ReadHit, ReadResult } from '../store.ts';
import { type ReadEntry, readEntry } from './format.ts';
import type { Scripts } from './scripts.ts';
import { type Layout, layoutOfCluster, type Sector, STANDALONE } from './sectors.ts';
import { namespaceName, type Survey, tagName } from './survey.ts';
import type { TagMemory } from './tag-memory.ts';

/** Share of hits among recent keys from which plain reads pay, and how much the last read counts. */
const WORTH_IT = 0.75;
const WEIGHT = 1 / 16;
const KEYS_PER_MGET = 128;
const NO_TAGS: readonly string[] = [];
/** The places of head and floor in what a table is asked, and of the namespace when one key is read. */
const HEAD = 0;
const FLOOR = 1;
const NAMESPACE = 2;
/** That a connection leads to a life of a server. */
interface Proof {
  readonly shard: Shard;
  readonly node: ClusterNode;
  /** Which connection: how often the client had connected. */
  readonly connects: number;
  readonly life: string;
}

interface Table {
  readonly topology: Topology;
  readonly proof: Proof;
  readonly epoch: string;
}

/** A survey whose reply may prove something. */
export interface Witness {
  readonly request: SlotRequest;
  /** @param survey what a script answered to `request` */
  learn(survey: Survey): void;
}

export interface PlainReadOptions {
  readonly client: () => ClusterClient;
  readonly scripts: Scripts;
  readonly tags: TagMemory;
  /** Told of what is about to be read where. */
  readonly sending: (node: ClusterNode, keys: readonly string[]) => void;
  /** Read plainly whatever the share of hits was. */
  readonly always: boolean;
}

/** What goes to one server: PTTL of each key, then the keys, then its tables. */
interface Pipeline {
  readonly node: ClusterNode;
  readonly life: string;
  readonly keys: string[];
  readonly commands: string[][];
  replies: readonly Outcome[] | null;
}

/** What a table is asked: names, each with its place in the reply. */
interface Question {
  readonly table: Table;
  readonly pipeline: Pipeline;
  readonly places: Map<string, number>;
  at: number;
  scores: readonly number[] | null;
}

interface Wanted {
  readonly key: string;
  readonly tags: readonly string[];
  readonly question: Question;
  /** Of its namespace and its tags in the table's reply. */
  readonly places: readonly number[];
  readonly pipeline: Pipeline;
  readonly ttlAt: number;
  textAt: number;
}

type Hits = Promise<(ReadHit | null)[]>;

export class PlainReads {
  readonly #options: PlainReadOptions;
  readonly #tables = new Map<Sector, Table>();
  readonly #proofs = new WeakMap<Shard, Proof>();
  #share = 0;
  /** The server does not allow the commands. */
  #isForbidden = false;
  /** Hits that took no script. */
  hits = 0;

  constructor(options: PlainReadOptions) {
    this.#options = options;
  }

  /** How many of these were hits, however they were read. */
  note(results: readonly ReadResult[]): void {
    let hits = 0;
    for (let i = 0; i < results.length; i += 1) if (results[i]!.kind === 'hit') hits += 1;
    this.#share += (hits / results.length - this.#share) * WEIGHT;
  }

  /** To be asked in the place of `request`, a survey of `sector`. */
  watch(sector: Sector, request: SlotRequest): Witness {
    let sent: Omit<Table, 'epoch'> | null = null;
    return {
      request: {
        slot: request.slot,
        build: (node) => {
          sent = this.#sentBy(node, sector);
          return request.build(node);
        },
      },
      learn: ({ epoch }) => {
        // The last sending is the one that was answered; on the connection that it was sent on, if there has been no other.
        if (sent === null || !stands(sent.proof)) return;
        this.#proofs.set(sent.proof.shard, sent.proof);
        this.#tables.set(sector, { ...sent, epoch });
      },
    };
  }

  /** What a good reply to what is sent to `node` now would prove; null = nothing. */
  #sentBy(node: ClusterNode, sector: Sector): Omit<Table, 'epoch'> | null {
    const { client, scripts } = this.#options;
    const topology = client().known;
    const shard = topology?.ownerOf(sector.slot) ?? null;
    const life = scripts.lifeOf(node);
    // Ready: it goes out in this tick, on this connection.
    if (topology === null || shard === null || life === null || node.reader.state.kind !== 'ready') return null;
    if (!isSame(shard.primary, node.address)) return null;
    return { topology, proof: { shard, node, connects: node.reader.stats.connects, life } };
  }

  /**
   * Sends at once, or returns null: nothing is proven of a connection that it takes, or it would hardly pay. The promise never rejects; aligned with the keys,
   * null where nothing can be said.
   */
  read(keys: readonly string[], options: ExecuteOptions): Hits | null {
    if (this.#isForbidden || (this.#share < WORTH_IT && !this.#options.always)) return null;
    const topology = this.#options.client().known;
    if (topology === null) return null;
    const layout = topology.mode === 'cluster' ? layoutOfCluster() : STANDALONE;
    if (keys.length > 1) {
      if (topology.mode === 'cluster') return this.#readMany(keys, layout, topology, options);
      const [sector] = layout.sectors;
      const table = this.#tableOf(sector!, topology);
      return table === null ? null : this.#readBatch(keys, sector!, table, options);
    }
    const slot = layout.slotOf(keys[0]!);
    const sector = layout.sectorOf(slot);
    const table = this.#tableOf(sector, topology);
    if (table === null) return null;
    if (topology.ownerOf(slot) !== table.proof.shard) return this.#readMany(keys, layout, topology, options);
    return this.#readOne(keys[0]!, sector, table, options);
  }

  /** The most common of all: the shorter way for one key whose table is with the same server. */
  #readOne(key: string, sector: Sector, { proof, epoch }: Table, options: ExecuteOptions): Hits {
    const tags = this.#options.tags.get(key);
    const question = ['ZMSCORE', sector.key, headName(proof.life, epoch), 'f', namespaceName(key)];
    for (let i = 0; i < tags.length; i += 1) question.push(tagName(tags[i]!));
    this.#options.sending(proof.node, [key]);
    const sent = proof.node.reader.pipeline([['PTTL', key], ['GETEX', key], question], options);
    return sent.then(([ttl, text, reply]) => {
      if (text instanceof Error) this.#noteError(text);
      const scores = this.#scoresOf(reply!);
      return [scores === null ? null : this.#judge(text!, ttl!, Number.NaN, proof.life, epoch, tags, scores, null)];
    }, justNull);
  }

  /** Many keys of one server, which has their table too: the same commands however many they are. */
  #readBatch(keys: readonly string[], sector: Sector, { proof, epoch }: Table, options: ExecuteOptions): Hits {
    const { life } = proof;
    const places = new Map([
      [headName(life, epoch), HEAD],
      ['f', FLOOR],
    ]);
    const tagsOf: (readonly string[])[] = [];
    const placesOf: (readonly number[])[] = [];
    // Nearly always all keys are of one namespace, and most have no tags.
    let plain: readonly number[] = [];
    let start: string | null = null;
    let mayHaveTags = false;
    const memory = this.#options.tags;
    for (const key of keys) {
      if (start === null || !key.startsWith(start)) {
        const name = namespaceName(key);
        plain = [placeOf(places, name)];
        mayHaveTags = memory.mayHave(name);
        start = name === 'n' ? null : `${name.slice(1)}:`;
      }
      const tags = mayHaveTags ? memory.get(key) : NO_TAGS;
      tagsOf.push(tags);
      placesOf.push(tags.length === 0 ? plain : [plain[0]!, ...tags.map((tag) => placeOf(places, tagName(tag)))]);
    }
    const first = keys[0]!;
    const commands: string[][] = [
      ['PTTL', first],
      ['GETEX', first],
    ];
    for (let at = 1; at < keys.length; at += KEYS_PER_MGET) {
      commands.push(['MGET', ...keys.slice(at, at + KEYS_PER_MGET)]);
    }
    commands.push(['TIME'], ['ZMSCORE', sector.key, ...places.keys()]);
    this.#options.sending(proof.node, keys);
    return proof.node.reader.pipeline(commands, options).then(
      (replies) => {
        const nothing = (): null[] => keys.map(() => null);
        const text = replies[1]!;
        // The one that counts as a write: refused, the server is not what we took it for.
        if (text instanceof BreakwaterError) this.#noteError(text);
        if (text instanceof BreakwaterError && text.code !== 'WRONGTYPE') return nothing();
        const nowMs = this.#momentIn(replies[replies.length - 2]!);
        const scores = this.#scoresOf(replies[replies.length - 1]!);
        if (scores === null || Number.isNaN(nowMs)) return nothing();
        const hits = [this.#judge(text, replies[0]!, Number.NaN, life, epoch, tagsOf[0]!, scores, placesOf[0]!)];
        for (let i = 1; i < keys.length; i += 1) {
          const reply = replies[2 + Math.floor((i - 1) / KEYS_PER_MGET)]!;
          const one = Array.isArray(reply) ? reply[(i - 1) % KEYS_PER_MGET]! : null;
          hits.push(this.#judge(one, null, nowMs, life, epoch, tagsOf[i]!, scores, placesOf[i]!));
        }
        return hits;
      },
      () => keys.map(() => null),
    );
  }

  /** What TIME says, ms; NaN for anything else. */
  #momentIn(reply: Outcome): number {
    if (reply instanceof BreakwaterError) this.#noteError(reply);
    if (!Array.isArray(reply) || reply.length !== 2) return Number.NaN;
    return numberOf(reply[0]!) * 1000 + Math.floor(numberOf(reply[1]!) / 1000);
  }

  #readMany(keys: readonly string[], layout: Layout, topology: Topology, options: ExecuteOptions): Hits | null {
    const pipelines = new Map<Shard, Pipeline>();
    const questions = new Map<Sector, Question>();
    const wanted: Wanted[] = [];
    for (const key of keys) {
      const slot = layout.slotOf(key);
      const sector = layout.sectorOf(slot);
      const question = questions.get(sector) ?? this.#newQuestion(sector, topology, pipelines);
      const shard = topology.ownerOf(slot);
      const proof = shard === null ? undefined : this.#proofs.get(shard);
      if (question === null || proof === undefined || !stands(proof)) return null;
      questions.set(sector, question);
      const tags = this.#options.tags.get(key);
      const places = [placeOf(question.places, namespaceName(key))];
      for (const tag of tags) places.push(placeOf(question.places, tagName(tag)));
      const pipeline = pipelineTo(proof, pipelines);
      wanted.push({ key, tags, question, places, pipeline, ttlAt: pipeline.keys.push(key) - 1, textAt: 0 });
    }
    for (const { commands, keys: own } of pipelines.values()) for (const key of own) commands.push(['PTTL', key]);
    for (const each of wanted) each.textAt = each.pipeline.commands.push(['GETEX', each.key]) - 1;
    for (const [sector, question] of questions) {
      const { commands, keys: own } = question.pipeline;
      if (own.length === 0 && commands.length === 0) commands.push(['ZREM', sector.key, '-']);
      question.at = commands.push(['ZMSCORE', sector.key, ...question.places.keys()]) - 1;
    }
    const sent = [...pipelines.values()].map(async (pipeline): Promise<void> => {
      const { node, keys: own, commands } = pipeline;
      if (own.length > 0) this.#options.sending(node, own);
      pipeline.replies = await node.reader.pipeline(commands, options).catch(() => null);
      // The first that counts as a write: refused, the server is not what we took it for.
      const first = pipeline.replies?.[own.length];
      if (!(first instanceof BreakwaterError) || first.code === 'WRONGTYPE') return;
      this.#noteError(first);
      pipeline.replies = null;
    });
    return Promise.all(sent).then(() => {
      for (const question of questions.values()) {
        const { replies } = question.pipeline;
        question.scores = replies === null ? null : this.#scoresOf(replies[question.at]!);
      }
      return wanted.map((each) => this.#judgeOne(each));
    });
  }

  #newQuestion(sector: Sector, topology: Topology, pipelines: Map<Shard, Pipeline>): Question | null {
    const table = this.#tableOf(sector, topology);
    if (table === null) return null;
    const places = new Map([
      [headName(table.proof.life, table.epoch), HEAD],
      ['f', FLOOR],
    ]);
    return { table, places, pipeline: pipelineTo(table.proof, pipelines), at: 0, scores: null };
  }

  #judgeOne({ tags, question, places, pipeline, ttlAt, textAt }: Wanted): ReadHit | null {
    const { replies, life } = pipeline;
    if (replies === null || question.scores === null) return null;
    return this.#judge(
      replies[textAt]!,
      replies[ttlAt]!,
      Number.NaN,
      life,
      question.table.epoch,
      tags,
      question.scores,
      places,
    );
  }

  /**
   * @param ttl what PTTL said; null = it was not asked, and the entry says it, for the server's `nowMs`
   * @param places null = in the order asked, from NAMESPACE on
   */
  #judge(
    text: Outcome,
    ttl: Outcome,
    nowMs: number,
    life: string,
    epoch: string,
    tags: readonly string[],
    scores: readonly number[],
    places: readonly number[] | null,
  ): ReadHit | null {
    if (!(text instanceof Uint8Array)) return null;
    const entry = readEntry(text, life, epoch, tags);
    if (entry === null) return null;
    const ttlMs = ttl === null ? leftOf(entry, nowMs) : ttl;
    // -1: it does not expire. -2: it was absent when that was looked at.
    if (typeof ttlMs !== 'number' || ttlMs < -1) return null;
    // As survey.ts judges. Written so that a score that is none, or is missing, is no hit.
    const { number } = entry;
    if (!(scores[HEAD]! >= number)) return null;
    if (tags.length > 0 && !(scores[FLOOR]! <= number)) return null;
    for (let i = 0; i <= tags.length; i += 1) {
      if (!(scores[places === null ? NAMESPACE + i : places[i]!]! <= number)) return null;
    }
    this.hits += 1;
    const pack = new HitPack(text, false);
    return new PackedHit(pack, entry.valueAt, entry.valueEnd, ttlMs < 0 ? null : ttlMs, entry.version);
  }

  /** Null when the table is not the one that was asked for. A name that is not in it never had a number. */
  #scoresOf(reply: Outcome): readonly number[] | null {
    if (!Array.isArray(reply)) {
      if (reply instanceof BreakwaterError) this.#noteError(reply);
      return null;
    }
    if (reply[HEAD] === null) return null;
    return reply.map(scoreOf);
  }

  #tableOf(sector: Sector, topology: Topology): Table | null {
    const table = this.#tables.get(sector);
    return table !== undefined && table.topology === topology && stands(table.proof) ? table : null;
  }

  #noteError(error: Error): void {
    if (error instanceof BreakwaterError && (error.code === 'NOPERM' || error.code === 'ERR')) this.#isForbidden = true;
  }
}

/** On the connection of which it was proven, still. */
function stands({ node, connects }: Proof): boolean {
  return node.reader.state.kind === 'ready' && node.reader.stats.connects === connects;
}

/** The time to live of an entry when the server's clock shows `nowMs`, as PTTL says it. -2 too when its life was made longer than it knows. */
function leftOf({ goneAtMs }: ReadEntry, nowMs: number): number {
  if (goneAtMs === 0) return -1;
  return goneAtMs > nowMs ? goneAtMs - nowMs : -2;
}

function headName(life: string, epoch: string): string {
  return `h${life}${epoch}`;
}

function pipelineTo({ shard, node, life }: Proof, pipelines: Map<Shard, Pipeline>): Pipeline {
  let pipeline = pipelines.get(shard);
  if (pipeline === undefined) {
    pipeline = { node, life, keys: [], commands: [], replies: null };
    pipelines.set(shard, pipeline);
  }
  return pipeline;
}

function placeOf(places: Map<string, number>, name: string): number {
  const place = places.get(name) ?? places.size;
  if (place === places.size) places.set(name, place);
  return place;
}

const decoder = new TextDecoder();

/** 0 for a name that the table does not have; NaN for what is no score. */
function scoreOf(score: Outcome): number {
  if (typeof score === 'number') return score;
  return score === null ? 0 : numberOf(score);
}

function numberOf(reply: Outcome): number {
  return reply instanceof Uint8Array ? Number(decoder.decode(reply)) : Number.NaN;
}

function justNull(): [null] {
  return [null];
}
