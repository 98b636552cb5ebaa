/** `npm run sim`: which simulation, and the rest of the words are its own. Without a word of which: the cluster. */
import { readFileSync } from 'node:fs';
import { CLUSTER_HELP, clusterCommand } from './cluster/command.ts';
import { play } from './cluster/scenario.ts';
import { ablationCommand } from './library/ablation.ts';
import { libraryCommand } from './library/command.ts';
import { pictureCommand } from './picture/command.ts';
import { WordsInvalid } from './run/words.ts';
import { scaleCommand } from './scale/command.ts';
import { scalePlotCommand } from './scale/plot.ts';
import { swimCommand } from './swim/command.ts';

const HELP = `${CLUSTER_HELP}
npm run sim -- --library [--seeds N] [--from S] [--processes N] [--trace S] ...   schedules of the library over a node
npm run sim -- --ablation [name ...] [--seeds N] [--write FILE]                   the same with a rule taken out of src/, one at a time
npm run sim -- --cluster-ablation [name ...] [--seeds N] [--write FILE]           the cluster with a rule taken out of src/cluster/
npm run sim -- --swim [--quick] [--output FILE]                                   membership news among 10 to 1,000 members, measured
npm run sim -- --scale N,N,... [--seed S] [--output FILE]                         clusters of up to 1,000 members, measured
npm run sim -- --scale-plot FILE.json FILE.svg                                    their results as a picture
npm run sim -- --picture FILE FILE.svg                                             a takeover drawn out of the trace of its script
npm run sim -- --scenario FILE                                                    a script of the cluster, and what comes of it`;

const [which, ...rest] = process.argv.slice(2);
try {
  await run();
} catch (error) {
  if (!isOfWords(error)) throw error;
  console.error(`${(error as Error).message}\nnpm run sim -- --help`);
  process.exitCode = 2;
}

async function run(): Promise<void> {
  if (which === '--library') process.exitCode = await libraryCommand(rest);
  else if (which === '--ablation') process.exitCode = await ablationCommand('library', rest);
  else if (which === '--cluster-ablation') process.exitCode = await ablationCommand('cluster', rest);
  else if (which === '--swim') process.exitCode = swimCommand(rest);
  else if (which === '--scale') process.exitCode = scaleCommand(rest);
  else if (which === '--scale-plot') process.exitCode = scalePlotCommand(rest);
  else if (which === '--picture') process.exitCode = pictureCommand(rest);
  else if (which === '--scenario') for (const file of rest) process.stdout.write(play(readFileSync(file, 'utf8')));
  else if (which === undefined || which === '--help') console.log(HELP);
  else process.exitCode = await clusterCommand(process.argv.slice(2));
}

/** What was asked for cannot be: an option that is none, a number out of bounds, a script that is not there. */
function isOfWords(error: unknown): boolean {
  const code = String((error as NodeJS.ErrnoException).code ?? '');
  return (
    error instanceof WordsInvalid || code.startsWith('ERR_PARSE_ARGS') || (which === '--scenario' && code === 'ENOENT')
  );
}
