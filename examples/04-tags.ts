// One change that touches many entries: tags. Run it: npx tsx examples/04-tags.ts
import { createBreakwater } from 'breakwater';

const bw = createBreakwater();
let round = 1;
const users = bw.cache('user', {
  load: async (ids) => ids.map((id) => ({ id, org: Number(id) % 2, round })),
  tags: (user) => [`org:${user.org}`], // known only once the value is there
});

await users.getMany(['1', '2', '3']);
round = 2;
await bw.invalidate({ tags: ['org:1'] }); // 1 and 3, however many there are
for (const user of (await users.getMany(['1', '2', '3'])).values()) console.log(user);
await bw.invalidate({ namespaces: ['user'] }); // all of this cache
console.log(users.peek('2'));
await bw.close();

// prints:
// { id: '1', org: 1, round: 2 }
// { id: '2', org: 0, round: 1 }
// { id: '3', org: 1, round: 2 }
// undefined
