import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { after, describe, test } from 'node:test';
import { requires } from '../../../../test/support/requirements.ts';
import { Children } from '../../children/children.ts';
import { Link } from './link.ts';
import { cellText, correctnessMarkdown, correctnessNotes, correctnessTable } from './report.ts';
import { findSubjects, SUBJECT_NAMES } from './roster.ts';
import { ALL_SCENARIOS, type CorrectnessCell, runCorrectness } from './run.ts';
import { Source } from './source.ts';
import type { Row, Subject } from './subject.ts';
import { until, type WorldSettings } from './world.ts';

const SIZE = { keys: 2, callers: 5, operations: 200, seed: 1 };
const SETTINGS: WorldSettings = { ttlMs: 60_000, loadTimeoutMs: 100, settleMs: 60, readDeadlineMs: 30_000 };
const children = new Children();
after(() => children.close());

/** One process with a Map, written as everybody writes it; or without any cache. */
function mapSubject(caches: boolean): Subject {
  const entries = new Map<string, Row>();
  return {
    name: caches ? 'map' : 'no cache',
    version: '0',
    configuration: 'a Map',
    server: 'none',
    news: 'none',
    async open(place) {
      return {
        async get(id) {
          const known = entries.get(id);
          if (known !== undefined) return known;
          const row = await place.load(id);
          if (caches) entries.set(id, row);
          return row;
        },
        invalidateKey: async (id) => entries.delete(id),
        close: async () => entries.clear(),
      };
    },
  };
}

async function run(subjects: readonly Subject[], names: readonly string[]): Promise<CorrectnessCell[]> {
  const scenarios = ALL_SCENARIOS.filter(({ name }) => names.includes(name));
  return await runCorrectness({ subjects, scenarios, size: SIZE, settings: SETTINGS }, children, () => {});
}

describe('the judge', () => {
  test('convicts a Map filled by crossed loads, acquits who caches nothing', async () => {
    const [map, none] = await run([mapSubject(true), mapSubject(false)], ['load-delete']);
    assert.deepEqual([map?.tally?.wrongHits, map?.tally?.leftStale], [6, 2]);
    assert.equal(cellText(map), '6 wrong, 2 stuck');
    assert.deepEqual([none?.tally?.wrongHits, none?.tally?.leftStale, none?.tally?.loads], [0, 0, 12]);
    assert.equal(cellText(none), '0');
  });

  test('a reader that came after the acknowledgement and joined the old load was answered wrongly', async () => {
    const entries = new Map<string, Promise<Row>>();
    const joins: Subject = {
      ...mapSubject(false),
      name: 'flights only',
      open: async (place) => ({
        get(id) {
          const flight = entries.get(id) ?? place.load(id).finally(() => entries.delete(id));
          entries.set(id, flight);
          return flight;
        },
        invalidateKey: async () => {},
        close: async () => {},
      }),
    };
    const [cell] = await run([joins], ['joined-load']);
    assert.deepEqual([cell?.tally?.wrongHits, cell?.tally?.leftStale], [2, 0]);
  });

  test('a key that cannot be read in the end is no stale one: the reads have failed', async () => {
    let reads = 0;
    const falls: Subject = {
      ...mapSubject(false),
      name: 'falls',
      open: async (place) => ({
        get: (id) => {
          reads += 1;
          return reads > 8 ? Promise.reject(new Error('down')) : place.load(id);
        },
        invalidateKey: async () => {},
        close: async () => {},
      }),
    };
    const [cell] = await run([falls], ['load-delete']);
    assert.deepEqual([cell?.tally?.wrongHits, cell?.tally?.leftStale, cell?.tally?.failedReads], [0, 0, 2]);
  });

  test('a subject without a word for tags is left out; one that breaks says so', async () => {
    const broken = { ...mapSubject(true), name: 'broken', open: () => Promise.reject(new Error('no such server')) };
    const cells = await run([mapSubject(true), broken], ['load-tag', 'hung-loader', 'failing-loader']);
    const texts = cells.map((cell) => cellText(cell));
    assert.equal(texts[0], '-');
    assert.equal(texts[1], 'broke');
    assert.match(
      cells.find(({ scenario }) => scenario === 'failing-loader')?.tally?.note ?? '',
      /5 callers: 5 got an error/,
    );
    assert.match(cells.find(({ scenario }) => scenario === 'hung-loader')?.tally?.note ?? '', /5 of 5 still waiting/);
    assert.match(correctnessNotes(cells, [broken]).join('\n'), /no such server/);
  });

  test('the tables name every subject and scenario', async () => {
    const subjects = [mapSubject(true), mapSubject(false)];
    const scenarios = ALL_SCENARIOS.filter(({ name }) => ['load-delete', 'random-mix'].includes(name));
    const cells = await run(subjects, ['load-delete', 'random-mix']);
    const texts = [
      correctnessTable(cells, subjects, scenarios),
      correctnessMarkdown(cells, subjects, scenarios, ['x']),
    ];
    for (const text of texts)
      for (const word of ['map', 'no cache', 'load x delete', 'random mix']) assert.ok(text.includes(word));
    assert.equal(
      cells.find(({ subject, scenario }) => subject === 'no cache' && scenario === 'random-mix')?.tally?.wrongHits,
      0,
    );
  });
});

