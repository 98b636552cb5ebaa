/**
 * A failing schedule made smaller: parts of it are left out, first many at a time and then one by one, as long as what is left still fails. (Delta debugging, Zeller and
 * Hildebrandt, 2002, without its complements: a run costs milliseconds.)
 *
 * Delays are drawn while a schedule runs, so leaving a part out moves what comes after it. The result is therefore one that fails, not always the smallest; that is enough to
 * read its trace.
 */

/** The parts that are left, in their order, and how many runs it took. @param fails whether a schedule of these parts still does */
export function leaveOut<T>(
  parts: readonly T[],
  fails: (parts: readonly T[]) => boolean,
  mostRuns: number,
): { readonly parts: readonly T[]; readonly runs: number } {
  let runs = 0;
  let kept = parts;
  for (let size = Math.ceil(kept.length / 2); size >= 1 && runs < mostRuns; ) {
    let shrunk = false;
    for (let from = 0; from < kept.length && runs < mostRuns; ) {
      const rest = [...kept.slice(0, from), ...kept.slice(from + size)];
      runs += 1;
      if (fails(rest)) {
        kept = rest;
        shrunk = true;
      } else from += size;
    }
    if (size === 1 && !shrunk) break;
    if (size > 1) size = Math.floor(size / 2);
  }
  return { parts: kept, runs };
}
