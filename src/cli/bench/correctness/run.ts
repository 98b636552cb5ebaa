/**
 * `breakwater bench correctness`: every scenario on every subject, each in a world of its own on a flushed server, and what was
 * counted. Subjects take turns within a scenario, so that a busy machine treats them alike.
 */
import { messageOf } from '../../../base/errors.ts';
import type { Children } from '../../children/children.ts';
import { randomMix } from './mix.ts';
import { SCENARIOS, type Scenario, type Size } from './scenarios.ts';
import { type Started, startServer } from './servers.ts';
import type { ServerKind, Subject } from './subject.ts';
import { SETTINGS, type Tally, World, type WorldSettings } from './world.ts';

export const MIX: Scenario = { name: 'random-mix', title: 'random mix', applies: () => true, run: randomMix };

export const ALL_SCENARIOS: readonly Scenario[] = [...SCENARIOS, MIX];

export interface CorrectnessPlan {
  readonly subjects: readonly Subject[];
  readonly scenarios: readonly Scenario[];
  readonly size: Size;
  readonly settings?: WorldSettings;
}

/** What became of one scenario on one subject. */
export interface CorrectnessCell {
  readonly subject: string;
  readonly scenario: string;
  /** null: the subject has no word for what the scenario needs, or (`failure`) it broke. */
  readonly tally: Tally | null;
  readonly failure: string | null;
}

/** Starts the servers that the subjects need, runs everything, and returns the cells, scenario by scenario. */
export async function runCorrectness(
  plan: CorrectnessPlan,
  children: Children,
  progress: (line: string) => void,
): Promise<CorrectnessCell[]> {
  const servers = await startServers(plan.subjects, children);
  const cells: CorrectnessCell[] = [];
  for (const scenario of plan.scenarios) {
    for (const subject of plan.subjects) {
      progress(`${scenario.name}: ${subject.name}`);
      cells.push(await runCell(subject, scenario, plan, servers.get(subject.server)!, children));
    }
  }
  return cells;
}

async function runCell(
  subject: Subject,
  scenario: Scenario,
  plan: CorrectnessPlan,
  servers: Started,
  children: Children,
): Promise<CorrectnessCell> {
  const cell = { subject: subject.name, scenario: scenario.name };
  let world: World | null = null;
  try {
    world = await World.open(subject, servers, plan.settings ?? SETTINGS, children);
    if (!scenario.applies(world)) return { ...cell, tally: null, failure: null };
    await scenario.run(world, plan.size);
    world.tally.loads = world.source.loads;
    return { ...cell, tally: world.tally, failure: null };
  } catch (error) {
    return { ...cell, tally: null, failure: messageOf(error) };
  } finally {
    await world?.close();
  }
}

async function startServers(
  subjects: readonly Subject[],
  children: Children,
): Promise<ReadonlyMap<ServerKind, Started>> {
  const servers = new Map<ServerKind, Started>();
  for (const { server } of subjects) {
    if (!servers.has(server)) servers.set(server, await startServer(server, children));
  }
  return servers;
}
