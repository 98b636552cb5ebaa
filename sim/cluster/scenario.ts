/**
 * A script for the cluster and what comes of it, as text: the same machines as in the simulation, on a network that does only what the script says. For bugs that have a name.
 *
 *   members 5 ranges 1 copies 2 [disk none] [voters 3]     the cluster starts; all clocks are right, every message takes 1 ms
 *   run 1700                                               milliseconds pass; what members report meanwhile is printed
 *   cut m0 m1 | cut m0 > m1 | isolate m0 | heal            the network; `heal m0 > m1` for that one way
 *   drop accept m1 > m2 [m3 ...]                           messages of one kind are lost on their way, until `heal`
 *   crash m0 | start m0 | pause m0 | resume m0 | leave m0
 *   kill m0 | reset m0 | quit m0                           the others learn of it from their links (crash fast path): its process dies; its connections close; it renounces everything and closes its port
 *   get m0 k0 | copy m0 k0 | set m0 k0 3 | delete m0 k0 4 | tag m0 0 | fill m0 k0 2        a client asks that member; the reply is printed when it comes. `fill` presents the token of the last miss
 *   show                                                   who serves what, and what everybody knows of it
 *   records                                                what every voter has promised and accepted
 *   # text                                                 for the reader
 *
 * In a file the lines of the script begin with `> `, and what they print stands beneath. (After etcd/raft's `testdata`.)
 */
import { Datagrams } from '../world/datagrams.ts';
import { World } from '../world/world.ts';
import { Judge } from './judge.ts';
import { LinkNews } from './link-news.ts';
import { MemberHost, nameOf, type Reply, type Request, type Scene, type Token } from './member-host.ts';
import type { Setup } from './plan.ts';

const FIXED = { loss: 0, duplication: 0, leastMs: 1, mostMs: 1 };

export class Scenario {
  readonly #world = new World(1, true);
  readonly #datagrams = new Datagrams(this.#world, { ...FIXED });
  #hosts: MemberHost[] = [];
  #judge: Judge | null = null;
  #news: LinkNews | null = null;
  #printed = 0;
  #drops: { readonly kind: string; readonly from: string; readonly to: string }[] = [];
  readonly #tokens = new Map<string, Token>();
  #out: string[] = [];
  /** Reports of members and replies to clients go into the trace; only those are shown. */
  #shown: string[] = [];

  /** Everything that happened, messages included; ` -> ` one that came, ` -x ` one that was sent into a cut. */
  get lines(): readonly string[] {
    return this.#world.trace.lines;
  }

  get nowMs(): number {
    return this.#world.nowMs;
  }

  get members(): readonly string[] {
    return this.#hosts.map(({ name }) => name);
  }

  /** Who would answer for the range at this moment. */
  servers(range: number): readonly string[] {
    return this.#hosts.filter((host) => host.isUp && host.isLeased(range)).map(({ name }) => name);
  }

