/**
 * The script calls as requests, one function each: which keys, which arguments, which slot.
 */
import type { ClusterNode } from '../../client/cluster-node.ts';
import type { SlotRequest } from '../../client/cluster-request.ts';
import { sourceDigits } from './format.ts';
import type { ScriptName } from './lua.ts';
import type { Scripts } from './scripts.ts';
import type { Sector } from './sectors.ts';

type Argument = string | number | Uint8Array;

export class Calls {
  readonly #scripts: Scripts;
  readonly #newId: () => string;

  readonly #sending: (node: ClusterNode, keys: readonly string[]) => void;

  /** @param sending told of what is about to be read or filled where */
  constructor(
    scripts: Scripts,
    newId: () => string,
    sending: (node: ClusterNode, keys: readonly string[]) => void = () => undefined,
  ) {
    this.#scripts = scripts;
    this.#newId = newId;
    this.#sending = sending;
  }

  survey(sector: Sector, names: readonly string[]): SlotRequest {
    return this.#call('survey', sector.slot, [sector.key], [this.#newId(), ...names]);
  }

  /** @param most names that the table remembers, about */
  invalidate(sector: Sector, names: readonly string[], most: number): SlotRequest {
    return this.#call('invalidate', sector.slot, [sector.key], [this.#newId(), most, ...names]);
  }

  /**
   * @param lease null = none wanted; `lifeMs`: how long a token is remembered, `waitMs`: how long others wait for its holder
   * @param keys each with the token it is to be leased under, and the version of an entry that is known to be dead ('' = none)
   */
  read(
    slot: number,
    keys: readonly { readonly key: string; readonly token: string; readonly dead: string }[],
    lease: { readonly lifeMs: number; readonly waitMs: number } | null,
  ): SlotRequest {
    const args: Argument[] = lease === null ? ['', ''] : [lease.lifeMs, lease.waitMs];
    for (const { token, dead } of keys) args.push(token, dead);
    return this.#call(
      'read',
      slot,
      keys.map(({ key }) => key),
      args,
    );
  }

  /** Leases for keys whether they are there or not. */
  lease(
    slot: number,
    keys: readonly { readonly key: string; readonly token: string }[],
    lease: { readonly lifeMs: number; readonly waitMs: number },
  ): SlotRequest {
    return this.#call(
      'lease',
      slot,
      keys.map(({ key }) => key),
      [lease.lifeMs, lease.waitMs, ...keys.map(({ token }) => token)],
    );
  }

  fill(slot: number, key: string, token: string, body: Uint8Array, ttlMs: number | null): SlotRequest {
    return this.#call('fill', slot, [key], [token, body, wholeMs(ttlMs)]);
  }

  /** @param version of the source, as in `body` */
  set(slot: number, key: string, body: Uint8Array, ttlMs: number | null, version?: bigint): SlotRequest {
    return this.#call('set', slot, [key], [body, wholeMs(ttlMs), version === undefined ? '' : sourceDigits(version)]);
  }

  delete(slot: number, keys: readonly string[]): SlotRequest {
    return this.#call('delete', slot, keys, []);
  }

  count(slot: number, key: string, by: number, ttlMs: number | null): SlotRequest {
    return this.#call('count', slot, [key], [by, wholeMs(ttlMs)]);
  }

  draw(slot: number, key: string, by: number): SlotRequest {
    return this.#call('draw', slot, [key], [by]);
  }

  lock(slot: number, keys: readonly [string, string], owner: string, ttlMs: number): SlotRequest {
    return this.#call('lock', slot, keys, [owner, Math.ceil(ttlMs)]);
  }

  renewLock(slot: number, key: string, owner: string, ttlMs: number): SlotRequest {
    return this.#call('renewLock', slot, [key], [owner, Math.ceil(ttlMs)]);
  }

  unlock(slot: number, key: string, owner: string): SlotRequest {
    return this.#call('unlock', slot, [key], [owner]);
  }

  /** A step of a write-behind queue (queue-lua.ts). */
  queue(
    name: Extract<ScriptName, `queue${string}`>,
    slot: number,
    keys: readonly string[],
    args: readonly Argument[],
  ): SlotRequest {
    return this.#call(name, slot, keys, args);
  }

  release(slot: number, key: string, token: string): SlotRequest {
    return this.#call('release', slot, [key], [token]);
  }

  #call(name: ScriptName, slot: number, keys: readonly string[], args: readonly Argument[]): SlotRequest {
    return {
      slot,
      build: (node) => {
        if (name === 'read' || name === 'fill' || name === 'lease') this.#sending(node, keys);
        return ['EVALSHA', this.#scripts.nameOf(node, name), keys.length, ...keys, ...args];
      },
    };
  }
}

/** The servers count whole milliseconds, at least 1, and refuse what reaches beyond 2^63. */
function wholeMs(ttlMs: number | null): number | '' {
  return ttlMs === null ? '' : Math.min(Math.max(1, Math.round(ttlMs)), 1e15);
}
