/** What went wrong: `signature`, `hash` and `release` say that files must not be trusted, the others what to mend. */
export type Problem = "signature" | "hash" | "release" | "manifest" | "runtime" | "picture" | "input";
/** Everything that a bundle refuses on purpose. */
export declare class BundleError extends Error {
    readonly problem: Problem;
    constructor(problem: Problem, message: string);
}
