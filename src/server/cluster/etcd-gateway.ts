/**
 * Transactions over etcd's JSON gateway: what `cluster/etcd.ts` says becomes `POST /v3/kv/txn`, and the answer becomes that again. etcd's own protocol is gRPC, for which a member would need a dependency ten times its
 * size; the gateway is in every etcd since 3.3, on the same port.
 *
 * Keys and values travel in base64, revisions as text (they are 64 bits wide). One host is asked until it fails, then the next. A question that fails may have been done: whoever asks must be able to live with that.
 *
 * With a user and a password a token is asked for first, and again when etcd says that it is not good (any more).
 */
import http from 'node:http';
import https from 'node:https';
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import type { EtcdAnswer, EtcdCompare, EtcdEntry, EtcdOp, EtcdResult, EtcdTxn } from '../../cluster/etcd.ts';
import type { EtcdAddress } from './etcd-address.ts';

export interface EtcdTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** Connections to one host. */
const MOST_SOCKETS = 16;
/** All records of the largest cluster are 10 MiB. */
const MOST_BYTES = 64 * 1024 * 1024;
/** gRPC's numbers. */
const PERMISSION_DENIED = 7;
const UNIMPLEMENTED = 12;
const UNAUTHENTICATED = 16;

interface Refused {
  readonly code: number;
  readonly text: string;
}

type Json = { readonly [name: string]: unknown };

export class EtcdGateway {
  readonly #address: EtcdAddress;
  readonly #agent: http.Agent;
  #at = 0;
  #token: string | null = null;
  /** Round trips that were answered, and questions that were not. */
  answered = 0;
  failed = 0;
  /** Of the last answer. */
  roundTripMs = Number.NaN;

  constructor(address: EtcdAddress, tls: EtcdTls) {
    this.#address = address;
    const options = { keepAlive: true, maxSockets: MOST_SOCKETS };
    this.#agent = address.isTls ? new https.Agent({ ...options, ...tls }) : new http.Agent(options);
  }

