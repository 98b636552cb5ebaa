/**
 * What a full resync costs an owner's event loop, and what replication costs an entry in memory. In one process, without sockets: production members, frames encoded as a link does.
 *
 *     node --expose-gc --import tsx bench/cluster/replication.ts [--only pieces,memory] [--entries 1000000]
 *
 *   pieces   a member owns everything, one range or 64 of them, and a second one becomes its copy, from nothing. Every call of the owner's doors is timed, with the encoding of what it sends: none should take above 2 ms.
 *            The copy's calls are timed apart. Small entries (value of 32 bytes), then values of 64 KiB, then of 1 MiB
 *   memory   the same entries stored by clients in a node of its own, in a member without a copy, and in a member with one; each in a process of its own. Accounted: the engine's own count. Resident: VmRSS after a
 *            collection, less that of before
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { SeededRandom } from '../../src/base/random.ts';
import type { Member } from '../../src/cluster/member.ts';
import { ClusterNode } from '../../src/node/cluster-node.ts';
import { Node } from '../../src/node/node.ts';
import { RequestWriter } from '../../src/resp/request-writer.ts';
import { ReplyWriter } from '../../src/resp/writer.ts';
import { FrameWriter } from '../../src/wire/frame-writer.ts';
import { writeMessage } from '../../src/wire/messages.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'pieces,memory' },
    entries: { type: 'string', default: '1000000' },
    subject: { type: 'string' },
  },
});
const ENTRIES = Number(values.entries);
const START = 1_700_000_000_000;
const AT_ONCE = 500;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

class Times {
  readonly ms: number[] = [];
  get text(): string {
    const sorted = this.ms.sort((a, b) => a - b);
    const at = (share: number): string => (sorted[Math.floor(share * (sorted.length - 1))] ?? 0).toFixed(2);
    const above = sorted.filter((ms) => ms > 2).length;
    return `p50 ${at(0.5)}, p99 ${at(0.99)}, p99.9 ${at(0.999)}, most ${at(1)} ms; ${above} of ${sorted.length} above 2 ms`;
  }
}

/** Processor time of the whole process, collector and compiler included: on a busy machine the clock says how busy it is. */
function measure(call: () => void): number {
  const from = process.cpuUsage();
  call();
  const { user, system } = process.cpuUsage(from);
  return (user + system) / 1000;
}

/** Two members with messages that take no time, and a clock that goes on by itself. */
class Pair {
  nowMs = START;
  readonly nodes: ClusterNode[];
  /** Of the owner: turns in which pieces were cut, and others; of the copy. */
  readonly times = [new Times(), new Times(), new Times()];
  isTimed = false;
  isCut = true;
  readonly #frames = new FrameWriter();

  constructor(rangeCount: number, memoryBytes: number, copies: number) {
    const members = [0, 1].map(
      (index): Member => ({
        id: String(index + 1).padStart(40, '0'),
        host: `10.0.0.${index + 1}`,
        port: 7379,
        httpPort: 0,
        linkPort: 17_379,
        zone: '',
        machine: '',
        weight: 1,
        incarnation: 1,
      }),
    );
    this.nodes = members.map(
      ({ id }, index) =>
        new ClusterNode({
          node: {
            memoryBytes,
            eviction: 'tinylfu',
            random: new SeededRandom(index + 1),
            startMs: START,
            version: '0.0.0',
            onInternalError: (error) => {
              throw error;
            },
          },
          cluster: {
            self: id,
            members,
            voters: [members[0]!.id],
            rangeCount,
            copies,
            isFounder: index === 0,
            isDurable: false,
            restored: null,
            hasForgotten: false,
            balance: null,
          },
        }),
    );
  }

  tick(ms: number): void {
    this.nowMs += ms;
    for (const index of [0, 1]) {
      if (index === 1 && this.isCut) continue;
      this.#turn(index, () => this.nodes[index]!.onTick(this.nowMs));
    }
  }

  /** What both want said is said until there is nothing more; each of it is a turn. */
  talk(): void {
    for (let isAny = true; isAny; ) {
      isAny = false;
      for (const index of [0, 1]) {
        const queue = this.#said[index]!.splice(0);
        for (const { to, message } of queue) {
          if (this.isCut) continue;
          isAny = true;
          this.nowMs += 0.05;
          const from = this.nodes[index]!.core.self;
          this.#turn(to, () => this.nodes[to]!.onMessage(from, message, this.nowMs));
        }
      }
    }
  }

  readonly #said: { to: number; message: Parameters<ClusterNode['onMessage']>[1] }[][] = [[], []];

  #turn(index: number, call: () => void): void {
    const turn = (): void => {
      call();
      for (const effect of this.nodes[index]!.takeEffects()) {
        if (effect.kind !== 'send') continue;
        // As a link does.
        if (this.isTimed) writeMessage(this.#frames, effect.message);
        this.#said[index]!.push({ to: 1 - index, message: effect.message });
      }
      if (this.isTimed) this.#frames.take();
    };
    if (!this.isTimed) {
      turn();
      return;
    }
    const { streams } = this.nodes[index]!.core;
    const before = streams.parts;
    const ms = measure(turn);
    this.times[index === 1 ? 2 : streams.parts > before ? 0 : 1]!.ms.push(ms);
  }
}

