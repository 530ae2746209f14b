export class BundleError extends Error {
    problem;
    constructor(problem, message) {
        super(`${problem}: ${message}`);
        this.problem = problem;
        this.name = "BundleError";
    }
}
