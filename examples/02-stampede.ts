// Ten thousand callers, one cold key, one query. Run it: npx tsx examples/02-stampede.ts
import { setTimeout as sleep } from 'node:timers/promises';
import { createBreakwater } from 'breakwater';

let queries = 0;
const bw = createBreakwater();
const products = bw.cache('product', {
  load: async (ids) => {
    queries += 1;
    await sleep(20); // a slow database
    return ids.map((id) => ({ id, price: 100 }));
  },
});

const answers = await Promise.all(Array.from({ length: 10_000 }, () => products.get('7')));
console.log(answers.length, 'answers,', queries, 'query');
const { joined, loads } = products.stats();
console.log(`${joined} joined the flight of the first, the loader was called ${loads} time`);
await bw.close();

// prints:
// 10000 answers, 1 query
// 9999 joined the flight of the first, the loader was called 1 time
