/**
 * Does the simulator find bugs? Each rule of `mutations.ts` is taken out of a copy of the source in turn, and schedules are run on the copy until one fails. A simulator that passes a broken
 * library has proved nothing about a whole one.
 *
 * A copy on disk rather than a loader that rewrites: what runs is what can be looked at, and the workers need no hook.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CLUSTER_MUTATIONS } from '../cluster/mutations.ts';
import { MUTATIONS, type Mutation } from './mutations.ts';

/** Which simulation, and so which table of rules. */
export type Which = 'library' | 'cluster';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export interface Found {
  readonly mutation: Mutation;
  /** The first seed that fails; null = none did. */
  readonly seed: number | null;
  /** Schedules run until then. */
  readonly schedules: number;
  readonly violation: string | null;
  readonly elapsedMs: number;
}

/** A copy of the source without one rule; `end` removes it. @throws Error when the rule is not where the table says */
export function plant(mutation: Mutation): { readonly folder: string; readonly end: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'breakwater-ablation-'));
  const end = (): void => rmSync(folder, { recursive: true, force: true });
  try {
    mkdirSync(folder, { recursive: true });
    for (const name of ['src', 'sim', 'package.json', 'tsconfig.json']) {
      cpSync(join(root, name), join(folder, name), { recursive: true });
    }
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    for (const { file, find, replace } of mutation.edits) {
      const path = join(folder, file);
      const text = readFileSync(path, 'utf8');
      const parts = text.split(find);
      if (parts.length !== 2) {
        throw new Error(
          `${mutation.name}: its piece of ${file} is there ${parts.length - 1} times, expected once: ${JSON.stringify(find)}`,
        );
      }
      writeFileSync(path, parts.join(replace));
    }
    return { folder, end };
  } catch (error) {
    end();
    throw error;
  }
}

/** Runs schedules on the copy until one fails, at most `seeds`. */
export async function search(mutation: Mutation, seeds: number, from = 1, which: Which = 'library'): Promise<Found> {
  const { folder, end } = plant(mutation);
  const startMs = performance.now();
  try {
    const args = ['--import', 'tsx', 'sim/main.ts', `--${which}`, '--json', '--processes', '1', '--twice', '0'];
    const text = await output(folder, [
      ...args,
      ...(mutation.args ?? []),
      '--seeds',
      String(seeds),
      '--from',
      String(from),
    ]);
    const outcome = JSON.parse(text) as {
      readonly seeds: number;
      readonly failures: readonly { readonly seed: number; readonly violations: readonly string[] }[];
    };
    const [first] = outcome.failures;
    return {
      mutation,
      seed: first?.seed ?? null,
      schedules: outcome.seeds,
      violation: first?.violations[0] ?? null,
      elapsedMs: performance.now() - startMs,
    };
  } finally {
    end();
  }
}

function output(cwd: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0 || code === 1) resolve(text);
      else reject(new Error(`the simulator ended with ${code}: ${text}`));
    });
  });
}

export async function ablationCommand(which: Which, args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      seeds: { type: 'string', default: '5000' },
      from: { type: 'string', default: '1' },
      write: { type: 'string' },
    },
  });
  const seeds = Number(values.seeds);
  const table = which === 'library' ? MUTATIONS : CLUSTER_MUTATIONS;
  const chosen = table.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  const rows: string[] = [];
  let missed = 0;
  for (const mutation of chosen) {
    const found = await search(mutation, seeds, Number(values.from), which);
    if (found.seed === null) missed += 1;
    const when = found.seed === null ? `**not in ${found.schedules}**` : String(found.schedules);
    const shown = (found.violation ?? '').replace(/\s+/g, ' ').replaceAll('|', '/').slice(0, 170);
    const row = `| \`${mutation.name}\` | ${mutation.what} | ${when} | ${shown} |`;
    console.log(row);
    rows.push(row);
  }
  const text = [
    '| rule taken out of `src/` | the code then does | found by schedule number | how it shows |',
    '| --- | --- | --: | --- |',
    ...rows,
  ].join('\n');
  if (values.write !== undefined) writeFileSync(values.write, `${text}\n`);
  console.log(`${chosen.length - missed} of ${chosen.length} found`);
  return missed === 0 ? 0 : 1;
}
