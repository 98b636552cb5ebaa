/** `breakwater stats`: what a node is doing, as a table. */
import Table from 'cli-table3';
import type { Command } from 'commander';
import { BreakwaterError } from '../base/errors.ts';
import { formatBytes } from '../base/units.ts';
import { replyMap, replyText } from '../resp/reply.ts';
import { formatCount, say, sayJson } from './output.ts';
import { type RemoteOptions, remoteOptions, withNode } from './remote.ts';

const NOTES = `
Counters are since the start of the node. --json gives every figure under its name in docs/protocol.md (BW.STATS). For rates, percentiles
and the last minutes look at the status page; for collecting them, at GET /metrics.

Examples:
  breakwater stats
  breakwater stats --json | jq '.hits / (.hits + .misses)'`;

/** A table of figures needs no ruling. */
const NO_LINES = Object.fromEntries(
  'top top-mid top-left top-right bottom bottom-mid bottom-left bottom-right left left-mid mid mid-mid right right-mid middle'
    .split(' ')
    .map((part) => [part, '']),
);

/** Groups of the table; figures that the node has and nobody named here come last. */
const GROUPS: readonly (readonly [title: string, names: readonly string[]])[] = [
  ['lookups', ['hits', 'misses']],
  ['entries', ['entries', 'stores', 'deletions', 'evictions', 'expirations', 'invalidations']],
  ['memory', ['used-bytes', 'memory-bytes']],
  ['freshness', ['leases-granted', 'leases-filled', 'leases-refused', 'leases-voided', 'generations']],
  ['traffic', ['commands', 'sessions']],
];

export function register(program: Command): void {
  remoteOptions(program.command('stats').description('what the node is doing'))
    .addHelpText('after', NOTES)
    .action(async (options: RemoteOptions) => {
      const map = replyMap(await withNode(options, (run) => run(['BW.STATS'])));
      if (map === null) throw new BreakwaterError('REPLY_UNEXPECTED', "cannot read the node's reply to BW.STATS");
      const figures = new Map<string, number>();
      for (let i = 0; i + 1 < map.flat.length; i += 2)
        figures.set(replyText(map.flat[i]) ?? '', Number(map.flat[i + 1]));
      if (options.json) sayJson(Object.fromEntries(figures));
      else say(tableOf(figures));
    });
}

function tableOf(figures: ReadonlyMap<string, number>): string {
  const table = new Table({
    head: ['', 'figure', 'value'],
    colAligns: ['left', 'left', 'right'],
    chars: NO_LINES,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
  });
  for (const [title, names] of GROUPS) {
    const rows = names.filter((name) => figures.has(name));
    for (const [i, name] of rows.entries()) {
      table.push([i === 0 ? title : '', name.replaceAll('-', ' '), shown(name, figures.get(name)!)]);
    }
    if (title === 'lookups') table.push(['', 'hit ratio', hitRatio(figures)]);
  }
  return table.toString();
}

function shown(name: string, value: number): string {
  return name.endsWith('-bytes') ? formatBytes(value) : formatCount(value);
}

function hitRatio(figures: ReadonlyMap<string, number>): string {
  const hits = figures.get('hits') ?? 0;
  const lookups = hits + (figures.get('misses') ?? 0);
  return lookups === 0 ? '-' : `${((100 * hits) / lookups).toFixed(1)} %`;
}
