/** The port for few lines to operators: what happened to the process, never one a request. Where they go is the shell's affair (`server/log.ts`). */

type Fields = Readonly<Record<string, unknown>>;

export interface Log {
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
}

/** Says nothing: for tests and for servers inside another process. */
export const SILENT: Log = { info: () => {}, warn: () => {}, error: () => {} };
