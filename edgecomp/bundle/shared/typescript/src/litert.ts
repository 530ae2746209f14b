// LiteRT.js as a runtime of bundles: @litertjs/core, as the app gives it after `loadLiteRt`.

import type { Runtime, Session } from "./bundle.js";
import type { Numbers, Tensor, TensorDescription } from "./processing.js";

interface LiteTensor {
  data(): Promise<Numbers>;
  delete(): void;
}

interface LiteModel {
  getInputDetails(): readonly { readonly name: string }[];
  getOutputDetails(): readonly { readonly name: string; readonly shape: Int32Array }[];
  run(inputs: LiteTensor[]): Promise<LiteTensor[]>;
  delete(): void;
}

/** What this needs of the package. */
export interface LiteRt {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- its own types name more than is used here
  Tensor: new (data: any, shape: any) => any;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  loadAndCompile(model: any, options?: any): Promise<any>;
}

/** Types of inputs and outputs that LiteRT.js 2.5 has. */
const TYPES = ["float32", "int32", "uint8"];

/**
 * Runs `.tflite` files.
 *
 * @param litert The package, as `import * as litert` gives it.
 * @param accelerator "wasm", "webgpu" or "webnn".
 */
export function liteRt(litert: LiteRt, accelerator = "wasm"): Runtime {
  return {
    format: "tflite",
    async load(bytes, description) {
      const other = [...description.inputs, ...description.outputs].find(({ dtype }) => !TYPES.includes(dtype));
      if (other) throw new Error(`LiteRT.js has no inputs and outputs of type ${other.dtype}: ${other.name}`);
      const model: LiteModel = await litert.loadAndCompile(bytes, { accelerator });
      return open(litert, model, description);
    },
  };
}

function open(litert: LiteRt, model: LiteModel, { inputs, outputs }: Record<"inputs" | "outputs", TensorDescription[]>): Session {
  const [given, taken] = [places(inputs, model.getInputDetails()), places(outputs, model.getOutputDetails())];
  return {
    async run(tensors: Tensor[]): Promise<Tensor[]> {
      const fed: LiteTensor[] = [];
      tensors.forEach(({ data, shape }, index) => (fed[given[index]] = new litert.Tensor(data, shape)));
      const results = await model.run(fed);
      const found = await Promise.all(taken.map(async (place, index) => {
        const { dtype, shape } = outputs[index];
        const data = (await results[place].data()).slice() as Numbers;
        const sizes = shape.includes(null) ? [...model.getOutputDetails()[place].shape] : (shape as number[]);
        return { dtype, shape: sizes, data };
      }));
      // Its memory is WebAssembly's, which no garbage collector looks after.
      [...fed, ...results].forEach((tensor) => tensor.delete());
      return found;
    },
    close: () => model.delete(),
  };
}

/** Where each tensor stands in the model's signature, whose order may be another. */
function places(tensors: TensorDescription[], details: readonly { readonly name: string }[]): number[] {
  const found = tensors.map(({ name }) => details.findIndex((detail) => detail.name === name));
  return found.includes(-1) ? tensors.map((_, index) => index) : found;
}
