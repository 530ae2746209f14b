import { BundleError } from "./errors.js";
import { isSignedBy, sha256 } from "./integrity.js";
import { allocate, fromStored, preprocess, rank, toStored, } from "./processing.js";
export const SCHEMA = 1;
const TEXT = new TextDecoder();
export async function openBundle(options) {
    const manifest = await readManifest(options);
    const seen = (await options.releases?.read(manifest.name)) ?? 0;
    if (manifest.release < seen) {
        throw new BundleError("release", `${manifest.name} is release ${manifest.release}, and ${seen} was opened before`);
    }
    const files = await readAssets(manifest, options);
    const loaded = await loadFirst(manifest, files, options.runtimes);
    await options.releases?.write(manifest.name, manifest.release);
    return new Bundle(manifest, files, loaded.model, loaded.session, options.runtimes);
}
async function readManifest({ read, name, trustedKey }) {
    const bytes = await read("bundle.json");
    if (trustedKey) {
        const signature = await read("bundle.sig").catch(() => new Uint8Array());
        if (!isSignedBy(fromBase64(trustedKey), signature, bytes)) {
            throw new BundleError("signature", "bundle.json does not carry the signature of the trusted key");
        }
    }
    const manifest = parse(bytes);
    if (manifest.name !== name) {
        throw new BundleError("manifest", `expected the bundle ${name}, got ${manifest.name}`);
    }
    return manifest;
}
function parse(bytes) {
    try {
        const manifest = JSON.parse(TEXT.decode(bytes));
        if (manifest.schema > SCHEMA || manifest.processing.schema > SCHEMA || !manifest.models.length)
            throw new Error();
        return manifest;
    }
    catch {
        throw new BundleError("manifest", `bundle.json is damaged, or of a newer schema than ${SCHEMA}`);
    }
}
async function readAssets(manifest, { read }) {
    const files = new Map();
    const wrong = [];
    for (const [file, { sha256: expected }] of Object.entries(manifest.assets)) {
        const bytes = await read(file).catch(() => new Uint8Array());
        if ((await sha256(bytes)) !== expected)
            wrong.push(file);
        files.set(file, bytes);
    }
    const needed = [manifest.golden, ...manifest.models.map((model) => model.file), manifest.processing.labels];
    wrong.push(...needed.filter((file) => file !== null && !files.has(file)));
    if (wrong.length)
        throw new BundleError("hash", `not the files that the bundle was made of: ${wrong.join(", ")}`);
    return files;
}
async function loadFirst(manifest, files, runtimes) {
    const reasons = [];
    for (const model of manifest.models) {
        const runtime = runtimes.find((each) => each.format === model.format);
        try {
            if (!runtime)
                throw new Error("no runtime for it in this app");
            return { model, session: await runtime.load(files.get(model.file), model) };
        }
        catch (error) {
            reasons.push(`${model.file}: ${error instanceof Error ? error.message : String(error)}`);
        }
    }
    throw new BundleError("runtime", `none of the models could be loaded: ${reasons.join("; ")}`);
}
export class Bundle {
    manifest;
    files;
    model;
    session;
    runtimes;
    labels;
    constructor(manifest, files, model, session, runtimes) {
        this.manifest = manifest;
        this.files = files;
        this.model = model;
        this.session = session;
        this.runtimes = runtimes;
        const file = manifest.processing.labels;
        this.labels = file === null ? null : TEXT.decode(files.get(file)).split("\n").slice(0, -1);
    }
    async classify(picture, top = 5) {
        const outputs = await this.predict([this.prepare(picture)]);
        return rank(outputs[0].data, this.manifest.processing.softmax, this.labels, top);
    }
    async predict(inputs) {
        return predict(this.session, this.model, inputs);
    }
    async selfTest() {
        const golden = JSON.parse(TEXT.decode(this.files.get(this.manifest.golden)));
        const checks = [];
        for (const model of this.manifest.models) {
            const runtime = this.runtimes.find((each) => each.format === model.format);
            const session = await runtime?.load(this.files.get(model.file), model).catch(() => undefined);
            if (!session)
                continue;
            checks.push(await this.compare(session, model, golden));
            session.close();
        }
        return checks;
    }
    close() {
        this.session.close();
    }
    prepare(picture) {
        const steps = this.manifest.processing.preprocessing;
        if (!steps)
            throw new BundleError("input", "this model does not say how a picture becomes its input; use predict");
        return preprocess(picture, steps);
    }
    async compare(session, model, golden) {
        const inputs = golden.picture
            ? [this.prepare(toPicture(golden.picture))]
            : model.inputs.map(({ name }) => toTensor(golden.inputs[name]));
        const expected = golden.models[model.file];
        const hashes = await Promise.all(inputs.map((tensor, index) => sha256(toBytes(toStored(tensor, model.inputs[index]).data))));
        const outputs = await predict(session, model, inputs);
        const differences = outputs.map(({ data }, index) => {
            const { values, scale, stride, tolerance } = expected.outputs[index];
            const recorded = Float64Array.from(new Int16Array(fromBase64(values).buffer), (value) => value * scale);
            return difference(data, recorded, stride) / tolerance;
        });
        return {
            file: model.file,
            sameInputs: hashes.every((hash, index) => hash === expected.inputs_sha256[index]),
            difference: Math.max(...differences),
        };
    }
}
async function predict(session, model, inputs) {
    if (inputs.length !== model.inputs.length) {
        throw new BundleError("input", `expected ${model.inputs.length} inputs, got ${inputs.length}`);
    }
    inputs.forEach((tensor, index) => checkShape(tensor, model.inputs[index]));
    const outputs = await session.run(inputs.map((tensor, index) => toStored(tensor, model.inputs[index])));
    return outputs.map((tensor, index) => fromStored(tensor, model.outputs[index]));
}
function checkShape(tensor, { name, shape, permutation }) {
    const wanted = permutation ? permutation.map((_, axis) => shape[permutation.indexOf(axis)]) : shape;
    const fits = wanted.length === tensor.shape.length
        && wanted.every((size, axis) => size === null || size === tensor.shape[axis]);
    const count = tensor.shape.reduce((product, size) => product * size, 1);
    if (!fits || count !== tensor.data.length) {
        const given = `${tensor.data.length} numbers of shape ${tensor.shape.join("x")}`;
        throw new BundleError("input", `${name}: expected the shape ${wanted.map((s) => s ?? "any").join("x")}, got ${given}`);
    }
}
function difference(found, expected, stride) {
    if (Math.ceil(found.length / stride) !== expected.length)
        return Infinity;
    return expected.reduce((largest, value, index) => {
        const away = Math.abs(Number(found[index * stride]) - value);
        return away <= largest ? largest : away;
    }, 0);
}
function toPicture({ width, height, rgb }) {
    const bytes = fromBase64(rgb);
    const data = new Uint8ClampedArray(width * height * 4).fill(255);
    for (let pixel = 0; pixel < width * height; pixel++) {
        data.set(bytes.subarray(3 * pixel, 3 * pixel + 3), 4 * pixel);
    }
    return { width, height, data };
}
function toTensor({ dtype, shape, data }) {
    const numbers = allocate(dtype, shape.reduce((product, size) => product * size, 1));
    toBytes(numbers).set(fromBase64(data));
    return { dtype, shape, data: numbers };
}
function toBytes(numbers) {
    return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
}
export function fromBase64(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
