/** What links count; plain numbers that only grow, read by `breakwater nodes` and the metrics. */
export interface LinkCounters {
  dialled: number;
  /** Links of ours that were opened, and that were closed after they had been. */
  opened: number;
  closed: number;
  accepted: number;
  framesSent: number;
  framesReceived: number;
  bytesSent: number;
  bytesReceived: number;
  /** Messages to a member without an open link: the protocol sends them again. */
  dropped: number;
  /** Links that were cut because more waited in them than their bound. */
  cutForBuffer: number;
  /** How often a link was full: more waited in it than should (`onFull`). */
  full: number;
  /** Links that were cut because nobody answered at the other end. */
  cutSilent: number;
  /** Links that were cut for bytes that are no frame, or a frame that makes no sense. */
  refusedFrames: number;
  /** Kinds or versions of frames that this member does not know; skipped. */
  unknownFrames: number;
  /** Links that were refused before they were open: another cluster, a wrong secret, no hello in time. */
  refusedHellos: number;
}

export function noLinkCounters(): LinkCounters {
  return {
    dialled: 0,
    opened: 0,
    closed: 0,
    accepted: 0,
    framesSent: 0,
    framesReceived: 0,
    bytesSent: 0,
    bytesReceived: 0,
    dropped: 0,
    cutForBuffer: 0,
    full: 0,
    cutSilent: 0,
    refusedFrames: 0,
    unknownFrames: 0,
    refusedHellos: 0,
  };
}
