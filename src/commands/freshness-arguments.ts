/** The arguments of BW.* for COMMAND DOCS, so that redis-cli shows at its prompt how they are written. */
import type { ArgumentSpec } from './row.ts';

const KEY: ArgumentSpec = { name: 'key', type: 'key' };
const VALUE: ArgumentSpec = { name: 'value', type: 'string' };
const COUNT: ArgumentSpec = { name: 'n', type: 'integer' };
const KEYS: ArgumentSpec = { name: 'key', type: 'key', multiple: true };
const LOCK: ArgumentSpec = { name: 'name', type: 'string' };
const OWNER: ArgumentSpec = { name: 'owner', type: 'string' };
const TAGS: ArgumentSpec = { name: 'tag', type: 'string', multiple: true };

const LEASE: ArgumentSpec = {
  name: 'lease',
  type: 'block',
  token: 'LEASE',
  optional: true,
  parts: [
    { name: 'ms', type: 'integer', optional: true },
    { name: 'notify', type: 'pure-token', token: 'NOTIFY', optional: true },
  ],
};

const clause = (token: string, ...parts: ArgumentSpec[]): ArgumentSpec => ({
  name: token.toLowerCase(),
  type: 'block',
  token,
  optional: true,
  parts: [COUNT, ...parts],
});

/** A right to fill what is missing, or an answer that may be that old. */
const LEASE_OR_STALE: ArgumentSpec = {
  name: 'how',
  type: 'oneof',
  optional: true,
  parts: [
    { ...LEASE, optional: false },
    { name: 'ms', type: 'integer', token: 'STALE' },
  ],
};

/** By the name of the command. */
export const FRESHNESS_ARGUMENTS: Readonly<Record<string, readonly ArgumentSpec[]>> = {
  'bw.get': [KEY, LEASE_OR_STALE],
  'bw.mget': [COUNT, KEYS, LEASE_OR_STALE, { name: 'packed', type: 'pure-token', token: 'PACKED', optional: true }],
  'bw.set': [
    KEY,
    VALUE,
    { name: 'ms', type: 'integer', token: 'PX', optional: true },
    clause('TAGS', TAGS),
    {
      name: 'lease',
      type: 'block',
      optional: true,
      parts: [
        { name: 'token', type: 'string', token: 'LEASE' },
        { name: 'tell', type: 'pure-token', token: 'TELL', optional: true },
      ],
    },
    { name: 'version', type: 'integer', token: 'SVERSION', optional: true },
    {
      name: 'condition',
      type: 'oneof',
      optional: true,
      parts: [
        { name: 'nx', type: 'pure-token', token: 'NX' },
        { name: 'xx', type: 'pure-token', token: 'XX' },
      ],
    },
  ],
  'bw.fill': [
    COUNT,
    {
      name: 'entry',
      type: 'block',
      multiple: true,
      parts: [
        KEY,
        VALUE,
        { name: 'px', type: 'integer' },
        { name: 'token', type: 'string' },
        { name: 'ntags', type: 'integer' },
        { ...TAGS, optional: true },
      ],
    },
  ],
  'bw.lease': [COUNT, KEYS, { name: 'ms', type: 'integer', optional: true }],
  'bw.release': [
    {
      name: 'lease',
      type: 'block',
      multiple: true,
      parts: [
        { name: 'key', type: 'key' },
        { name: 'token', type: 'string' },
      ],
    },
  ],
  'bw.lock': [LOCK, OWNER, { name: 'ms', type: 'integer' }],
  'bw.renew': [LOCK, OWNER, { name: 'ms', type: 'integer' }],
  'bw.unlock': [LOCK, OWNER],
  'bw.count': [LOCK, { name: 'by', type: 'integer', optional: true }, { name: 'ms', type: 'integer', optional: true }],
  'bw.invalidate': [
    clause('KEYS', KEYS),
    clause('TAGS', TAGS),
    clause('NAMESPACES', { name: 'name', type: 'string', multiple: true }),
  ],
};
