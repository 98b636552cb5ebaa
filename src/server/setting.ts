/**
 * One row of the table of settings, and the readers that rows are made with: text in, a checked value or one clear sentence out.
 */
import { BreakwaterError } from '../base/errors.ts';
import { parseDurationMs, parseSizeBytes } from '../base/units.ts';

/** Reads one setting from text. @throws BreakwaterError with a sentence that names `what` and what was received */
export type Read<T> = (text: string, what: string) => T;

/** One row of the table. */
export interface Setting<T = unknown> {
  /** The field of `ServerConfig`, or of its `cluster`. */
  readonly field: string;
  /** The name in flags and in the file, kebab-case. */
  readonly name: string;
  /** What stands behind the flag in `--help`, e.g. `<port>`. */
  readonly placeholder: string;
  /** The default as people write it (documentation). */
  readonly defaultText: string;
  /** One sentence: what it is. */
  readonly summary: string;
  /** What raising or lowering it does, for docs/configuration.md. */
  readonly effect: string;
  readonly read: Read<T>;
}

export const PORT_MAX = 65_535;

/** The environment variable of a setting: `http-port` -> `BREAKWATER_HTTP_PORT`. */
export function environmentName(name: string): string {
  return `BREAKWATER_${name.toUpperCase().replaceAll('-', '_')}`;
}

export const invalid = (what: string, expected: string, received: string): BreakwaterError =>
  new BreakwaterError(
    'CONFIG_INVALID',
    `cannot read ${what}: expected ${expected}, received ${JSON.stringify(received)}`,
  );

export function integer(min: number, max: number, noun: string): Read<number> {
  return (text, what) => {
    const value = /^\d{1,15}$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) throw invalid(what, `${noun} from ${min} to ${max}`, text);
    return value;
  };
}

export function size(min: number, max: number, minText: string, maxText: string): Read<number> {
  return (text, what) => {
    const value = parseSizeBytes(text, what);
    if (value < min || value > max) throw invalid(what, `a size from ${minText} to ${maxText}`, text);
    return value;
  };
}

export function duration(min: number): Read<number> {
  return (text, what) => {
    const value = text.trim() === '0' ? 0 : parseDurationMs(text, what);
    if (value < min) throw invalid(what, `a duration of at least ${min} ms`, text);
    if (value > 365 * 86_400_000) throw invalid(what, 'a duration of at most 365d', text);
    return value;
  };
}

export function oneOf<T extends string>(choices: readonly T[], aliases: Readonly<Record<string, T>> = {}): Read<T> {
  return (text, what) => {
    const word = text.trim().toLowerCase();
    const found =
      choices.find((choice) => choice === word) ?? (Object.hasOwn(aliases, word) ? aliases[word] : undefined);
    if (found === undefined) throw invalid(what, `one of ${choices.join(', ')}`, text);
    return found;
  };
}

/** `user=holdoff,session=refuse`, `*` for all other namespaces; a namespace may be empty (keys without `:`). */
export function modesByNamespace<T extends string>(choices: readonly T[]): Read<Readonly<Record<string, T>>> {
  return (text, what) => {
    const modes: Record<string, T> = {};
    for (const part of text.split(',')) {
      const at = part.lastIndexOf('=');
      const word = part
        .slice(at + 1)
        .trim()
        .toLowerCase();
      const mode = choices.find((choice) => choice === word);
      if (at < 0 || mode === undefined) {
        throw invalid(what, `namespace=mode, separated by commas, a mode one of ${choices.join(', ')}`, text);
      }
      modes[part.slice(0, at).trim()] = mode;
    }
    return modes;
  };
}

export function address(text: string, what: string): string {
  const value = text.trim().replace(/^\[(.*)\]$/, '$1');
  if (!/^[0-9A-Za-z.:_%-]{1,255}$/.test(value)) throw invalid(what, 'an address or host name such as 127.0.0.1', text);
  return value;
}
