/** WAIT numreplicas timeout: how many copies have what this connection wrote. A single node has none and says 0 at once. */
import type { CommandFunction } from './context.ts';
import { NOT_INTEGER } from './errors.ts';
import { integerAt } from './numbers.ts';

const NOT_PROXIED =
  'ERR WAIT is not for a connection that is proxied: what it wrote is on other members. Ask the owner of the key';

export const wait: CommandFunction = (context, session, args, out) => {
  const count = integerAt(args.bytes, args.start[1]!, args.length[1]!);
  const timeoutMs = integerAt(args.bytes, args.start[2]!, args.length[2]!);
  if (!Number.isFinite(count)) out.error(NOT_INTEGER);
  else if (!Number.isFinite(timeoutMs)) out.error('ERR timeout is not an integer or out of range');
  else if (timeoutMs < 0) out.error('ERR timeout is negative');
  else if (context.cluster === null) out.integer(0);
  else if (session.isProxied) out.error(NOT_PROXIED);
  else context.cluster.wait(count, timeoutMs);
};
