/**
 * Loaded into a member's process (`--import`): its links to other members lead to other ports than its list of members says, so that one can be cut off from the others by proxies and not from its clients.
 * LINK_DETOURS is JSON, port to port.
 */
import net from 'node:net';

const detours = JSON.parse(process.env['LINK_DETOURS'] ?? '{}') as Record<string, number>;
const { connect } = net;
const detoured = (options: net.NetConnectOpts, ...rest: never[]): net.Socket => {
  const port = 'port' in options ? detours[options.port] : undefined;
  return connect(port === undefined ? options : { ...options, port }, ...rest);
};
net.connect = detoured as typeof net.connect;
