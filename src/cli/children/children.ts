/**
 * The processes and temporary directories that a command starts and must not leave behind. Every way out ends in
 * `close()`: the normal end, an error, Ctrl-C; and where no code of ours runs any more (SIGKILL, a crash) the janitor does it.
 *
 * Children are started in their own process group, so that a Ctrl-C in the terminal reaches this process alone and it can
 * stop them in order: what was started last stops first.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { BreakwaterError } from '../../base/errors.ts';

/** How long a child may take to leave after its signal before it is killed. */
const GRACE_MS = 5000;
/** What of a child's standard error is kept for the message when it fails. */
const KEPT_OUTPUT_CHARS = 8192;

export interface ChildOptions {
  /** What people call it in a message, e.g. `redis-server`. */
  readonly label: string;
  /** Asks it to leave in good order; default SIGTERM. */
  readonly stopSignal?: NodeJS.Signals;
  /** Makes it leave at once, for the janitor; default SIGKILL. */
  readonly abandonSignal?: NodeJS.Signals;
  readonly spawn?: SpawnOptions;
  /** For Node.js itself, of {@link Children.startNode}. */
  readonly nodeFlags?: readonly string[];
}

/** A running child with the last of what it wrote. */
export class Child {
  readonly label: string;
  readonly process: ChildProcess;
  readonly pid: number;
  /** Resolves when it has left, however it did. */
  readonly exited: Promise<void>;
  readonly stopSignal: NodeJS.Signals;
  #output = '';
  #running = true;
  readonly #watchers = new Set<() => void>();

