/**
 * Loads the scripts into servers, and with them the answer to a question that no command answers cheaply: is this still the
 * server that acknowledged our invalidations, or one that restarted from an older copy of its data?
 *
 *   1. `user:42` is stored and copied to disk.  2. It is deleted; the reply acknowledges it.  3. The server is killed before the
 *   delete is on disk (appendfsync everysec: up to a second; snapshots: minutes).  4. It starts again, with `user:42`.
 *
 * What was stored in an earlier life of the server must not be served. A server has a run id that is new with each start, but
 * asking for it with every read costs more than the read. A server also forgets its scripts when it ends. So the run id is
 * written into the text of the scripts, and the name under which a script is called is the hash of its text:
 *
 *   1. INFO tells run id R. The scripts are loaded with R in their text, on the *same connection*: if that ends in between,
 *      nothing is loaded. So scripts with R in their text exist only in life R.
 *   2. Every call is EVALSHA of a text with R. In any other life it fails with NOSCRIPT and has done nothing.
 *   3. NOSCRIPT: back to 1 (after a mere SCRIPT FLUSH, R is the same).
 *
 * Hence never EVAL, which would carry R into whatever life the server is in. Redis before 7 keeps scripts loaded by SCRIPT LOAD in its append-only file
 * and sends them to replicas: this needs Redis 7 or Valkey, where scripts are never copied.
 *
 * With `trust` all lives are taken for one: entries survive restarts and failovers. Only for servers that lose nothing that was acknowledged.
 */
import { createHash } from 'node:crypto';
import { BreakwaterError } from '../../base/errors.ts';
import type { RespClient } from '../../client/client.ts';
import type { ClusterNode } from '../../client/cluster-node.ts';
import type { Preparation } from '../../client/cluster-request.ts';
import { ID_BYTES } from './format.ts';
import { SCRIPTS, type ScriptName, scriptText } from './lua.ts';

type Names = Readonly<Record<ScriptName, string>>;

interface Loaded {
  readonly life: string;
  readonly names: Names;
}

const TRUSTED = 'trusted'.padEnd(ID_BYTES, '-');
const decoder = new TextDecoder();

export class Scripts implements Preparation {
  readonly #trust: boolean;
  readonly #loaded = new WeakMap<ClusterNode, Loaded>();
  readonly #loading = new WeakMap<ClusterNode, Promise<void>>();
  /** How often scripts were loaded into a server. */
  loads = 0;

  constructor(options: { readonly trust: boolean }) {
    this.#trust = options.trust;
  }

  /** The SHA-1 to call `name` by on this node, which is prepared. */
  nameOf(node: ClusterNode, name: ScriptName): string {
    const loaded = this.#loaded.get(node);
    // Another request of this round has just learnt that the scripts are gone: this one will be told NOSCRIPT as well.
    return loaded === undefined ? '0'.repeat(40) : loaded.names[name];
  }

  /** The life that stands in the text of the scripts which `nameOf` names now; null = none are loaded. */
  lifeOf(node: ClusterNode): string | null {
    return this.#loaded.get(node)?.life ?? null;
  }

  prepare(node: ClusterNode, options: { readonly timeoutMs: number }): Promise<void> | null {
    if (this.#loaded.has(node)) return null;
    let loading = this.#loading.get(node);
    if (loading === undefined) {
      loading = this.#load(node, options.timeoutMs).finally(() => this.#loading.delete(node));
      this.#loading.set(node, loading);
    }
    return loading;
  }

  isUndone(node: ClusterNode, error: BreakwaterError): boolean {
    if (error.code !== 'NOSCRIPT') return false;
    this.#loaded.delete(node);
    return true;
  }

  async #load(node: ClusterNode, timeoutMs: number): Promise<void> {
    const client = node.reader;
    for (let attempt = 0; attempt < 3; attempt += 1) {
      await client.connect({ timeoutMs });
      if (client.state.kind !== 'ready') continue;
      const connection = client.stats.connects;
      const life = this.#trust ? TRUSTED : await lifeOf(client, node.name, timeoutMs);
      const names = {} as Record<ScriptName, string>;
      const commands = Object.keys(SCRIPTS).map((name) => {
        const text = scriptText(name as ScriptName, life);
        names[name as ScriptName] = createHash('sha1').update(text).digest('hex');
        return ['SCRIPT', 'LOAD', text];
      });
      // Nothing is awaited from here to the sending: it goes out on the connection that INFO came by. Neither is declared idempotent, so
      // neither is ever sent on another one.
      if (!this.#trust && ((client.state.kind as string) !== 'ready' || client.stats.connects !== connection)) continue;
      const replies = await client.pipeline(commands, { timeoutMs });
      const failed = replies.find((reply) => reply instanceof Error);
      if (failed !== undefined) throw failed;
      this.loads += 1;
      this.#loaded.set(node, { life, names });
      return;
    }
    throw new BreakwaterError(
      'CLIENT_CONNECTION_LOST',
      `cannot load scripts into ${node.name}: the connection does not hold`,
    );
  }
}

/** The server's run id, shortened. */
async function lifeOf(client: RespClient, name: string, timeoutMs: number): Promise<string> {
  const info = await client.command(['INFO', 'server'], { timeoutMs });
  const text = info instanceof Uint8Array ? decoder.decode(info) : String(info);
  const runId = /^run_id:([0-9a-f]{40})/m.exec(text)?.[1];
  if (runId !== undefined) return runId.slice(0, ID_BYTES);
  throw new BreakwaterError('STORE_REPLY_INVALID', `cannot use ${name}: its INFO names no run_id`);
}
