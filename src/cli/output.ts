/**
 * What every command of the CLI says and how it ends: answers on stdout, one line per failure on stderr, and an exit code
 * that a shell script can branch on.
 *
 * Why not let exceptions reach the terminal: a stack trace tells a user nothing that the coded sentence does not. A bug of
 * ours (anything that is not a `BreakwaterError`) keeps its stack, because then the stack is the message.
 */
import { BreakwaterError } from '../base/errors.ts';

/** The command did what it was asked to. */
export const EXIT_OK = 0;
/** The honest answer is "no": the key is absent, the operation was refused or failed. */
export const EXIT_FAILURE = 1;
/** The command line, the environment or the configuration file cannot be understood. */
export const EXIT_USAGE = 2;

/** Codes whose cause is what the user wrote, not what the world did. */
const USAGE_CODE = /^(USAGE|CONFIG|SIZE|DURATION)_/;

/** Writes one line to stdout. */
export function say(line = ''): void {
  process.stdout.write(`${line}\n`);
}

/** Writes one line to stderr. */
export function sayError(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Writes a value for programs: JSON on one line. */
export function sayJson(value: unknown): void {
  say(JSON.stringify(value));
}

/** The one line that tells a person what went wrong: `breakwater: <sentence> [CODE]`. */
export function failureLine(error: unknown): string {
  if (error instanceof BreakwaterError) return `breakwater: ${oneLine(error.message)} [${error.code}]`;
  return `breakwater: internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}

/** The exit code that belongs to an error. */
export function exitCodeOf(error: unknown): number {
  return error instanceof BreakwaterError && USAGE_CODE.test(error.code) ? EXIT_USAGE : EXIT_FAILURE;
}

/** Folds a message into one line. */
export function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, ' ');
}

/** Digits grouped for people: `1234567` -> `1,234,567`. */
export function formatCount(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 2 });
}
