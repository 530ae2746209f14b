const TYPES = ["float32", "int32", "uint8"];
export function liteRt(litert, accelerator = "wasm") {
    return {
        format: "tflite",
        async load(bytes, description) {
            const other = [...description.inputs, ...description.outputs].find(({ dtype }) => !TYPES.includes(dtype));
            if (other)
                throw new Error(`LiteRT.js has no inputs and outputs of type ${other.dtype}: ${other.name}`);
            const model = await litert.loadAndCompile(bytes, { accelerator });
            return open(litert, model, description);
        },
    };
}
function open(litert, model, { inputs, outputs }) {
    const [given, taken] = [places(inputs, model.getInputDetails()), places(outputs, model.getOutputDetails())];
    return {
        async run(tensors) {
            const fed = [];
            tensors.forEach(({ data, shape }, index) => (fed[given[index]] = new litert.Tensor(data, shape)));
            const results = await model.run(fed);
            const found = await Promise.all(taken.map(async (place, index) => {
                const { dtype, shape } = outputs[index];
                const data = (await results[place].data()).slice();
                const sizes = shape.includes(null) ? [...model.getOutputDetails()[place].shape] : shape;
                return { dtype, shape: sizes, data };
            }));
            [...fed, ...results].forEach((tensor) => tensor.delete());
            return found;
        },
        close: () => model.delete(),
    };
}
function places(tensors, details) {
    const found = tensors.map(({ name }) => details.findIndex((detail) => detail.name === name));
    return found.includes(-1) ? tensors.map((_, index) => index) : found;
}
