/** Error texts that more than one command answers with, in Redis 7.0's words. The code stands first. */

export const SYNTAX = 'ERR syntax error';
export const NOT_INTEGER = 'ERR value is not an integer or out of range';
export const NOT_FLOAT = 'ERR value is not a valid float';
export const INCREMENT_OVERFLOW = 'ERR increment or decrement would overflow';
export const DECREMENT_OVERFLOW = 'ERR decrement would overflow';
export const OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'.";
export const STRING_TOO_LONG = 'ERR string exceeds maximum allowed size (proto-max-bulk-len)';
export const REPLY_TOO_LARGE = 'ERR reply is too large: ask for fewer keys at a time';

export const PLAIN_SET_REFUSED =
  'PLAINSET this namespace takes no plain SET (plain-set=refuse): load under a lease, BW.GET key LEASE and BW.SET key value LEASE token';

export function invalidExpire(command: string): string {
  return `ERR invalid expire time in '${command}' command`;
}

export function wrongArity(command: string): string {
  return `ERR wrong number of arguments for '${command}' command`;
}
