/**
 * The status page: plain files of `src/dashboard` (copied to `dist/dashboard` by the build), read once and served from memory. The page
 * loads nothing from other hosts, and its policy says so to the browser.
 */
import { readFileSync } from 'node:fs';

export interface DashboardFile {
  readonly path: string;
  readonly text: string;
  readonly headers: Record<string, string>;
}

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const FILES = [
  { path: '/', file: 'index.html', type: 'text/html; charset=utf-8' },
  { path: '/dashboard/style.css', file: 'style.css', type: 'text/css; charset=utf-8' },
  { path: '/dashboard/app.js', file: 'app.js', type: 'text/javascript; charset=utf-8' },
  { path: '/dashboard/icon.svg', file: 'icon.svg', type: 'image/svg+xml' },
];

/** Every file of the page with the path and headers it is served under. */
export function dashboardFiles(): DashboardFile[] {
  return FILES.map(({ path, file, type }) => ({
    path,
    text: readFileSync(new URL(`../dashboard/${file}`, import.meta.url), 'utf8'),
    headers: {
      'content-type': type,
      'content-security-policy': POLICY,
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-cache',
    },
  }));
}
