// Pillow's resampling, to the bit: weights in float64, rounded to 22 bits, one pass over rows and one over columns.

export type Interpolation = "nearest" | "bilinear" | "bicubic" | "lanczos";

/** Where an output pixel's window begins, how long it is, and its weights, `size` places apart. */
interface Windows {
  starts: Int32Array;
  lengths: Int32Array;
  weights: Int32Array;
  size: number;
}

const PRECISION = 22;
const HALF = 1 << (PRECISION - 1);

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

const FILTERS: Record<Exclude<Interpolation, "nearest">, { support: number; weigh: (x: number) => number }> = {
  bilinear: { support: 1, weigh: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    weigh: (signed) => {
      const [x, a] = [Math.abs(signed), -0.5];
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    },
  },
  lanczos: { support: 3, weigh: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

function windows(from: number, to: number, first: number, count: number, method: keyof typeof FILTERS): Windows {
  const { support, weigh } = FILTERS[method];
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const reach = support * stretch;
  const size = Math.ceil(reach) * 2 + 1;
  const made: Windows = {
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

/** Interleaved bytes: `stride` of them per pixel, of which the first `channels` count. */
export interface Pixels {
  width: number;
  height: number;
  stride: number;
  bytes: Uint8Array | Uint8ClampedArray;
}

/** A part of a larger picture. */
export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

/**
 * What lies in `box` after a picture is resized to `width` x `height`; nothing else of it is computed.
 * Returns `channels` bytes per pixel.
 */
export function resample(
  picture: Pixels, width: number, height: number, box: Box, channels: number, method: Interpolation,
): Uint8Array {
  if (method === "nearest") return pick(picture, width, height, box, channels);
  const columns = windows(picture.height, height, box.top, box.height, method);
  const first = columns.starts[0];
  const rows = columns.starts[box.height - 1] + columns.lengths[box.height - 1] - first;
  // Pillow leaves out a pass that changes nothing; its weights are exactly 1, so that it changes nothing here either.
  const narrow = alongRows(picture, first, rows, windows(picture.width, width, box.left, box.width, method), channels);
  return alongColumns(narrow, box.width * channels, columns, first);
}

function alongRows(picture: Pixels, first: number, rows: number, along: Windows, channels: number): Uint8Array {
  const line = picture.width * picture.stride;
  const out = new Uint8Array(rows * along.starts.length * channels);
  const alongRow = channels === 1 ? grayRow : colorRow;
  for (let row = 0; row < rows; row++) {
    alongRow(picture, (first + row) * line, along, out, row * along.starts.length * channels);
  }
  return out;
}

function grayRow({ bytes, stride }: Pixels, line: number, along: Windows, out: Uint8Array, place: number): void {
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

/** All three channels at once: the bytes are most of what there is to read. */
function colorRow({ bytes, stride }: Pixels, line: number, along: Windows, out: Uint8Array, place: number): void {
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

function clipped(sum: number): number {
  const value = sum >> PRECISION;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

function alongColumns(bytes: Uint8Array, line: number, along: Windows, first: number): Uint8Array {
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

/** The nearest pixels; places are summed up step by step, as Pillow does. */
function pick(picture: Pixels, width: number, height: number, box: Box, channels: number): Uint8Array {
  const columns = places(picture.width, width).subarray(box.left, box.left + box.width);
  const rows = places(picture.height, height).subarray(box.top, box.top + box.height);
  const out = new Uint8Array(box.width * box.height * channels);
  let place = 0;
  for (const row of rows) {
    for (const column of columns) {
      const from = (row * picture.width + column) * picture.stride;
      for (let channel = 0; channel < channels; channel++) out[place++] = picture.bytes[from + channel];
    }
  }
  return out;
}

function places(from: number, to: number): Int32Array {
  const step = from / to;
  const found = new Int32Array(to);
  for (let index = 0, at = step * 0.5; index < to; index++, at += step) found[index] = Math.min(Math.trunc(at), from - 1);
  return found;
}
