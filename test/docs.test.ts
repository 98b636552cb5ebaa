/**
 * What the pages say is there, is there: files that a page links to, test files that it names, and the tests that docs/consistency.md says hold its claims.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const read = (name: string): string => readFileSync(join(root, name), 'utf8');
const isThere = (name: string): boolean => existsSync(join(root, name));

const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'src/README.md',
  'sim/README.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

/** Anchors as GitHub makes them of headings; the second of a name gets `-1`. */
function anchors(text: string): Set<string> {
  const seen = new Map<string, number>();
  const all = new Set<string>();
  for (const [, heading] of text.matchAll(/^#+ (.*)$/gm)) {
    const anchor = heading!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-');
    const times = seen.get(anchor) ?? 0;
    seen.set(anchor, times + 1);
    all.add(times === 0 ? anchor : `${anchor}-${times}`);
  }
  return all;
}

/** Links of `text`, of the page `page`, that lead nowhere. */
function deadLinks(page: string, text: string): string[] {
  return (
    [...text.matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target]) => target!)
      // The generated page has anchors of its generator's making.
      .filter((target) => !/^[a-z]+:/.test(target) && !(page.startsWith('docs/api/') && target.startsWith('#')))
      .filter((target) => {
        const [path, anchor] = target.split('#');
        const name = path === '' ? page : join(dirname(page), path!);
        if (!isThere(name)) return true;
        return anchor !== undefined && !anchors(path === '' ? text : read(name)).has(anchor);
      })
  );
}

/** Rows `| claim | file | test |` of the last table of docs/consistency.md. */
function claims(text: string): { claim: string; file: string; title: string }[] {
  const [, table = ''] = text.split('## Claims, and the tests that hold them');
  return [...table.matchAll(/^\| (.+) \| `([^`]+)` \| (.+) \|$/gm)].map(([, claim, file, title]) => ({
    claim: claim!,
    file: file!,
    title: title!,
  }));
}

describe('the pages', () => {
  for (const page of pages) {
    test(`${page}: its links lead somewhere, and the files that it names exist`, () => {
      const text = read(page);
      assert.deepEqual(deadLinks(page, text), []);
      const named = [...text.matchAll(/`((?:src|test|sim|bench|docs|examples)\/[\w./-]+\.(?:ts|md))`/g)];
      assert.deepEqual(
        named.map(([, name]) => name!).filter((name) => !isThere(name)),
        [],
      );
    });
  }

  test('a dead link is found', () => {
    assert.deepEqual(deadLinks('README.md', '[a](docs/none.md) [b](docs/stores.md#none) [c](docs/stores.md)'), [
      'docs/none.md',
      'docs/stores.md#none',
    ]);
  });
});

describe('docs/consistency.md', () => {
  const rows = claims(read('docs/consistency.md'));

  test('has claims', () => assert.ok(rows.length > 40, `${rows.length} rows`));

  for (const { claim, file, title } of rows) {
    test(`${claim}: ${file}`, () => {
      assert.ok(isThere(file), `${file} does not exist`);
      assert.ok(read(file).includes(title), `${file} has no test "${title}"`);
    });
  }
});
