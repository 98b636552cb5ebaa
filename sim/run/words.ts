/** Numbers on the command line of a simulation. A word that is none ends the command with a sentence, not with a run of something else. */

/** Said to whoever called, without a stack: there is no bug. */
export class WordsInvalid extends Error {}

/** @throws Error naming the flag and what it was given */
export function whole(name: string, text: string, least: number, most = Number.MAX_SAFE_INTEGER): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
  throw new WordsInvalid(
    `--${name} must be an integer from ${least}${most < 1e9 ? ` to ${most}` : ''}, received "${text}"`,
  );
}

/** @throws Error naming the flag and what it was given */
export function positive(name: string, text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new WordsInvalid(`--${name} must be a number above 0, received "${text}"`);
}
