/**
 * The version that `--version`, the banner, INFO and the OpenAPI document show: read from package.json, which is two
 * folders up both from `src/cli` and from `dist/cli`.
 */
import { readFileSync } from 'node:fs';

/** The `version` of this package's package.json. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed === 'object' && parsed !== null && 'version' in parsed && typeof parsed.version === 'string') {
    return parsed.version;
  }
  return '0.0.0';
}
