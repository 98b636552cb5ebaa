import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BreakwaterError } from '../../base/errors.ts';
import { SeededRandom } from '../../base/random.ts';
import { drainPromises, ManualScheduler } from '../../base/scheduler.ts';
import type { GuardRequest } from './call.ts';
import { GuardShedError, GuardTimeoutError, SourceBusyError } from './errors.ts';
import { Guard } from './guard.ts';
import type { GuardOptions } from './options.ts';

/** A guard on a clock turned by hand, and a source whose calls end when told to. */
class Bench {
  readonly scheduler = new ManualScheduler();
  readonly guard: Guard;
  /** Calls at the source, by name, in the order in which they began. */
  readonly began: string[] = [];
  /** How each call ended for its caller. */
  readonly ended = new Map<string, string>();
  readonly #running = new Map<string, { resolve: (value: string) => void; reject: (error: unknown) => void }>();
  readonly signals = new Map<string, AbortSignal>();

  constructor(options: GuardOptions = {}) {
    const { scheduler } = this;
    this.guard = new Guard(options, { clock: scheduler.clock, scheduler, random: new SeededRandom(9) });
  }

  call(name: string, request: GuardRequest = {}): void {
    const result = this.guard.run<string>(({ signal }) => {
      this.began.push(name);
      this.signals.set(name, signal);
      return new Promise((resolve, reject) => this.#running.set(name, { resolve, reject }));
    }, request);
    result.then(
      (value) => this.ended.set(name, value),
      (error: unknown) => this.ended.set(name, error instanceof BreakwaterError ? error.code : String(error)),
    );
  }

  async succeed(name: string): Promise<void> {
    this.#running.get(name)!.resolve(`value of ${name}`);
    await drainPromises();
  }

  async fail(name: string, error: unknown = 'broken'): Promise<void> {
    this.#running.get(name)!.reject(error);
    await drainPromises();
  }

  async run(ms: number): Promise<void> {
    await this.scheduler.run(ms);
    await drainPromises();
  }
}

const QUIET = { breaker: false, backoff: false } as const;

describe('slots', () => {
  test('a call starts in the same tick while there are slots; then in turn, as slots come free', async () => {
    const bench = new Bench({ ...QUIET, concurrency: 2 });
    for (const name of ['a', 'b', 'c', 'd']) bench.call(name);
    assert.deepEqual(bench.began, ['a', 'b']);
    await bench.succeed('b');
    assert.deepEqual(bench.began, ['a', 'b', 'c']);
    await bench.fail('a', new Error('row is locked'));
    await bench.succeed('c');
    await bench.succeed('d');
    assert.deepEqual(Object.fromEntries(bench.ended), {
      a: 'Error: row is locked',
      b: 'value of b',
      c: 'value of c',
      d: 'value of d',
    });
    const { running, started, succeeded, failed, peakAtSource } = bench.guard.stats();
    assert.deepEqual(
      { running, started, succeeded, failed, peakAtSource },
      {
        running: 0,
        started: 4,
        succeeded: 3,
        failed: 1,
        peakAtSource: 2,
      },
    );
    assert.equal(bench.scheduler.pending, 0, 'no timer is left behind');
  });

  test('a source that throws before it returns, or returns no promise, is a call like any other', async () => {
    const bench = new Bench(QUIET);
    await assert.rejects(
      bench.guard.run(() => {
        throw new TypeError('no such table');
      }),
      TypeError,
    );
    assert.equal(await bench.guard.run(() => 7), 7);
    assert.equal(bench.guard.stats().running, 0);
  });

  test('background may hold only its share, and foreground goes first', async () => {
    const bench = new Bench({ ...QUIET, concurrency: 3, backgroundConcurrency: 1 });
    bench.call('b1', { priority: 'background' });
    bench.call('b2', { priority: 'background' });
    assert.deepEqual(bench.began, ['b1'], 'two slots are kept for callers');
    for (const name of ['f1', 'f2', 'f3']) bench.call(name);
    assert.deepEqual(bench.began, ['b1', 'f1', 'f2']);
    await bench.succeed('b1');
    assert.deepEqual(bench.began, ['b1', 'f1', 'f2', 'f3']);
    await bench.succeed('f1');
    assert.deepEqual(bench.began, ['b1', 'f1', 'f2', 'f3', 'b2']);
  });
});

describe('no, at once or in time', () => {
  test('a full queue sheds, background before foreground', async () => {
    const bench = new Bench({ ...QUIET, concurrency: 1, maxQueue: 2 });
    bench.call('running');
    bench.call('b1', { priority: 'background' });
    bench.call('b2', { priority: 'background' });
    bench.call('b3', { priority: 'background' });
    bench.call('f1');
    await drainPromises();
    assert.deepEqual(
      [...bench.ended],
      [
        ['b3', 'GUARD_QUEUE_FULL'],
        ['b2', 'GUARD_QUEUE_FULL'],
      ],
    );
    await bench.succeed('running');
    assert.deepEqual(bench.began, ['running', 'f1']);
    assert.equal(bench.guard.stats().shed.GUARD_QUEUE_FULL, 2);
  });

  test('with no queue nobody waits', async () => {
    const bench = new Bench({ ...QUIET, concurrency: 1, maxQueue: 0 });
    bench.call('a');
    bench.call('b');
    await drainPromises();
    assert.deepEqual([...bench.ended], [['b', 'GUARD_QUEUE_FULL']]);
  });

  test('who waits past the deadline is told at the deadline, and the source is never asked', async () => {
    const bench = new Bench({ ...QUIET, concurrency: 1, hardTimeoutMs: 1e6 });
    bench.call('a', { deadlineMs: 5000 });
    bench.call('b', { deadlineMs: 100 });
    bench.call('c', { deadlineMs: 0 });
    await bench.run(99);
    assert.deepEqual([...bench.ended], [['c', 'GUARD_DEADLINE']]);
    await bench.run(1);
    assert.equal(bench.ended.get('b'), 'GUARD_DEADLINE');
    await bench.succeed('a');
    assert.deepEqual(bench.began, ['a']);
    assert.equal(bench.scheduler.pending, 0);
  });

  test('the rate: a burst, then one each interval; who cannot come in time is told at once', async () => {
    const bench = new Bench({ ...QUIET, concurrency: 100, ratePerSecond: 10, burst: 2, deadlineMs: 350 });
    for (let i = 0; i < 8; i += 1) bench.call(`c${i}`);
    await drainPromises();
    assert.deepEqual(bench.began, ['c0', 'c1']);
    assert.deepEqual([...bench.ended.values()], ['GUARD_RATE_LIMITED', 'GUARD_RATE_LIMITED', 'GUARD_RATE_LIMITED']);
    await bench.run(100);
    assert.deepEqual(bench.began, ['c0', 'c1', 'c2']);
    await bench.run(249);
    assert.deepEqual(bench.began, ['c0', 'c1', 'c2', 'c3', 'c4']);
    assert.equal(bench.guard.stats().shed.GUARD_RATE_LIMITED, 3);
  });

  test('a timer that is late gives nobody a place before those who came earlier', async () => {
    const bench = new Bench({ ...QUIET, ratePerSecond: 10, burst: 1 });
    for (const name of ['a', 'b', 'c']) bench.call(name);
    // The clock moves on, the event loop is busy: the token is due and no timer has fired.
    bench.scheduler.clock.advance(120);
    bench.call('late');
    assert.deepEqual(bench.began, ['a', 'b']);
    await bench.run(1000);
    assert.deepEqual(bench.began, ['a', 'b', 'c', 'late']);
  });

  test('the caller may give up, before, waiting or running, and gets the reason given', async () => {
    const bench = new Bench({ ...QUIET, concurrency: 1 });
    const gone = new AbortController();
    gone.abort('gone before');
    bench.call('before', { signal: gone.signal });
    const first = new AbortController();
    const second = new AbortController();
    bench.call('running', { signal: first.signal });
    bench.call('waiting', { signal: second.signal });
    bench.call('next');
    second.abort('no longer needed');
    first.abort('page closed');
    await drainPromises();
    assert.deepEqual(Object.fromEntries(bench.ended), {
      before: 'gone before',
      waiting: 'no longer needed',
      running: 'page closed',
    });
    assert.equal(bench.signals.get('running')!.aborted, true);
    assert.deepEqual(bench.began, ['running'], 'the slot is held until the source lets go');
    await bench.fail('running');
    assert.deepEqual(bench.began, ['running', 'next']);
    assert.equal(bench.guard.stats().cancelled, 3);
  });

  test('close sheds who waits, aborts what runs, and lets nobody in', async () => {
    const bench = new Bench({ ...QUIET, concurrency: 1 });
    bench.call('running');
    bench.call('waiting');
    bench.guard.close();
    bench.guard.close();
    bench.call('late');
    await drainPromises();
    assert.deepEqual([...new Set(bench.ended.values())], ['GUARD_CLOSED']);
    assert.equal(bench.ended.size, 3);
    assert.equal(bench.signals.get('running')!.aborted, true);
    assert.equal(bench.scheduler.pending, 0);
    await bench.succeed('running');
    assert.equal(bench.guard.stats().running, 0);
  });
});

describe('the hard timeout', () => {
  test('answers the caller and aborts the call, but the slot stays held until the source lets go', async () => {
    const bench = new Bench({ ...QUIET, concurrency: 1, hardTimeoutMs: 50, deadlineMs: 1000 });
    bench.call('slow');
    bench.call('next');
    await bench.run(50);
    assert.equal(bench.ended.get('slow'), 'GUARD_TIMEOUT');
    const signal = bench.signals.get('slow')!;
    assert.ok(signal.aborted && signal.reason instanceof GuardTimeoutError);
    assert.deepEqual(bench.began, ['slow']);
    assert.equal(bench.guard.stats().lingering, 1);
    await bench.run(100);
    assert.deepEqual(bench.began, ['slow'], 'the query still runs at the database');
    await bench.succeed('slow');
    assert.deepEqual(bench.began, ['slow', 'next']);
    assert.equal(bench.guard.stats().lingering, 0);
  });

  test('is cut short by the deadline, waiting included', async () => {
    const bench = new Bench({ ...QUIET, concurrency: 1, hardTimeoutMs: 50 });
    bench.call('a', { deadlineMs: 1000 });
    bench.call('b', { deadlineMs: 60 });
    await bench.run(40);
    await bench.succeed('a');
    assert.deepEqual(bench.began, ['a', 'b']);
    await bench.run(19);
    assert.equal(bench.ended.has('b'), false);
    await bench.run(1);
    assert.equal(bench.ended.get('b'), 'GUARD_TIMEOUT');
  });

  test('a call that never settles is abandoned at last, and only so many at a time', async () => {
    const bench = new Bench({
      ...QUIET,
      concurrency: 2,
      hardTimeoutMs: 10,
      deadlineMs: 100_000,
      abandonAfterMs: 1000,
      maxAbandoned: 1,
    });
    for (const name of ['hung1', 'hung2', 'n1', 'n2']) bench.call(name);
    await bench.run(1009);
    assert.deepEqual(bench.began, ['hung1', 'hung2']);
    await bench.run(1);
    assert.deepEqual(bench.began, ['hung1', 'hung2', 'n1'], 'one abandoned, the other slot stays held');
    assert.deepEqual([bench.guard.stats().abandoned, bench.guard.stats().lingering], [1, 1]);
    await bench.succeed('n1');
    assert.deepEqual(bench.began, ['hung1', 'hung2', 'n1', 'n2']);
    // When the abandoned one comes back after all, the other may be abandoned in its place.
    await bench.fail('hung1');
    assert.deepEqual([bench.guard.stats().abandoned, bench.guard.stats().lingering], [1, 0]);
    await bench.succeed('n2');
    await bench.succeed('hung2');
    const { running, abandoned, lingering, peakAtSource } = bench.guard.stats();
    assert.deepEqual([running, abandoned, lingering, peakAtSource], [0, 0, 0, 3]);
  });

  test('with maxAbandoned 0 the cap holds for ever, whatever hangs', async () => {
    const bench = new Bench({ ...QUIET, concurrency: 2, hardTimeoutMs: 10, deadlineMs: 50, maxAbandoned: 0 });
    for (let i = 0; i < 200; i += 1) {
      bench.call(`hung${i}`);
      await bench.run(1000);
    }
    assert.equal(bench.guard.stats().peakAtSource, 2);
    assert.equal(bench.began.length, 2);
    assert.equal(bench.ended.size, 200, 'and everybody is answered');
  });
});

describe('the breaker', () => {
  const BREAKING = {
    backoff: false,
    concurrency: 2,
    breaker: { consecutiveFailures: 3, openMs: 1000, probes: 1 },
  } as const;

  test('opens, sheds who waits and who comes, probes, closes', async () => {
    const bench = new Bench(BREAKING);
    for (const name of ['a', 'b', 'c', 'w1', 'w2']) bench.call(name);
    for (const name of ['a', 'b', 'c']) await bench.fail(name);
    assert.equal(bench.guard.stats().breaker, 'open');
    bench.call('late');
    await drainPromises();
    // w1 had been started when a's slot came free; w2 when b's did.
    assert.equal(bench.ended.get('late'), 'GUARD_CIRCUIT_OPEN');
    await bench.run(1200);
    assert.equal(bench.guard.stats().breaker, 'half-open');
    await bench.fail('w1');
    assert.equal(bench.guard.stats().breaker, 'half-open', 'a call from before says nothing');
    bench.call('probe');
    bench.call('not a probe');
    await drainPromises();
    assert.equal(bench.ended.get('not a probe'), 'GUARD_CIRCUIT_OPEN');
    await bench.succeed('probe');
    assert.equal(bench.guard.stats().breaker, 'closed');
    bench.call('after');
    await bench.succeed('after');
    assert.equal(bench.ended.get('after'), 'value of after');
  });

  test('those in the queue when it opens do not wait for their deadline', async () => {
    const bench = new Bench({ ...BREAKING, concurrency: 1, breaker: { consecutiveFailures: 1 } });
    for (const name of ['a', 'w1', 'w2']) bench.call(name);
    await bench.fail('a');
    assert.deepEqual([bench.ended.get('w1'), bench.ended.get('w2')], ['GUARD_CIRCUIT_OPEN', 'GUARD_CIRCUIT_OPEN']);
    assert.equal(bench.scheduler.pending, 0);
  });

  test('also while cut-off calls still hold every slot', async () => {
    const bench = new Bench({ ...BREAKING, concurrency: 1, hardTimeoutMs: 10, breaker: { consecutiveFailures: 1 } });
    for (const name of ['a', 'w1', 'w2']) bench.call(name);
    await bench.run(10);
    assert.deepEqual(Object.fromEntries(bench.ended), {
      a: 'GUARD_TIMEOUT',
      w1: 'GUARD_CIRCUIT_OPEN',
      w2: 'GUARD_CIRCUIT_OPEN',
    });
  });

  test('timeouts are failures; errors that are declared harmless and callers who give up are not', async () => {
    const bench = new Bench({
      ...BREAKING,
      hardTimeoutMs: 10,
      breaker: { consecutiveFailures: 2 },
      isFailure: (error) => error !== 'bad request',
    });
    bench.call('bad1');
    bench.call('bad2');
    await bench.fail('bad1', 'bad request');
    await bench.fail('bad2', 'bad request');
    const leaving = new AbortController();
    bench.call('gone', { signal: leaving.signal });
    leaving.abort();
    await bench.fail('gone');
    assert.equal(bench.guard.stats().breaker, 'closed');
    bench.call('slow1');
    bench.call('slow2');
    await bench.run(10);
    assert.equal(bench.guard.stats().breaker, 'open');
  });

  test('says when to come again', async () => {
    const bench = new Bench({ ...BREAKING, breaker: { consecutiveFailures: 1, openMs: 1000 } });
    bench.call('a');
    await bench.fail('a');
    await assert.rejects(
      bench.guard.run(() => 1),
      (error: unknown) =>
        error instanceof GuardShedError &&
        error.code === 'GUARD_CIRCUIT_OPEN' &&
        error.retryAfterMs !== null &&
        error.retryAfterMs >= 800 &&
        error.retryAfterMs <= 1200,
    );
  });
});

describe('back-off by key', () => {
  test('a failing loader is called once per window and key; within it everybody gets that very error', async () => {
    const bench = new Bench({ breaker: false, backoff: { after: 1, baseMs: 1000, maxMs: 1000 } });
    const failure = new Error('no such column');
    let calls = 0;
    const load = (): Promise<never> => {
      calls += 1;
      return Promise.reject(failure);
    };
    const startMs = bench.scheduler.clock.now();
    for (let i = 0; i < 600; i += 1) {
      await assert.rejects(bench.guard.run(load, { keys: ['42'] }), (error) => error === failure);
      await bench.run(10);
    }
    const elapsedMs = bench.scheduler.clock.now() - startMs;
    assert.ok(calls >= elapsedMs / 1200 && calls <= elapsedMs / 800 + 1, `${calls} calls in ${elapsedMs} ms`);
    assert.equal(await bench.guard.run(() => 'fine', { keys: ['43'] }), 'fine');
    assert.equal(bench.guard.remembered('42')?.error, failure);
    assert.equal(bench.guard.remembered('43'), null);
    assert.equal(bench.guard.stats().backedOff, 600 - calls);
  });

  test('asked again when the turn comes: who waited behind the failing call does not repeat it', async () => {
    const bench = new Bench({ breaker: false, backoff: { after: 1 }, concurrency: 1 });
    bench.call('a', { keys: ['42'] });
    bench.call('b', { keys: ['42'] });
    bench.call('c', { keys: ['43'] });
    await bench.fail('a', 'the error');
    assert.deepEqual(bench.began, ['a', 'c']);
    assert.equal(bench.ended.get('b'), 'the error');
  });

  test('a timeout opens the window, a shed call and a caller who gave up do not; a success closes it', async () => {
    const bench = new Bench({ breaker: false, backoff: { after: 1 }, hardTimeoutMs: 10, concurrency: 1, maxQueue: 0 });
    bench.call('slow', { keys: ['slow'] });
    bench.call('shed', { keys: ['shed'] });
    await bench.run(10);
    assert.ok(bench.guard.remembered('slow')?.error instanceof GuardTimeoutError);
    assert.equal(bench.guard.remembered('shed'), null);
    await bench.fail('slow');
    const leaving = new AbortController();
    bench.call('gone', { keys: ['gone'], signal: leaving.signal });
    leaving.abort();
    await bench.fail('gone');
    assert.equal(bench.guard.remembered('gone'), null);
    await bench.run(1000);
    bench.call('again', { keys: ['slow'] });
    await bench.succeed('again');
    assert.equal(bench.guard.stats().backoffKeys, 0);
    bench.guard.noteFailure('one of a batch', 'no');
    assert.equal(bench.guard.remembered('one of a batch')?.error, 'no');
  });
});

test('options that make no sense are refused, each by its name', () => {
  const bad: readonly (readonly [GuardOptions, RegExp])[] = [
    [{ concurrency: 0 }, /concurrency/],
    [{ concurrency: 1.5 }, /concurrency/],
    [{ maxQueue: -1 }, /maxQueue/],
    [{ ratePerSecond: 0 }, /ratePerSecond/],
    [{ burst: 0 }, /burst/],
    [{ deadlineMs: 0 }, /deadlineMs/],
    [{ hardTimeoutMs: Number.NaN }, /hardTimeoutMs/],
    [{ maxAbandoned: -1 }, /maxAbandoned/],
    [{ breaker: { failureRatio: 0 } }, /failureRatio/],
    [{ backoff: { maxKeys: 1 } }, /maxKeys/],
  ];
  const scheduler = new ManualScheduler();
  for (const [options, named] of bad) {
    assert.throws(
      () =>
        new Guard({ name: 'postgres', ...options }, { clock: scheduler.clock, scheduler, random: new SeededRandom(1) }),
      (error: unknown) =>
        error instanceof BreakwaterError &&
        error.code === 'GUARD_OPTION_INVALID' &&
        named.test(error.message) &&
        error.message.includes('postgres'),
    );
  }
});

describe('a source that asks for a rest', () => {
  const busy = (ms: number) => new SourceBusyError('not now', ms);

  test('nobody begins before it is over: who can wait waits, the others are shed at once and told how long', async () => {
    const bench = new Bench({ backoff: false, concurrency: 2, deadlineMs: 1_000 });
    bench.call('told');
    await bench.fail('told', busy(300));
    bench.call('patient');
    bench.call('hasty', { deadlineMs: 100 });
    await bench.run(0);
    assert.equal(bench.ended.get('hasty'), 'GUARD_RATE_LIMITED');
    await bench.run(299);
    assert.deepEqual(bench.began, ['told']);
    await bench.run(1);
    assert.deepEqual(bench.began, ['told', 'patient']);
    await bench.succeed('patient');
    bench.call('later');
    assert.deepEqual(bench.began, ['told', 'patient', 'later']);
  });

  test('it is no failure, of the source or of its key; one of a batch counts too; no word lasts longer than a minute', async () => {
    const bench = new Bench({ backoff: { after: 1 }, breaker: { consecutiveFailures: 1, minimumCalls: 1 } });
    bench.call('a', { keys: ['42'] });
    await bench.fail('a', busy(50));
    assert.equal(bench.guard.stats().breaker, 'closed');
    assert.equal(bench.guard.remembered('42'), null);
    await bench.run(50);
    bench.guard.noteFailure('43', busy(1e9));
    assert.equal(bench.guard.remembered('43'), null);
    bench.call('b', { deadlineMs: 61_000 });
    await bench.run(59_999);
    assert.deepEqual(bench.began, ['a']);
    await bench.run(1);
    assert.deepEqual(bench.began, ['a', 'b']);
  });

  test('those who waited for a slot or a token wait on', async () => {
    const bench = new Bench({ ...QUIET, concurrency: 1, ratePerSecond: 1_000 });
    bench.call('a');
    bench.call('b');
    await bench.fail('a', busy(40));
    await bench.run(39);
    assert.deepEqual(bench.began, ['a']);
    await bench.run(1);
    assert.deepEqual(bench.began, ['a', 'b']);
  });
});
