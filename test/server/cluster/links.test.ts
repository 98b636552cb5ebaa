/** Links between members over real sockets: who is let in, what is lost and counted, and that no bytes end a member. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { afterEach, test } from 'node:test';
import fc from 'fast-check';
import { freePorts } from '../../../src/cli/children/ports.ts';
import type { Member, NodeId } from '../../../src/cluster/member.ts';
import type { Message } from '../../../src/cluster/messages.ts';
import { NO_BALLOT } from '../../../src/cluster/record.ts';
import type { LinkLimits } from '../../../src/server/cluster/context.ts';
import { Deaths } from '../../../src/server/cluster/deaths.ts';
import { helloOf, makeNonce, proofOf } from '../../../src/server/cluster/handshake.ts';
import { Links } from '../../../src/server/cluster/links.ts';
import { type ClusterSetup, makeSetup } from '../../../src/server/cluster/setup.ts';
import { FRAME, FrameParser } from '../../../src/wire/frame-parser.ts';
import { FrameWriter } from '../../../src/wire/frame-writer.ts';
import type { Hello } from '../../../src/wire/hello.ts';
import { readMessage, type WireMessage, writeMessage } from '../../../src/wire/messages.ts';
import { FaultProxy } from '../../support/fault-proxy.ts';
import { eventually } from '../support.ts';

const HOST = '127.0.0.1';
const CLUSTER = 'c'.repeat(32);
const closers: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

interface Peer {
  readonly links: Links;
  readonly setup: ClusterSetup;
  readonly got: [NodeId, Message][];
  readonly complaints: string[];
  /** What the crash fast path said of peers. */
  readonly gone: NodeId[];
}

interface Wishes {
  readonly crashFastPath?: boolean;
  readonly secret?: string;
  readonly takeoverMs?: number;
  readonly incarnation?: number;
  readonly limits?: Partial<LinkLimits>;
  readonly cluster?: string;
}

/** Member `index` of the list. Its ticks come by a timer, as the driver's do. */
async function start(ports: readonly number[], index: number, wishes: Wishes = {}): Promise<Peer> {
  const {
    secret = '',
    takeoverMs = 1500,
    incarnation = 1,
    limits = {},
    cluster = CLUSTER,
    crashFastPath = false,
  } = wishes;
  const setup = makeSetup({
    name: 'test',
    members: ports.map((linkPort) => ({ host: HOST, linkPort })),
    self: { host: HOST, linkPort: ports[index]! },
    voters: null,
    replicas: 1,
    ranges: 64,
    takeoverMs,
    secret,
    crashFastPath,
  });
  const gone: NodeId[] = [];
  const got: [NodeId, Message][] = [];
  const complaints: string[] = [];
  const links = new Links({
    setup,
    member: memberOf(setup, incarnation),
    limits,
    onComplaint: (peer, why) => complaints.push(`${peer}: ${why}`),
    onMember: () => {},
    onForm: () => {},
    onOpen: () => {},
    onMessage: (from, message) => got.push([from, structuredClone(message)]),
    onGone: (peer) => gone.push(peer),
    onBack: (peer) => {
      if (gone.includes(peer)) gone.splice(gone.indexOf(peer), 1);
    },
  });
  links.cluster = cluster;
  await links.listen(ports[index]!, HOST);
  const timer = setInterval(() => links.tick(performance.now()), 5);
  closers.push(async () => {
    clearInterval(timer);
    await links.close();
  });
  return { links, setup, got, complaints, gone };
}

function memberOf(setup: ClusterSetup, incarnation: number): Member {
  const { host, linkPort } = setup.members.find(({ id }) => id === setup.self)!;
  return { id: setup.self, host, port: 1, httpPort: 2, linkPort, zone: '', machine: '', weight: 1, incarnation };
}

const heartbeat = (counter: number): Message => {
  return {
    kind: 'heartbeat',
    incarnation: 1,
    sentMs: 0.5,
    life: 3,
    counter,
    lagMs: 0,
    stance: 'here',
    known: NO_BALLOT,
  };
};

const isTrue = (what: string, is: () => boolean): Promise<void> => eventually(is, () => what, 60_000);

