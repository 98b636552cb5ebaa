/**
 * The three facts about the layout that are worth a failing test: who may import whom, no cycles, and purity of the
 * folders whose behaviour one seed must reproduce. Each rule takes the files and returns the violations as sentences, so
 * that the tests can also feed it a broken tree and see it complain.
 */
import type { SourceFile } from './source.ts';

/** folder -> folders below `src/` that it may import (itself is always allowed). */
export const ARROWS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  hash: ['base'],
  engine: ['base', 'hash'],
  resp: ['base'],
  // Frames are made of the cluster's messages, and the state machines that exchange messages know nothing of bytes.
  wire: ['base', 'cluster'],
  freshness: ['base', 'hash'],
  commands: ['base', 'hash', 'resp', 'engine', 'freshness'],
  cluster: ['base', 'hash'],
  node: ['base', 'hash', 'resp', 'wire', 'engine', 'freshness', 'commands', 'cluster'],
  dashboard: [],
  'disk-log': ['base'],
  http: ['base'],
  // Its cluster/ moves the messages of the state machines, and describes members to them.
  server: ['base', 'http', 'resp', 'wire', 'commands', 'cluster', 'node', 'dashboard', 'disk-log'],
  client: ['base', 'hash', 'resp'],
  stores: ['base', 'hash', 'client', 'engine', 'freshness', 'disk-log'],
  cache: ['base', 'freshness', 'stores', 'disk-log'],
  sources: ['base', 'cache', 'disk-log'],
  gateway: ['base', 'http', 'stores', 'cache', 'sources'],
  testing: ['base', 'resp', 'client', 'node', 'server', 'stores', 'cache'],
  cli: [
    'base',
    'hash',
    'resp',
    'engine',
    'cluster',
    'server',
    'client',
    'stores',
    'cache',
    'sources',
    'gateway',
    'testing',
  ],
};

/** Only this file of `stores/` may reach into the engine: it is the store that has one in its own process. */
const ENGINE_IN_STORES = 'src/stores/embedded';

/** Folders in which time, chance, input and output are arguments. */
export const PURE: readonly string[] = ['engine', 'freshness', 'resp', 'wire', 'commands', 'cluster', 'node', 'hash'];

const IMPURE: readonly (readonly [RegExp, string])[] = [
  [/\bDate\b/, 'Date'],
  [/\bMath\s*\.\s*random\b/, 'Math.random'],
  [/\bperformance\b/, 'performance'],
  [/\b(?:setTimeout|setInterval|setImmediate|queueMicrotask)\b/, 'a timer'],
  [/\b(?:clearTimeout|clearInterval|clearImmediate)\b/, 'a timer'],
  [/\bPromise\b/, 'Promise'],
  [/\b(?:async|await)\b/, 'async'],
  [/\bconsole\b/, 'console'],
  [/\bprocess\s*\./, 'process'],
  [/\bBuffer\b/, 'Buffer'],
  [/\bcrypto\b/, 'crypto'],
  [/\bfetch\s*\(/, 'fetch'],
  [/\bglobalThis\b/, 'globalThis'],
  [/\brequire\s*\(/, 'require'],
];

/** Imports against the arrows, and folders that the table does not know. */
export function arrowViolations(files: readonly SourceFile[]): string[] {
  const found: string[] = [];
  for (const file of files) {
    const allowed = ARROWS[file.folder];
    if (allowed === undefined) {
      found.push(`${file.path}: the folder "${file.folder}" has no row in the table of arrows`);
      continue;
    }
    for (const target of file.imports) {
      if (!target.startsWith('src/')) {
        if (target.startsWith('..') || /^(?:test|bench|sim|examples)\//.test(target)) {
          found.push(`${file.path}: imports ${target}, outside src/`);
        }
        continue;
      }
      const folder = target.split('/')[1] ?? '';
      if (folder === file.folder) continue;
      if (!allowed.includes(folder))
        found.push(`${file.path}: "${file.folder}" may not import "${folder}" (${target})`);
      else if (file.folder === 'stores' && (folder === 'engine' || folder === 'freshness')) {
        if (!file.path.startsWith(ENGINE_IN_STORES)) {
          found.push(`${file.path}: in stores/ only the embedded store may import "${folder}" (${target})`);
        }
      }
    }
  }
  return found;
}

/** Import cycles between files, each named once by the files it runs through. */
export function cycles(files: readonly SourceFile[]): string[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const state = new Map<string, 'open' | 'done'>();
  const found: string[] = [];
  const trail: string[] = [];

  const visit = (path: string): void => {
    const file = byPath.get(path);
    if (file === undefined || state.get(path) === 'done') return;
    if (state.get(path) === 'open') {
      found.push([...trail.slice(trail.indexOf(path)), path].join(' -> '));
      return;
    }
    state.set(path, 'open');
    trail.push(path);
    for (const target of file.imports) visit(target);
    trail.pop();
    state.set(path, 'done');
  };

  for (const file of files) visit(file.path);
  return found;
}

/** Time, chance, promises, input and output in a pure folder. */
export function impurities(files: readonly SourceFile[]): string[] {
  const found: string[] = [];
  for (const file of files) {
    if (!PURE.includes(file.folder)) continue;
    for (const target of file.imports) {
      if (!target.startsWith('src/')) found.push(`${file.path}: a pure folder imports "${target}"`);
    }
    file.code.split('\n').forEach((line, index) => {
      for (const [pattern, what] of IMPURE) {
        if (pattern.test(line)) found.push(`${file.path}:${index + 1}: a pure folder uses ${what}`);
      }
    });
  }
  return found;
}
