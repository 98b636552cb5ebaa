/** What must hold between a change stream, the namespaces and the store; noted with its line, like everything of `read.ts`. */
import { sqlNameOf } from '../table-name.ts';
import { columnsOf } from '../tag-templates.ts';
import type { ChangesValues } from './database-options.ts';
import type { GatewayValues } from './options.ts';
import type { ConfigReader } from './reader.ts';

/** The namespace that the keys of a template are of; none where a column stands in it. */
export function namespaceOf(template: string): string[] {
  const [, name] = /^([^{}:]+):/.exec(template) ?? [];
  return name === undefined ? [] : [name];
}

/** @returns what deserves a look */
export function checkChanges(values: GatewayValues, reader: ConfigReader): string[] {
  const warnings: string[] = [];
  const slots = new Map<string, string>();
  for (const [name, { postgres }] of values.sources ?? []) {
    if (postgres?.changes === undefined) continue;
    const path = `sources.${name}.postgres.changes`;
    const { slot = 'breakwater' } = postgres.changes;
    const other = slots.get(slot);
    if (other !== undefined) reader.problem(`${path}.slot`, `"${slot}" is the slot of the source "${other}" too`);
    slots.set(slot, name);
    checkStream(path, name, postgres.changes, values, reader);
    const told = new Set(
      [...(postgres.changes.tables ?? [])].flatMap(([, each]) => [
        ...(each.namespaces ?? []),
        ...(each.keys ?? []).flatMap(namespaceOf),
      ]),
    );
    for (const [namespace, { source, sql }] of values.namespaces) {
      if (source !== name || sql === undefined || told.has(namespace)) continue;
      warnings.push(
        `"${namespace}" is a query, and no table under ${path}.tables names it: changes do not invalidate it`,
      );
    }
  }
  return warnings;
}

function checkStream(
  path: string,
  source: string,
  { via, publication, tables = new Map() }: ChangesValues,
  values: GatewayValues,
  reader: ConfigReader,
): void {
  const isEmbedded = (values.store ?? 'embedded') === 'embedded';
  const shows = [...values.namespaces.values()].some((each) => each.source === source && each.table !== undefined);
  if (!shows && tables.size === 0 && !reader.hasProblems) {
    reader.problem(path, 'nothing is followed: no namespace shows a table of this source, and there are no tables');
  }
  if (via === 'triggers' && isEmbedded) {
    reader.problem(
      `${path}.via`,
      '"triggers" tell one process alone, and with the embedded store each gateway has to hear of every change: use replication, or a store that gateways share',
    );
  }
  if (via === 'triggers' && publication !== undefined) reader.problem(`${path}.publication`, 'triggers have none');
  for (const [table, { keys = [], tags = [], namespaces }] of tables) {
    const at = `${path}.tables.${table}`;
    if (tags.length > 0 && namespaces === undefined) {
      reader.problem(
        at,
        'needs namespaces: which of them have entries with these tags, to be invalidated whole where a change does not tell its row',
      );
    }
    const shown = [...values.namespaces].find(
      ([, each]) => each.source === source && each.table !== undefined && sqlNameOf(each.table) === sqlNameOf(table),
    )?.[0];
    const isPrecise = keys.length + tags.length > 0;
    if (isPrecise && shown === undefined && [...keys, ...tags].flatMap(columnsOf).length === 0) {
      reader.problem(at, 'names no {column} of the table; to invalidate by every change, name namespaces alone');
    }
    if (!isPrecise && namespaces !== undefined && shown !== undefined) {
      reader.problem(
        `${at}.namespaces`,
        `"${shown}" shows the rows of this table, which every change would invalidate whole: give what else is made of it a tag, and name that under tags`,
      );
    }
    if (!isPrecise && namespaces === undefined) {
      reader.problem(at, 'needs keys, tags or namespaces: what a change of this table makes untrue');
    }
    const known = [...values.namespaces.keys()];
    const exists = (where: string, name: string): void => {
      if (values.namespaces.has(name) || reader.isBroken(`namespaces.${name}`)) return;
      reader.problem(where, `there is no namespace "${name}": ${reader.hint(name, known)}`);
    };
    for (const [index, name] of (namespaces ?? []).entries()) exists(`${at}.namespaces[${index}]`, name);
    keys.forEach((template, index) => {
      const where = `${at}.keys[${index}]`;
      const [name] = namespaceOf(template);
      if (name === undefined)
        reader.problem(where, `expected a key such as "product:{id}", received ${JSON.stringify(template)}`);
      else exists(where, name);
    });
    for (const [option, templates] of Object.entries({ keys, tags })) {
      templates.forEach((template, index) => {
        // A change tells text, into which nothing can be looked.
        const within = /\{[^{}]*\.[^{}]*\}/.exec(template)?.[0];
        if (within === undefined) return;
        reader.problem(`${at}.${option}[${index}]`, `expected columns, received ${within}, which looks into one`);
      });
    }
  }
}
