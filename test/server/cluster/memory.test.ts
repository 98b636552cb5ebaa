/** What a member keeps on disk comes back, whatever way its process ended; and how a cluster begins, once. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import type { NodeId } from '../../../src/cluster/member.ts';
import type { VoterRow } from '../../../src/cluster/messages.ts';
import { Formation, type Formed } from '../../../src/server/cluster/formation.ts';
import { MemberMemory, type MemberState } from '../../../src/server/cluster/memory.ts';
import { type ClusterSetup, makeSetup } from '../../../src/server/cluster/setup.ts';
import type { Form } from '../../../src/wire/hello.ts';

const root = mkdtempSync(join(tmpdir(), 'breakwater-member-'));
after(() => rmSync(root, { recursive: true, force: true }));
let directories = 0;
function directory(): string {
  directories += 1;
  return join(root, String(directories));
}

const id = (n: number): NodeId => n.toString(16).padStart(40, '0');
const row = (range: number, epoch: number): VoterRow => {
  const ballot = { epoch, node: id(1) };
  return {
    range,
    promised: { epoch: epoch + 1, node: id(2) },
    accepted: { range, ballot, owner: id(1), inSync: [id(1), id(3)] },
  };
};
const STATE: MemberState = {
  id: id(1),
  fingerprint: 'f',
  incarnation: 3,
  cluster: 'c',
  lives: [{ id: id(1), incarnation: 3 }],
  roster: null,
  facts: null,
  hasForgotten: false,
};

describe('memory', () => {
  test('the newest row of each range and the state come back; a torn end is no row', async () => {
    const path = directory();
    const first = await MemberMemory.open(path, 8);
    assert.deepEqual([first.state, first.rows], [null, []]);
    first.keep(STATE);
    await first.write([row(0, 1), row(7, 1)]);
    await first.write([row(7, 5)]);
    await first.close();
    const log = join(path, 'cluster', 'voter', '0000000000000001.log');
    writeFileSync(log, Buffer.concat([readFileSync(log), Buffer.from('half a rec')]));
    const second = await MemberMemory.open(path, 8);
    assert.deepEqual(second.state, STATE);
    assert.deepEqual(second.rows, [row(0, 1), row(7, 5)]);
    await second.close();
  });

  test('a directory that cannot be one is refused in a sentence', async () => {
    const path = directory();
    writeFileSync(path, 'a file');
    await assert.rejects(MemberMemory.open(path, 8), {
      code: 'CLUSTER_DATA_UNUSABLE',
      message: /^cannot keep anything in .* \(--data\): ENOTDIR/,
    });
  });

  test('what cannot be written is told in a sentence', async () => {
    const path = directory();
    const memory = await MemberMemory.open(path, 8);
    rmSync(path, { recursive: true });
    assert.throws(() => memory.keep(STATE), { code: 'CLUSTER_DATA_UNUSABLE', message: /ENOENT/ });
    await memory.close();
  });

  test('many writes keep the directory small, and lose nothing', async () => {
    const path = directory();
    const memory = await MemberMemory.open(path, 1024);
    for (let epoch = 1; epoch <= 40; epoch += 1) {
      await memory.write(Array.from({ length: 1024 }, (_, range) => row(range, epoch)));
    }
    await memory.write([row(9, 99)]);
    await memory.close();
    const again = await MemberMemory.open(path, 1024);
    assert.equal(again.rows.length, 1024);
    assert.deepEqual(
      again.rows.find(({ range }) => range === 9),
      row(9, 99),
    );
    assert.deepEqual(
      again.rows.find(({ range }) => range === 8),
      row(8, 40),
    );
    await again.close();
  });

  test('one process a directory; what is not ours is refused with its name', async () => {
    const path = directory();
    const memory = await MemberMemory.open(path, 8);
    await assert.rejects(MemberMemory.open(path, 8), { code: 'DISK_LOG_LOCKED' });
    await memory.write([row(7, 1)]);
    await memory.close();
    await assert.rejects(MemberMemory.open(path, 4), { code: 'CLUSTER_DATA_INVALID' });
    for (const text of ['', '{', '{"format":2}', 'null', '{"format":1,"id":"x"}']) {
      writeFileSync(join(path, 'cluster', 'member.json'), text);
      await assert.rejects(MemberMemory.open(path, 8), { code: 'CLUSTER_DATA_INVALID', message: /member\.json/ });
    }
  });
});

// -- forming: members in memory, links that the test opens and closes

interface Life {
  readonly incarnation: number;
  readonly formation: Formation;
  formed: Formed | null;
}

/** A world of formations: links are open between lives that are there, frames arrive in order or are lost with a life. */
class World {
  readonly setups: readonly ClusterSetup[];
  readonly lives: (Life | null)[];
  /** Directed: our link to a peer, and the peer's life that answered. */
  readonly open = new Map<string, number>();
  readonly queue: { readonly to: number; readonly life: number; readonly form: Form }[] = [];
  identities = 0;
  nowMs = 0;
  #incarnations = 0;