test('messages arrive whole and in order, both ways, through restarts of a peer', { timeout: 120_000 }, async () => {
  const ports = await freePorts(2);
  const a = await start(ports, 0);
  const b = await start(ports, 1);
  const [aId, bId] = [a.setup.self, b.setup.self];
  await isTrue('both links are open', () => a.links.isOpen(bId) && b.links.isOpen(aId));
  const big: Message = {
    kind: 'effects',
    range: 7,
    reign: { epoch: 2, node: aId },
    session: 1,
    from: 10,
    bodies: [new Uint8Array(3_000_000).fill(7), new Uint8Array(0)],
  };
  for (let i = 1; i <= 100; i += 1) a.links.send(bId, heartbeat(i));
  a.links.send(bId, big);
  b.links.send(aId, heartbeat(500));
  a.links.flush();
  b.links.flush();
  await isTrue('all arrived', () => b.got.length === 101 && a.got.length === 1);
  assert.deepEqual(
    b.got.slice(0, 100),
    Array.from({ length: 100 }, (_, i) => [aId, heartbeat(i + 1)]),
  );
  assert.deepEqual(b.got[100], [aId, big]);
  assert.equal(a.links.statusOf(bId)?.isLinkedToUs, true);

  await closers.pop()!();
  await isTrue('the end is noticed', () => !a.links.isOpen(bId));
  a.links.send(bId, heartbeat(1));
  assert.equal(a.links.counters.dropped, 1);
  const again = await start(ports, 1, { incarnation: 2 });
  await isTrue('both are open again', () => a.links.isOpen(bId) && again.links.isOpen(aId));
  a.links.send(bId, heartbeat(9));
  a.links.flush();
  await isTrue('it arrived', () => again.got.length === 1);
});

test('bursts between three, more than sockets take at once: every byte arrives, in order', {
  timeout: 240_000,
}, async () => {
  const ports = await freePorts(3);
  // However long it takes: pings are answered behind all of it.
  const peers = await Promise.all(ports.map((_, index) => start(ports, index, { limits: { pings: 1_000_000 } })));
  const ids = peers.map(({ setup }) => setup.self);
  const pairs = [0, 1, 2].flatMap((from) => [0, 1, 2].filter((to) => to !== from).map((to) => [from, to] as const));
  await isTrue('all links are open', () => pairs.every(([from, to]) => peers[from]!.links.isOpen(ids[to]!)));
  const COUNT = 300;
  // From the first member to the second more than sockets hold, piece by piece; elsewhere what shares their reads.
  const sizeOf = (from: number, n: number): number => (from === 0 ? 20_000 + 10 * n : (n * 37) % 900);
  const bodyOf = (from: number, n: number): Uint8Array => new Uint8Array(sizeOf(from, n)).fill((31 * from + n) & 0xff);
  for (let n = 0; n < COUNT; n += 1) {
    for (const [from, to] of pairs) {
      const reign = { epoch: 1, node: ids[from]! };
      const bodies = [bodyOf(from, n), bodyOf(from, n + 1)];
      peers[from]!.links.send(ids[to]!, { kind: 'effects', range: 1, reign, session: 1, from: n, bodies });
    }
    for (const { links } of peers) links.flush();
    if (n % 100 === 50) await new Promise((resolve) => setImmediate(resolve));
  }
  for (const { links } of peers) links.flush();
  await isTrue('all arrived', () => peers.every(({ got }) => got.length === 2 * COUNT));
  for (const [to, { got, links }] of peers.entries()) {
    for (const from of [0, 1, 2].filter((other) => other !== to)) {
      const told = got.filter(([id]) => id === ids[from]).map(([, message]) => message);
      for (const [n, message] of told.entries()) {
        assert.ok(message.kind === 'effects' && message.from === n, 'in order');
        const [first, second] = message.bodies;
        assert.ok(Buffer.from(first!).equals(bodyOf(from, n)) && Buffer.from(second!).equals(bodyOf(from, n + 1)));
      }
    }
    assert.equal(links.counters.dropped, 0);
    assert.equal(links.counters.refusedFrames, 0);
  }
});

