import type { Runtime } from "./bundle.js";
/** What the three packages have in common. */
export interface OnnxRuntime {
    Tensor: new (type: any, data: any, dims: readonly number[]) => any;
    InferenceSession: {
        create(model: any, options?: any): Promise<any>;
    };
}
/**
 * Runs `.onnx` files.
 *
 * @param ort The package, as `import * as ort` gives it.
 * @param options Of its sessions, beside ARITHMETIC, such as `{ executionProviders: ["wasm"] }`.
 */
export declare function onnxRuntime(ort: OnnxRuntime, options?: object): Runtime;
