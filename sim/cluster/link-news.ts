/**
 * What members learn from their links beside messages, where the crash fast path is on: that a peer's connection has closed, and what came of dialling it again. The production judgement (`cluster/refusals.ts`) of
 * what that means is asked by each member for itself; here are the sockets, and what may befall them.
 *
 *   died      a process has ended and its machine lives: connections close, dials are refused, until it starts again
 *   lost      a machine has ended: nothing is heard
 *   reset     connections close while the process lives; its port refuses for a moment shorter than the pause between two dials, then accepts; it dials anew itself
 *   quit      a process closes its port, lives on for a while, and dies
 */
import { GAP_MS, Refusals } from '../../src/cluster/refusals.ts';
import type { Datagrams } from '../world/datagrams.ts';
import type { World } from '../world/world.ts';
import type { Host } from './host.ts';

export interface Delays {
  /** A round trip of a dial, and how long a closing is on its way: between these. */
  readonly dialMs: readonly [number, number];
  /** When a living member dials again whom it lost. */
  readonly againMs: readonly [number, number];
}

const DELAYS: Delays = { dialMs: [0.1, 2], againMs: [25, 50] };

export class LinkNews {
  readonly #delays: Delays;
  readonly #world: World;
  readonly #datagrams: Datagrams;
  readonly #hosts: readonly Host[];
  /** By observer. A member that starts anew has seen nothing close. */
  readonly #refusals = new Map<Host, { readonly of: unknown; readonly state: Refusals }>();
  readonly #lost = new Set<Host>();
  /** Lives that have closed their port for good. */
  readonly #quit = new Map<Host, unknown>();
  /** Its port refuses until then. */
  readonly #refusesUntilMs = new Map<Host, number>();

  constructor(world: World, datagrams: Datagrams, hosts: readonly Host[], delays: Delays = DELAYS) {
    this.#delays = delays;
    this.#world = world;
    this.#datagrams = datagrams;
    this.#hosts = hosts;
  }

  died(host: Host): void {
    this.#lost.delete(host);
    this.#close(host);
  }

  lost(host: Host): void {
    this.#lost.add(host);
  }

  reset(host: Host): void {
    this.#refusesUntilMs.set(host, this.#world.nowMs + GAP_MS);
    this.#close(host);
    this.started(host);
  }

  /** It lives and listens no more. */
  quit(host: Host): void {
    this.#quit.set(host, host.machine);
    this.#close(host);
  }

  hasQuit(host: Host): boolean {
    return this.#quit.has(host) && this.#quit.get(host) === host.machine;
  }

  /** Its links to others are made, or made anew. */
  started(host: Host): void {
    const { machine } = host;
    for (const other of this.#hosts) {
      if (other === host) continue;
      this.#world.after(this.#world.between(...this.#delays.againMs), () => {
        if (machine !== host.machine || machine.state !== 'up' || this.#isCut(host, other)) return;
        if (this.hasQuit(host)) return;
        other.machine.deliver(() => {
          this.#of(other).onLinked(host.id);
          other.back(host.id);
        });
      });
    }
  }

  #close(host: Host): void {
    for (const other of this.#hosts) {
      if (other === host || this.#isCut(host, other)) continue;
      this.#world.after(this.#world.between(...this.#delays.dialMs), () =>
        other.machine.deliver(() => {
          this.#of(other).onClosed(host.id);
          this.#dial(other, host, 0);
        }),
      );
    }
  }

  #dial(from: Host, to: Host, afterMs: number): void {
    const { machine } = from;
    const refusals = this.#of(from);
    this.#world.after(afterMs + this.#world.between(...this.#delays.dialMs), () => {
      const outcome = this.#outcome(from, to);
      machine.deliver(() => {
        if (machine !== from.machine) return;
        const next = refusals.onDialled(to.id, outcome);
        if (next === 'gone') from.gone(to.id);
        else if (next !== null) this.#dial(from, to, next);
      });
    });
  }

  #outcome(from: Host, to: Host): 'refused' | 'accepted' | 'nothing' {
    if (this.#isCut(from, to) || (!to.isUp && this.#lost.has(to))) return 'nothing';
    // A program that stands still accepts: its machine does it.
    const isRefusing = this.hasQuit(to) || (this.#refusesUntilMs.get(to) ?? 0) > this.#world.nowMs;
    return to.isUp && !isRefusing ? 'accepted' : 'refused';
  }

  #isCut(one: Host, other: Host): boolean {
    return this.#datagrams.isCut(one.name, other.name) || this.#datagrams.isCut(other.name, one.name);
  }

  #of(host: Host): Refusals {
    const known = this.#refusals.get(host);
    if (known !== undefined && known.of === host.machine) return known.state;
    const state = new Refusals();
    this.#refusals.set(host, { of: host.machine, state });
    return state;
  }
}
