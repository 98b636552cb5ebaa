/**
 * A double-ended queue over a circular array: O(1) at both ends, where `Array.shift` moves everything once the queue is long.
 * It has no bound of its own: whoever fills it counts (`RespClient` refuses commands beyond `maxQueuedCommands`).
 */
export class Ring<T> {
  #slots: (T | undefined)[] = new Array(16).fill(undefined);
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(item: T): void {
    if (this.#length === this.#slots.length) this.#grow();
    this.#slots[(this.#head + this.#length) & (this.#slots.length - 1)] = item;
    this.#length += 1;
  }

  /** Puts `item` before the oldest. */
  unshift(item: T): void {
    if (this.#length === this.#slots.length) this.#grow();
    this.#head = (this.#head - 1) & (this.#slots.length - 1);
    this.#slots[this.#head] = item;
    this.#length += 1;
  }

  /** The oldest, or undefined. */
  peek(): T | undefined {
    return this.#slots[this.#head];
  }

  /** Removes and returns the oldest, or undefined. */
  shift(): T | undefined {
    if (this.#length === 0) return undefined;
    const item = this.#slots[this.#head];
    this.#slots[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#slots.length - 1);
    this.#length -= 1;
    return item;
  }

  /** The item `index` places after the oldest. */
  at(index: number): T | undefined {
    return index < this.#length ? this.#slots[(this.#head + index) & (this.#slots.length - 1)] : undefined;
  }

  /** Removes everything and returns it, oldest first. */
  drain(): T[] {
    const items: T[] = [];
    for (let item = this.shift(); item !== undefined; item = this.shift()) items.push(item);
    return items;
  }

  #grow(): void {
    const grown: (T | undefined)[] = new Array(this.#slots.length * 2).fill(undefined);
    for (let i = 0; i < this.#length; i += 1) grown[i] = this.at(i);
    this.#slots = grown;
    this.#head = 0;
  }
}
