// ONNX Runtime as a runtime of bundles: onnxruntime-web, onnxruntime-node or onnxruntime-react-native, as the app gives it.

import type { Runtime } from "./bundle.js";
import type { Numbers, Tensor } from "./processing.js";

interface OrtTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: unknown;
}

interface OrtSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
  release?(): Promise<void>;
}

/** What the three packages have in common. */
export interface OnnxRuntime {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- the constructors of the packages differ in their unions
  Tensor: new (type: any, data: any, dims: readonly number[]) => any;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  InferenceSession: { create(model: any, options?: any): Promise<any> };
}

/** Without VNNI, x86 kernels add products in saturating 16 bits unless they are told not to; ARM's never do. */
const ARITHMETIC = { extra: { session: { x64quantprecision: "1" } }, logSeverityLevel: 3 };

/**
 * Runs `.onnx` files.
 *
 * @param ort The package, as `import * as ort` gives it.
 * @param options Of its sessions, beside ARITHMETIC, such as `{ executionProviders: ["wasm"] }`.
 */
export function onnxRuntime(ort: OnnxRuntime, options: object = {}): Runtime {
  return {
    format: "onnxruntime",
    async load(model, description) {
      const session: OrtSession = await ort.InferenceSession.create(model, { ...ARITHMETIC, ...options });
      return {
        async run(inputs: Tensor[]): Promise<Tensor[]> {
          const feeds = inputs.map(({ dtype, data, shape }, index) => {
            return [description.inputs[index].name, new ort.Tensor(dtype, data, shape)] as [string, OrtTensor];
          });
          const results = await session.run(Object.fromEntries(feeds));
          return description.outputs.map(({ name, dtype }) => {
            return { dtype, shape: [...results[name].dims], data: results[name].data as Numbers };
          });
        },
        close: () => void session.release?.(),
      };
    },
  };
}
