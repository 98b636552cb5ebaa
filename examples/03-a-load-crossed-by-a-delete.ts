// The race that leaves other caches stale until the TTL ends: a load reads the old row, the row changes, the key is deleted, and only
// then does the load arrive. Run it: npx tsx examples/03-a-load-crossed-by-a-delete.ts
import { setTimeout as sleep } from 'node:timers/promises';
import { createBreakwater } from 'breakwater';

let price = 1;
const bw = createBreakwater();
const prices = bw.cache('price', {
  load: async (ids) => {
    const read = price; // 1. the load reads the old row
    await sleep(30); //    ... and takes its time
    return ids.map(() => read);
  },
  ttl: '1h',
});

const early = prices.get('7');
await sleep(5);
price = 2; //                2. the row changes,
await prices.delete('7'); // 3. and the cache is told: acknowledged
console.log('asked before the delete:', await early); // 4. the load arrives; whoever asked before may have it
console.log('asked after it:', await prices.get('7')); // 5. but it was not kept
console.log('and so it stays:', await prices.get('7'));
await bw.close();

// prints:
// asked before the delete: 1
// asked after it: 2
// and so it stays: 2
