/** What every call to a store carries. */
export interface StoreCall {
  /** The longest that the call may take, milliseconds. */
  readonly timeoutMs: number;
  /** Gives up waiting; what was sent may still take effect. */
  readonly signal?: AbortSignal;
}
