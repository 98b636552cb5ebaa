/** Of `cost.ts`: what servers use and say when nobody asks them anything. */
import { type Fleet, pause, type Server } from './fleets.ts';
import { cpuSeconds, median, spread } from './wire.ts';

interface Counted {
  readonly bytes: number;
  readonly packets: number;
}

export interface Idle {
  readonly lines: readonly string[];
  /** By server, the members first: cores that it uses. */
  readonly cores: readonly number[];
}

/** Counters of a member's `/metrics`. */
export async function metricsOf({ machine, port }: Server): Promise<(name: string) => number> {
  const answer = await fetch(`http://${machine.host}:${port + 1000}/metrics`);
  const text = await answer.text();
  return (name) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)![1]);
}

export async function idle(fleet: Fleet, nodes: readonly Server[], seconds: number): Promise<Idle> {
  const onWire = (): Promise<Counted[]> =>
    Promise.all(
      fleet.servers.map(async ({ machine }) => {
        const text = await machine.output('ip', ['-s', '-j', 'link', 'show', 'eth0']);
        const [{ stats64 }] = JSON.parse(text) as [{ stats64: { rx: Counted; tx: Counted } }];
        return {
          bytes: stats64.rx.bytes + stats64.tx.bytes,
          packets: stats64.rx.packets + stats64.tx.packets,
        };
      }),
    );
  const all = [...fleet.servers, ...nodes];
  const startMs = performance.now();
  const used = all.map(({ process: { pid } }) => -cpuSeconds(pid));
  const before = await onWire();
  await pause(1_000 * seconds);
  const after = await onWire();
  const tookS = (performance.now() - startMs) / 1_000;
  const cores = all.map(({ process: { pid } }, index) => (used[index]! + cpuSeconds(pid)) / tookS);
  const kb = after.map(({ bytes }, index) => (bytes - before[index]!.bytes) / tookS / 1_000);
  const packets = after.map((now, index) => (now.packets - before[index]!.packets) / tookS);
  const count = fleet.servers.length;
  const percent = cores.map((share) => 100 * share);
  const lines = [
    '## An idle cluster',
    '',
    `${seconds} seconds in which nobody asks. Medians (least to most).`,
    '',
    '| | a member | a node of its own |',
    '| --- | ---: | ---: |',
    `| processor time, % of a core | ${spread(percent.slice(0, count), 2)} | ${spread(percent.slice(count), 2)} |`,
    `| KB/s on its wire, both ways together, headers of Ethernet, IP and TCP counted | ${spread(kb, 1)} | |`,
    `| packets/s, both ways | ${spread(packets, 0)} | |`,
    '',
    `Bar: under 50 KB/s a member. ${median(kb).toFixed(1)}, at most ${Math.max(...kb).toFixed(1)}.`,
  ];
  return { lines, cores };
}
