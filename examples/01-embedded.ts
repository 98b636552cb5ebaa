// The smallest thing that works: a cache inside this process. Run it: npx tsx examples/01-embedded.ts
import { createBreakwater } from 'breakwater';

const rows = new Map([
  ['42', { name: 'Ada' }],
  ['43', { name: 'Grace' }],
]);
let queries = 0;

const bw = createBreakwater(); // store: 'embedded'
const users = bw.cache('user', {
  // Your query, for many ids at once. `null` in the place of a value: there is no such row, and that is remembered too.
  load: async (ids) => {
    queries += 1;
    return ids.map((id) => rows.get(id) ?? null);
  },
  ttl: '10m',
});

console.log(await users.get('42'));
console.log(await users.getMany(['42', '43', '44']));
console.log('still:', users.peek('44'), 'after', queries, 'queries');
await bw.close();

// prints:
// { name: 'Ada' }
// Map(3) {
//   '42' => { name: 'Ada' },
//   '43' => { name: 'Grace' },
//   '44' => null
// }
// still: null after 2 queries
