import type { Runtime } from "./bundle.js";
/** What this needs of the package. */
export interface LiteRt {
    Tensor: new (data: any, shape: any) => any;
    loadAndCompile(model: any, options?: any): Promise<any>;
}
/**
 * Runs `.tflite` files.
 *
 * @param litert The package, as `import * as litert` gives it.
 * @param accelerator "wasm", "webgpu" or "webnn".
 */
export declare function liteRt(litert: LiteRt, accelerator?: string): Runtime;
