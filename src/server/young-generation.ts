/**
 * Keeps V8's young generation at the size it starts with (1 MiB a half) instead of letting it grow to 16.
 *
 * A node's data lives outside the JavaScript heap and its hot path allocates next to nothing, so a large nursery buys nothing:
 * it fills slowly, is touched page by page, and shows as 8 to 16 MiB of resident memory that an operator attributes to the
 * entries (8 bytes an entry at a million). A small one also stays in the processor's cache. Measured on Node.js 20: growth
 * of the process over 980,000 entries of 120 bytes 53.8 to 54.5 bytes an entry above the payload before, 45.4 to 47.1 after; processor time of
 * an HTTP GET the same within noise.
 *
 * `--max-semi-space-size` says the same more directly but is read only when V8 starts, and a program cannot choose the flags it
 * is started with. The growth factor is read at each growth; 1 means "as large as before".
 */
import { setFlagsFromString } from 'node:v8';

/** Call it before anything large is imported: what has grown does not shrink. */
export function keepYoungGenerationSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}
