/**
 * Judged walks (`judged-walk.ts`) over production nodes in one process: members that stop, lose their memory, are cut off, drained and moved from, on links that stand still for a while and deliver in order then. One
 * seed reproduces all. What `sim/` does with a few operations and every fault it does with the whole command set and few faults.
 */
import type { Random } from '../../src/base/random.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { slotOf } from '../../src/hash/slot.ts';
import type { Answer } from './cluster-processes.ts';
import { JudgedWalk, Ledger, type WalkingClient, type Way } from './judged-walk.ts';
import { Client, Cluster, idOf } from './members-in-memory.ts';

const STEP_MS = 5;
/** Two who lost their memory at once are no majority of three voters; after this the first votes again. */
const RECOVERY_MS = 8000;
const DEADLINE_MS = 15_000;
const BUSY = /^(TRYAGAIN|CLUSTERDOWN|NOREPLICAS|LEASEVOID|closed)/;

interface Asked {
  readonly client: Client;
  readonly index: number;
  readonly replies: number;
  readonly sinceMs: number;
  readonly answer: (reply: unknown) => void;
}

class Walker implements WalkingClient {
  readonly #world: WalkingMembers;
  readonly #clients = new Map<string, Client>();
  readonly #owners = new Map<number, number>();

  constructor(world: WalkingMembers) {
    this.#world = world;
  }

  async ask(way: Way, key: string, args: readonly string[]): Promise<Answer> {
    if (way === 'proxy') return this.#judged(await this.#say(this.#world.any(), way, [args]), args);
    if (way === 'copy') {
      const reply = await this.#say(this.#world.any(), way, [['READONLY'], args]);
      if (!String(reply).startsWith('-MOVED ')) return this.#judged(reply, args);
    }
    const slot = slotOf(Buffer.from(key), 0, Buffer.byteLength(key));
    let index = this.#owners.get(slot) ?? this.#world.any();
    for (let hops = 0; hops < 5; hops += 1) {
      const reply = await this.#say(index, 'owner', [args]);
      const moved = /^-MOVED \d+ 10\.0\.0\.(\d+):/.exec(String(reply));
      if (moved === null) {
        const answer = this.#judged(reply, args);
        this.#owners.set(slot, answer.kind === 'value' ? index : this.#world.any());
        return answer;
      }
      index = Number(moved[1]) - 1;
    }
    return { kind: 'error', text: 'MOVED too often' };
  }

  #say(index: number, way: Way, commands: readonly (readonly string[])[]): Promise<unknown> {
    const name = `${way} ${index}`;
    let client = this.#clients.get(name);
    if (client === undefined || !this.#world.isLiving(client, index)) {
      client = new Client(this.#world.cluster, index, way === 'proxy');
      this.#clients.set(name, client);
    }
    return this.#world.ask(client, index, commands);
  }

  #judged(reply: unknown, args: readonly string[]): Answer {
    if (typeof reply !== 'string' || !reply.startsWith('-')) return { kind: 'value', reply: reply as never };
    const text = reply.slice(1);
    if (!BUSY.test(text)) this.#world.problems.push(`${args.join(' ')}: ${text}`);
    return { kind: 'error', text };
  }
}

export class WalkingMembers {
  readonly cluster: Cluster;
  readonly ledgers: readonly Ledger[];
  readonly walks: readonly JudgedWalk[];
  /** Answers that make no sense, and those that did not come. */
  readonly problems: string[] = [];
  readonly #random: Random;
  readonly #slow = new Set<string>();
  readonly #idle: Set<JudgedWalk>;
  #asked: Asked[] = [];
  #forgotMs = 0;

  constructor(seed: number, members: number, copies: number) {
    this.#random = new SeededRandom(seed);
    this.cluster = new Cluster(members, copies);
    this.cluster.holds = (_message, from, to) => this.#slow.has(`${from} ${to}`);
    this.ledgers = [0, 1, 2].map((n) => new Ledger(`walk${n}`, 10, () => this.cluster.nowMs));
    this.walks = this.ledgers.map(
      (ledger) =>
        new JudgedWalk(
          new Walker(this),
          ledger,
          () => this.#random.nextFloat(),
          this.ledgers.filter((other) => other !== ledger),
        ),
    );
    this.#idle = new Set(this.walks);
  }

