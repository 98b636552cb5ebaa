/**
 * `${NAME}` in a configuration file: the value of an environment variable, so that the file can be committed and its secrets cannot be read there.
 *
 *     ${NAME}            must be set, and not be empty
 *     ${NAME:-fallback}  or this
 *     $${NAME}           the text ${NAME} itself
 *
 * Put in after the YAML was read, into single values: whatever a variable holds, it cannot become structure.
 */
export interface Interpolated {
  readonly text: string;
  /** Variables that were asked for, are not set, and have no fallback. */
  readonly missing: readonly string[];
  /** Whether anything was put in: such a value is never shown. */
  readonly isFromEnvironment: boolean;
  /** `${` that is no reference, e.g. one that is not closed. */
  readonly isBroken: boolean;
}

const REFERENCE = /\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{/g;

export function interpolate(source: string, env: Readonly<Record<string, string | undefined>>): Interpolated {
  const missing: string[] = [];
  let isFromEnvironment = false;
  let isBroken = false;
  const text = source.replace(REFERENCE, (whole, name: string | undefined, fallback: string | undefined) => {
    if (whole === '$${') return '${';
    if (name === undefined) {
      isBroken = true;
      return whole;
    }
    isFromEnvironment = true;
    const value = env[name];
    if (value !== undefined && value !== '') return value;
    if (fallback === undefined) missing.push(name);
    return fallback ?? '';
  });
  return { text, missing, isFromEnvironment, isBroken };
}
