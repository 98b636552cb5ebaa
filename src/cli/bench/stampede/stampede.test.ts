import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { requires } from '../../../../test/support/requirements.ts';
import { Children } from '../../children/children.ts';
import { findSubjects } from '../correctness/roster.ts';
import { environment } from '../environment.ts';
import { stampedeMarkdown } from './report.ts';
import { runStampede } from './run.ts';

const children = new Children();
after(() => children.close());

test(
  'several processes, many callers: one load with a lease, one a caller without',
  requires('redis-server'),
  async () => {
    const subjects = [];
    for (const word of ['breakwater', 'breakwater-redis', 'cache-aside']) {
      const { subjects: found } = await findSubjects([word]);
      subjects.push({ word, subject: found[0]! });
    }
    // Long enough that all have asked before it ends.
    const plan = { subjects, processes: 2, callers: 5, loadMs: 500, rounds: 1 };
    const rows = await runStampede(plan, children, () => {});
    assert.deepEqual(
      rows.map(({ loads, failures }) => [loads, failures]),
      [
        [[1], 0],
        [[1], 0],
        [[10], 0],
      ],
    );
    const page = stampedeMarkdown(plan, rows, environment());
    for (const { subject } of rows) assert.ok(page.includes(`| ${subject} |`));
  },
);
