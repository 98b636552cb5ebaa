/**
 * A random walk over what a cache can be asked, through whichever member chance takes, and judged: SET, APPEND, DEL, GETDEL, EXPIRE, PERSIST, tags, namespaces, leases, INCR, and commands over many slots; by
 * owners, copies and proxies in turn.
 *
 * Every operation has a number, and every value says by which operations it came about ("4", or "4|9" when 9 appended). What an acknowledged invalidation covers is a *floor*: a value with a smaller number may not be
 * read any more by a read that begins after it. An operation that was not acknowledged raises no floor and may have been done. A miss is always right.
 */
import { type Reply, replyText } from '../../src/resp/reply.ts';
import type { Answer } from './cluster-processes.ts';

/** How a walk asks: by the key's owner, by a copy (else by the owner), or by anybody's proxy port. */
export type Way = 'owner' | 'copy' | 'proxy';

export interface WalkingClient {
  ask(way: Way, key: string, args: readonly string[]): Promise<Answer>;
}

interface Floor {
  readonly number: number;
  readonly begunMs: number;
}

/** A token of a miss, and what the source had then. */
interface Held {
  readonly key: string;
  readonly token: string;
  readonly number: number;
  readonly tags: readonly string[];
}

const NO_FLOOR: Floor = { number: 0, begunMs: 0 };
/** A nearer end of an entry is kept by its remaining time, which is told to copies: it ends later there by what that took, a takeover included. */
const EXPIRY_SLACK_MS = 10_000;
/** What was sent over a connection that broke may be done for so long: a proxy's command at most F later (docs/cluster.md), and much more for a slow machine. */
const LIMBO_MS = 10_000;

/** What may be read of the keys of one walk. Other walks may read them too. */
export class Ledger {
  readonly wrong: string[] = [];
  readonly keys: readonly string[];
  readonly tags: readonly string[];
  readonly namespaces: readonly string[];
  hits = 0;
  misses = 0;
  #number = 0;
  /** Below: not to be read. By key, tag and namespace. */
  readonly #floors = new Map<string, Floor>();
  /** By key: the last number of its value, when that was acknowledged; an APPEND raises this one alone. */
  readonly #latest = new Map<string, Floor>();
  readonly #ends = new Map<string, { readonly number: number; readonly atMs: number }>();
  readonly #tagsOf = new Map<number, readonly string[]>();
  /** Writes of which nobody knows whether they are still on their way. */
  readonly #limbo = new Map<number, number>();
  readonly #log: string[] = [];
  readonly #nowMs: () => number;

  /** @param nowMs the clock of the world that is judged */
  constructor(name: string, keys: number, nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
    this.namespaces = [`${name}a`, `${name}b`];
    this.keys = Array.from({ length: keys }, (_, n) => `${this.namespaces[n % 2]!}:${n}`);
    this.tags = ['x', 'y', 'z'].map((tag) => `${name}-${tag}`);
  }

  get nowMs(): number {
    return this.#nowMs();
  }

  next(tags: readonly string[] = []): number {
    this.#number += 1;
    if (tags.length > 0) this.#tagsOf.set(this.#number, tags);
    return this.#number;
  }