test('strangers: another list, another secret, another cluster, an earlier life', { timeout: 120_000 }, async () => {
  const ports = await freePorts(2);
  const cases: readonly (readonly [Wishes, Wishes, RegExp])[] = [
    [{ takeoverMs: 1500 }, { takeoverMs: 3000 }, /started with another/],
    [{ secret: 'a'.repeat(16) }, { secret: 'b'.repeat(16) }, /does not know the secret/],
    [{ secret: 'a'.repeat(16) }, {}, /does not know the secret/],
    [{ cluster: 'c'.repeat(32) }, { cluster: 'd'.repeat(32) }, /formed anew/],
  ];
  for (const [first, second, why] of cases) {
    const a = await start(ports, 0, first);
    const b = await start(ports, 1, second);
    await isTrue(
      'both refuse',
      () => a.complaints.some((one) => why.test(one)) && b.complaints.some((one) => why.test(one)),
    );
    assert.equal(a.links.isOpen(b.setup.self) || b.links.isOpen(a.setup.self), false);
    assert.ok(a.links.counters.refusedHellos > 0 && b.links.counters.refusedHellos > 0);
    await closers.pop()!();
    await closers.pop()!();
  }
  const a = await start(ports, 0);
  const b = await start(ports, 1, { incarnation: 5 });
  await isTrue('the later life is in', () => a.links.statusOf(b.setup.self)?.isLinkedToUs === true);
  await closers.pop()!();
  await start(ports, 1, { incarnation: 4 });
  await isTrue('the earlier one is not', () => a.complaints.some((one) => /later life/.test(one)));
});

test('a peer that does not read is cut off at the bound, and nothing is piled up', { timeout: 120_000 }, async () => {
  const ports = await freePorts(2);
  const setup = (await start(ports, 0, { limits: { outputBytes: 1_000_000 } })) as Peer;
  const stranger = await silentPeer(setup, ports[1]!);
  await isTrue('it is open', () => setup.links.isOpen(stranger.id));
  const body = new Uint8Array(100_000);
  const effects = (from: number): Message => {
    return { kind: 'effects', range: 0, reign: { epoch: 1, node: setup.setup.self }, session: 1, from, bodies: [body] };
  };
  let most = 0;
  for (let i = 1; i <= 1000 && setup.links.counters.cutForBuffer === 0; i += 1) {
    setup.links.send(stranger.id, effects(i));
    setup.links.flush();
    most = Math.max(most, setup.links.statusOf(stranger.id)!.waitingBytes);
  }
  assert.equal(setup.links.counters.cutForBuffer, 1);
  assert.ok(most <= 1_000_000, `${most} bytes waited`);
  assert.ok(setup.complaints.some((one) => /waited for it to read/.test(one)));
  assert.equal(setup.links.isOpen(stranger.id), false);
});

test('a half-open link is noticed by its pings, and made anew', { timeout: 120_000 }, async () => {
  // What stands in the list at the second's place is the proxy; it listens elsewhere, under that name.
  const [port, hidden] = (await freePorts(2)) as [number, number];
  const proxy = await FaultProxy.start({ host: HOST, port: hidden });
  closers.push(() => proxy.close());
  const list = [port, proxy.port];
  const one = await start(list, 0, { limits: { pingMs: 10, pings: 20 } });
  const two = await startBehind(list, 1, hidden);
  await isTrue('it is open', () => one.links.isOpen(two.setup.self));
  proxy.blackhole();
  await isTrue('it is cut', () => one.links.counters.cutSilent > 0);
  proxy.heal();
  await isTrue('it is open again', () => one.links.isOpen(two.setup.self));
  one.links.send(two.setup.self, heartbeat(3));
  one.links.flush();
  await isTrue('it carries messages', () => two.got.some(([, message]) => message.kind === 'heartbeat'));
});

/** A member that listens on another port than the list says, as behind a proxy. */
async function startBehind(ports: readonly number[], index: number, listenPort: number): Promise<Peer> {
  const setup = makeSetup({
    name: 'test',
    members: ports.map((linkPort) => ({ host: HOST, linkPort })),
    self: { host: HOST, linkPort: ports[index]! },
    voters: null,
    replicas: 1,
    ranges: 64,
    takeoverMs: 1500,
    secret: '',
  });
  const got: [NodeId, Message][] = [];
  const links = new Links({
    setup,
    member: memberOf(setup, 1),
    onMember: () => {},
    onForm: () => {},
    onOpen: () => {},
    onMessage: (from, message) => got.push([from, structuredClone(message)]),
  });
  links.cluster = CLUSTER;
  await links.listen(listenPort, HOST);
  const timer = setInterval(() => links.tick(performance.now()), 5);
  closers.push(async () => {
    clearInterval(timer);
    await links.close();
  });
  return { links, setup, got, complaints: [], gone: [] };
}

