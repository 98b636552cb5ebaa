/**
 * The database of the bench: rows that count their updates, and loads that can be stopped half-way. A load *reads* its row when it
 * is called and *returns* it when its gate opens, so that an interleaving is written down, not hoped for.
 */
import type { Row } from './subject.ts';

export class Source {
  /** Calls of `load`, all instances together. */
  loads = 0;
  /** What a load does after reading: `answer`, `fail`, or `hang` for ever. */
  mood: 'answer' | 'fail' | 'hang' = 'answer';
  /** How long a load takes; 0 answers in the same turn. */
  delayMs: () => number = () => 0;
  readonly #versions = new Map<string, number>();
  readonly #gates = new Map<string, { read: () => void; open: Promise<void> }>();

  async load(id: string): Promise<Row> {
    this.loads += 1;
    const row = { id, version: this.version(id) };
    const gate = this.#gates.get(id);
    this.#gates.delete(id);
    const mood = this.mood;
    gate?.read();
    if (gate !== undefined) await gate.open;
    if (mood === 'hang') return await new Promise<never>(() => {});
    if (mood === 'fail') throw new Error('the database is down');
    const delayMs = this.delayMs();
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    return row;
  }

  version(id: string): number {
    return this.#versions.get(id) ?? 1;
  }

  /** Commits an update; returns the row's new version. */
  update(id: string): number {
    const version = this.version(id) + 1;
    this.#versions.set(id, version);
    return version;
  }

  /** The next load of `id` stops after it has read its row: `read` resolves then, `open()` lets it go on. */
  stopNext(id: string): { readonly read: Promise<void>; open(): void } {
    let open = (): void => {};
    let read = (): void => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    const wasRead = new Promise<void>((resolve) => {
      read = resolve;
    });
    this.#gates.set(id, { read, open: opened });
    return { read: wasRead, open };
  }
}