  note(text: string): void {
    this.#log.push(`${Math.round(this.nowMs)} ${text}`);
    if (this.#log.length > 4000) this.#log.splice(0, 2000);
  }

  /** Of this key, tag or namespace nothing older than `number` may be read any more. */
  raise(name: string, number: number, begunMs: number): void {
    this.#floors.set(name, { number, begunMs });
  }

  raiseLatest(key: string, number: number, begunMs: number): void {
    this.#latest.set(key, { number, begunMs });
  }

  /** What the key had before `number` ends then; null: nobody knows any more. */
  ends(key: string, number: number, atMs: number | null): void {
    if (atMs === null) this.#ends.delete(key);
    else this.#ends.set(key, { number, atMs });
  }

  lose(number: number): void {
    this.#limbo.set(number, this.nowMs);
  }

  /** To be called before the read is sent. The function judges what it gave; it says what is wrong. */
  reading(key: string): (text: string | null, how: string) => void {
    const { nowMs } = this;
    const namespace = key.slice(0, key.indexOf(':'));
    const whole: [string, Floor][] = [key, namespace].map((name) => [name, this.#floors.get(name) ?? NO_FLOOR]);
    const ofTags = new Map(this.tags.map((tag) => [tag, this.#floors.get(tag) ?? NO_FLOOR]));
    const latest = this.#latest.get(key) ?? NO_FLOOR;
    const end = this.#ends.get(key);
    return (text, how) => {
      if (text === null) {
        this.misses += 1;
        return;
      }
      this.hits += 1;
      const numbers = text
        .split('|')
        .filter((part) => part !== '')
        .map(Number);
      const found: string[] = [];
      for (const number of numbers) {
        for (const [name, floor] of whole)
          if (this.#isBelow(number, floor)) found.push(`${name} since ${floor.number}`);
      }
      const first = numbers[0]!;
      for (const tag of this.#tagsOf.get(first) ?? []) {
        const floor = ofTags.get(tag)!;
        if (this.#isBelow(first, floor)) found.push(`tag ${tag} since ${floor.number}`);
      }
      if (this.#isBelow(numbers.at(-1)!, latest)) found.push(`not the latest, ${latest.number}`);
      if (end !== undefined && first < end.number && nowMs > end.atMs + EXPIRY_SLACK_MS) {
        found.push(`ended ${Math.round(nowMs - end.atMs)} ms ago by ${end.number}`);
      }
      if (found.length > 0) {
        const about = this.#log
          .filter((line) => line.includes(key) || line.includes(' TAGS ') || line.includes(' NAMESPACES '))
          .slice(-60);
        this.wrong.push(
          `${key}: read ${text} by ${how}, begun ${Math.round(nowMs)}: ${found.join(', ')}\n  ${about.join('\n  ')}`,
        );
      }
    };
  }

  #isBelow(number: number, floor: Floor): boolean {
    if (number >= floor.number) return false;
    const lostMs = this.#limbo.get(number);
    return lostMs === undefined || floor.begunMs > lostMs + LIMBO_MS;
  }
}

/** One operation after the other, so that each is judged by what is known. */
export class JudgedWalk {
  readonly ledger: Ledger;
  acknowledged = 0;
  refused = 0;
  readonly done = new Map<string, number>();
  readonly #client: WalkingClient;
  readonly #random: () => number;
  readonly #others: readonly Ledger[];
  readonly #tokens: Held[] = [];
  /** Counters by key: what it was, and how many additions may have been made since. */
  readonly #sums = new Map<string, { least: number; unknown: number; isKnown: boolean }>();
  #isStopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(client: WalkingClient, ledger: Ledger, random: () => number, others: readonly Ledger[] = []) {
    this.#client = client;
    this.ledger = ledger;
    this.#random = random;
    this.#others = others;
  }

  run(): void {
    this.#running = (async () => {
      while (!this.#isStopped) {
        await this.step();
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    })();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  /** Reads every key by every way, and judges it. */
  async readAll(): Promise<void> {
    for (const key of this.ledger.keys)
      for (const way of ['owner', 'copy', 'proxy'] as const) await this.#get(this.ledger, key, way);
  }

  async step(): Promise<void> {
    const key = this.#pick(this.ledger.keys);
    const dice = this.#random() * 100;
    if (dice < 22) await this.#set(key);
    else if (dice < 30) await this.#remove(key);
    else if (dice < 35) await this.#append(key);
    else if (dice < 40) await this.#expire(key);
    else if (dice < 42) await this.#persist(key);
    else if (dice < 45) await this.#invalidate('TAGS', this.#pick(this.ledger.tags));
    else if (dice < 46.5) await this.#invalidate('NAMESPACES', this.#pick(this.ledger.namespaces));
    else if (dice < 52) await this.#lease(key);
    else if (dice < 57) await this.#fill();
    else if (dice < 60) await this.#setMany();
    else if (dice < 63) await this.#increment();
    else if (dice < 70) await this.#getMany();
    else {
      const ledger = this.#others.length > 0 && this.#random() < 0.3 ? this.#pick(this.#others) : this.ledger;
      await this.#get(ledger, ledger === this.ledger ? key : this.#pick(ledger.keys), this.#way(true));
    }
  }

  // -- what it asks

  async #set(key: string): Promise<void> {
    const tags = this.#random() < 0.5 ? [this.#pick(this.ledger.tags)] : [];
    const number = this.ledger.next(tags);
    const text = String(number);
    const options = tags.length > 0 ? ['TAGS', String(tags.length), ...tags] : [];
    const isPlain = tags.length === 0 && this.#random() < 0.7;
    const args = isPlain ? ['SET', key, text, 'PX', '60000'] : ['BW.SET', key, text, 'PX', '60000', ...options];
    await this.#write(key, args, number, (begunMs) => {
      this.#ends(key, number, null);
      this.ledger.raise(key, number, begunMs);
    });
  }

  async #remove(key: string): Promise<void> {
    const number = this.ledger.next();
    const name = this.#pick(['DEL', 'UNLINK', 'GETDEL', 'BW.INVALIDATE', 'DEL many']);
    if (name === 'DEL many') {
      const keys = this.#some(4);
      await this.#write(
        key,
        ['DEL', ...keys],
        number,
        (begunMs) => {
          for (const each of keys) this.ledger.raise(each, number, begunMs);
        },
        'proxy',
      );
      return;
    }
    const args = name === 'BW.INVALIDATE' ? [name, 'KEYS', '1', key] : [name, key];
    const judge = this.ledger.reading(key);
    const reply = await this.#write(key, args, number, (begunMs) => this.ledger.raise(key, number, begunMs));
    if (name === 'GETDEL' && reply !== undefined) judge(replyText(reply), name);
  }

  async #append(key: string): Promise<void> {
    const number = this.ledger.next();
    await this.#write(key, ['APPEND', key, `|${number}`], number, (begunMs) =>
      this.ledger.raiseLatest(key, number, begunMs),
    );
  }

