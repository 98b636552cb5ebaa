// Loaded into every test file's process by scripts/test.mjs: sees to it that the process ends when its tests have, so that
// a file costs minutes to nobody, and that its properties are tried with the same cases in every run.
//
//  - A test that failed half-way leaves servers, sockets and child processes open, and Node.js waits for them. They are named, and
//    the process ends as failed.
//  - Node.js 20 can spin for ever in its own exit, closing a handle that it lost (src/cli/bench/correctness/reset.ts tells of one).
//    `process.exit` goes past that place; called by the last listener of `exit`, after all others.
//  - fast-check draws a seed by the clock. A counterexample that comes up once in thousands of cases then stops somebody whose change has nothing to do with it,
//    and is gone when looked for. It is for who goes out to find it: BREAKWATER_SEED=$RANDOM npm test.
import { readFileSync, writeSync } from 'node:fs';
import { after } from 'node:test';

/** From the end of the last test; the file's own `after` hooks run in that time. */
const GRACE_MS = 60_000;
const SEED = 20_261_121;

// The runner itself, and programs that a test starts, are no test files.
if (process.env.NODE_TEST_CONTEXT === 'child-v8' && process.argv[1]?.endsWith('.test.ts')) {
  after(() => {
    setTimeout(() => {
      const open = process.getActiveResourcesInfo().join(', ');
      writeSync(2, `${process.argv[1]}: its tests ended ${GRACE_MS / 1000} s ago, and it goes on: ${open}\n`);
      process.exit(1);
    }, GRACE_MS).unref();
  });
  if (/from 'fast-check'/.test(readFileSync(process.argv[1], 'utf8'))) {
    const { configureGlobal } = await import('fast-check');
    configureGlobal({ seed: Number(process.env.BREAKWATER_SEED ?? SEED) });
  }
  process.once('beforeExit', () => process.on('exit', (code) => process.exit(code)));
}
