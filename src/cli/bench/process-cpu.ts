/**
 * How much processor time a process has used, read from outside: `/proc/PID/stat` counts user and system time of all its
 * threads, the ones that ended included, in ticks of usually 10 ms. The sum is exact to a tick (the kernel scales it to the
 * scheduler's own run time); the split between user and system is sampled at each tick and needs long runs.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface CpuTime {
  readonly userMs: number;
  readonly systemMs: number;
}

let ticksPerSecond: number | null = null;

function clockTicks(): number {
  if (ticksPerSecond === null) {
    try {
      ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' })) || 100;
    } catch {
      ticksPerSecond = 100;
    }
  }
  return ticksPerSecond;
}

/**
 * User and system time in the text of a `/proc/PID/stat`. The second field is the program's name in parentheses and may
 * itself hold spaces and parentheses, so the fields are counted from the last one that closes.
 */
export function parseStat(text: string, ticks: number): CpuTime | null {
  const fields = text
    .slice(text.lastIndexOf(')') + 2)
    .trim()
    .split(' ');
  const user = Number(fields[11]);
  const system = Number(fields[12]);
  if (!Number.isFinite(user) || !Number.isFinite(system)) return null;
  return { userMs: (user * 1000) / ticks, systemMs: (system * 1000) / ticks };
}

/** Null where there is no such process or no `/proc` (then the report says so instead of a figure). */
export function readCpuTime(pid: number): CpuTime | null {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'), clockTicks());
  } catch {
    return null;
  }
}