  /**
   * Does it, within the time.
   * @throws BreakwaterError `ETCD_AWAY`: nobody answered in time, and it may have been done; `ETCD_REFUSED`: etcd will not, and going on as before changes nothing
   */
  async run(txn: EtcdTxn, timeoutMs: number): Promise<EtcdAnswer> {
    const untilMs = performance.now() + timeoutMs;
    try {
      const startMs = performance.now();
      const body = txnJson(txn);
      let found = await this.#askWithToken('/v3/kv/txn', body, untilMs);
      if ('code' in found && isTokenTrouble(found as unknown as Refused) && this.#address.user !== null) {
        this.#token = null;
        found = await this.#askWithToken('/v3/kv/txn', body, untilMs);
      }
      if ('code' in found) throw this.#refusal(found as unknown as Refused);
      const answer = answerOf(found, txn);
      this.answered += 1;
      this.roundTripMs = performance.now() - startMs;
      return answer;
    } catch (error) {
      this.failed += 1;
      throw error instanceof BreakwaterError
        ? error
        : new BreakwaterError('ETCD_AWAY', `etcd did not answer: ${messageOf(error)}`);
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  // -- within

  async #askWithToken(path: string, body: Json, untilMs: number): Promise<Json> {
    const { user, password } = this.#address;
    if (user !== null && this.#token === null) {
      const found = await this.#ask('/v3/auth/authenticate', { name: user, password }, untilMs);
      const token = found['token'];
      if (typeof token !== 'string') {
        const { code = 0, text = 'it gave no token' } = found as Partial<Refused>;
        // As after too many tries, or while it has no leader.
        if (/authentication failed|not enabled/.test(text)) throw this.#refusal({ code: PERMISSION_DENIED, text });
        throw this.#refusal({ code, text });
      }
      this.#token = token;
    }
    return await this.#ask(path, body, untilMs);
  }

  /** The answer; or `code` and `text` of a refusal. */
  #ask(path: string, body: Json, untilMs: number): Promise<Json> {
    const { hosts, isTls } = this.#address;
    const at = this.#at;
    const { host, port } = hosts[at]!;
    const bytes = Buffer.from(JSON.stringify(body));
    return new Promise<Json>((resolve, reject) => {
      let isSettled = false;
      const fail = (error: Error): void => {
        if (isSettled) return;
        isSettled = true;
        clearTimeout(timer);
        // Others may have gone on to the next already.
        if (this.#at === at) this.#at = (at + 1) % hosts.length;
        reject(new Error(`${host}:${port}: ${error.message || error.name}`));
        request.destroy();
      };
      const request = (isTls ? https : http).request(
        {
          host,
          port,
          path,
          method: 'POST',
          agent: this.#agent,
          headers: {
            'content-type': 'application/json',
            'content-length': bytes.length,
            ...(this.#token === null ? {} : { authorization: this.#token }),
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          let length = 0;
          response.on('data', (chunk: Buffer) => {
            length += chunk.length;
            if (length > MOST_BYTES) fail(new Error('an answer without an end'));
            else chunks.push(chunk);
          });
          response.on('error', fail);
          response.on('aborted', () => fail(new Error('it hung up')));
          response.on('end', () => {
            if (isSettled) return;
            const status = response.statusCode ?? 0;
            const text = Buffer.concat(chunks).toString();
            let found: Json | null = null;
            try {
              found = JSON.parse(text) as Json;
            } catch {
              // A proxy, or no etcd: told below.
            }
            if (status === 200 && found !== null && typeof found === 'object') {
              isSettled = true;
              clearTimeout(timer);
              resolve(found);
              return;
            }
            const code = Number(found?.['code'] ?? (status === 404 ? UNIMPLEMENTED : 0));
            const why = String(found?.['message'] ?? found?.['error'] ?? `it answered ${status}`);
            if (code !== PERMISSION_DENIED && code !== UNIMPLEMENTED && !isTokenTrouble({ code, text: why })) {
              // Another host may do better: this one has no leader, no room, no time.
              if (!/authentication failed|not enabled/.test(why)) {
                fail(new Error(why));
                return;
              }
            }
            isSettled = true;
            clearTimeout(timer);
            resolve({ code, text: why });
          });
        },
      );
      const timer = setTimeout(
        () => fail(new Error('it did not answer in time')),
        Math.max(1, untilMs - performance.now()),
      );
      request.on('error', fail);
      request.end(bytes);
    });
  }

  #refusal({ code, text }: Refused): BreakwaterError {
    const why =
      code === UNIMPLEMENTED
        ? 'it has no JSON gateway at /v3 (etcd 3.4 and later have; --enable-grpc-gateway=false turns it off), or is no etcd'
        : text;
    return new BreakwaterError('ETCD_REFUSED', `etcd refuses: ${why}`);
  }
}

function isTokenTrouble({ code, text }: Refused): boolean {
  return code === UNAUTHENTICATED || /invalid auth token|revision in header is old|user name is empty/.test(text);
}

// -- to JSON and back

const coded = (text: string): string => Buffer.from(text).toString('base64');

function txnJson({ compare, success, failure }: EtcdTxn): Json {
  return { compare: compare.map(compareJson), success: success.map(opJson), failure: failure.map(opJson) };
}

function compareJson(compare: EtcdCompare): Json {
  const key = coded(compare.key);
  if ('value' in compare) {
    return {
      key,
      target: 'VALUE',
      result: compare.is === 'equal' ? 'EQUAL' : 'LESS',
      value: coded(compare.value),
    };
  }
  return { key, target: 'MOD', result: compare.mod.toUpperCase(), mod_revision: String(compare.revision) };
}

function opJson(op: EtcdOp): Json {
  switch (op.kind) {
    case 'put':
      return { request_put: { key: coded(op.key), value: coded(op.value) } };
    case 'range':
      return {
        request_range: {
          key: coded(op.key),
          ...(op.end === null ? {} : { range_end: coded(op.end) }),
          ...(op.since === 0 ? {} : { min_mod_revision: String(op.since) }),
        },
      };
    case 'txn':
      return { request_txn: txnJson(op.txn) };
  }
}

function answerOf(found: Json, txn: EtcdTxn): EtcdAnswer {
  const header = field(found, 'header') as Json | undefined;
  const clusterId = field(header, 'cluster_id');
  const revision = Number(field(header, 'revision'));
  if (typeof clusterId !== 'string' || !Number.isSafeInteger(revision)) {
    throw new Error('it said nothing that can be understood');
  }
  return { clusterId, revision, ...branchOf(found, txn) };
}

function branchOf(found: Json, { success, failure }: EtcdTxn): Pick<EtcdAnswer, 'isSuccess' | 'results'> {
  const isSuccess = found['succeeded'] === true;
  const ops = isSuccess ? success : failure;
  const responses = (found['responses'] ?? []) as readonly Json[];
  if (responses.length !== ops.length) throw new Error('it answered another question');
  return { isSuccess, results: ops.map((op, index) => resultOf(op, responses[index]!)) };
}

function resultOf(op: EtcdOp, response: Json): EtcdResult {
  switch (op.kind) {
    case 'put':
      return { kind: 'put' };
    case 'range': {
      const range = field(response, 'response_range') as Json | undefined;
      const entries = (field(range, 'kvs') ?? []) as readonly Json[];
      return { kind: 'range', entries: entries.map(entryOf) };
    }
    case 'txn': {
      const inner = field(response, 'response_txn');
      if (inner === undefined) throw new Error('it answered another question');
      return { kind: 'txn', ...branchOf(inner as Json, op.txn) };
    }
  }
}

function entryOf(entry: Json): EtcdEntry {
  const decode = (value: unknown): string => Buffer.from(String(value ?? ''), 'base64').toString();
  return {
    key: decode(entry['key']),
    value: decode(entry['value']),
    modRevision: Number(field(entry, 'mod_revision')),
  };
}

/** Under its name in etcd's protocol, or as JSON mostly writes it: versions of the gateway differ. */
function field(of: Json | undefined, name: string): unknown {
  return of?.[name] ?? of?.[name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())];
}
