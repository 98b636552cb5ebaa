/**
 * What a person sees while the demo works, on standard error: one line that redraws itself in a terminal; elsewhere (a
 * log, a pipe) plain lines, a few seconds apart.
 */
const BAR_CELLS = 24;
/** In a terminal narrower than `WIDE_COLUMNS` the figures behind the bar matter more than the bar. */
const NARROW_BAR_CELLS = 10;
const WIDE_COLUMNS = 110;
const TERMINAL_INTERVAL_MS = 100;
const PLAIN_INTERVAL_MS = 2000;

export interface Progress {
  /** What is going on: `fraction` of it (0..1, null = unknown) is done; `detail` follows the bar. Cheap to call often. */
  update(label: string, fraction: number | null, detail?: string): void;
  /** The step under way is over; leaves a line that stays. */
  done(line: string): void;
  /** Removes what is half drawn. */
  clear(): void;
}

export interface Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export function progressOn(output: Output): Progress {
  return output.isTTY === true ? terminal(output) : plain(output);
}

export function bar(fraction: number, cells = BAR_CELLS): string {
  const full = Math.round(Math.min(1, Math.max(0, fraction)) * cells);
  return `[${'#'.repeat(full)}${'-'.repeat(cells - full)}]`;
}

function terminal(output: Output): Progress {
  let drawnAt = Number.NEGATIVE_INFINITY;
  let drawnLabel = '';
  const clear = (): void => {
    if (drawnLabel !== '') output.write('\r\x1b[2K');
    drawnLabel = '';
  };
  return {
    clear,
    update(label, fraction, detail = '') {
      const now = performance.now();
      if (label === drawnLabel && now - drawnAt < TERMINAL_INTERVAL_MS) return;
      drawnAt = now;
      drawnLabel = label;
      const columns = output.columns ?? 80;
      const cells = columns >= WIDE_COLUMNS ? BAR_CELLS : NARROW_BAR_CELLS;
      const line = `${label} ${fraction === null ? '' : `${bar(fraction, cells)} `}${detail}`;
      output.write(`\r\x1b[2K${line.slice(0, columns - 1)}`);
    },
    done(line) {
      clear();
      output.write(`${line}\n`);
    },
  };
}

function plain(output: Output): Progress {
  let saidAt = Number.NEGATIVE_INFINITY;
  let saidLabel = '';
  return {
    clear() {},
    update(label, fraction, detail = '') {
      const now = performance.now();
      if (label === saidLabel && now - saidAt < PLAIN_INTERVAL_MS) return;
      saidAt = now;
      saidLabel = label;
      const share = fraction === null ? '' : ` ${Math.floor(fraction * 100)} %`;
      output.write(`${label}${share}${detail === '' ? '' : ` · ${detail}`}\n`);
    },
    done(line) {
      saidLabel = '';
      output.write(`${line}\n`);
    },
  };
}
