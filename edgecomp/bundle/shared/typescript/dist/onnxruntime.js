const ARITHMETIC = { extra: { session: { x64quantprecision: "1" } }, logSeverityLevel: 3 };
export function onnxRuntime(ort, options = {}) {
    return {
        format: "onnxruntime",
        async load(model, description) {
            const session = await ort.InferenceSession.create(model, { ...ARITHMETIC, ...options });
            return {
                async run(inputs) {
                    const feeds = inputs.map(({ dtype, data, shape }, index) => {
                        return [description.inputs[index].name, new ort.Tensor(dtype, data, shape)];
                    });
                    const results = await session.run(Object.fromEntries(feeds));
                    return description.outputs.map(({ name, dtype }) => {
                        return { dtype, shape: [...results[name].dims], data: results[name].data };
                    });
                },
                close: () => void session.release?.(),
            };
        },
    };
}