function fill(node: Node | ClusterNode, entries: number, valueBytes: number, pass: (turn: number) => number): void {
  const session = node.openSession(START, { address: 'bench:1', kind: 'resp' });
  const value = new Uint8Array(valueBytes).fill(120);
  const out = new ReplyWriter();
  for (let at = 0; at < entries; ) {
    const request = new RequestWriter();
    for (let i = 0; i < AT_ONCE && at < entries && request.length < 1_000_000; i += 1, at += 1) {
      request.command(['SET', `key:${String(at).padStart(9, '0')}`, value]);
    }
    out.reset();
    const nowMs = pass(at);
    node.onRequest(session, request.bytes, 0, request.length, nowMs, out);
    for (let left = 1; out.length === 0 && left < 100; left += 1) {
      pass(at);
      if (node.hasPushes) for (const each of node.takePushed()) node.onPush(each, out);
    }
    const text = new TextDecoder().decode(out.bytes.subarray(0, Math.min(out.length, 80)));
    if (!text.startsWith('+OK')) throw new Error(`it answers ${text}`);
  }
  node.closeSession(session);
}

function pieces(what: string, rangeCount: number, entries: number, valueBytes: number): void {
  const pair = new Pair(rangeCount, Math.ceil(entries * (valueBytes + 80) * 1.4) + 16e6, 2);
  const [owner, copy] = pair.nodes as [ClusterNode, ClusterNode];
  for (let i = 0; i < 100; i += 1) pair.tick(50);
  fill(owner, entries, valueBytes, () => {
    pair.tick(5);
    return pair.nowMs;
  });
  const had = owner.node.context.store.size;
  pair.isCut = false;
  pair.isTimed = true;
  const fromMs = pair.nowMs;
  const from = performance.now();
  for (let turn = 0; owner.core.streams.resyncs.full < rangeCount; turn += 1) {
    pair.tick(4);
    pair.talk();
    if (turn > 500_000) throw new Error('it comes to no end');
  }
  const { parts } = owner.core.streams;
  say(
    `${what}: ${had.toLocaleString('en-US')} entries in ${rangeCount} range(s), ${copy.node.context.store.size.toLocaleString('en-US')} copied in ${parts} pieces; ${((pair.nowMs - fromMs) / 1000).toFixed(1)} s of its clock, ${((performance.now() - from) / 1000).toFixed(1)} s of processor time of both`,
  );
  say(`  owner, turns with pieces: ${pair.times[0]!.text}`);
  say(`  owner, other turns:       ${pair.times[1]!.text}`);
  say(`  copy, turns:              ${pair.times[2]!.text}`);
}

function resident(): number {
  for (let i = 0; i < 3; i += 1) globalThis.gc?.();
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
}

/** Prints accounted and resident bytes an entry. */
function subject(name: string): void {
  const memoryBytes = 256 * 1024 * 1024;
  let node: Node | ClusterNode;
  let tick: () => number;
  if (name === 'node') {
    let nowMs = START;
    const alone = new Node({
      memoryBytes,
      eviction: 'tinylfu',
      random: new SeededRandom(1),
      startMs: START,
      version: '0.0.0',
    });
    node = alone;
    tick = () => {
      nowMs += 5;
      alone.onTick(nowMs);
      return nowMs;
    };
  } else {
    const pair = new Pair(1024, memoryBytes, name === 'member' ? 1 : 2);
    // Alone it takes every range; then the other one is filled, from nothing.
    for (let i = 0; i < 200; i += 1) pair.tick(50);
    pair.isCut = name === 'member';
    const { resyncs } = pair.nodes[0]!.core.streams;
    for (let i = 0; i < 100 || (name === 'copied' && i < 10_000 && resyncs.full < 1024); i += 1) {
      pair.tick(4);
      pair.talk();
    }
    // The sets are known to be so by everybody.
    for (let i = 0; i < 200; i += 1) {
      pair.tick(50);
      pair.talk();
    }
    node = pair.nodes[0]!;
    tick = () => {
      pair.tick(5);
      pair.talk();
      return pair.nowMs;
    };
  }
  const { context } = 'node' in node ? node.node : node;
  const { store } = context;
  // Code compiled, tables grown: what comes once is not an entry's.
  fill(node, 100_000, 32, tick);
  const before = resident();
  const accounted = store.stats.usedBytes;
  const had = store.size;
  fill(node, ENTRIES, 32, tick);
  for (let i = 0; i < 100; i += 1) tick();
  const count = store.size - had;
  // Of two members in one process, each holds every entry.
  const holders = name === 'copied' ? 2 : 1;
  say(
    JSON.stringify({
      accounted: (store.stats.usedBytes - accounted) / count,
      rss: (resident() - before) / count / holders,
    }),
  );
}

function memory(): void {
  const rows = (['node', 'member', 'copied'] as const).map((name) => {
    const args = [
      '--expose-gc',
      '--import',
      'tsx',
      import.meta.filename,
      '--subject',
      name,
      '--entries',
      String(ENTRIES),
    ];
    const text = execFileSync(process.execPath, args, { encoding: 'utf8' });
    return { name, ...(JSON.parse(text) as { accounted: number; rss: number }) };
  });
  const [alone] = rows;
  say(`memory of an entry (key 13 bytes, value 32), ${ENTRIES.toLocaleString('en-US')} of them:`);
  for (const { name, accounted, rss } of rows) {
    const more =
      name === 'node' ? '' : `: ${(accounted - alone!.accounted).toFixed(1)} and ${(rss - alone!.rss).toFixed(1)} more`;
    say(`  ${name.padEnd(7)} ${accounted.toFixed(1)} bytes accounted, ${rss.toFixed(1)} resident${more}`);
  }
}

if (values.subject !== undefined) subject(values.subject);
else {
  const only = values.only.split(',');
  if (only.includes('pieces')) {
    pieces('small, one range', 1, ENTRIES, 32);
    pieces('small, 64 ranges', 64, ENTRIES, 32);
    pieces('64 KiB', 1, Math.ceil(ENTRIES / 200), 65_536);
    pieces('1 MiB', 1, Math.ceil(ENTRIES / 4000), 1024 * 1024);
  }
  if (only.includes('memory')) memory();
}
