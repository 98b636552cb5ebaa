/** `npm run sim`: which simulation, and the rest of the words are its own. */
import { ablationCommand } from './library/ablation.ts';
import { libraryCommand } from './library/command.ts';

const HELP = `npm run sim -- --library [--seeds N] [--from S] [--processes N] [--trace S] ...   schedules of the library over a node
npm run sim -- --ablation [name ...] [--seeds N] [--write FILE]                   the same with a rule taken out of src/, one at a time`;

const [which, ...rest] = process.argv.slice(2);
if (which === '--library') process.exitCode = await libraryCommand(rest);
else if (which === '--ablation') process.exitCode = await ablationCommand(rest);
else {
  console.log(HELP);
  process.exitCode = which === undefined || which === '--help' ? 0 : 2;
}