  /** Does one line, and returns what it printed. @throws Error when it cannot be read */
  do(line: string): string[] {
    const [verb, ...words] = line.trim().split(/\s+/);
    this.#out = [];
    if (verb === undefined || verb === '' || verb.startsWith('#')) return [];
    switch (verb) {
      case 'members':
        this.#form([verb, ...words]);
        break;
      case 'run':
        this.#world.runPure(this.#world.nowMs + Number(words[0]));
        break;
      case 'cut': {
        const [a, b] = [words[0]!, words.at(-1)!];
        this.#datagrams.cut(a, b);
        if (words[1] !== '>') this.#datagrams.cut(b, a);
        break;
      }
      case 'isolate':
        for (const { name } of this.#hosts) {
          if (name === words[0]) continue;
          this.#datagrams.cut(words[0]!, name);
          this.#datagrams.cut(name, words[0]!);
        }
        break;
      case 'heal':
        if (words.length > 0) {
          this.#datagrams.heal(words[0]!, words[2]!);
          break;
        }
        this.#datagrams.healAll(FIXED);
        this.#drops = [];
        break;
      case 'drop':
        for (const to of words.slice(3)) this.#drops.push({ kind: words[0]!, from: words[1]!, to });
        break;
      case 'crash':
        this.#host(words[0]!).crash();
        break;
      case 'start':
        this.#host(words[0]!).start();
        this.#news!.started(this.#host(words[0]!));
        break;
      case 'kill':
        this.#host(words[0]!).crash();
        this.#news!.died(this.#host(words[0]!));
        break;
      case 'reset':
        this.#news!.reset(this.#host(words[0]!));
        break;
      case 'quit':
        this.#host(words[0]!).retire();
        this.#news!.quit(this.#host(words[0]!));
        break;
      case 'pause':
        this.#host(words[0]!).machine.pause();
        break;
      case 'resume':
        this.#host(words[0]!).machine.resume();
        break;
      case 'leave':
        this.#host(words[0]!).core!.isLeaving = true;
        break;
      case 'get':
      case 'copy':
      case 'set':
      case 'delete':
      case 'tag':
      case 'fill':
        this.#ask(verb, words);
        break;
      case 'show':
        this.#show();
        break;
      case 'records':
        this.#records();
        break;
      default:
        throw new Error(`no such line in a scenario: ${line}`);
    }
    const { lines } = this.#world.trace;
    for (const text of lines.slice(this.#printed))
      if (!/^ *[\d.]+ {6}|starts, life 1$/.test(text)) this.#out.push(text.trim());
    this.#printed = lines.length;
    this.#out.push(...this.#shown);
    this.#shown = [];
    for (const text of this.#judge?.violations ?? []) this.#out.push(`WRONG: ${text}`);
    return this.#out;
  }

  #form(words: readonly string[]): void {
    const options = new Map<string, string>();
    for (let i = 0; i < words.length; i += 2) options.set(words[i]!, words[i + 1]!);
    const members = Number(options.get('members'));
    const setup: Setup = {
      coordination: 'voters',
      members,
      voters: Number(options.get('voters') ?? (members <= 4 ? Math.min(members, 3) : 5)),
      ranges: Number(options.get('ranges') ?? 1),
      copies: Number(options.get('copies') ?? 2),
      clients: 0,
      memory: 'model',
      keysPerRange: 2,
      paceMs: 1,
      diskMs: Array.from({ length: members }, () => (options.get('disk') === 'none' ? -1 : 0)),
      rates: Array.from({ length: members }, () => 1),
      loadMs: 1,
      onMinority: 'miss',
      gutterMs: 2000,
      replaceMs: 30_000,
      evictions: 0,
      ackMs: 300,
      joiners: 0,
      votersChange: false,
      copyReads: 0,
      balance: null,
      isFast: true,
    };
    this.#hosts = Array.from({ length: members }, (_, index) => new MemberHost(this.#world, index, setup));
    this.#judge = new Judge(this.#world, setup, this.#hosts);
    const scene: Scene = {
      world: this.#world,
      datagrams: this.#datagrams,
      setup,
      hosts: this.#hosts,
      judge: this.#judge,
      etcd: null,
      isDropped: (from, to, kind) =>
        this.#drops.some((drop) => drop.kind === kind && drop.from === from && drop.to === to),
    };
    for (const host of this.#hosts) {
      host.attach(scene);
      host.start();
    }
    this.#news = new LinkNews(this.#world, this.#datagrams, this.#hosts, { dialMs: [1, 1], againMs: [30, 30] });
  }

  #host(name: string): MemberHost {
    const host = this.#hosts.find((each) => each.name === name);
    if (host === undefined) throw new Error(`no such member in this scenario: ${name}`);
    return host;
  }

  #ask(verb: string, words: readonly string[]): void {
    const host = this.#host(words[0]!);
    const number = Number(words[1]!.replace(/^k/, ''));
    const version = Number(words[2] ?? 0);
    const range = Math.floor(number / 2);
    const request: Request | null =
      verb === 'get' || verb === 'copy'
        ? { kind: 'get', range, key: number, readsCopies: verb === 'copy', staleMs: 0 }
        : verb === 'set' || verb === 'delete'
          ? { kind: verb, range, key: number, version }
          : verb === 'tag'
            ? { kind: 'tag', range: version, tag: number, key: 0, version: 0 }
            : this.#tokens.has(words[1]!)
              ? { kind: 'fill', range, key: number, token: this.#tokens.get(words[1]!)!, version }
              : null;
    if (request === null) throw new Error(`no miss of ${words[1]} came before this fill`);
    if (request.kind === 'set' || request.kind === 'delete') {
      const committed = this.#judge!.committed;
      committed[number] = Math.max(committed[number]!, version);
    }
    const what = `${verb} ${words.join(' ')}`;
    host.machine.deliver(() =>
      host.serve(request, 'client', (reply) => {
        if (reply.kind === 'miss' && reply.token !== null) this.#tokens.set(words[1]!, reply.token);
        if (reply.kind === 'acknowledged' && 'key' in request && request.kind !== 'tag') {
          this.#judge!.acknowledged(request.key, version);
        }
        this.#world.trace.say(() => `client: ${what}: ${describeReply(reply)}`);
      }),
    );
  }

  #show(): void {
    for (const host of this.#hosts) {
      const { core } = host;
      if (core === null) {
        this.#shown.push(`${host.name} is down`);
        continue;
      }
      const known = core.views.chosen.map(
        ({ range, owner, ballot, inSync }) =>
          `${range}: ${owner === null ? 'nobody' : `${nameOf(owner)} (${ballot.epoch}) [${inSync.map(nameOf).join(' ')}]`}${host.isLeased(range) ? ' SERVES' : ''}`,
      );
      this.#shown.push(`${host.name} knows ${known.join('; ')}`);
    }
  }

  #records(): void {
    for (const { core, name } of this.#hosts) {
      if (core === null || core.voter === null) continue;
      const rows = core.views.chosen.map(({ range }) => {
        const { promised, accepted } = core.voter!.row(range);
        const by = promised.epoch === 0 ? '' : ` to ${nameOf(promised.node)}`;
        return `${range}: promised ${promised.epoch}${by}, accepted ${accepted.ballot.epoch} of ${accepted.owner === null ? 'nobody' : nameOf(accepted.owner)}`;
      });
      this.#shown.push(`${name} ${core.voter.phase === 'voting' ? '' : '(recovering) '}${rows.join('; ')}`);
    }
  }
}

function describeReply(reply: Reply): string {
  switch (reply.kind) {
    case 'hit':
      return `version ${reply.version} from its ${reply.from}`;
    case 'miss':
      return reply.token === null ? 'a miss' : 'a miss, with a token';
    case 'moved':
      return `MOVED ${nameOf(reply.to)}`;
    case 'try-again':
      return 'TRYAGAIN';
    case 'down':
      return 'CLUSTERDOWN';
    default:
      return reply.kind.toUpperCase().replaceAll('-', ' ');
  }
}

/** Runs the script in `text` and returns the whole as it should stand in the file. */
export function play(text: string): string {
  const scenario = new Scenario();
  const out: string[] = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) out.push(line);
    else if (line.startsWith('> ')) {
      if (out.length > 0) out.push('');
      out.push(line, ...scenario.do(line.slice(2)));
    }
  }
  return `${out.join('\n')}\n`;
}
