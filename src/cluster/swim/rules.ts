/** SWIM's numbers, with memberlist's defaults for a local network. */
export interface SwimRules {
  /** Between two probes of a member. Shorter finds crashes sooner and costs in proportion. Default 1000 ms. */
  readonly probeMs: number;
  /** Without an answer for so long, others are asked to try. Default 500 ms. */
  readonly timeoutMs: number;
  /** How many others. Default 3. */
  readonly indirect: number;
  /** Between two rounds of passing rumors on, and to how many. Default 200 ms, 3. */
  readonly gossipMs: number;
  readonly fanout: number;
  /** Rumors are passed on this times ceil(log10(N + 1)) times. Default 4. */
  readonly retransmit: number;
  /** A suspected member has at least this times log10(N) probe intervals to object. Default 4. */
  readonly suspicion: number;
  /** And at most this times as long, while nobody confirms. Default 6. */
  readonly suspicionMax: number;
  /** Highest score of the local health. Default 8. */
  readonly awareness: number;
  /** Between two exchanges of everything, for up to 32 members; with each doubling beyond, once more. Default 30,000 ms. */
  readonly syncMs: number;
  /** The dead are remembered so long: late rumors do not revive them, and a half that was cut off is found again. Default an hour. */
  readonly forgetMs: number;
  /** Rumors in one message, in bytes: it should fit into one packet. Default 1200. */
  readonly rumorBytes: number;
  /** Not called for longer than this: we stood still, and time in which we could not hear proves nothing. Default 300 ms. */
  readonly stallMs: number;
  /** False: plain SWIM, for comparison: no local health, no nacks, the shortest suspicion, no patience after stalls. Default true. */
  readonly lifeguard: boolean;
}

export const SWIM_RULES: SwimRules = {
  probeMs: 1000,
  timeoutMs: 500,
  indirect: 3,
  gossipMs: 200,
  fanout: 3,
  retransmit: 4,
  suspicion: 4,
  suspicionMax: 6,
  awareness: 8,
  syncMs: 30_000,
  forgetMs: 3_600_000,
  rumorBytes: 1200,
  stallMs: 300,
  lifeguard: true,
};