  constructor(child: ChildProcess, options: ChildOptions) {
    this.label = options.label;
    this.process = child;
    this.pid = child.pid ?? -1;
    this.stopSignal = options.stopSignal ?? 'SIGTERM';
    this.exited = new Promise((resolve) => {
      child.once('exit', () => {
        this.#running = false;
        for (const watcher of this.#watchers) watcher();
        resolve();
      });
    });
    const keep = (text: string): void => {
      this.#output = (this.#output + text).slice(-KEPT_OUTPUT_CHARS);
      for (const watcher of this.#watchers) watcher();
    };
    child.stdout?.setEncoding('utf8').on('data', keep);
    child.stderr?.setEncoding('utf8').on('data', keep);
  }

  get running(): boolean {
    return this.#running;
  }

  /** The last few KiB of what it wrote to both outputs. */
  get output(): string {
    return this.#output;
  }

  /**
   * The match of `pattern` in what the child writes, as soon as it is there.
   * @throws BreakwaterError `CHILD_FAILED` when it leaves first or takes longer than `timeoutMs`.
   */
  async waitForOutput(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray> {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => settle(this.failure(`did not come up within ${timeoutMs / 1000} s`)), timeoutMs);
      const settle = (result: RegExpExecArray | BreakwaterError): void => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        if (result instanceof BreakwaterError) reject(result);
        else resolve(result);
      };
      const look = (): void => {
        const match = pattern.exec(this.#output);
        if (match) settle(match);
        else if (!this.#running) settle(this.failure('ended before it was ready'));
      };
      this.#watchers.add(look);
      look();
    });
  }

  failure(what: string): BreakwaterError {
    const tail = this.#output.trim().split('\n').slice(-6).join('\n  ');
    return new BreakwaterError('CHILD_FAILED', `${this.label} ${what}${tail ? `; it said:\n  ${tail}` : ''}`);
  }

  /** Asks it to leave, waits, and kills it when it does not. */
  async stop(): Promise<void> {
    if (!this.#running) return;
    this.process.kill(this.stopSignal);
    const timer = setTimeout(() => this.process.kill('SIGKILL'), GRACE_MS);
    await this.exited;
    clearTimeout(timer);
  }
}

/** Node.js's own flags for a child that runs our code: the TypeScript loader when there is one, nothing of debuggers and tests. */
export function nodeFlags(): string[] {
  const flags: string[] = [];
  for (let i = 0; i < process.execArgv.length; i += 1) {
    const flag = process.execArgv[i]!;
    if (flag === '--import' || flag === '--require' || flag === '-r' || flag === '--loader') {
      flags.push(flag, process.execArgv[i + 1] ?? '');
      i += 1;
    } else if (/^--(import|require|loader)=/.test(flag)) flags.push(flag);
  }
  return flags;
}

/** The path of a module beside `base`, `.ts` when we run from source and `.js` when built. */
export function modulePath(name: string, base: string): string {
  return fileURLToPath(new URL(`${name}${base.endsWith('.ts') ? '.ts' : '.js'}`, base));
}

export class Children {
  readonly #janitor: ChildProcess;
  readonly #janitorInput: Writable;
  readonly #children: Child[] = [];
  readonly #directories: string[] = [];
  #closing: Promise<void> | null = null;

  constructor() {
    this.#janitor = spawn(process.execPath, [...nodeFlags(), modulePath('./janitor', import.meta.url)], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.#janitor.unref();
    this.#janitorInput = this.#janitor.stdin!;
    this.#janitorInput.on('error', () => {});
  }

  /** Starts a program. Its outputs are collected unless `options.spawn.stdio` says otherwise; nothing is thrown here when it fails. */
  start(command: string, args: readonly string[], options: ChildOptions): Child {
    if (this.#closing)
      throw new BreakwaterError('CHILD_FAILED', `cannot start ${options.label}: the command is ending`);
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options.spawn, detached: true });
    child.on('error', () => {});
    if (child.pid === undefined) {
      throw new BreakwaterError('CHILD_FAILED', `cannot start ${options.label}: ${command} could not be run`);
    }
    const { pid } = child;
    this.#janitorInput.write(`pid\t${pid}\t${options.abandonSignal ?? 'SIGKILL'}\n`);
    child.once('exit', () => this.#janitorInput.write(`gone\t${pid}\n`));
    const started = new Child(child, options);
    this.#children.push(started);
    return started;
  }

  /** Starts one of our own modules with a channel for messages (`child.process.send`, `'message'`). */
  startNode(path: string, args: readonly string[], options: ChildOptions): Child {
    return this.start(process.execPath, [...nodeFlags(), ...(options.nodeFlags ?? []), path, ...args], {
      ...options,
      spawn: { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], serialization: 'advanced', ...options.spawn },
    });
  }

  /** A new empty directory below `parent` (the system's one for temporary files); removed by `close()`. */
  directory(prefix: string, parent = tmpdir()): string {
    if (this.#closing) throw new BreakwaterError('CHILD_FAILED', 'cannot make a directory: the command is ending');
    const path = mkdtempSync(join(parent, prefix));
    this.#janitorInput.write(`dir\t${JSON.stringify(path)}\n`);
    this.#directories.push(path);
    return path;
  }

  /** Stops every child, last started first, removes the directories, and lets the janitor go. May be called twice. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const child of this.#children.reverse()) await child.stop();
    for (const directory of this.#directories) {
      rmSync(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
      this.#janitorInput.write(`nodir\t${JSON.stringify(directory)}\n`);
    }
    const gone = new Promise<void>((resolve) => this.#janitor.once('exit', () => resolve()));
    if (this.#janitor.exitCode !== null || this.#janitor.signalCode !== null) return;
    this.#janitor.ref();
    this.#janitorInput.end();
    await gone;
  }
}

/**
 * Runs `work` with children that are gone when it returns, and a signal that fires on Ctrl-C (SIGINT), SIGTERM or SIGHUP.
 * A second Ctrl-C does not wait: the janitor cleans up. Returns the exit code: of `work`, or 128 + the signal's number.
 */
export async function withChildren(
  work: (children: Children, signal: AbortSignal) => Promise<number>,
): Promise<number> {
  const children = new Children();
  const abort = new AbortController();
  const numbers = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
  let stoppedBy: keyof typeof numbers | null = null;
  const onSignal = (name: NodeJS.Signals): void => {
    if (stoppedBy) process.exit(128 + numbers[stoppedBy]);
    stoppedBy = name as keyof typeof numbers;
    abort.abort(new BreakwaterError('INTERRUPTED', `stopped by ${name}`));
  };
  for (const name of Object.keys(numbers)) process.on(name, onSignal);
  try {
    const code = await untilAborted(work(children, abort.signal), abort.signal);
    return stoppedBy ? 128 + numbers[stoppedBy] : code;
  } catch (error) {
    if (stoppedBy) return 128 + numbers[stoppedBy];
    throw error;
  } finally {
    await children.close();
    for (const name of Object.keys(numbers)) process.off(name, onSignal);
  }
}

/** `promise`, or a rejection with the signal's reason as soon as it fires; the loser's own rejection is let go. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  promise.catch(() => {});
  signal.throwIfAborted();
  return await new Promise<T>((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    promise.then(resolve, reject);
  });
}
