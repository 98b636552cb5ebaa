/** What is killed, whichever way changes come: the process that reads, and the database. Nothing may be missed. */
import assert from 'node:assert/strict';
import { Children, modulePath } from '../../src/cli/children/children.ts';
import { type Followed, Recorder, until, type World } from './changes-support.ts';

/** One table, by the commonest mapping. */
type What = Parameters<World['followed']>[0];

const tableOf = ({ tables }: What): string => Object.keys(tables)[0]!;

/**
 * The process that reads is killed (SIGKILL) with rows in its hands, `rounds` times; the next one must be given them again.
 *
 * @returns the one that reads at the end
 */
export async function killReaders(world: World, what: What, rounds = 5): Promise<Followed> {
  const { name = '', via = 'replication' } = what;
  const table = tableOf(what);
  const memory = new Map<string, string>();
  const children = new Children();
  const named = new Set<string>();
  const all: string[] = [];
  try {
    for (let round = 0; round < rounds; round += 1) {
      const argument = JSON.stringify({ connection: world.server.connection, name, table, via });
      const child = children.startNode(modulePath('./changes-child', import.meta.url), [argument], {
        label: 'a reader',
      });
      let isReady = false;
      let isHolding = false;
      let held = 0;
      const { process: other } = child;
      other.on('message', (message: { id: string; what: string; keys: string[]; text: string }) => {
        const { id, what: asked, keys, text } = message;
        const answer = (given: string | null): void => {
          if (other.connected) other.send({ id, answer: given });
        };
        if (asked === 'ready') isReady = true;
        else if (asked === 'recall') answer(memory.get(name) ?? null);
        else if (asked === 'remember') {
          memory.set(name, text);
          answer(null);
        } else if (isHolding) held += 1;
        else {
          for (const key of keys) named.add(key);
          answer(null);
        }
      });
      await until('it to read', () => isReady || !child.running);
      assert.ok(child.running, child.output);
      await until('what was left to it', () => all.every((key) => named.has(key)));
      await until('something to remember', () => memory.has(name));
      isHolding = true;
      for (let i = 0; i < 5; i += 1) {
        await world.sql(`INSERT INTO ${table} VALUES ($1)`, [round * 10 + i]);
        all.push(`product:${round * 10 + i}`);
      }
      await until('rows in its hands', () => held > 0);
      other.kill('SIGKILL');
      await child.exited;
    }
    const last = world.follow(what, new Recorder(memory));
    await until('the rows of the last round', () => {
      for (const key of last.recorder.all('keys')) named.add(key);
      return all.every((key) => named.has(key));
    });
    return last;
  } finally {
    await children.close();
  }
}

/** Postgres is killed (SIGKILL) under a writer, stopped in good order, and killed again. Every row that was committed must be named. */
export async function killServer(world: World, what: What): Promise<Followed> {
  const { name = '' } = what;
  const table = tableOf(what);
  const followed = await world.followed(what);
  const { recorder, stats } = followed;
  await until('something to remember', () => recorder.memory.has(name));
  const committed: string[] = [];
  for (const signal of ['SIGKILL', 'SIGINT', 'SIGKILL'] as const) {
    const writer = await world.newClient();
    let isOver = false;
    const writing = (async () => {
      for (let i = 0; !isOver; i += 1) {
        const id = committed.length * 1000 + i;
        const done = await writer.query(`INSERT INTO ${table} VALUES (${id}) ON CONFLICT DO NOTHING`).then(
          () => true,
          () => false,
        );
        if (!done) return;
        committed.push(`product:${id}`);
      }
    })();
    const before = committed.length;
    await until('some writes', () => committed.length > before + 20);
    await world.server.halt(signal);
    isOver = true;
    await writing;
    await writer.end().catch(() => undefined);
    await world.server.resume();
    await world.reconnect();
    await until('it reads again', () => stats().state === 'active');
  }
  await until('every change', () => committed.every((key) => recorder.has('keys', key)));
  return followed;
}