  async #expire(key: string): Promise<void> {
    const number = this.ledger.next();
    const ms = this.#pick([50, 500, 3000]);
    const reply = await this.#write(key, ['PEXPIRE', key, String(ms)], number, () => {});
    if (reply === undefined) this.#ends(key, number, null);
    else if (reply === 1) this.#ends(key, number, this.ledger.nowMs + ms);
  }

  async #persist(key: string): Promise<void> {
    const number = this.ledger.next();
    this.#ends(key, number, null);
    await this.#write(key, ['PERSIST', key], number, () => {});
  }

  async #invalidate(clause: 'TAGS' | 'NAMESPACES', name: string): Promise<void> {
    const number = this.ledger.next();
    const args = ['BW.INVALIDATE', clause, '1', name];
    await this.#write(this.#pick(this.ledger.keys), args, number, (begunMs) =>
      this.ledger.raise(name, number, begunMs),
    );
  }

  /** What the source has now is what the fill will bring, however late. */
  async #lease(key: string): Promise<void> {
    const tags = [this.#pick(this.ledger.tags)];
    const number = this.ledger.next(tags);
    const judge = this.ledger.reading(key);
    const answer = await this.#client.ask(this.#way(false), key, ['BW.GET', key, 'LEASE', '1000']);
    if (answer.kind === 'error') return;
    const reply = answer.reply as readonly Reply[];
    if (reply.length === 3) judge(replyText(reply[0]!), 'BW.GET');
    else if (reply[0] !== null) this.#tokens.push({ key, token: replyText(reply[0]!)!, number, tags });
    if (this.#tokens.length > 8) this.#tokens.shift();
  }

  async #fill(): Promise<void> {
    const [held] = this.#tokens.splice(Math.floor(this.#random() * this.#tokens.length), 1);
    if (held === undefined) return;
    const { key, token, number, tags } = held;
    const text = String(number);
    this.#ends(key, number, null);
    await this.#write(
      key,
      ['BW.SET', key, text, 'PX', '60000', 'TAGS', String(tags.length), ...tags, 'LEASE', token],
      number,
      () => {},
    );
  }

  async #setMany(): Promise<void> {
    const number = this.ledger.next();
    const keys = this.#some(4);
    for (const key of keys) this.#ends(key, number, null);
    await this.#write(
      keys[0]!,
      ['MSET', ...keys.flatMap((key) => [key, String(number)])],
      number,
      (begunMs) => {
        for (const key of keys) this.ledger.raise(key, number, begunMs);
      },
      'proxy',
    );
  }

  async #getMany(): Promise<void> {
    const keys = this.#some(6);
    const judges = keys.map((key) => this.ledger.reading(key));
    const answer = await this.#client.ask('proxy', keys[0]!, ['MGET', ...keys]);
    this.#count('MGET', answer.kind !== 'error');
    if (answer.kind === 'error') return;
    for (const [n, reply] of (answer.reply as readonly Reply[]).entries()) judges[n]!(replyText(reply), 'MGET');
  }

  /** A sum that is lost begins at 0 again; one that is there is what it was, and what may have been added since. */
  async #increment(): Promise<void> {
    const key = `${this.#pick(this.ledger.keys)}:sum`;
    const sum = this.#sums.get(key) ?? { least: 0, unknown: 0, isKnown: true };
    this.#sums.set(key, sum);
    const answer = await this.#client.ask(this.#way(false), key, ['INCR', key]);
    this.#count('INCR', answer.kind !== 'error');
    if (answer.kind === 'error') {
      sum.unknown += 1;
      return;
    }
    const value = Number(answer.reply);
    const isOnwards = value > sum.least && value <= sum.least + sum.unknown + 1;
    const isAnew = value >= 1 && value <= sum.unknown + 1;
    if (!isOnwards && !isAnew) {
      this.ledger.wrong.push(`${key}: INCR says ${value}; it was ${sum.least}, and ${sum.unknown} are not known`);
    }
    sum.least = value;
    sum.unknown = 0;
  }

  async #get(ledger: Ledger, key: string, way: Way): Promise<void> {
    const judge = ledger.reading(key);
    const answer = await this.#client.ask(way, key, ['GET', key]);
    this.#count(`GET ${way}`, answer.kind !== 'error');
    if (answer.kind === 'value') judge(replyText(answer.reply), `GET ${way}`);
  }

  /** @returns the reply, or undefined without an acknowledgement */
  async #write(
    key: string,
    args: readonly string[],
    number: number,
    acknowledged: (begunMs: number) => void,
    way: Way = this.#way(false),
  ): Promise<Reply | undefined> {
    const begunMs = this.ledger.nowMs;
    this.ledger.note(`${number}> ${way} ${args.join(' ')}`);
    const answer = await this.#client.ask(way, key, args);
    this.ledger.note(
      `${number}< ${args[0]} ${key} ${answer.kind === 'error' ? answer.text.slice(0, 160) : JSON.stringify(answer.reply)}`,
    );
    this.#count(args[0]!, answer.kind !== 'error');
    if (answer.kind === 'error') {
      this.refused += 1;
      // Without an error reply it may be under way still.
      if (!/^(MOVED|TRYAGAIN|CLUSTERDOWN|NOREPLICAS|LEASEVOID)/.test(answer.text)) this.ledger.lose(number);
      return undefined;
    }
    this.acknowledged += 1;
    acknowledged(begunMs);
    return answer.reply;
  }

  #ends(key: string, number: number, atMs: number | null): void {
    this.ledger.ends(key, number, atMs);
  }

  #count(name: string, isDone: boolean): void {
    const what = isDone ? name : `${name} refused`;
    this.done.set(what, (this.done.get(what) ?? 0) + 1);
  }

  #way(reads: boolean): Way {
    const dice = this.#random();
    if (reads && dice < 0.3) return 'copy';
    return dice < 0.65 ? 'owner' : 'proxy';
  }

  #some(most: number): readonly string[] {
    const keys = new Set<string>();
    for (let n = 0; n < most; n += 1) keys.add(this.#pick(this.ledger.keys));
    return [...keys];
  }

  #pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.#random() * from.length)]!;
  }
}
