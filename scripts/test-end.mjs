// Loaded into every test file's process by scripts/test.mjs: sees to it that the process ends when its tests have, so that
// a file costs minutes to nobody.
//
//  - A test that failed half-way leaves servers, sockets and child processes open, and Node.js waits for them. They are named, and
//    the process ends as failed.
//  - Node.js 20 can spin for ever in its own exit, closing a handle that it lost (src/cli/bench/correctness/reset.ts tells of one).
//    `process.exit` goes past that place; called by the last listener of `exit`, after all others.
import { writeSync } from 'node:fs';
import { after } from 'node:test';

/** From the end of the last test; the file's own `after` hooks run in that time. */
const GRACE_MS = 60_000;

// The runner itself, and programs that a test starts, are no test files.
if (process.env.NODE_TEST_CONTEXT === 'child-v8' && process.argv[1]?.endsWith('.test.ts')) {
  after(() => {
    setTimeout(() => {
      const open = process.getActiveResourcesInfo().join(', ');
      writeSync(2, `${process.argv[1]}: its tests ended ${GRACE_MS / 1000} s ago, and it goes on: ${open}\n`);
      process.exit(1);
    }, GRACE_MS).unref();
  });
  process.once('beforeExit', () => process.on('exit', (code) => process.exit(code)));
}
