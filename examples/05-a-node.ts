// Two processes of one service on one node. Start it first: npm start. Then: npx tsx examples/05-a-node.ts
import { createBreakwater } from 'breakwater';

const store = (process.env['BREAKWATER_URL'] ?? 'breakwater://127.0.0.1:7379') as `breakwater://${string}`;
let row = 'old';
const open = () => {
  const bw = createBreakwater({ store });
  return { bw, docs: bw.cache('example-doc', { load: async (ids) => ids.map(() => row) }) };
};
const [a, b] = [open(), open()]; // as two processes would

await a.bw.invalidate({ namespaces: ['example-doc'] }); // what an earlier run left
console.log('a:', (await a.docs.getDetailed('1')).from);
console.log('a:', (await a.docs.getDetailed('1')).from);
row = 'new';
await b.docs.delete('1');
console.log('a:', await a.docs.get('1')); // not until a TTL ends: at once
await Promise.all([a.bw.close(), b.bw.close()]);

// prints:
// a: loader
// a: l2
// a: new
