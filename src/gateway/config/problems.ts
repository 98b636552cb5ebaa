/**
 * What is wrong with a configuration file, and where. All of it is collected before anything is said: who has five mistakes should not have to start the
 * gateway five times.
 */
import { BreakwaterError } from '../../base/errors.ts';

/** Where something stands in the file, both from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface Problem extends Position {
  /** `namespaces.product.ttl: needs a unit ...`: where in the structure, then what. */
  readonly message: string;
}

/** The file cannot be used. `CONFIG_INVALID`; the message is the first of the problems. */
export class GatewayConfigError extends BreakwaterError {
  readonly file: string;
  /** In the order of the file; at least one. */
  readonly problems: readonly Problem[];

  constructor(file: string, problems: readonly Problem[]) {
    const sorted = [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
    const more = sorted.length > 1 ? ` (and ${sorted.length - 1} more)` : '';
    super('CONFIG_INVALID', `cannot use the configuration: ${problemLine(file, sorted[0]!)}${more}`);
    this.file = file;
    this.problems = sorted;
  }

  /** One line a problem, as compilers print them: editors jump to such lines. */
  get lines(): string[] {
    return this.problems.map((problem) => problemLine(this.file, problem));
  }
}

function problemLine(file: string, { line, column, message }: Problem): string {
  return `${file}:${line}:${column}: ${message}`;
}