// -- hostile bytes

/** Accepts the link of `peer` as the other member would, and then reads nothing more. */
async function silentPeer(peer: Peer, port: number): Promise<{ readonly id: NodeId }> {
  const other = otherOf(peer);
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    const parser = new FrameParser();
    socket.on('data', (chunk) => {
      parser.push(chunk);
      while (parser.next() === FRAME) {
        const hello = readMessage(parser) as Hello;
        if (hello.kind !== 'hello') continue;
        if (hello.proof !== '') {
          socket.pause();
          return;
        }
        const nonce = makeNonce();
        const proof = proofOf('', 'acceptor', {
          dialler: peer.setup.self,
          acceptor: other.self,
          diallerNonce: hello.nonce,
          acceptorNonce: nonce,
        });
        socket.write(framed(helloOf(other, CLUSTER, memberOf(other, 1), nonce, proof)));
      }
    });
  });
  server.listen(port, HOST);
  await once(server, 'listening');
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket) => sockets.add(socket));
  closers.push(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  return { id: other.self };
}

function otherOf({ setup }: Peer): ClusterSetup {
  return { ...setup, self: setup.members.find(({ id }) => id !== setup.self)!.id };
}

/** Its end, in whatever way: a reset is one too. */
function closing(socket: net.Socket): Promise<void> {
  return socket.closed ? Promise.resolve() : new Promise((resolve) => socket.once('close', () => resolve()));
}

function framed(...messages: readonly WireMessage[]): Uint8Array {
  const out = new FrameWriter();
  for (const message of messages) writeMessage(out, message);
  return out.take();
}

/** Connects as the other member of the list, with right proofs; again, where a machine that stood still let the time for the greeting run out. */
async function dialAs(peer: Peer, port: number): Promise<net.Socket> {
  for (;;) {
    const socket = await dialOnceAs(peer, port);
    if (socket !== null) return socket;
  }
}

async function dialOnceAs(peer: Peer, port: number): Promise<net.Socket | null> {
  const other = otherOf(peer);
  const socket = net.connect({ port, host: HOST });
  socket.on('error', () => {});
  closers.push(async () => {
    socket.destroy();
  });
  await once(socket, 'connect');
  const nonce = makeNonce();
  socket.write(framed(helloOf(other, CLUSTER, memberOf(other, 1), nonce, '')));
  const parser = new FrameParser();
  const hello = await new Promise<Hello | null>((resolve) => {
    socket.once('close', () => resolve(null));
    socket.on('data', (chunk) => {
      parser.push(chunk);
      while (parser.next() === FRAME) {
        const message = readMessage(parser);
        if (message?.kind === 'hello') resolve(structuredClone(message));
      }
    });
  });
  if (hello === null) return null;
  const exchange = {
    dialler: other.self,
    acceptor: peer.setup.self,
    diallerNonce: nonce,
    acceptorNonce: hello.nonce,
  };
  socket.write(framed(helloOf(other, CLUSTER, memberOf(other, 1), nonce, proofOf('', 'dialler', exchange))));
  return socket;
}

