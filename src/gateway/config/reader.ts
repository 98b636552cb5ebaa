/**
 * A YAML document as a tree that knows where each value stands. Kinds (`kinds.ts`) read it; what does not fit is noted with its line and column, and reading
 * goes on.
 *
 * Nothing that may be a secret is ever shown: neither a value that came from the environment nor one of an option that holds a password or token.
 */
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { nearest } from '../../cache/checks.ts';
import { interpolate } from './environment.ts';
import { GatewayConfigError, type Position, type Problem } from './problems.ts';

type Env = Readonly<Record<string, string | undefined>>;

/** A value of the file, and its name in the structure: `namespaces.product.ttl`. */
export interface Place {
  readonly path: string;
  readonly node: Node | null;
  /** Where the value stands; of a missing one, where its name does. */
  readonly at: Position;
}

/** A member of a mapping. */
export interface Member extends Place {
  readonly name: string;
  /** Where the name stands. */
  readonly nameAt: Position;
}

/** A single value: as it is meant, and as it may be shown. */
export interface ScalarValue {
  readonly value: string | number | boolean | null;
  readonly shown: string;
}

/** Values longer than this are shown in part. */
const SHOWN_LENGTH = 60;

export class ConfigReader {
  readonly file: string;
  readonly #env: Env;
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;
  readonly #problems: Problem[] = [];
  readonly #broken = new Set<string>();
  /** Where each value that was read stands, by its path. */
  readonly #places = new Map<string, Position>();

  /** @throws GatewayConfigError when the text is no YAML */
  constructor(file: string, text: string, env: Env) {
    this.file = file;
    this.#env = env;
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false, merge: false });
    for (const { pos, message } of [...this.#document.errors, ...this.#document.warnings]) {
      this.#problems.push({ ...this.#position(pos[0]), message: `no YAML: ${message.split('\n')[0]}` });
    }
    if (this.#problems.length > 0) throw new GatewayConfigError(file, this.#problems);
  }

  get root(): Place {
    return this.place('', this.#document.contents, { line: 1, column: 1 });
  }

  /** Notes a problem at a place, or at the value of a path. */
  problem(place: Place | string, message: string): void {
    const { path, at } = typeof place === 'string' ? { path: place, at: this.positionOf(place) } : place;
    this.#problems.push({ ...at, message: path === '' ? message : `${path}: ${message}` });
  }

  /** What stands at `path` could not be read: who refers to it is not wrong for that. */
  markBroken(path: string): void {
    this.#broken.add(path);
  }

  isBroken(path: string): boolean {
    return this.#broken.has(path);
  }

  get hasProblems(): boolean {
    return this.#problems.length > 0;
  }

  /** @throws GatewayConfigError when there were problems */
  finish(): void {
    if (this.hasProblems) throw new GatewayConfigError(this.file, this.#problems);
  }

  isMap(place: Place): boolean {
    return isMap(place.node);
  }

  isList(place: Place): boolean {
    return isSeq(place.node);
  }

  /** The members of a mapping; null, and a problem, when it is none. An empty value is an empty mapping. */
  members(place: Place, expected: string): Member[] | null {
    const { node } = place;
    if (node === null || (isScalar(node) && node.value === null)) return [];
    if (!isMap(node)) {
      this.problem(place, `expected ${expected}, received ${this.#kindOf(node)}`);
      return null;
    }
    const members: Member[] = [];
    for (const { key, value } of node.items) {
      const name = isScalar(key) ? String(key.value) : '';
      const nameAt = isScalar(key) && key.range ? this.#position(key.range[0]) : place.at;
      const path = place.path === '' ? name : `${place.path}.${name}`;
      if (name === '<<') {
        this.problem({ path, node: null, at: nameAt }, 'merging (<<) is not offered; use defaults');
        continue;
      }
      members.push({ ...this.place(path, value as Node | null, nameAt), name, nameAt });
    }
    return members;
  }

  /** The items of a list; null, and a problem, when it is none. */
  items(place: Place, expected: string): Place[] | null {
    const { node } = place;
    if (!isSeq(node)) {
      this.problem(place, `expected ${expected}, received ${this.#kindOf(node)}`);
      return null;
    }
    return node.items.map((item, index) => this.place(`${place.path}[${index}]`, item as Node, place.at));
  }

  /** A single value; null, and a problem, when it is none or its variables are not set. */
  scalar(place: Place, expected: string, isSecret = false): ScalarValue | null {
    const { node } = place;
    if (!isScalar(node)) {
      this.problem(place, `expected ${expected}, received ${this.#kindOf(node)}`);
      return null;
    }
    const { value } = node;
    if (value === null || value === '') {
      this.problem(place, `expected ${expected}, received nothing`);
      return null;
    }
    if (typeof value !== 'string') {
      const one = typeof value === 'number' || typeof value === 'boolean' ? value : String(value);
      return { value: one, shown: isSecret ? 'a value that is not shown' : String(one) };
    }
    const { text, missing, isFromEnvironment, isBroken } = interpolate(value, this.#env);
    if (isBroken) {
      this.problem(
        place,
        `"\${" begins a variable, as in \${NAME} or \${NAME:-default}; write $\${ for the text itself`,
      );
      return null;
    }
    if (missing.length > 0) {
      const names = missing.map((name) => `\${${name}}`).join(', ');
      this.problem(place, `the environment has no ${names}`);
      return null;
    }
    const raw = JSON.stringify(value.length > SHOWN_LENGTH ? `${value.slice(0, SHOWN_LENGTH)}...` : value);
    const shown = isSecret ? 'a value that is not shown' : isFromEnvironment ? `the value of ${raw}` : raw;
    return { value: text, shown };
  }

  /** `did you mean "ttl"?` or what there is. */
  hint(name: string, known: readonly string[]): string {
    const near = nearest(name, known);
    return near === null ? `known are ${known.join(', ')}` : `did you mean "${near}"?`;
  }

  /** Where the value of `path` stands, or of the nearest that there is around it. */
  positionOf(path: string): Position {
    for (
      let end = path.length;
      end > 0;
      end = Math.max(path.lastIndexOf('.', end - 1), path.lastIndexOf('[', end - 1))
    ) {
      const at = this.#places.get(path.slice(0, end));
      if (at !== undefined) return at;
    }
    return this.#places.get('') ?? { line: 1, column: 1 };
  }

  place(path: string, given: Node | null, fallback: Position): Place {
    const node = isAlias(given) ? ((given.resolve(this.#document) as Node | undefined) ?? null) : given;
    // Of an alias: where it is used, which is what can be wrong with it.
    const range = given?.range;
    const at = range && !(isScalar(node) && node.value === null) ? this.#position(range[0]) : fallback;
    this.#places.set(path, at);
    return { path, node, at };
  }

  #position(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }

  #kindOf(node: Node | null): string {
    if (isMap(node)) return 'a mapping (name: value)';
    if (isSeq(node)) return 'a list';
    if (isScalar(node) && node.value !== null) return 'a single value';
    return 'nothing';
  }
}