  constructor(count: number) {
    const members = Array.from({ length: count }, (_, index) => ({ host: 'h', linkPort: index + 1 }));
    this.setups = members.map((self) =>
      makeSetup({ name: 'w', members, self, voters: null, replicas: 1, ranges: 1, takeoverMs: 1500, secret: '' }),
    );
    this.lives = members.map(() => null);
  }

  #index(id: NodeId): number {
    return this.setups[0]!.members.findIndex((member) => member.id === id);
  }

  start(index: number): void {
    if (this.lives[index] !== null) return;
    this.#incarnations += 1;
    const incarnation = this.#incarnations;
    const life: Life = {
      incarnation,
      formed: null,
      formation: new Formation(this.setups[index]!, incarnation, null, {
        isOpen: (peer) => this.open.has(`${index} ${this.#index(peer)}`),
        send: (to, form) => {
          const at = this.#index(to);
          this.queue.push({ to: at, life: this.open.get(`${index} ${at}`)!, form });
        },
        makeIdentity: () => {
          this.identities += 1;
          return `cluster-${this.identities}`;
        },
        onFormed: (formed) => {
          assert.equal(life.formed, null, 'formed once');
          life.formed = formed;
        },
      }),
    };
    this.lives[index] = life;
  }

  kill(index: number): void {
    this.lives[index] = null;
    for (const name of [...this.open.keys()]) if (name.split(' ').includes(String(index))) this.open.delete(name);
  }

  dial(from: number, to: number): void {
    const [a, b] = [this.lives[from], this.lives[to]];
    if (from === to || !a || !b || this.open.has(`${from} ${to}`)) return;
    const known = a.formed?.cluster ?? '';
    const theirs = b.formed?.cluster ?? '';
    if (known !== '' && theirs !== '' && known !== theirs) return;
    this.open.set(`${from} ${to}`, b.incarnation);
    a.formation.onMember(this.setups[to]!.self, b.incarnation);
    a.formation.onOpen(this.setups[to]!.self, theirs);
  }

  deliver(): void {
    const frame = this.queue.shift();
    if (frame === undefined) return;
    const life = this.lives[frame.to];
    if (life?.incarnation !== frame.life) return;
    if (life.formed !== null && life.formed.cluster !== frame.form.cluster) return;
    life.formation.onForm(frame.form);
  }

  tick(index: number, ms: number): void {
    this.nowMs += ms;
    this.lives[index]?.formation.tick(this.nowMs);
  }
}

describe('formation', () => {
  test('all voters there: one identity, every first life votes at once', () => {
    const world = new World(4);
    for (let i = 0; i < 4; i += 1) world.start(i);
    world.tick(0, 10_000);
    assert.equal(world.identities, 0, 'nobody is linked');
    for (let from = 0; from < 4; from += 1) for (let to = 0; to < 4; to += 1) world.dial(from, to);
    world.tick(1, 10);
    assert.equal(world.identities, 0, 'only the first of the list founds');
    world.tick(0, 10);
    while (world.queue.length > 0) world.deliver();
    for (const life of world.lives)
      assert.deepEqual([life!.formed!.cluster, life!.formed!.hasForgotten], ['cluster-1', false]);
    world.kill(2);
    world.start(2);
    world.dial(2, 0);
    world.dial(0, 2);
    while (world.queue.length > 0) world.deliver();
    assert.deepEqual([world.lives[2]!.formed!.cluster, world.lives[2]!.formed!.hasForgotten], ['cluster-1', true]);
  });

  test('whatever starts, dies and is lost: a life that votes at once has no earlier life in that cluster', () => {
    const step = fc.tuple(
      fc.constantFrom('start', 'start', 'kill', 'dial', 'dial', 'dial', 'deliver', 'deliver', 'tick'),
      fc.nat({ max: 3 }),
      fc.nat({ max: 3 }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const world = new World(4);
        /** Clusters in which a member has been, by the life in which it first was. */
        const first = new Map<string, number>();
        for (const [what, a, b] of steps) {
          if (what === 'start') world.start(a);
          else if (what === 'kill') world.kill(a);
          else if (what === 'dial') world.dial(a, b);
          else if (what === 'deliver') world.deliver();
          else world.tick(a, 6000);
          world.lives.forEach((life, index) => {
            if (life?.formed == null) return;
            const name = `${index} ${life.formed.cluster}`;
            const earlier = first.get(name);
            if (earlier === undefined) first.set(name, life.incarnation);
            else if (earlier !== life.incarnation) assert.equal(life.formed.hasForgotten, true, name);
          });
        }
      }),
      { numRuns: 2000 },
    );
  });
});
