/**
 * The node's log: few lines, for operators. On a terminal they are plain text; elsewhere JSON (pino), one object a line, with the same
 * message and fields. Nothing is logged per request.
 */
import { pino } from 'pino';
import type { Log } from '../base/log.ts';
import type { LogFormat } from './settings.ts';

type Fields = Readonly<Record<string, unknown>>;

/** A log on stderr, so that stdout stays for what was asked for. `auto`: text when stderr is a terminal. */
export function createLog(format: LogFormat): Log {
  const asText = format === 'text' || (format === 'auto' && process.stderr.isTTY === true);
  if (asText) {
    const line =
      (level: string) =>
      (message: string, fields: Fields = {}) => {
        const extra = Object.entries(fields).map(
          ([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
        );
        process.stderr.write(`${level}: ${message}${extra.join('')}\n`);
      };
    return { info: line('info'), warn: line('warning'), error: line('error') };
  }
  const logger = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: 2, sync: true }),
  );
  return {
    info: (message, fields = {}) => logger.info(fields, message),
    warn: (message, fields = {}) => logger.warn(fields, message),
    error: (message, fields = {}) => logger.error(fields, message),
  };
}
