/**
 * Loaded into a member's process (`--import`): its links to peers go to other ports than its list of members says, so that a test can put a proxy between two members and leave the
 * others alone. TEST_LINK_PORTS is JSON, port to port.
 */
import net from 'node:net';

const ports = new Map(
  Object.entries(JSON.parse(process.env['TEST_LINK_PORTS'] ?? '{}') as Record<string, number>).map(([from, to]) => [
    Number(from),
    to,
  ]),
);
const connect = net.connect;
const redirected = (options: net.NetConnectOpts, ...rest: never[]): net.Socket => {
  const to = 'port' in options ? ports.get(options.port) : undefined;
  return connect(to === undefined ? options : { ...options, port: to }, ...rest);
};
net.connect = redirected as typeof net.connect;
