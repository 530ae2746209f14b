import { BundleError } from "./errors.js";
import { resample } from "./resampling.js";
export const MAX_PIXELS = 1 << 28;
const ARRAYS = {
    float32: Float32Array, float64: Float64Array, int8: Int8Array, uint8: Uint8Array, bool: Uint8Array,
    int16: Int16Array, uint16: Uint16Array, int32: Int32Array, int64: BigInt64Array,
};
const LIMITS = { int8: [-128, 127], uint8: [0, 255], int16: [-32768, 32767] };
export function allocate(dtype, length) {
    const type = ARRAYS[dtype];
    if (!type)
        throw new BundleError("manifest", `numbers of type ${dtype} are not supported here`);
    return new type(length);
}
export function round(x) {
    const below = Math.floor(x);
    const rest = x - below;
    return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}
export function preprocess(picture, steps) {
    check(picture);
    const depth = steps.channels === "gray" ? 1 : 3;
    const shorter = steps.resize ?? steps.crop;
    let [width, height] = [picture.width, picture.height];
    if (shorter) {
        const factor = shorter / Math.min(width, height);
        [width, height] = [width, height].map((side) => Math.max(shorter, round(side * factor)));
    }
    const side = steps.crop;
    const box = side
        ? { left: Math.floor((width - side) / 2), top: Math.floor((height - side) / 2), width: side, height: side }
        : { left: 0, top: 0, width, height };
    const pixels = depth === 1 ? toGray(picture) : toPixels(picture);
    const same = width === picture.width && height === picture.height;
    const bytes = resample(pixels, width, height, box, depth, same ? "nearest" : steps.interpolation);
    return normalize(bytes, box.width, box.height, depth, steps);
}
function check({ width, height, data }) {
    const whole = Number.isInteger(width) && Number.isInteger(height);
    if (!whole || width < 1 || height < 1 || width * height > MAX_PIXELS || data.length !== width * height * 4) {
        const limit = `1 to ${MAX_PIXELS} pixels with 4 bytes each`;
        throw new BundleError("picture", `expected a picture of ${limit}, got ${width} x ${height} in ${data.length} bytes`);
    }
}
function toPixels({ width, height, data }) {
    return { width, height, stride: 4, bytes: data };
}
function toGray({ width, height, data }) {
    const bytes = new Uint8Array(width * height);
    for (let place = 0, from = 0; place < bytes.length; place++, from += 4) {
        bytes[place] = (data[from] * 19595 + data[from + 1] * 38470 + data[from + 2] * 7471 + 0x8000) >> 16;
    }
    return { width, height, stride: 1, bytes };
}
function normalize(bytes, width, height, depth, steps) {
    const area = width * height;
    const data = new Float32Array(area * depth);
    const planar = steps.layout === "nchw";
    for (let channel = 0; channel < depth; channel++) {
        const table = values(steps, channel);
        const from = steps.channels === "bgr" ? depth - 1 - channel : channel;
        const [start, step] = planar ? [channel * area, 1] : [channel, depth];
        for (let pixel = 0; pixel < area; pixel++)
            data[start + pixel * step] = table[bytes[pixel * depth + from]];
    }
    return { dtype: "float32", shape: planar ? [1, depth, height, width] : [1, height, width, depth], data };
}
function values(steps, channel) {
    const [mean, std] = [steps.mean, steps.std].map((list) => Math.fround(list[list.length === 1 ? 0 : channel]));
    const scale = Math.fround(steps.scale);
    return Float32Array.from({ length: 256 }, (_, byte) => Math.fround(Math.fround(byte / scale) - mean) / std);
}
export function toStored(tensor, description) {
    const moved = description.permutation ? transpose(tensor, description.permutation) : tensor;
    const { dtype, scale, zero_point: zero } = description;
    const data = allocate(dtype, moved.data.length);
    if (scale !== null && zero !== null) {
        const step = Math.fround(scale);
        const [low, high] = LIMITS[dtype];
        for (let index = 0; index < data.length; index++) {
            const integer = round(Math.fround(Number(moved.data[index]) / step)) + zero;
            data[index] = Math.min(high, Math.max(low, integer));
        }
    }
    else {
        copy(moved.data, data);
    }
    return { dtype, shape: moved.shape, data };
}
export function fromStored(tensor, description) {
    const { scale, zero_point: zero, permutation } = description;
    const data = allocate(description.source_dtype, tensor.data.length);
    if (scale !== null && zero !== null) {
        const step = Math.fround(scale);
        for (let index = 0; index < data.length; index++)
            data[index] = (Number(tensor.data[index]) - zero) * step;
    }
    else {
        copy(tensor.data, data);
    }
    const real = { dtype: description.source_dtype, shape: tensor.shape, data };
    return permutation ? transpose(real, permutation.map((_, axis) => permutation.indexOf(axis))) : real;
}
function copy(from, to) {
    if (to instanceof BigInt64Array)
        for (let i = 0; i < to.length; i++)
            to[i] = BigInt(from[i]);
    else
        for (let i = 0; i < to.length; i++)
            to[i] = Number(from[i]);
}
export function transpose(tensor, permutation) {
    const strides = tensor.shape.map((_, axis) => tensor.shape.slice(axis + 1).reduce((product, size) => product * size, 1));
    const shape = permutation.map((axis) => tensor.shape[axis]);
    const steps = permutation.map((axis) => strides[axis]);
    const data = allocate(tensor.dtype, tensor.data.length);
    const at = shape.map(() => 0);
    for (let place = 0, from = 0; place < data.length; place++) {
        data[place] = tensor.data[from];
        for (let axis = shape.length - 1; axis >= 0; axis--) {
            from += steps[axis];
            if (++at[axis] < shape[axis])
                break;
            from -= steps[axis] * shape[axis];
            at[axis] = 0;
        }
    }
    return { dtype: tensor.dtype, shape, data };
}
export function rank(scores, softmax, labels, top = 5) {
    const real = Float64Array.from(scores);
    if (softmax) {
        const largest = real.reduce((a, b) => Math.max(a, b), -Infinity);
        const powers = real.map((score) => Math.exp(score - largest));
        const sum = powers.reduce((a, b) => a + b, 0);
        powers.forEach((power, index) => (real[index] = power / sum));
    }
    const order = [...real.keys()].sort((a, b) => real[b] - real[a] || a - b).slice(0, top);
    return order.map((index) => ({ index, label: labels?.[index] ?? `class ${index}`, score: real[index] }));
}
