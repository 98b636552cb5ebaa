/**
 * Tags made of a row's fields: `org:{org}`. A template is also read backwards: which namespaces can a tag touch? That decides who may invalidate it.
 *
 *     "org:{org}"            { org: 7 }               org:7
 *     "category:{list}"      { list: ["a", "b"] }     category:a, category:b
 *     "owner:{owner.id}"     { owner: { id: 3 } }     owner:3
 *     "org:{org}"            { org: null }            none
 *     "all-products"         any                      all-products
 */
import { BreakwaterError } from '../base/errors.ts';
import { show } from '../cache/key.ts';

/** Literal text, or the path of a field. */
type Part = { readonly literal: string } | { readonly field: readonly string[] };

const PARTS = /\{\{|\}\}|\{([^{}]+)\}|[^{}]+/gy;

export function isTemplate(template: string): boolean {
  return partsOf(template) !== null;
}

/** The first names of the fields that it uses: columns of the row. */
export function columnsOf(template: string): string[] {
  return (partsOf(template) ?? []).flatMap((part) => ('field' in part ? [part.field[0]!] : []));
}

function partsOf(template: string): Part[] | null {
  const parts: Part[] = [];
  let end = 0;
  for (const match of template.matchAll(PARTS)) {
    const [whole, field] = match;
    end = match.index + whole.length;
    if (field !== undefined) parts.push({ field: field.split('.') });
    else parts.push({ literal: whole === '{{' ? '{' : whole === '}}' ? '}' : whole });
  }
  return end === template.length && template !== '' ? parts : null;
}

export class TagTemplates {
  readonly #templates: readonly { readonly parts: readonly Part[]; readonly shape: RegExp }[];

  /** @param templates each one that {@link isTemplate} accepts */
  constructor(templates: readonly string[]) {
    this.#templates = templates.map((template) => {
      const parts = partsOf(template) ?? [];
      const shape = parts.map((part) => ('field' in part ? '.*' : part.literal.replaceAll(/[^\w]/g, '\\$&'))).join('');
      return { parts, shape: new RegExp(`^${shape}$`, 's') };
    });
  }

  /**
   * The tags of a row.
   * @throws BreakwaterError `CACHE_TAGS_INVALID` when a field is an object
   */
  of(row: unknown, what: string): string[] {
    return this.#templates.flatMap(({ parts }) => {
      let tags = [''];
      for (const part of parts) {
        const texts = 'literal' in part ? [part.literal] : textsOf(fieldOf(row, part.field), part.field, what);
        tags = tags.flatMap((tag) => texts.map((text) => tag + text));
      }
      return tags;
    });
  }

  /** Whether a row could have this tag. */
  canHave(tag: string): boolean {
    return this.#templates.some(({ shape }) => shape.test(tag));
  }
}

function fieldOf(row: unknown, path: readonly string[]): unknown {
  let value = row;
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return null;
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return value;
}

function textsOf(value: unknown, path: readonly string[], what: string): string[] {
  if (value === null || value === undefined || value === '') return [];
  if (Array.isArray(value)) return value.flatMap((one: unknown) => textsOf(one, path, what));
  if (typeof value !== 'object') return [String(value)];
  throw new BreakwaterError(
    'CACHE_TAGS_INVALID',
    `cannot make tags of ${what}: its field ${show(path.join('.'))} is an object; name a field of it`,
  );
}
