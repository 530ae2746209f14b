const PRECISION = 22;
const HALF = 1 << (PRECISION - 1);
const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));
const FILTERS = {
    bilinear: { support: 1, weigh: (x) => Math.max(0, 1 - Math.abs(x)) },
    bicubic: {
        support: 2,
        weigh: (signed) => {
            const [x, a] = [Math.abs(signed), -0.5];
            if (x < 1)
                return ((a + 2) * x - (a + 3)) * x * x + 1;
            return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
        },
    },
    lanczos: { support: 3, weigh: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};
function windows(from, to, first, count, method) {
    const { support, weigh } = FILTERS[method];
    const scale = from / to;
    const stretch = Math.max(scale, 1);
    const reach = support * stretch;
    const size = Math.ceil(reach) * 2 + 1;
    const made = {
        starts: new Int32Array(count),
        lengths: new Int32Array(count),
        weights: new Int32Array(count * size),
        size,
    };
    const exact = new Float64Array(size);
    for (let index = 0; index < count; index++) {
        const center = (first + index + 0.5) * scale;
        const start = Math.max(0, Math.trunc(center - reach + 0.5));
        const length = Math.min(from, Math.trunc(center + reach + 0.5)) - start;
        let sum = 0;
        for (let k = 0; k < length; k++) {
            exact[k] = weigh((k + start - center + 0.5) * (1 / stretch));
            sum += exact[k];
        }
        for (let k = 0; k < length; k++) {
            const weight = (sum === 0 ? exact[k] : exact[k] / sum) * (1 << PRECISION);
            made.weights[index * size + k] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
        }
        made.starts[index] = start;
        made.lengths[index] = length;
    }
    return made;
}
export function resample(picture, width, height, box, channels, method) {
    if (method === "nearest")
        return pick(picture, width, height, box, channels);
    const columns = windows(picture.height, height, box.top, box.height, method);
    const first = columns.starts[0];
    const rows = columns.starts[box.height - 1] + columns.lengths[box.height - 1] - first;
    const narrow = alongRows(picture, first, rows, windows(picture.width, width, box.left, box.width, method), channels);
    return alongColumns(narrow, box.width * channels, columns, first);
}
function alongRows(picture, first, rows, along, channels) {
    const line = picture.width * picture.stride;
    const out = new Uint8Array(rows * along.starts.length * channels);
    const alongRow = channels === 1 ? grayRow : colorRow;
    for (let row = 0; row < rows; row++) {
        alongRow(picture, (first + row) * line, along, out, row * along.starts.length * channels);
    }
    return out;
}
function grayRow({ bytes, stride }, line, along, out, place) {
    const { starts, lengths, weights, size } = along;
    for (let index = 0; index < starts.length; index++) {
        let sum = HALF;
        let from = line + starts[index] * stride;
        for (let k = index * size, end = k + lengths[index]; k < end; k++, from += stride) {
            sum = (sum + bytes[from] * weights[k]) | 0;
        }
        out[place++] = clipped(sum);
    }
}
function colorRow({ bytes, stride }, line, along, out, place) {
    const { starts, lengths, weights, size } = along;
    for (let index = 0; index < starts.length; index++) {
        let [a, b, c] = [HALF, HALF, HALF];
        let from = line + starts[index] * stride;
        for (let k = index * size, end = k + lengths[index]; k < end; k++, from += stride) {
            const weight = weights[k];
            a = (a + bytes[from] * weight) | 0;
            b = (b + bytes[from + 1] * weight) | 0;
            c = (c + bytes[from + 2] * weight) | 0;
        }
        out[place++] = clipped(a);
        out[place++] = clipped(b);
        out[place++] = clipped(c);
    }
}
function clipped(sum) {
    const value = sum >> PRECISION;
    return value < 0 ? 0 : value > 255 ? 255 : value;
}
function alongColumns(bytes, line, along, first) {
    const { starts, lengths, weights, size } = along;
    const out = new Uint8Array(starts.length * line);
    for (let row = 0; row < starts.length; row++) {
        const begin = (starts[row] - first) * line;
        for (let column = 0; column < line; column++) {
            let sum = HALF;
            let from = begin + column;
            for (let k = row * size, end = k + lengths[row]; k < end; k++, from += line) {
                sum = (sum + bytes[from] * weights[k]) | 0;
            }
            out[row * line + column] = clipped(sum);
        }
    }
    return out;
}
function pick(picture, width, height, box, channels) {
    const columns = places(picture.width, width).subarray(box.left, box.left + box.width);
    const rows = places(picture.height, height).subarray(box.top, box.top + box.height);
    const out = new Uint8Array(box.width * box.height * channels);
    let place = 0;
    for (const row of rows) {
        for (const column of columns) {
            const from = (row * picture.width + column) * picture.stride;
            for (let channel = 0; channel < channels; channel++)
                out[place++] = picture.bytes[from + channel];
        }
    }
    return out;
}
function places(from, to) {
    const step = from / to;
    const found = new Int32Array(to);
    for (let index = 0, at = step * 0.5; index < to; index++, at += step)
        found[index] = Math.min(Math.trunc(at), from - 1);
    return found;
}
