/** `npm run sim -- --picture SCRIPT FILE.svg`: a takeover as a picture, out of the trace of its script. */
import { readFileSync, writeFileSync } from 'node:fs';
import { storyOf } from './story.ts';
import { drawTakeover } from './takeover.ts';

/** Returns the exit code. */
export function pictureCommand(words: readonly string[]): number {
  const [script, file] = words;
  if (script === undefined || file === undefined || words.length > 2) {
    console.error('Usage: npm run sim -- --picture SCRIPT FILE.svg');
    return 2;
  }
  writeFileSync(file, drawTakeover(storyOf(readFileSync(script, 'utf8'))));
  return 0;
}
