/**
 * When was this name last invalidated? A bounded memory of a follower, counted by its own logical time (how many things it has
 * applied). It answers for reads in flight, whose names were invalidated before their value arrived, and for entries of an L1
 * under a tag: both carry the logical time at which their read began, and "invalidated since" is a comparison.
 *
 * The obvious alternative, a list of the reads in flight with a flag on each, needs a reader that always comes back to
 * take itself off the list; one that was abandoned stays for ever. Here nothing belongs to a reader.
 *
 * When the table is full, the name invalidated longest ago is forgotten and the floor rises to its time: what began before the
 * floor counts as invalidated. A miss is always safe.
 *
 * Costs: O(1); a Map of text to number, bounded by names and by their characters.
 */
export class Applied {
  /** What began before this time counts as invalidated, whatever its name. */
  floor = 0;
  /** The latest time at which anything was noted here; what began later needs no look. */
  newest = 0;

  readonly #capacity: number;
  readonly #maxCharacters: number;
  readonly #at = new Map<string, number>();
  #characters = 0;

  constructor(capacity: number, maxCharacters: number) {
    this.#capacity = capacity;
    this.#maxCharacters = maxCharacters;
  }

  get size(): number {
    return this.#at.size;
  }

  get characters(): number {
    return this.#characters;
  }

  /** `name` was invalidated at logical time `at`, which is never less than the one before. */
  note(name: string, at: number): void {
    if (this.#at.delete(name)) this.#characters -= name.length;
    this.#at.set(name, at);
    this.#characters += name.length;
    this.newest = at;
    if (this.#at.size > this.#capacity || this.#characters > this.#maxCharacters) this.#forget();
  }

  /** Was it invalidated after logical time `since`? True also when that is not known any more. */
  since(name: string, since: number): boolean {
    if (since >= this.newest) return false;
    return since < this.floor || (this.#at.get(name) ?? 0) > since;
  }

  #forget(): void {
    for (const [name, at] of this.#at) {
      if (this.#at.size <= this.#capacity && this.#characters <= this.#maxCharacters) return;
      this.#at.delete(name);
      this.#characters -= name.length;
      this.floor = at;
    }
  }
}
