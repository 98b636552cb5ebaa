/** Counters of one client over all its connections. Plain numbers, only ever growing. */
export interface ClientStats {
  commandsSent: number;
  replies: number;
  /** Replies that came after their command had timed out or was aborted: dropped. */
  lateReplies: number;
  pushes: number;
  timeouts: number;
  aborts: number;
  /** Commands refused because a queue was full. */
  refused: number;
  /** Commands sent again after a lost connection, because the caller declared them idempotent. */
  retries: number;
  connects: number;
  connectFailures: number;
  connectionsLost: number;
  protocolErrors: number;
  writes: number;
  bytesSent: number;
  bytesReceived: number;
}

export function newStats(): ClientStats {
  return {
    commandsSent: 0,
    replies: 0,
    lateReplies: 0,
    pushes: 0,
    timeouts: 0,
    aborts: 0,
    refused: 0,
    retries: 0,
    connects: 0,
    connectFailures: 0,
    connectionsLost: 0,
    protocolErrors: 0,
    writes: 0,
    bytesSent: 0,
    bytesReceived: 0,
  };
}
