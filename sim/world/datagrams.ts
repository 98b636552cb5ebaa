/**
 * Messages between machines that may be lost, doubled, delayed and overtaken: worse than the links that the cluster uses (TCP keeps order within a connection), on purpose. What is right
 * here is right on any link, whatever breaks and is made anew.
 *
 *   lossy    a share of all messages is lost, another arrives twice
 *   spread   delays are drawn from a wider interval, so that messages overtake each other
 *   cut      from one name to another, in one direction: everything on the way from now on is lost
 *   slow     everything from or to a name takes longer
 *
 * Messages are values and arrive as they were sent: nobody changes them.
 */
import type { World } from './world.ts';

export interface Weather {
  loss: number;
  duplication: number;
  /** One way. */
  leastMs: number;
  mostMs: number;
}

export class Datagrams {
  readonly weather: Weather;
  sent = 0;
  lost = 0;
  readonly #world: World;
  readonly #cuts = new Map<string, number>();
  readonly #slow = new Map<string, number>();

  constructor(world: World, weather: Weather) {
    this.#world = world;
    this.weather = weather;
  }

  /** Calls `arrive` once, twice or not at all. */
  send(from: string, to: string, arrive: () => void): void {
    const { weather } = this;
    const world = this.#world;
    this.sent += 1;
    if (this.isCut(from, to) || (weather.loss > 0 && world.chance(weather.loss))) {
      this.lost += 1;
      return;
    }
    world.after(this.#delay(from, to), arrive);
    if (weather.duplication > 0 && world.chance(weather.duplication)) world.after(this.#delay(from, to), arrive);
  }

  isCut(from: string, to: string): boolean {
    return this.#cuts.size > 0 && this.#cuts.has(`${from}>${to}`);
  }

  /** Cuts add up: each is healed by itself. */
  cut(from: string, to: string): void {
    const way = `${from}>${to}`;
    this.#cuts.set(way, (this.#cuts.get(way) ?? 0) + 1);
  }

  heal(from: string, to: string): void {
    const way = `${from}>${to}`;
    const count = (this.#cuts.get(way) ?? 0) - 1;
    if (count > 0) this.#cuts.set(way, count);
    else this.#cuts.delete(way);
  }

  slow(name: string, extraMs: number): void {
    if (extraMs === 0) this.#slow.delete(name);
    else this.#slow.set(name, extraMs);
  }

  healAll(weather: Weather): void {
    this.#cuts.clear();
    this.#slow.clear();
    Object.assign(this.weather, weather);
  }

  #delay(from: string, to: string): number {
    const { leastMs, mostMs } = this.weather;
    let extraMs = 0;
    if (this.#slow.size > 0) extraMs = (this.#slow.get(from) ?? 0) + (this.#slow.get(to) ?? 0);
    return this.#world.between(leastMs, mostMs + extraMs);
  }
}
