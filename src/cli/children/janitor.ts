/**
 * The janitor: a small process of its own that outlives its parent by a moment, so that nothing else does. It is told
 * over its standard input which processes and temporary directories exist; when that input ends (the parent finished, was
 * killed with SIGKILL, or crashed, it is all the same) it stops what is still there and removes the directories.
 *
 * Handlers in the parent alone cannot promise this: SIGKILL and a crash run no handler, and a database server left
 * behind on a developer's machine is worse than no demo.
 *
 * Lines: `pid N SIGNAL` a process exists, and the signal that stops it at once; `gone N`; `dir PATH` (JSON text); `nodir PATH`.
 */
import { rmSync } from 'node:fs';
import { createInterface } from 'node:readline';

const processes = new Map<number, NodeJS.Signals>();
const directories = new Set<string>();

// A Ctrl-C reaches the whole terminal group; the janitor leaves by the end of its input only.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const [word, rest = '', signal = 'SIGKILL'] = line.split('\t');
    if (word === 'pid') processes.set(Number(rest), signal as NodeJS.Signals);
    else if (word === 'gone') processes.delete(Number(rest));
    else if (word === 'dir') directories.add(JSON.parse(rest) as string);
    else if (word === 'nodir') directories.delete(JSON.parse(rest) as string);
  })
  .on('close', () => void sweep());

async function sweep(): Promise<void> {
  for (const [pid, signal] of processes) send(pid, signal);
  const deadline = performance.now() + 3000;
  while ([...processes.keys()].some((pid) => send(pid, 0)) && performance.now() < deadline) await pause(20);
  for (const pid of processes.keys()) send(pid, 'SIGKILL');
  for (const directory of directories)
    rmSync(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
}

/** True when the process was there to receive it. */
function send(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
