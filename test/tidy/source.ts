/**
 * Reads the tree as text, the way the tidy tests want it: every source file with its folder, its imports, and its code
 * with comments and string contents blanked out (so that a sentence about `Date.now` in a comment is not a call of it).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';

export interface SourceFile {
  /** Path from the repository's root, with `/`. */
  readonly path: string;
  /** First folder below `src/`, e.g. `engine`. */
  readonly folder: string;
  /** Module specifiers, resolved to a path from the root when relative. Type-only imports count: an arrow is an arrow. */
  readonly imports: readonly string[];
  /** The text with comments and the insides of strings replaced by spaces; same length, same lines. */
  readonly code: string;
}

const SPECIFIER = /(?:\bimport|\bexport)\b[^'"`;]*?\bfrom\s*(['"])(.*?)\1|\bimport\s*\(?\s*(['"])(.*?)\3/g;

/** Every non-test TypeScript file under `src/`. */
export function readSources(root: string): SourceFile[] {
  return readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort()
    .map((path) => parseSource(path, readFileSync(join(root, path), 'utf8')));
}

/** One file, from its text: `path` is from the root, e.g. `src/engine/store.ts`. */
export function parseSource(path: string, text: string): SourceFile {
  const withStrings = blank(text, false);
  const imports: string[] = [];
  for (const match of withStrings.matchAll(SPECIFIER)) {
    const specifier = match[2] ?? match[4] ?? '';
    imports.push(specifier.startsWith('.') ? normalize(join(dirname(path), specifier)) : specifier);
  }
  return { path, folder: path.split('/')[1] ?? '', imports, code: blank(text, true) };
}

/**
 * Blanks comments, and with `strings` also the contents of string, template and regular-expression literals. Code inside
 * `${}` of a template stays. A `/` starts a regular expression when what stands before it cannot end an operand.
 */
export function blank(text: string, strings: boolean): string {
  const out = [...text];
  const erase = (from: number, to: number): void => {
    for (let i = from; i < to; i += 1) if (out[i] !== '\n') out[i] = ' ';
  };
  // Depths of open braces at which a template's `${` must end.
  const templates: number[] = [];
  let depth = 0;
  let lastSignificant = '';
  let i = 0;

  const readTemplate = (start: number): number => {
    let at = start;
    while (at < text.length) {
      if (text[at] === '\\') at += 2;
      else if (text[at] === '`') {
        if (strings) erase(start, at);
        return at + 1;
      } else if (text[at] === '$' && text[at + 1] === '{') {
        if (strings) erase(start, at);
        templates.push(depth);
        depth += 1;
        return at + 2;
      } else at += 1;
    }
    return at;
  };

  while (i < text.length) {
    const c = text[i]!;
    const two = text.slice(i, i + 2);
    if (two === '//') {
      const end = text.indexOf('\n', i);
      erase(i, end < 0 ? text.length : end);
      i = end < 0 ? text.length : end;
    } else if (two === '/*') {
      const end = text.indexOf('*/', i + 2);
      const stop = end < 0 ? text.length : end + 2;
      erase(i, stop);
      i = stop;
    } else if (c === "'" || c === '"') {
      let at = i + 1;
      while (at < text.length && text[at] !== c && text[at] !== '\n') at += text[at] === '\\' ? 2 : 1;
      if (strings) erase(i + 1, at);
      i = at + 1;
      lastSignificant = c;
    } else if (c === '`') {
      i = readTemplate(i + 1);
      lastSignificant = '`';
    } else if (c === '/' && !/[\w$)\]'"`]/.test(lastSignificant)) {
      let at = i + 1;
      let inClass = false;
      while (at < text.length && text[at] !== '\n' && (text[at] !== '/' || inClass)) {
        if (text[at] === '[') inClass = true;
        if (text[at] === ']') inClass = false;
        at += text[at] === '\\' ? 2 : 1;
      }
      if (strings) erase(i + 1, at);
      i = at + 1;
      lastSignificant = ')';
    } else {
      if (c === '{') depth += 1;
      if (c === '}') {
        depth -= 1;
        if (templates.length > 0 && templates[templates.length - 1] === depth) {
          templates.pop();
          i = readTemplate(i + 1);
          lastSignificant = '`';
          continue;
        }
      }
      if (!/\s/.test(c)) lastSignificant = c;
      i += 1;
    }
  }
  return out.join('');
}
