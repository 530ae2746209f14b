/** What went wrong: `signature`, `hash` and `release` say that files must not be trusted, the others what to mend. */
export type Problem = "signature" | "hash" | "release" | "manifest" | "runtime" | "picture" | "input";

/** Everything that a bundle refuses on purpose. */
export class BundleError extends Error {
  constructor(readonly problem: Problem, message: string) {
    super(`${problem}: ${message}`);
    this.name = "BundleError";
  }
}
