/**
 * A member of a JSON object as the very text that was sent. `JSON.parse` rounds numbers; who stores what a client sent must store its characters.
 */

/**
 * The text of member `name` of the object `json`, exactly as written; null when it has none. Of several with that name the
 * last counts, as in JSON.parse.
 * @param json a text that JSON.parse accepts and makes an object of: nothing is checked here
 */
export function memberText(json: string, name: string): string | null {
  let found: string | null = null;
  let at = skipBlanks(json, 0) + 1; // behind the {
  for (;;) {
    at = skipBlanks(json, at);
    if (at >= json.length || json[at] === '}') return found;
    const keyEnd = skipValue(json, at);
    const key: unknown = JSON.parse(json.slice(at, keyEnd));
    const start = skipBlanks(json, skipBlanks(json, keyEnd) + 1); // behind the :
    const end = skipValue(json, start);
    if (key === name) found = json.slice(start, end);
    at = skipBlanks(json, end);
    if (json[at] === ',') at += 1;
  }
}

function skipBlanks(json: string, from: number): number {
  let at = from;
  while (at < json.length && json.charCodeAt(at) <= 32) at += 1;
  return at;
}

/** Index behind the value that begins at `from`. Depth is a counter: a text nested a million deep needs no stack. */
function skipValue(json: string, from: number): number {
  let depth = 0;
  let at = from;
  while (at < json.length) {
    const unit = json[at];
    if (unit === '"') {
      at = skipString(json, at);
      if (depth === 0) return at;
      continue;
    }
    if (unit === '{' || unit === '[') depth += 1;
    else if (unit === '}' || unit === ']') {
      if (depth === 0) return at; // the end of what encloses a bare number, true, false or null
      depth -= 1;
      if (depth === 0) return at + 1;
    } else if (depth === 0 && (unit === ',' || unit === ':' || json.charCodeAt(at) <= 32)) return at;
    at += 1;
  }
  return at;
}

function skipString(json: string, from: number): number {
  let at = from + 1;
  while (json[at] !== '"') at += json[at] === '\\' ? 2 : 1;
  return at + 1;
}
