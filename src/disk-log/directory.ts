/**
 * Makes a directory and those above it. Not `mkdir` with `recursive`: where a directory is there and can hold no other (`/proc`, a symbolic link that leads
 * nowhere), the system says that the new one's parent is not there, and Node.js 20 makes the parent, which is there, and tries again, for ever and in the
 * middle of everything.
 */
import { mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/** Nothing when it is there. @throws the system's own errors, `EEXIST` for something that is no directory */
export function makeDirectory(path: string, mode: number): void {
  const absolute = resolve(path);
  if (make(absolute, mode) === 'made') return;
  const parent = dirname(absolute);
  if (parent !== absolute) makeDirectory(parent, mode);
  // Its parent is there now. That this is said again is the answer.
  const second = make(absolute, mode);
  if (second !== 'made') throw second;
}

/** `made` also when it was there; else the error that says that its parent is not. */
function make(path: string, mode: number): 'made' | Error {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return error as Error;
    if (code !== 'EEXIST' || !statSync(path).isDirectory()) throw error;
  }
  return 'made';
}