describe('the parts', () => {
  test('a load that is stopped has read its row already', async () => {
    const source = new Source();
    const gate = source.stopNext('1');
    const loading = source.load('1');
    await gate.read;
    assert.equal(source.update('1'), 2);
    gate.open();
    assert.deepEqual(await loading, { id: '1', version: 1 });
    assert.deepEqual(await source.load('1'), { id: '1', version: 2 });
  });

  test('a link holds answers, cuts connections, and comes back', async () => {
    const echo = createServer((socket) => socket.pipe(socket).on('error', () => {}));
    await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
    const address = echo.address();
    const link = await Link.to(typeof address === 'object' && address !== null ? address.port : 0);
    const [port = 0] = link.ports;
    const open = () => {
      const socket = connect({ host: '127.0.0.1', port });
      const seen = { text: '', closed: false };
      socket.on('data', (chunk) => (seen.text += chunk.toString()));
      socket.on('error', () => {});
      socket.on('close', () => (seen.closed = true));
      return { socket, seen };
    };
    const { socket, seen } = open();
    socket.write('a');
    assert.ok(await until(() => seen.text === 'a', 2000));
    link.hold();
    socket.write('b');
    assert.ok(await until(() => link.heldBytes === 1, 2000));
    assert.equal(seen.text, 'a');
    link.release();
    assert.ok(await until(() => seen.text === 'ab', 2000));
    link.cut();
    assert.ok(await until(() => seen.closed, 2000));
    const refused = open();
    assert.ok(await until(() => refused.seen.closed, 2000));
    link.restore();
    const again = open();
    again.socket.write('c');
    assert.ok(await until(() => again.seen.text === 'c', 2000));
    again.socket.destroy();
    await link.close();
    await new Promise<void>((resolve) => echo.close(() => resolve()));
  });

  test('an unknown subject is refused by name', async () => {
    await assert.rejects(findSubjects(['bentocash']), { code: 'USAGE_INVALID' });
    assert.ok(SUBJECT_NAMES.includes('bentocache'));
  });
});

describe('on real libraries', () => {
  test('the embedded store: no wrong hit', async () => {
    const { subjects } = await findSubjects(['breakwater-embedded']);
    const cells = await run(subjects, ['load-delete', 'load-namespace', 'joined-load', 'random-mix']);
    assert.deepEqual(
      cells.map(({ tally }) => [tally?.wrongHits, tally?.leftStale]),
      cells.map(() => [0, 0]),
    );
  });

  test('cache-aside and a lock leave crossed loads stale until their TTL', requires('redis-server'), async () => {
    const { subjects } = await findSubjects(['cache-aside', 'set-nx-lock']);
    const cells = await run(subjects, ['load-delete']);
    assert.deepEqual(
      cells.map(({ tally }) => tally?.leftStale),
      [SIZE.keys, SIZE.keys],
    );
  });

  test('every published peer opens, answers and closes', requires('redis-server'), async () => {
    const { subjects, missing } = await findSubjects(SUBJECT_NAMES.filter((name) => !name.startsWith('breakwater')));
    assert.deepEqual(missing, []);
    const cells = await run(subjects, ['failing-loader']);
    for (const { subject, tally, failure } of cells) {
      assert.equal(failure, null, subject);
      assert.match(tally?.note ?? '', /^5 callers: 5 got an error$/, subject);
    }
  });
});
