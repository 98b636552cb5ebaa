/**
 * The few file operations of the log, as promises over the plain descriptors: one thread-pool call each.
 */
import { close, constants, fdatasync, fsync, ftruncate, open, read, unlink, write } from 'node:fs';
import { join } from 'node:path';

function call(run: (done: (error: NodeJS.ErrnoException | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    run((error) => (error === null ? resolve() : reject(error)));
  });
}

export function openFile(path: string, mode: 'append' | 'read'): Promise<number> {
  const flags = mode === 'read' ? constants.O_RDONLY : constants.O_RDWR | constants.O_CREAT;
  return new Promise((resolve, reject) => {
    open(path, flags, 0o600, (error, fd) => (error === null ? resolve(fd) : reject(error)));
  });
}

export const closeFile = (fd: number): Promise<void> => call((done) => close(fd, done));
export const syncData = (fd: number): Promise<void> => call((done) => fdatasync(fd, done));
export const syncFile = (fd: number): Promise<void> => call((done) => fsync(fd, done));
export const truncateFile = (fd: number, bytes: number): Promise<void> => call((done) => ftruncate(fd, bytes, done));
export const removeFile = (path: string): Promise<void> => call((done) => unlink(path, done));

/** Writes all of `bytes` at `at`, however many calls it takes. */
export async function writeAll(fd: number, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += await new Promise<number>((resolve, reject) => {
      write(fd, bytes, done, bytes.length - done, at + done, (error, count) =>
        error === null ? resolve(count) : reject(error),
      );
    });
  }
}

/** Reads up to `bytes.length` from `at`; fewer only at the end of the file. */
export async function readInto(fd: number, bytes: Buffer, at: number): Promise<number> {
  let done = 0;
  while (done < bytes.length) {
    const count = await new Promise<number>((resolve, reject) => {
      read(fd, bytes, done, bytes.length - done, at + done, (error, got) =>
        error === null ? resolve(got) : reject(error),
      );
    });
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** What was made or removed in the directory is so after a power loss too. Windows opens no directories, and needs this not. */
export async function syncDirectory(directory: string): Promise<void> {
  if (process.platform === 'win32') return;
  const fd = await openFile(directory, 'read');
  try {
    await syncFile(fd);
  } finally {
    await closeFile(fd);
  }
}

/** `0000000000000001.log`: the position of its first record. */
export function segmentPath(directory: string, first: number): string {
  return join(directory, `${String(first).padStart(16, '0')}.log`);
}

/** The first position that a segment's file name says, or null. */
export function firstOf(name: string): number | null {
  const match = /^(\d{16})\.log$/.exec(name);
  return match === null ? null : Number(match[1]);
}
