// Testing your own code: time is turned by hand, the database hangs on command. Run it: npx tsx examples/06-testing.ts
import { createTestBreakwater, TestSource } from 'breakwater/testing';

const { bw, clock } = createTestBreakwater();
const source = new TestSource([['42', { name: 'Ada' }]]);
const users = bw.cache('user', { load: source.load, ttl: '1m', grace: '1h', jitter: 0 });

await users.get('42');
await clock.advance('5m'); // the TTL is over, the grace is not
source.hold(); //             and the database hangs
const { from, ageMs } = await users.getDetailed('42');
console.log(from, `${ageMs / 60_000} minutes old`);
source.release(); //          it answers after all
await clock.settle();
console.log((await users.getDetailed('42')).from, `after ${source.calls} loads`);
await bw.close();

// prints:
// stale 5 minutes old
// l1 after 2 loads
