/**
 * One process a directory. Node.js has no flock(2), so the lock is a file that names its holder, and whoever finds the holder dead takes over.
 *
 * Why not one file, removed and made again: between "the holder is dead" and "I have removed its file" another process may have done the same and made its own,
 * which is then removed with it. So a lock file is never removed to be taken, it is *followed*: `lock.1`, `lock.2`, ... The highest number is the lock.
 *
 *     take      1. Look at the highest, N. Its holder lives: refused.
 *               2. Make N+1, complete with the holder's name, in one step (link): of two who try, one fails.
 *               3. Look again. A number above ours: somebody saw more than we did in 1 (a listing is no snapshot); give ours up.
 *               4. Remove what is below.
 *     release   ours is not removed but marked as free, so that numbers only grow.
 *
 * A holder is dead when its process is gone: another boot of this machine, no such process id, or a process of that id that began at another time.
 * About a holder on another machine (a shared or a moved volume) nothing can be said: refused, with the file's name, for people to decide.
 */
import { linkSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { BreakwaterError } from '../base/errors.ts';

interface Holder {
  /** 0 = free. */
  readonly pid: number;
  readonly host: string;
  /** Of the machine; '' = not known. */
  readonly boot: string;
  /** When the process began, in the kernel's words; '' = not known. */
  readonly began: string;
}

const ATTEMPTS = 8;
const NAME = /^lock\.(\d{1,15})$/;

export class DirectoryLock {
  readonly #path: string;
  #isHeld = true;

  private constructor(path: string) {
    this.#path = path;
  }

  /** @throws BreakwaterError `DISK_LOG_LOCKED` */
  static take(directory: string): DirectoryLock {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const highest = highestIn(directory);
      if (highest > 0) {
        const path = join(directory, `lock.${highest}`);
        const holder = readHolder(path);
        if (holder !== null && isAlive(holder)) throw locked(directory, holder, path);
      }
      const number = highest + 1;
      const path = join(directory, `lock.${number}`);
      if (!make(directory, path)) continue;
      const above = highestIn(directory);
      if (above > number) {
        rmSync(path, { force: true });
        continue;
      }
      for (const name of readdirSync(directory)) {
        const match = NAME.exec(name);
        if (match !== null && Number(match[1]) < number) rmSync(join(directory, name), { force: true });
      }
      return new DirectoryLock(path);
    }
    throw new BreakwaterError(
      'DISK_LOG_LOCKED',
      `cannot open the log in ${directory}: other processes are taking its lock`,
    );
  }

  release(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    try {
      writeFileSync(this.#path, JSON.stringify({ pid: 0, host: '', boot: '', began: '' }));
    } catch {
      // The directory is gone or read-only now. Whoever comes finds us dead when we are.
    }
  }
}

function highestIn(directory: string): number {
  let highest = 0;
  for (const name of readdirSync(directory)) highest = Math.max(highest, Number(NAME.exec(name)?.[1] ?? 0));
  return highest;
}

/** False: somebody was faster. */
function make(directory: string, path: string): boolean {
  const draft = join(directory, `lock-draft.${process.pid}.${process.hrtime.bigint()}`);
  try {
    // On a full disk this makes an empty file and fails: it may not stay, since whoever waits for room tries again and again.
    writeFileSync(draft, JSON.stringify(ourselves()), { flag: 'wx' });
    linkSync(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

/** Null: removed meanwhile, or not readable as a holder (cut short by a crash of the machine), which nobody alive has left behind. */
function readHolder(path: string): Holder | null {
  try {
    const { pid, host, boot, began } = JSON.parse(readFileSync(path, 'utf8')) as Holder;
    return Number.isInteger(pid) && pid >= 0
      ? { pid, host: String(host), boot: String(boot), began: String(began) }
      : null;
  } catch {
    return null;
  }
}

function ourselves(): Holder {
  return { pid: process.pid, host: hostname(), boot: bootId(), began: beganAt(process.pid) };
}

function isAlive(holder: Holder): boolean {
  if (holder.pid === 0) return false;
  const us = ourselves();
  if (holder.host !== us.host) return true;
  if (holder.boot !== us.boot) return false;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    // Not allowed to signal it: it is there.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const began = beganAt(holder.pid);
  return began === '' || holder.began === '' || began === holder.began;
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}

/** Field 22 of /proc/PID/stat; the name before it may hold spaces and brackets. `ended`: dead, and not yet collected by its parent. */
function beganAt(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? 'ended' : (fields[19] ?? '');
  } catch {
    return '';
  }
}

function locked(directory: string, holder: Holder, path: string): BreakwaterError {
  const isElsewhere = holder.host !== hostname();
  const where = isElsewhere ? ` on ${holder.host}` : '';
  const advice = isElsewhere
    ? `; if that machine is gone for good, remove ${path}`
    : '; each process needs a directory of its own';
  return new BreakwaterError(
    'DISK_LOG_LOCKED',
    `cannot open the log in ${directory}: process ${holder.pid}${where} has it${advice}`,
  );
}
