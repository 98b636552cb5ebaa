/**
 * What happened, twice: as a number, always, and as text, when somebody wants to read it.
 *
 * The number is a hash over every note. Two runs of one seed must end with the same one; where they do not, something in the run asked the real world
 * (a clock, chance, the order of sockets), and no failing seed could be trusted to fail again. The text costs a hundred times as much and is made only for
 * the seed that failed: `say` takes a function.
 */

/** Lines kept of one run: a failing one has thousands, and the last are what matters. */
const MOST_LINES = 20_000;

const words = new Float64Array(1);
const halves = new Uint32Array(words.buffer);

export class Trace {
  readonly isRecording: boolean;
  readonly lines: string[] = [];
  #hash = 0x811c9dc5;
  #nowMs: () => number;

  constructor(nowMs: () => number, isRecording: boolean) {
    this.#nowMs = nowMs;
    this.isRecording = isRecording;
  }

  /** The hash so far, as eight hexadecimal digits. */
  get hash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0');
  }

  /** Something happened now. `code` says what, `a` and `b` are whatever tells one such event from another. */
  note(code: number, a: number, b = 0): void {
    this.#mix(this.#nowMs());
    let hash = Math.imul(this.#hash ^ code, 0x01000193);
    hash = Math.imul(hash ^ a, 0x85ebca6b);
    hash = Math.imul(hash ^ b, 0x01000193);
    this.#hash = hash ^ (hash >>> 15);
  }

  /** The same in words. */
  say(line: () => string): void {
    if (!this.isRecording) return;
    if (this.lines.length >= MOST_LINES) this.lines.splice(0, MOST_LINES / 2);
    this.lines.push(`${this.#nowMs().toFixed(3).padStart(10)}  ${line()}`);
  }

  #mix(value: number): void {
    words[0] = value;
    this.#hash = Math.imul(this.#hash ^ halves[0]!, 0x01000193);
    this.#hash = Math.imul(this.#hash ^ halves[1]!, 0x85ebca6b);
  }
}

/** A short number for a text, for `note`. */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
