/**
 * What CLUSTER SLOTS, SHARDS, NODES and INFO say of a view, byte for byte as Redis 7.0 would (`test/conformance/cluster-replies.test.ts` compares them with a
 * real cluster's).
 *
 * One thing is different underneath: a member may own some ranges and copy others. SHARDS says so, as its form allows. NODES has one line a member
 * and one role for it: every member is shown as a primary with the slots that it owns. SLOTS could say so, but clients cannot take it: ioredis and
 * node-redis keep one connection a member, with READONLY or without, and asked to read from replicas they send reads to owners without having said
 * READONLY, are answered MOVED, choose a replica again, and give up after sixteen rounds. So SLOTS lists as copies only members that own nothing: the
 * replicas of one primary.
 */
import type { ReplyWriter } from '../resp/writer.ts';
import type { ClusterView, MemberView, SlotRunView } from './cluster-face.ts';
import { integerField, textField } from './fields.ts';

/** An array of `[first, last, [host, port, id, {}], copy ...]`, by slots. */
export function writeSlots(view: ClusterView, out: ReplyWriter): void {
  const owners = new Set(view.runs.map(({ owner }) => owner.id));
  const runs = runsBy(view.runs, ({ id, health }) => !owners.has(id) && health !== 'failed');
  out.array(runs.length);
  for (const { first, last, owner, copies: available } of runs) {
    out.array(3 + available.length);
    out.integer(first);
    out.integer(last);
    for (const member of [owner, ...available]) {
      out.array(4);
      out.bulkText(member.host);
      out.integer(member.port);
      out.bulkText(member.id);
      // Further names of the host: none.
      out.map(0);
    }
  }
}

/** The runs with only those copies; neighbours that do not differ any more are one. As Redis does, a failed copy is not offered to readers. */
function runsBy(runs: readonly SlotRunView[], isListed: (copy: MemberView) => boolean): readonly SlotRunView[] {
  const found: SlotRunView[] = [];
  for (const run of runs) {
    const copies = run.copies.filter(isListed);
    const previous = found.at(-1);
    const goesOn =
      previous !== undefined &&
      previous.last + 1 === run.first &&
      previous.owner === run.owner &&
      previous.copies.length === copies.length &&
      copies.every((copy) => previous.copies.includes(copy));
    if (goesOn) found[found.length - 1] = { ...previous, last: run.last };
    else found.push({ ...run, copies });
  }
  return found;
}

/** One shard for each owner together with the same copies: `{slots: [first, last, ...], nodes: [{...}, ...]}`. */
export function writeShards(view: ClusterView, out: ReplyWriter): void {
  const shards = shardsOf(view.runs);
  const idle = view.members.filter(
    ({ id }) => !view.runs.some(({ owner, copies }) => owner.id === id || copies.some((copy) => copy.id === id)),
  );
  out.array(shards.length + idle.length);
  for (const runs of shards) writeShard(runs, runs[0]!.owner, runs[0]!.copies, out);
  for (const member of idle) writeShard([], member, [], out);
}

function writeShard(
  runs: readonly SlotRunView[],
  owner: MemberView,
  copies: readonly MemberView[],
  out: ReplyWriter,
): void {
  out.map(2);
  out.bulkText('slots');
  out.array(runs.length * 2);
  for (const { first, last } of runs) {
    out.integer(first);
    out.integer(last);
  }
  out.bulkText('nodes');
  out.array(1 + copies.length);
  for (const member of [owner, ...copies]) {
    out.map(member.zone === '' ? 7 : 8);
    textField(out, 'id', member.id);
    integerField(out, 'port', member.port);
    textField(out, 'ip', member.host);
    textField(out, 'endpoint', member.host);
    textField(out, 'role', member === owner ? 'master' : 'replica');
    // Ranges have numbers of their own; a member as a whole has none.
    integerField(out, 'replication-offset', 0);
    textField(out, 'health', member.health === 'failed' ? 'fail' : 'online');
    // The field's name in Valkey; Redis has none.
    if (member.zone !== '') textField(out, 'availability-zone', member.zone);
  }
}

/** Runs with the same owner and the same copies, in the order in which the first of each comes. */
function shardsOf(runs: readonly SlotRunView[]): readonly (readonly SlotRunView[])[] {
  const shards = new Map<string, SlotRunView[]>();
  for (const run of runs) {
    const name = [run.owner.id, ...run.copies.map(({ id }) => id).sort()].join(' ');
    const shard = shards.get(name);
    if (shard === undefined) shards.set(name, [run]);
    else shard.push(run);
  }
  return [...shards.values()];
}

/** One line a member: `<id> <host:port@link> <flags> - <ping sent> <pong received> <epoch> <link> [<first>-<last> ...]`. */
export function nodesText(view: ClusterView): string {
  const owned = new Map<string, [number, number][]>();
  for (const { first, last, owner } of view.runs) {
    const runs = owned.get(owner.id) ?? [];
    const previous = runs.at(-1);
    if (previous !== undefined && previous[1] + 1 === first) previous[1] = last;
    else runs.push([first, last]);
    owned.set(owner.id, runs);
  }
  let text = '';
  for (const member of view.members) {
    const slots = (owned.get(member.id) ?? []).map(([first, last]) =>
      first === last ? ` ${first}` : ` ${first}-${last}`,
    );
    text +=
      `${member.id} ${member.host}:${member.port}@${member.linkPort} ${flagsOf(view, member)} - ${member.pingSentMs} ` +
      `${member.pongReceivedMs} ${member.epoch} ${member.health === 'failed' ? 'disconnected' : 'connected'}${slots.join('')}\n`;
  }
  return text;
}

function flagsOf(view: ClusterView, { id, health }: MemberView): string {
  const own = id === view.self.id ? 'myself,' : '';
  return `${own}master${health === 'failed' ? ',fail' : health === 'suspected' ? ',fail?' : ''}`;
}

export function infoText(view: ClusterView): string {
  const slots = { online: 0, suspected: 0, failed: 0 };
  for (const { first, last, owner } of view.runs) slots[owner.health] += last - first + 1;
  const rows: readonly (readonly [string, string | number])[] = [
    ['cluster_state', view.isOk ? 'ok' : 'fail'],
    ['cluster_slots_assigned', slots.online + slots.suspected + slots.failed],
    ['cluster_slots_ok', slots.online],
    ['cluster_slots_pfail', slots.suspected],
    ['cluster_slots_fail', slots.failed],
    ['cluster_known_nodes', view.members.length],
    ['cluster_size', new Set(view.runs.map(({ owner }) => owner.id)).size],
    ['cluster_current_epoch', view.epoch],
    ['cluster_my_epoch', view.self.epoch],
    ['cluster_stats_messages_sent', view.framesSent],
    ['cluster_stats_messages_received', view.framesReceived],
    ['total_cluster_links_buffer_limit_exceeded', 0],
  ];
  return rows.map(([name, value]) => `${name}:${value}\r\n`).join('');
}