  any(): number {
    return Math.floor(this.#random.nextFloat() * this.cluster.nodes.length);
  }

  isLiving(client: Client, index: number): boolean {
    return client.node === this.cluster.nodes[index];
  }

  ask(client: Client, index: number, commands: readonly (readonly string[])[]): Promise<unknown> {
    return new Promise((answer) => {
      // Also to a member that stands still: it reads this first when it goes on.
      client.send(...commands.map((command) => [...command]));
      this.#asked.push({ client, index, replies: commands.length, sinceMs: this.cluster.nowMs, answer });
    });
  }

  /** Things break for so long; then everything is healed, and every key is read by every way. */
  async run(ms: number): Promise<void> {
    const { cluster } = this;
    const untilMs = cluster.nowMs + ms;
    while (cluster.nowMs < untilMs && this.problems.length === 0) {
      await this.#pass(2000 * this.#random.nextFloat());
      await this.#break();
    }
    cluster.cuts.clear();
    for (const way of [...this.#slow]) this.#free(way);
    await this.#pass(12_000);
    await this.#until(() => this.#idle.size === this.walks.length);
    let left = this.walks.length;
    const reads = this.walks.map((walk) => walk.readAll().then(() => (left -= 1)));
    await this.#until(() => left === 0);
    await Promise.all(reads);
    for (const node of cluster.nodes) node.invariants();
  }

  async #break(): Promise<void> {
    const { cluster } = this;
    const [one, other] = [this.any(), this.any()];
    const order = (...words: string[]): void => new Client(cluster, one).send(['BW.MEMBER', ...words]);
    switch (Math.floor(this.#random.nextFloat() * 10)) {
      case 0:
        cluster.dead.add(one);
        await this.#pass(4000 * this.#random.nextFloat());
        cluster.dead.delete(one);
        return;
      case 1:
        cluster.cut(one);
        return;
      case 2:
        cluster.cuts.add(`${one} ${other}`);
        return;
      case 3:
      case 4:
        this.#slow.add(`${one} ${other}`);
        await this.#pass(1500 * this.#random.nextFloat());
        this.#free(`${one} ${other}`);
        return;
      case 5:
        if (cluster.nowMs - this.#forgotMs < RECOVERY_MS) return;
        this.#forgotMs = cluster.nowMs;
        cluster.restart(one);
        return;
      case 6:
        order('DRAIN');
        await this.#pass(2000 * this.#random.nextFloat());
        order('RETURN');
        return;
      case 7:
        for (let n = 0; n < 6; n += 1) {
          order('MOVE', String(Math.floor(this.#random.nextFloat() * 16_384)), idOf(other));
          await this.#pass(60 * this.#random.nextFloat());
        }
        return;
      default:
        cluster.cuts.clear();
        await this.#pass(6000 * this.#random.nextFloat());
    }
  }

  async #pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += STEP_MS) {
      for (const walk of [...this.#idle]) {
        if (this.#random.nextFloat() > 0.7) continue;
        this.#idle.delete(walk);
        void walk.step().then(() => this.#idle.add(walk));
      }
      await this.#turn();
    }
  }

  async #until(isDone: () => boolean): Promise<void> {
    for (let turn = 0; turn < 20_000 && !isDone(); turn += 1) await this.#turn();
    if (!isDone()) this.problems.push('it did not come to an end');
  }

  async #turn(): Promise<void> {
    const { cluster } = this;
    cluster.pass(STEP_MS);
    this.#asked = this.#asked.filter((asked) => !this.#isAnswered(asked));
    // What was answered goes on before anything else happens.
    await new Promise((resolve) => setImmediate(resolve));
  }

  #isAnswered({ client, index, replies, sinceMs, answer }: Asked): boolean {
    const { cluster } = this;
    if (!this.isLiving(client, index)) {
      answer('-closed with its member');
      return true;
    }
    const isStopped = cluster.dead.has(index);
    if (client.replies.length < replies && !isStopped && !client.session.halted) client.send();
    if (client.replies.length >= replies) {
      answer(client.replies.splice(0).at(-1));
      return true;
    }
    if (isStopped || cluster.nowMs - sinceMs <= DEADLINE_MS) return false;
    this.problems.push(`member ${index} did not answer for ${DEADLINE_MS} ms`);
    answer('-closed without an answer');
    return true;
  }

  /** What stood still on this way arrives, in its order. */
  #free(way: string): void {
    const { held, cuts, dead, nodes, nowMs } = this.cluster;
    this.#slow.delete(way);
    for (const each of held.splice(0)) {
      if (`${each.from} ${each.to}` !== way) held.push(each);
      else if (!dead.has(each.to) && !cuts.has(way)) nodes[each.to]!.onMessage(idOf(each.from), each.message, nowMs);
    }
  }
}
