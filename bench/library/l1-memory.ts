/**
 * Does an L1 take the memory that it says? For each mix of values a process of its own fills an L1 beyond its bytes, so that it evicts, then collects
 * garbage and compares the growth of the heap (typed arrays included) with what L1 reports, and with its bound.
 *
 *     npx tsx bench/library/l1-memory.ts [--bytes 16mb] [--json] [--output FILE]
 *
 * Both as in production and with values frozen, as in development.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { parseSizeBytes } from '../../src/base/units.ts';
import { deepFreeze, FREEZE_VALUES } from '../../src/cache/codec.ts';
import { heapBytes } from '../../src/cache/heap-bytes.ts';
import { L1 } from '../../src/cache/l1.ts';
import { hashNamespace, hashTags, Voids } from '../../src/cache/voids.ts';
import { environment, environmentLine } from '../../src/cli/bench/environment.ts';

export interface MemoryRow {
  readonly mix: string;
  readonly frozen: boolean;
  readonly entries: number;
  readonly budget: number;
  readonly reported: number;
  readonly measured: number;
}

const word = (i: number, length: number): string => `${(i * 2_654_435_761) % 1e9}`.padEnd(length, 'abcdefghij');

/** The JSON text of value `i`; null = known absent. */
const MIXES: Readonly<Record<string, (i: number) => unknown>> = {
  'small flat rows': (i) => ({ id: i, name: word(i, 20), price: i + 0.25, active: i % 2 === 0 }),
  'nested rows': (i) => ({
    id: `${i}`,
    owner: { name: word(i, 14), address: { city: word(i + 1, 12), zip: 10_000 + (i % 9_000) } },
    items: [
      { sku: word(i, 11), count: 3, price: 9.75 },
      { sku: word(i + 7, 11), count: 1, price: 12.5 },
    ],
    tags: [word(i, 16), word(i + 3, 16)],
  }),
  'long text, one byte a character': (i) => word(i, 600 + (i % 900)),
  'long text, two bytes a character': (i) => ({ id: i, text: `${word(i, 500 + (i % 700))} – …` }),
  'arrays of fractions': (i) => ({ id: i, vector: Array.from({ length: 64 }, (_, k) => (i * k) / 7 + 0.1) }),
  'arrays of integers': (i) => Array.from({ length: 20 + (i % 50) }, (_, k) => i * k),
  'wide objects': (i) => Object.fromEntries(Array.from({ length: 200 }, (_, k) => [`member${k}`, i + k])),
  'objects by number': (i) =>
    Object.fromEntries(Array.from({ length: 12 }, (_, k) => [`${10_000 + 37 * k * (i + 1)}`, word(k + i, 14)])),
  'known absent': () => null,
};

function valueFor(mix: string, i: number): unknown {
  const names = Object.keys(MIXES);
  const make = MIXES[mix] ?? MIXES[names[i % names.length]!]!;
  const value = make(i);
  const parsed: unknown = value === null ? null : JSON.parse(JSON.stringify(value));
  if (FREEZE_VALUES) deepFreeze(parsed);
  return parsed;
}

function fill(l1: L1<unknown>, mix: string, budget: number, prefix: string): void {
  const tags = ['org:7', 'plan:free', 'region:eu'];
  for (let i = 0, beyond = 0; beyond < 0.4 * budget; i += 1) {
    const id = `${prefix}${i}`;
    const value = valueFor(mix, i);
    const bytes = heapBytes(value);
    const now = 1.7e12 + i / 3;
    const life = {
      storedAtMs: now,
      sureUntilMs: now + 1e6,
      goneAtMs: now + 2e6,
      ttlMs: 1e6 + 0.5,
      graceMs: 0,
      loadMs: 3.25,
    };
    l1.put(id, { value, version: i, stamp: 0, tags: hashTags(tags.slice(0, i % 4)), bytes, ...life });
    const entry = i % 3 === 0 ? l1.find(id, now) : null;
    if (entry !== null) l1.promiseOf(entry);
    if (l1.evictions > 0) beyond += bytes + 300;
  }
}

function child(mix: string, budget: number): MemoryRow {
  const collect = (globalThis as { readonly gc?: () => void }).gc!;
  const used = (): number => {
    for (let i = 0; i < 4; i += 1) collect();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  const make = (): L1<unknown> =>
    new L1<unknown>({ maxEntries: 10_000_000, maxBytes: budget }, new Voids(), hashNamespace('x'));
  // Once for the compilers, the shapes and the feedback, which are no part of it.
  (() => fill(make(), mix, budget, 'warm'))();
  const l1 = make();
  const before = used();
  fill(l1, mix, budget, 'user-');
  const measured = used() - before;
  l1.invariants();
  return { mix, frozen: FREEZE_VALUES, entries: l1.size, budget, reported: l1.bytes, measured };
}

/** One mix in a process of its own. */
export function measure(mix: string, budget: number, frozen: boolean): MemoryRow {
  const args = [
    '--expose-gc',
    '--import',
    'tsx',
    fileURLToPath(import.meta.url),
    '--child',
    mix,
    '--bytes',
    `${budget}`,
  ];
  const env = { ...process.env, NODE_ENV: frozen ? 'development' : 'production' };
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { env, encoding: 'utf8', timeout: 300_000 });
  if (status !== 0) throw new Error(`the process of "${mix}" failed: ${stderr}`);
  return JSON.parse(stdout) as MemoryRow;
}

export const MIX_NAMES: readonly string[] = [...Object.keys(MIXES), 'all of them mixed'];

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      bytes: { type: 'string', default: '16mb' },
      child: { type: 'string' },
      json: { type: 'boolean', default: false },
      output: { type: 'string' },
    },
  });
  const budget = /^\d+$/.test(values.bytes) ? Number(values.bytes) : parseSizeBytes(values.bytes, '--bytes');
  if (values.child !== undefined) process.stdout.write(JSON.stringify(child(values.child, budget)));
  else {
    const rows = [false, true].flatMap((frozen) => MIX_NAMES.map((mix) => measure(mix, budget, frozen)));
    const percent = (share: number): string => `${share >= 0 ? '+' : ''}${(100 * share).toFixed(1)} %`;
    const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(2);
    const lines = rows.map(
      ({ mix, frozen, entries, reported, measured }) =>
        `| ${mix} | ${frozen ? 'yes' : 'no'} | ${entries} | ${mib(reported)} | ${mib(measured)} | ${percent(measured / reported - 1)} | ${percent(measured / budget - 1)} |`,
    );
    const text = [
      '# Memory of L1',
      '',
      environmentLine(environment()),
      '',
      `Bound: ${mib(budget)} MiB. \`bench/library/l1-memory.ts\` says how it is measured.`,
      '',
      '| values | frozen | entries | L1 says, MiB | heap grew by, MiB | against what L1 says | against the bound |',
      '| --- | --- | ---: | ---: | ---: | ---: | ---: |',
      ...lines,
      '',
    ].join('\n');
    process.stdout.write(values.json ? JSON.stringify(rows) : `${text}\n`);
    if (values.output !== undefined) writeFileSync(values.output, text);
  }
}