test('hostile bytes before and after the greeting: the link ends and is counted, the member goes on', {
  timeout: 120_000,
}, async () => {
  const ports = await freePorts(2);
  const peer = await start(ports, 0);
  const other = otherOf(peer);
  const good = framed(heartbeat(1), {
    kind: 'applied',
    range: 3,
    reign: { epoch: 4, node: other.self },
    session: 1,
    offset: 9,
  });
  const damaged = fc
    .tuple(fc.nat({ max: good.length - 1 }), fc.integer({ min: 1, max: 255 }))
    .map(([at, flip]) => good.map((byte, index) => (index === at ? byte ^ flip : byte)));
  const hostile = fc.oneof(fc.uint8Array({ minLength: 12, maxLength: 300 }), damaged);
  const nonsense: readonly WireMessage[] = [
    { kind: 'applied', range: 64, reign: { epoch: 4, node: other.self }, session: 1, offset: 9 },
    {
      kind: 'accept',
      set: NO_BALLOT,
      claim: 1,
      records: [{ range: 0, ballot: { epoch: 9, node: peer.setup.self }, owner: null, inSync: [] }],
    },
    helloOf(other, CLUSTER, memberOf(other, 1), makeNonce(), ''),
    { kind: 'ping', number: 1, isAnswer: true },
  ];
  const before = (): number => peer.links.counters.refusedFrames + peer.links.counters.refusedHellos;
  for (const message of nonsense) {
    const socket = await dialAs(peer, ports[0]!);
    const closed = closing(socket);
    const refused = before();
    socket.write(framed(message));
    await closed;
    assert.ok(before() > refused, message.kind);
  }
  await fc.assert(
    fc.asyncProperty(hostile, fc.boolean(), async (bytes, isGreeted) => {
      const socket = isGreeted ? await dialAs(peer, ports[0]!) : net.connect({ port: ports[0]!, host: HOST });
      socket.on('error', () => {});
      if (!isGreeted) await once(socket, 'connect');
      const closed = closing(socket);
      socket.end(bytes);
      await closed;
    }),
    { numRuns: 150 },
  );
  const socket = await dialAs(peer, ports[0]!);
  const had = peer.got.length;
  socket.write(good);
  await isTrue('a good one is still heard', () => peer.got.length === had + 2);
});

test('strangers are few at a time, and not for long', { timeout: 120_000 }, async () => {
  const ports = await freePorts(2);
  const peer = await start(ports, 0, { limits: { strangers: 4, helloMs: 300 } });
  const sockets = await Promise.all(
    Array.from({ length: 12 }, async () => {
      const socket = net.connect({ port: ports[0]!, host: HOST });
      socket.on('error', () => {});
      closers.push(async () => {
        socket.destroy();
      });
      await once(socket, 'connect');
      return socket;
    }),
  );
  await Promise.all(sockets.map((socket) => closing(socket.resume())));
  assert.ok(peer.links.acceptedCount === 0 && peer.links.counters.refusedHellos >= 12);
});

test('crash fast path: a peer whose port refuses is gone, until it has a link again; without the setting nobody looks', {
  timeout: 120_000,
}, async () => {
  for (const crashFastPath of [true, false]) {
    const ports = await freePorts(2);
    const a = await start(ports, 0, { crashFastPath });
    const b = await start(ports, 1, { crashFastPath });
    const [aId, bId] = [a.setup.self, b.setup.self];
    await isTrue('both links are open', () => a.links.isOpen(bId) && b.links.isOpen(aId));
    await closers.pop()!();
    await isTrue('the end is noticed', () => a.links.statusOf(bId)?.isLinkedToUs === false);
    if (crashFastPath) await isTrue('it is gone', () => a.gone.includes(bId));
    const again = await start(ports, 1, { incarnation: 2, crashFastPath });
    await isTrue('both are open again', () => a.links.isOpen(bId) && again.links.isOpen(aId));
    await isTrue('nobody is taken for dead', () => a.gone.length + again.gone.length === 0);
  }
});

test('crash fast path: a connection that breaks while the port accepts is no death', { timeout: 120_000 }, async () => {
  const listener = net.createServer((socket) => socket.on('error', () => {}).resume());
  listener.listen(0, HOST);
  await once(listener, 'listening');
  const { port: linkPort } = listener.address() as net.AddressInfo;
  const gone: NodeId[] = [];
  const peer = { id: 'a'.repeat(40), host: HOST, linkPort };
  const deaths = new Deaths((id) => gone.push(id));
  let dials = 0;
  listener.on('connection', () => {
    dials += 1;
  });
  deaths.onClosed(peer);
  await isTrue('it is dialled eight times', () => dials === 8);
  assert.deepEqual(gone, []);
  await new Promise((resolve) => listener.close(resolve));
  deaths.onClosed(peer);
  await isTrue('now nobody listens', () => gone.length === 1);
  deaths.close();
});
