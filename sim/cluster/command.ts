/**
 * `npm run sim -- --seed S --nodes N --minutes M --faults ...`: the cluster, one schedule or thousands of them, and the trace of the first that fails.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { TOPOLOGIES, type Topology } from '../../src/cluster/topology.ts';
import { positive, WordsInvalid, whole } from '../run/words.ts';
import { headline, type Outcome, runOverWorkers } from '../run/workers.ts';
import { NOTHING } from './batch.ts';
import {
  type Aim,
  type CoordinationKind,
  describeFault,
  ETCD_KINDS,
  FAULT_KINDS,
  type FaultKind,
  type MemoryKind,
  type Plan,
  type PlanOptions,
  PROCESS_KINDS,
  planOf,
} from './plan.ts';
import { shrink } from './shrink.ts';
import { type Counts, type Report, Simulation } from './simulation.ts';

export const CLUSTER_HELP = `npm run sim -- [--seed S] [--nodes N] [--minutes M] [--faults a,b,...] [options]      the cluster

  --seed S         one schedule: what it came to; with --trace, message by message
  --seeds N        so many schedules (default 1000), from --from on
  --from S         the first seed (default 1)
  --nodes N        members (default 5); up to 4 of them have 3 voters, more have 5
  --minutes M      of simulated time in which things break (default 0.5); 5 s more to come together
  --faults ...     which, by commas (default: drawn from the seed), or none:
                   ${FAULT_KINDS.join(', ')};
                   ${PROCESS_KINDS.join(', ')} (these turn the crash fast path on; drawn, it is on in every third schedule)
  --every MS       between two faults, on average (default: drawn, 500 to 7000)
  --aim disk       faults made for one rule: of three members (--nodes 3), a voter dies while it writes
  --aim haste      likewise: of five members, a process dies while a copy that may serve reads is out of reach
  --aim leases     likewise: of three members (--nodes 3), a new owner does not reach a copy that may serve reads
  --ranges R       default: drawn, 2 to 8
  --joiners J      computers that join while it runs, and members that are forgotten; three vote then (default 0)
  --coordination C who decides which records hold: voters (default: members vote), or etcd (a pretended one); then there are besides
                   ${ETCD_KINDS.join(', ')}
  --voters-every MS  between two changes of who votes, on average; three vote at first (default: nobody else ever does)
  --topology T     sharded (default), or primary: all ranges on one member, the others copy
  --memory M       what members keep entries in: model (default), or node: the whole production node, asked over RESP
  --trace          with --seed: print everything that happens
  --processes N    worker processes (default: one a core)
  --twice K        one seed in K is run twice and must leave the same trace (default 50; 0 = none)
  --no-shrink      show a failing seed as it is
  --keep-going     run all seeds, also behind a failure
  --json           print the outcome as one line of JSON
`;

const BATCH = 25;

export async function clusterCommand(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      cluster: { type: 'boolean', default: false },
      seed: { type: 'string' },
      seeds: { type: 'string', default: '1000' },
      from: { type: 'string', default: '1' },
      nodes: { type: 'string', default: '5' },
      minutes: { type: 'string', default: '0.5' },
      faults: { type: 'string' },
      every: { type: 'string' },
      ranges: { type: 'string' },
      aim: { type: 'string' },
      joiners: { type: 'string', default: '0' },
      'voters-every': { type: 'string' },
      memory: { type: 'string', default: 'model' },
      coordination: { type: 'string', default: 'voters' },
      topology: { type: 'string' },
      trace: { type: 'boolean', default: false },
      processes: { type: 'string', default: String(availableParallelism()) },
      twice: { type: 'string', default: '50' },
      'no-shrink': { type: 'boolean', default: false },
      'keep-going': { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(CLUSTER_HELP);
    return 0;
  }
  const plans: PlanOptions = {
    members: whole('nodes', values.nodes, 1, 1000),
    runMs: Math.round(60_000 * positive('minutes', values.minutes)),
    joiners: whole('joiners', values.joiners, 0, 100),
    ...(values.faults === undefined ? {} : { faults: faultsOf(values.faults) }),
    ...(values.every === undefined ? {} : { everyMs: whole('every', values.every, 10) }),
    ...(values['voters-every'] === undefined
      ? {}
      : { votersEveryMs: whole('voters-every', values['voters-every'], 10) }),
    memory: memoryOf(values.memory),
    coordination: coordinationOf(values.coordination),
    ...(values.topology === undefined ? {} : { topology: topologyOf(values.topology) }),
    ...(values.aim === undefined ? {} : { aim: aimOf(values.aim) }),
    ...(values.ranges === undefined ? {} : { ranges: whole('ranges', values.ranges, 1, 64) }),
  };
  if (values.seed !== undefined) {
    const plan = planOf(whole('seed', values.seed, 0), plans);
    const report = new Simulation(plan, values.trace).run();
    if (values.trace) console.log(`${report.lines.join('\n')}\n`);
    console.log(oneSummary(plan, report));
    return report.violations.length === 0 ? 0 : 1;
  }
  const seeds = whole('seeds', values.seeds, 1);
  const outcome = await runOverWorkers({
    worker: new URL('./worker.ts', import.meta.url),
    nothing: NOTHING,
    batchSize: BATCH,
    from: whole('from', values.from, 0),
    seeds,
    job: plans,
    processes: whole('processes', values.processes, 1),
    everyTwice: whole('twice', values.twice, 0),
    keepGoing: values['keep-going'],
    onProgress: values.json ? () => undefined : (text) => console.log(text),
  });
  if (values.json) {
    console.log(JSON.stringify(outcome));
    return outcome.failures.length === 0 ? 0 : 1;
  }
  console.log(summary(outcome));
  const [first] = outcome.failures;
  if (first === undefined) return 0;
  console.log(`\nfailing seeds: ${outcome.failures.map(({ seed }) => seed).join(' ')}`);
  console.log(`\nseed ${first.seed} fails:\n  ${first.violations.join('\n  ')}`);
  let plan = planOf(first.seed, plans);
  if (!values['no-shrink']) {
    const small = shrink(plan);
    console.log(`\nmade smaller: ${small.plan.faults.length} of ${plan.faults.length} faults, ${small.runs} runs`);
    plan = small.plan;
  }
  const report = traced(plan);
  console.log(`\n${report.lines.slice(-400).join('\n')}\n\n${report.violations.join('\n')}`);
  console.log(`\nthe plan:\n${JSON.stringify(plan.setup)}\n${plan.faults.map(describeFault).join('\n')}`);
  console.log(
    `\nagain: npm run sim -- --seed ${first.seed} --trace${plans.memory === 'node' ? ' --memory node' : ''}${plans.coordination === 'etcd' ? ' --coordination etcd' : ''}${plans.topology === 'primary' ? ' --topology primary' : ''}`,
  );
  return 1;
}

function traced(plan: Plan): Report {
  return new Simulation(plan, true).run();
}

function summary(outcome: Outcome<Counts>): string {
  const { repeated, counts, hash } = outcome;
  const n = (value: number): string => value.toLocaleString('en-US');
  return [
    headline(outcome, n),
    `${n(counts.reads)} reads: ${n(counts.hits)} hits checked (${n(counts.copyHits)} from copies, ${n(counts.gutterHits)} from a gutter), ${n(counts.misses)} misses, ${n(counts.unserved)} not served`,
    `${n(counts.acknowledged)} invalidations acknowledged; ${n(counts.unacknowledged)} times one was not, and said so; ${n(counts.fills)} fills stored, ${n(counts.refusedFills)} refused`,
    `${n(counts.reigns)} reigns (${n(counts.takeovers)} takeovers, ${n(counts.emptyReigns)} began empty, forming included; ${n(counts.handOvers)} ranges handed over), ${n(counts.joins)} joins, ${n(counts.forgotten)} forgotten, ${n(counts.revotes)} changes of the voters, ${n(counts.faults)} faults, ${n(counts.messages)} messages, ${n(counts.events)} events, ${n(Math.round(counts.virtualMs / 1000))} s of virtual time`,
    `copies made whole: ${n(counts.partialResyncs)} went on from where they were, ${n(counts.fullResyncs)} from nothing, ${n(counts.comparedCopies)} of a new reign compared`,
    `${n(repeated)} seeds run twice with the same trace; hash ${hash.toString(16)}`,
  ].join('\n');
}

function oneSummary(plan: Plan, { violations, hash, counts, longestChain }: Report): string {
  return [
    `seed ${plan.seed}: ${JSON.stringify(plan.setup)}`,
    ...plan.faults.map(describeFault),
    JSON.stringify(counts),
    `longest chain of MOVED ${longestChain}; trace ${hash}; ${violations.length === 0 ? 'nothing wrong' : 'WRONG'}`,
    ...violations,
  ].join('\n');
}

function memoryOf(text: string): MemoryKind {
  if (text === 'model' || text === 'node') return text;
  throw new WordsInvalid(`--memory must be model or node, received "${text}"`);
}

function topologyOf(text: string): Topology {
  const found = TOPOLOGIES.find((topology) => topology === text);
  if (found !== undefined) return found;
  throw new WordsInvalid(`--topology must be ${TOPOLOGIES.join(' or ')}, received "${text}"`);
}

function coordinationOf(text: string): CoordinationKind {
  if (text === 'voters' || text === 'etcd') return text;
  throw new WordsInvalid(`--coordination must be voters or etcd, received "${text}"`);
}

function aimOf(text: string): Aim {
  if (text === 'disk' || text === 'haste' || text === 'leases') return text;
  throw new WordsInvalid(`--aim must be disk, haste or leases, received "${text}"`);
}

function faultsOf(text: string): readonly FaultKind[] {
  if (text === 'none') return [];
  const kinds = text.split(',').map((kind) => kind.trim());
  for (const kind of kinds) {
    const known: readonly string[] = [...FAULT_KINDS, ...PROCESS_KINDS, ...ETCD_KINDS];
    if (!known.includes(kind)) {
      throw new WordsInvalid(`--faults: there is no fault "${kind}"; there are ${known.join(', ')}, none`);
    }
  }
  return kinds as FaultKind[];
}
