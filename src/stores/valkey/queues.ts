/** Write-behind queues in Redis or Valkey: streams, one script a step (queue-lua.ts), each acknowledged when all known replicas have it. */

import { BreakwaterError } from '../../base/errors.ts';
import type { SlotRequest } from '../../client/cluster-request.ts';
import type { PushAnswer, QueueBatch, QueueDurability, QueueRecord, StoreQueues, StreamView } from '../queues.ts';
import type { StoreCall } from '../store.ts';
import type { Calls } from './calls.ts';
import { storeError } from './errors.ts';
import type { Shards } from './shards.ts';

const decoder = new TextDecoder();
/** All queues that there ever were, for tools. */
const NAMES_KEY = 'bw.queues';
const META = ['holder', 'beat', 'hold', 'about'] as const;
const ANSWERS: readonly PushAnswer[] = ['taken', 'done', 'restarted', 'missing'];

interface Keys {
  readonly list: string;
  readonly meta: string;
  readonly records: string;
  readonly letters: string;
}

export class ValkeyQueues implements StoreQueues {
  readonly #shards: Shards;
  readonly #calls: Calls;

  constructor(shards: Shards, calls: Calls) {
    this.#shards = shards;
    this.#calls = calls;
  }

  async durability(queue: string, call: StoreCall): Promise<QueueDurability> {
    const names = ['appendonly', 'appendfsync', 'maxmemory-policy', 'maxmemory'];
    const { list } = keysOf(queue, '');
    const outcomes = await this.#ask(
      names.map((name) => ({ key: list, command: ['CONFIG', 'GET', name] })),
      call,
    );
    const told = outcomes.map((outcome) => pairs(outcome instanceof Error ? [] : outcome)[0]?.[1] ?? null);
    const [appendOnly, appendFsync, policy, memory] = told.map((value) => (value === null ? null : textOf(value)));
    return {
      appendOnly: appendOnly === null || appendOnly === undefined ? null : appendOnly === 'yes',
      appendFsync: appendFsync ?? null,
      evictionPolicy: policy ?? null,
      maxMemoryBytes: memory === null || memory === undefined ? null : Number(memory),
    };
  }

  async begin(
    queue: string,
    stream: string,
    holder: string,
    { holdMs, about }: { readonly holdMs: number; readonly about: string },
    call: StoreCall,
  ): Promise<void> {
    const { list, meta } = keysOf(queue, stream);
    await this.#write(NAMES_KEY, (slot) => ({ slot, build: () => ['SADD', NAMES_KEY, queue] }), call);
    const args = [stream, holder, Math.ceil(holdMs), about];
    await this.#write(list, (slot) => this.#calls.queue('queueBegin', slot, [list, meta], args), call);
  }

  async push(
    queue: string,
    stream: string,
    holder: string,
    { first, records, gone }: QueueBatch,
    call: StoreCall,
  ): Promise<PushAnswer> {
    const { meta, records: key } = keysOf(queue, stream);
    const args = [holder, first, records.length, ...records, ...gone];
    const reply = await this.#write(meta, (slot) => this.#calls.queue('queuePush', slot, [meta, key], args), call);
    const answer = ANSWERS[Number(reply)];
    if (answer !== undefined) return answer;
    throw new BreakwaterError('STORE_REPLY_INVALID', `cannot read the reply to a push to the queue ${queue}`);
  }

  async look(queue: string, call: StoreCall): Promise<StreamView[]> {
    const { list } = keysOf(queue, '');
    const [members] = await this.#read([{ key: list, command: ['SMEMBERS', list] }], call);
    const streams = listOf(members).map(textOf);
    const commands = streams.flatMap((stream) => {
      const { meta, records, letters } = keysOf(queue, stream);
      return [
        ['HMGET', meta, ...META],
        ['XLEN', records],
        ['HLEN', letters],
      ].map((command) => ({ key: list, command }));
    });
    const replies = await this.#read(commands, call);
    return streams.map((stream, at) => {
      const [holder, beat, hold, about] = listOf(replies[3 * at]).map((value) => (value === null ? '' : textOf(value)));
      return {
        stream,
        holder: holder ?? '',
        beat: Number(beat),
        holdMs: Number(hold),
        about: about ?? '',
        records: Number(replies[3 * at + 1]),
        letters: Number(replies[3 * at + 2]),
      };
    });
  }

  async take(queue: string, { stream, holder, beat }: StreamView, by: string, call: StoreCall): Promise<boolean> {
    const { meta } = keysOf(queue, stream);
    const args = [holder, beat, by];
    return (await this.#write(meta, (slot) => this.#calls.queue('queueTake', slot, [meta], args), call)) === 1;
  }

  async read(queue: string, stream: string, after: number, count: number, call: StoreCall): Promise<QueueRecord[]> {
    const { records } = keysOf(queue, stream);
    const command = ['XRANGE', records, `${after + 1}-0`, '+', 'COUNT', String(count)];
    const [reply] = await this.#read([{ key: records, command }], call);
    return listOf(reply).map((entry) => {
      const [id, fields] = entry as [Uint8Array, readonly Uint8Array[]];
      return { position: Number(textOf(id).split('-')[0]), record: fields[1]! };
    });
  }

  async drop(queue: string, stream: string, holder: string, call: StoreCall): Promise<void> {
    const { list, meta, records, letters } = keysOf(queue, stream);
    const keys = [list, meta, records, letters];
    await this.#write(list, (slot) => this.#calls.queue('queueDrop', slot, keys, [stream, holder]), call);
  }

  async release(queue: string, stream: string, holder: string, call: StoreCall): Promise<void> {
    const { meta } = keysOf(queue, stream);
    await this.#write(meta, (slot) => this.#calls.queue('queueRelease', slot, [meta], [holder]), call);
  }

  async letters(queue: string, stream: string, call: StoreCall): Promise<ReadonlyMap<string, Uint8Array>> {
    const { letters } = keysOf(queue, stream);
    const [reply] = await this.#read([{ key: letters, command: ['HGETALL', letters] }], call);
    return new Map(pairs(reply).map(([name, letter]) => [textOf(name), letter as Uint8Array]));
  }

  async addLetter(
    queue: string,
    stream: string,
    holder: string,
    name: string,
    letter: Uint8Array,
    call: StoreCall,
  ): Promise<boolean> {
    const { meta, letters } = keysOf(queue, stream);
    const args = [holder, name, letter];
    return (
      (await this.#write(meta, (slot) => this.#calls.queue('queueLetter', slot, [meta, letters], args), call)) === 1
    );
  }

  async removeLetters(queue: string, stream: string, names: readonly string[], call: StoreCall): Promise<number> {
    if (names.length === 0) return 0;
    const { letters } = keysOf(queue, stream);
    return Number(await this.#write(letters, (slot) => ({ slot, build: () => ['HDEL', letters, ...names] }), call));
  }

  async moveLetters(
    queue: string,
    stream: string,
    to: string,
    moved: ReadonlyMap<string, Uint8Array>,
    call: StoreCall,
  ): Promise<string[]> {
    const { list, letters } = keysOf(queue, stream);
    const made = keysOf(queue, to);
    const args = [to, 'put back by hand', ...Array.from(moved).flat()];
    const keys = [list, letters, made.meta, made.records];
    const reply = await this.#write(list, (slot) => this.#calls.queue('queueMove', slot, keys, args), call, false);
    return listOf(reply).map(textOf);
  }

  async names(call: StoreCall): Promise<string[]> {
    const [reply] = await this.#read([{ key: NAMES_KEY, command: ['SMEMBERS', NAMES_KEY] }], call);
    return listOf(reply).map(textOf).sort();
  }

  /** @param again sent again when its connection is lost */
  async #write(key: string, request: (slot: number) => SlotRequest, call: StoreCall, again = true): Promise<unknown> {
    const deadline = this.#shards.begin(call);
    const layout = await this.#shards.layout(deadline);
    const how = { idempotent: again, acknowledged: true };
    const [outcome] = await this.#shards.execute([request(layout.slotOf(key))], deadline, how);
    if (outcome instanceof Error) throw storeError(outcome, call.signal);
    return outcome;
  }

  async #ask(
    commands: readonly { readonly key: string; readonly command: readonly string[] }[],
    call: StoreCall,
  ): Promise<unknown[]> {
    const deadline = this.#shards.begin(call);
    const layout = await this.#shards.layout(deadline);
    const requests = commands.map(({ key, command }) => ({ slot: layout.slotOf(key), build: () => [...command] }));
    return await this.#shards.execute(requests, deadline, { idempotent: true });
  }

  async #read(
    commands: readonly { readonly key: string; readonly command: readonly string[] }[],
    call: StoreCall,
  ): Promise<unknown[]> {
    const outcomes = await this.#ask(commands, call);
    for (const outcome of outcomes) if (outcome instanceof Error) throw storeError(outcome, call.signal);
    return outcomes;
  }
}

/** All in one slot: names of caches have no brace. */
function keysOf(queue: string, stream: string): Keys {
  const list = `bw.queue:{${queue}}`;
  return { list, meta: `${list}:m:${stream}`, records: `${list}:s:${stream}`, letters: `${list}:d:${stream}` };
}

function textOf(value: unknown): string {
  return value instanceof Uint8Array ? decoder.decode(value) : String(value);
}

function listOf(reply: unknown): readonly unknown[] {
  return Array.isArray(reply) ? reply : [];
}

/** Names and values: a map in RESP3, in a row in RESP2. */
function pairs(reply: unknown): [unknown, unknown][] {
  const row = Array.isArray(reply) ? reply : ((reply as { readonly flat?: readonly unknown[] } | null)?.flat ?? []);
  const found: [unknown, unknown][] = [];
  for (let i = 0; i + 1 < row.length; i += 2) found.push([row[i], row[i + 1]]);
  return found;
}
