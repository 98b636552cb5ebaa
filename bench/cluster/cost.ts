/**
 * What being a member of a cluster costs, beside nodes of their own on machines of the lab, in one run: latency of an acknowledged invalidation, processor time of a GET, bytes on the wire of an idle cluster,
 * memory of an entry, how long requests wait while ranges move, and redis-benchmark beside a Redis Cluster. Prints the page that lies in `results/`.
 *
 *     npm run build && sudo node --import tsx bench/cluster/cost.ts [--only idle,latency,get,pause,beside,memory] [--rounds 25] [--moves 60] [--steps 5] [--step-entries 200000] [--output FILE]
 *
 * Six members with one copy of each range (R = 2), and two nodes of their own: what the second differs from the first is the noise of the machine. What is compared takes turns, block by block.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { withChildren } from '../../src/cli/children/children.ts';
import { beside } from './cost-beside.ts';
import { gets, latency } from './cost-calls.ts';
import { idle } from './cost-idle.ts';
import { memory } from './cost-memory.ts';
import { pauses } from './cost-pause.ts';
import { breakwaterFleet, breakwaterNode, closeAll, pause, redisFleet } from './fleets.ts';
import { enterLab, machines } from './lab.ts';

type Part = 'idle' | 'latency' | 'get' | 'pause' | 'beside' | 'memory';
const PARTS: readonly Part[] = ['idle', 'latency', 'get', 'pause', 'beside', 'memory'];
/** They share six members and two nodes. */
const SHARED: readonly Part[] = ['idle', 'latency', 'get'];

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: PARTS.join(',') },
    rounds: { type: 'string', default: '25' },
    moves: { type: 'string', default: '60' },
    'beside-rounds': { type: 'string', default: '3' },
    'idle-seconds': { type: 'string', default: '10' },
    steps: { type: 'string', default: '5' },
    'step-entries': { type: 'string', default: '200000' },
    output: { type: 'string' },
  },
});
const parts = values.only.split(',') as Part[];
for (const part of parts)
  if (!PARTS.includes(part)) throw new Error(`--only takes ${PARTS.join(', ')}, received ${part}`);
const [rounds, steps, stepEntries, idleSeconds, moves, besideRounds] = [
  values.rounds,
  values.steps,
  values['step-entries'],
  values['idle-seconds'],
  values.moves,
  values['beside-rounds'],
].map(Number) as [number, number, number, number, number, number];
const FLAGS = ['--memory', '512mb'];

/** How busy the machine was: processes that run or wait, and for how much of the last minute somebody waited for a core. */
function load(): string {
  const [one] = loadavg();
  let waited = '';
  try {
    const found = /avg60=(\S+)/.exec(readFileSync('/proc/pressure/cpu', 'utf8'));
    if (found !== null) waited = `, somebody waited for a core for ${found[1]} % of the last minute`;
  } catch {
    // Not told by this kernel.
  }
  return `load ${one!.toFixed(1)}${waited}`;
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
}

process.exitCode =
  enterLab() ??
  (await withChildren(async (children) => {
    const sections: string[] = [];
    const tell = (lines: readonly string[]): void => {
      const text = `\n${lines.join('\n')}\n`;
      sections.push(text);
      process.stdout.write(text);
    };
    const before = load();
    const places = await machines(children, 8);
    if (parts.some((part) => SHARED.includes(part))) {
      const fleet = await breakwaterFleet(children, places.slice(0, 6), FLAGS);
      const nodes = [await breakwaterNode(places[6]!, FLAGS), await breakwaterNode(places[7]!, FLAGS)];
      await fleet.whole();
      await pause(3_000);
      const { server: owner, keys } = await fleet.victim(400);
      // Needed by the GETs too.
      const { lines, cores } = await idle(fleet, nodes, idleSeconds);
      if (parts.includes('latency')) {
        tell(
          await latency(
            [
              ['six members, R = 2', owner],
              ['one node', nodes[0]!],
            ],
            keys,
            rounds,
          ),
        );
      }
      if (parts.includes('get')) {
        const own = [cores[fleet.servers.indexOf(owner)]!, ...cores.slice(fleet.servers.length)];
        tell(await gets(owner, nodes, keys, 8 * rounds, own));
      }
      if (parts.includes('idle')) tell(lines);
      await closeAll(nodes);
      await fleet.close();
    }
    if (parts.includes('pause')) {
      const fleet = await breakwaterFleet(children, places.slice(0, 6), FLAGS);
      await fleet.whole();
      tell(await pauses(fleet, moves));
      await fleet.close();
    }
    if (parts.includes('beside')) {
      const ours = await breakwaterFleet(children, places.slice(0, 6), FLAGS);
      const redis = await redisFleet(children, places.slice(0, 6), 15_000);
      await ours.whole();
      await redis.whole();
      tell(await beside([ours, { ...redis, name: 'Redis 7 Cluster' }], besideRounds));
      await redis.close();
      await ours.close();
    }
    if (parts.includes('memory')) tell(await memory(children, places, steps, stepEntries));
    const head = [
      '# What a member of a cluster costs',
      '',
      `${new Date().toISOString().slice(0, 10)}, commit ${commit()}, Node.js ${process.versions.node}, ${cpus().length} cores (${cpus()[0]!.model.trim()}), clients and all servers on them. The machine before: ${before}; behind it: ${load()}. \`node --import tsx bench/cluster/cost.ts\`, its parts: ${parts.join(', ')}.`,
    ];
    if (values.output !== undefined) writeFileSync(values.output, `${head.join('\n')}\n${sections.join('')}`);
    else process.stdout.write(`\n${head.join('\n')}\n`);
    return 0;
  }));
