/** What a figure is worth nothing without: the machine, the runtime, the day. No paths and no host names. */
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { formatBytes } from '../../base/units.ts';
import { packageVersion } from '../version.ts';

export interface Environment {
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memory: string;
  readonly system: string;
  readonly node: string;
  readonly breakwater: string;
}

export function environment(): Environment {
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memory: formatBytes(totalmem()),
    system: `${process.platform} ${process.arch} ${release()}`,
    node: process.version,
    breakwater: packageVersion(),
  };
}

/** One line for people. */
export function environmentLine(is: Environment): string {
  return `${is.date} · ${is.cpu}, ${is.cores} cores, ${is.memory} · ${is.system} · Node.js ${is.node} · Breakwater ${is.breakwater}`;
}
