/**
 * A schema in front of both doors: what a loader or a `set` brings is checked before it is written, what L2 has before it is served. So a
 * poisoned entry, or one written by last year's version of the service, is a miss and is loaded anew, not a crash in the code that reads it.
 *
 * Any library that speaks Standard Schema v1 will do (zod, valibot, arktype ...). The schema *checks*: what it makes of a value (defaults filled in,
 * text turned into dates) is not used, since a value must be the same from every tier. It is shown what JSON makes of the value, as readers
 * get it. It must answer at once: a read cannot wait for a schema.
 */
import { isUntouchable, messageOf } from '../base/errors.ts';
import { invalid } from './checks.ts';
import { show } from './key.ts';

/** The part of Standard Schema v1 (standardschema.dev) that is used. */
export interface StandardSchema {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult | Promise<StandardResult>;
  };
}

export type StandardResult =
  | { readonly value: unknown; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] };

export interface StandardIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** What is wrong with a value, in a sentence, or null. Never throws. */
export type Check = (value: unknown) => string | null;

/** @throws BreakwaterError `CACHE_OPTION_INVALID` */
export function checkOf(schema: unknown, where: string): Check {
  if (schema === undefined) return () => null;
  if (!isSchema(schema)) throw invalid(`schema of ${where}`, 'a Standard Schema v1 (zod, valibot, ...)', schema);
  return (value) => {
    try {
      const result: unknown = schema['~standard'].validate(value);
      if (typeof result !== 'object' || result === null) return `the schema answers with ${show(result)}`;
      if (isThenable(result)) {
        // A promise that fails and that nobody looks at would end the process.
        if (result instanceof Promise) result.catch(() => undefined);
        return 'the schema answers with a promise; it must answer at once';
      }
      const { issues } = result as { readonly issues?: unknown };
      if (issues === undefined || issues === null) return null;
      if (!Array.isArray(issues)) return `the schema answers with issues that are no array: ${show(issues)}`;
      return issues.length === 0 ? 'the schema does not say why' : describe(issues[0] as StandardIssue);
    } catch (error) {
      return `the schema threw: ${messageOf(error)}`;
    }
  };
}

function isThenable(result: object): boolean {
  return 'then' in result && typeof result.then === 'function';
}

function isSchema(schema: unknown): schema is StandardSchema {
  // Some libraries' schemas are functions.
  if ((typeof schema !== 'object' && typeof schema !== 'function') || schema === null) return false;
  if (isUntouchable(schema)) return false;
  const standard: unknown = (schema as { readonly '~standard'?: unknown })['~standard'];
  if (typeof standard !== 'object' || standard === null || isUntouchable(standard)) return false;
  const { version, validate } = standard as { readonly version?: unknown; readonly validate?: unknown };
  return version === 1 && typeof validate === 'function';
}

function describe({ message, path = [] }: StandardIssue): string {
  const names = path.map((part) => String(typeof part === 'object' ? part.key : part));
  return names.length === 0 ? message : `${names.join('.')}: ${message}`;
}
