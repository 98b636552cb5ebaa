/** Messages between members for people, one line each. */
import { unreachable } from '../../src/base/assert.ts';
import { ETCD } from '../../src/cluster/etcd.ts';
import type { Message, Refusal } from '../../src/cluster/messages.ts';
import type { OwnershipRecord } from '../../src/cluster/record.ts';
import { describeEffect } from './model-store.ts';

const short = (id: string | null): string =>
  id === null ? 'nobody' : id === ETCD ? 'etcd' : `m${Number.parseInt(id.slice(-6), 16)}`;

function record({ range, ballot, owner, inSync }: OwnershipRecord): string {
  return `${range}:(${ballot.epoch} ${short(ballot.node)}) ${short(owner)} [${inSync.map(short).join(' ')}]`;
}

function refusals(refused: readonly Refusal[]): string {
  return refused
    .map(
      ({ range, reason, promised, waitMs }) =>
        ` no to ${range}: ${reason}${reason === 'heard' ? ` ${waitMs.toFixed(0)} ms` : ` (${promised.epoch} ${short(promised.node)})`}`,
    )
    .join(',');
}

export function describeMessage(message: Message): string {
  switch (message.kind) {
    case 'heartbeat':
      return `heartbeat, knows ${message.life}:${message.counter}`;
    case 'heartbeat-ack': {
      const news = message.rows.map(({ promised, accepted }) => `${record(accepted)} promised ${promised.epoch}`);
      const silent = message.silent.map(({ id, ms }) => `${short(id)} ${ms.toFixed(0)} ms`);
      return `heard${message.isVoting ? '' : ', does not vote'}${news.length > 0 ? `; news ${news.join(', ')}` : ''}${silent.length > 0 ? `; silent ${silent.join(', ')}` : ''}`;
    }
    case 'prepare':
      return `prepare epoch ${message.epoch}: ${message.items.map(({ range, basis, owner, isYielded }) => `${range} (over ${basis.epoch} of ${short(owner)}${isYielded ? ', yielded' : ''})`).join(', ')}`;
    case 'promised':
      return `promised ${message.granted.join(' ')}${refusals(message.refused)}`;
    case 'accept':
      return `accept ${message.records.map(record).join(', ')}`;
    case 'accepted':
      return `accepted ${message.ranges.join(' ')}${refusals(message.refused)}`;
    case 'begin':
      return `begin ${message.range} reign ${message.reign.epoch} session ${message.session} at ${message.offset}${message.keeps ? ' keep' : ''}`;
    case 'effects':
      return `effects ${message.range} reign ${message.reign.epoch} from ${message.from}: ${message.bodies.map(describeEffect).join(', ')}`;
    case 'applied':
      return `applied ${message.range} reign ${message.reign.epoch} session ${message.session} up to ${message.offset}`;
    case 'part':
      return `part ${message.range} #${message.number} at ${message.at}: ${message.entries.length}${message.isLast ? ', the last' : ''}`;
    case 'part-ack':
      return `part ${message.range} #${message.number} ${message.isTaken ? 'taken' : 'not taken'}`;
    case 'following':
      return `following ${message.positions.map(({ range, reign, offset }) => `${range}:${reign.epoch}:${offset}`).join(' ')}`;
    case 'followed':
      return `may serve reads of ${message.leases.map(({ range }) => range).join(' ')}`;
    case 'yield':
      return `yields ${message.items.map(({ range, basis }) => `${range} (${basis.epoch})`).join(' ')}`;
    case 'reigning':
      return `reigning ${message.records.map(record).join(', ')}`;
    case 'spread':
      return `spread ${message.id} over ${message.ranges.join(' ')}`;
    case 'spread-done':
      return `spread ${message.id} done in ${message.ranges.join(' ')}`;
    case 'proxy':
      return `asks ${message.id} in ${message.range}`;
    case 'proxied':
      return `answers ${message.id}`;
    case 'roster-prepare':
      return `may I change the roster under epoch ${message.epoch}?`;
    case 'roster-promised':
      return `roster ${message.isGranted ? 'promised' : 'not promised'} (${message.promised.epoch})`;
    case 'roster-accept':
      return `roster ${message.roster.ballot.epoch}: ${message.roster.members.map(({ id }) => short(id)).join(' ')}`;
    case 'roster-known':
      return `the roster is ${message.roster.ballot.epoch}`;
    case 'roster-accepted':
      return `roster: ${message.answer}`;
    default:
      return unreachable(message);
  }
}
