// From a picture to what a model stores as its input, and from its output to an answer: edgecomp's processing, schema 1.

import { BundleError } from "./errors.js";
import { resample, type Interpolation, type Pixels } from "./resampling.js";

/** Eight bits per channel, four channels, row by row: what `ImageData` is. Alpha is ignored. */
export interface Picture {
  width: number;
  height: number;
  data: Uint8Array | Uint8ClampedArray;
}

export interface Preprocessing {
  resize: number | null;
  crop: number | null;
  scale: number;
  mean: number[];
  std: number[];
  channels: "rgb" | "bgr" | "gray";
  layout: "nchw" | "nhwc";
  interpolation: Interpolation;
}

export interface TensorDescription {
  name: string;
  dtype: string;
  shape: (number | null)[];
  permutation: number[] | null;
  scale: number | null;
  zero_point: number | null;
  source_dtype: string;
}

export type Numbers =
  | Float32Array | Float64Array | Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | BigInt64Array;

export interface Tensor {
  dtype: string;
  shape: number[];
  data: Numbers;
}

export interface Ranked {
  index: number;
  label: string;
  score: number;
}

/** More pixels than any camera has; a picture beyond is refused before memory is asked for. */
export const MAX_PIXELS = 1 << 28;

const ARRAYS: Record<string, new (length: number) => Numbers> = {
  float32: Float32Array, float64: Float64Array, int8: Int8Array, uint8: Uint8Array, bool: Uint8Array,
  int16: Int16Array, uint16: Uint16Array, int32: Int32Array, int64: BigInt64Array,
};

const LIMITS: Record<string, [number, number]> = { int8: [-128, 127], uint8: [0, 255], int16: [-32768, 32767] };

/** An array of a dtype as numpy calls it. */
export function allocate(dtype: string, length: number): Numbers {
  const type = ARRAYS[dtype];
  if (!type) throw new BundleError("manifest", `numbers of type ${dtype} are not supported here`);
  return new type(length);
}

/** Half to even, as IEEE 754 and numpy round. */
export function round(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

/** One picture as float32 with an axis of size 1 in front, in the source's layout. */
export function preprocess(picture: Picture, steps: Preprocessing): Tensor {
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

function check({ width, height, data }: Picture): void {
  const whole = Number.isInteger(width) && Number.isInteger(height);
  if (!whole || width < 1 || height < 1 || width * height > MAX_PIXELS || data.length !== width * height * 4) {
    const limit = `1 to ${MAX_PIXELS} pixels with 4 bytes each`;
    throw new BundleError("picture", `expected a picture of ${limit}, got ${width} x ${height} in ${data.length} bytes`);
  }
}

/** An ImageData's sizes are no properties of its own, so that they cannot be spread. */
function toPixels({ width, height, data }: Picture): Pixels {
  return { width, height, stride: 4, bytes: data };
}

/** ITU-R 601 luma in 16-bit fixed point, as Pillow computes it. */
function toGray({ width, height, data }: Picture): Pixels {
  const bytes = new Uint8Array(width * height);
  for (let place = 0, from = 0; place < bytes.length; place++, from += 4) {
    bytes[place] = (data[from] * 19595 + data[from + 1] * 38470 + data[from + 2] * 7471 + 0x8000) >> 16;
  }
  return { width, height, stride: 1, bytes };
}

function normalize(bytes: Uint8Array, width: number, height: number, depth: number, steps: Preprocessing): Tensor {
  const area = width * height;
  const data = new Float32Array(area * depth);
  const planar = steps.layout === "nchw";
  for (let channel = 0; channel < depth; channel++) {
    const table = values(steps, channel);
    const from = steps.channels === "bgr" ? depth - 1 - channel : channel;
    const [start, step] = planar ? [channel * area, 1] : [channel, depth];
    for (let pixel = 0; pixel < area; pixel++) data[start + pixel * step] = table[bytes[pixel * depth + from]];
  }
  return { dtype: "float32", shape: planar ? [1, depth, height, width] : [1, height, width, depth], data };
}

/** What each of the 256 bytes becomes; every step is rounded to float32. */
function values(steps: Preprocessing, channel: number): Float32Array {
  const [mean, std] = [steps.mean, steps.std].map((list) => Math.fround(list[list.length === 1 ? 0 : channel]));
  const scale = Math.fround(steps.scale);
  return Float32Array.from({ length: 256 }, (_, byte) => Math.fround(Math.fround(byte / scale) - mean) / std);
}

/** A tensor of the source's dtype and layout as the model stores it. */
export function toStored(tensor: Tensor, description: TensorDescription): Tensor {
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
  } else {
    copy(moved.data, data);
  }
  return { dtype, shape: moved.shape, data };
}

/** The other way round. */
export function fromStored(tensor: Tensor, description: TensorDescription): Tensor {
  const { scale, zero_point: zero, permutation } = description;
  const data = allocate(description.source_dtype, tensor.data.length);
  if (scale !== null && zero !== null) {
    const step = Math.fround(scale);
    for (let index = 0; index < data.length; index++) data[index] = (Number(tensor.data[index]) - zero) * step;
  } else {
    copy(tensor.data, data);
  }
  const real = { dtype: description.source_dtype, shape: tensor.shape, data };
  return permutation ? transpose(real, permutation.map((_, axis) => permutation.indexOf(axis))) : real;
}

function copy(from: Numbers, to: Numbers): void {
  if (to instanceof BigInt64Array) for (let i = 0; i < to.length; i++) to[i] = BigInt(from[i]);
  else for (let i = 0; i < to.length; i++) to[i] = Number(from[i]);
}

/** Axes in a new order: axis `i` of the result is axis `permutation[i]` of the tensor. */
export function transpose(tensor: Tensor, permutation: number[]): Tensor {
  const strides = tensor.shape.map((_, axis) => tensor.shape.slice(axis + 1).reduce((product, size) => product * size, 1));
  const shape = permutation.map((axis) => tensor.shape[axis]);
  const steps = permutation.map((axis) => strides[axis]);
  const data = allocate(tensor.dtype, tensor.data.length);
  const at = shape.map(() => 0);
  for (let place = 0, from = 0; place < data.length; place++) {
    data[place] = tensor.data[from];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += steps[axis];
      if (++at[axis] < shape[axis]) break;
      from -= steps[axis] * shape[axis];
      at[axis] = 0;
    }
  }
  return { dtype: tensor.dtype, shape, data };
}

/** The best classes, best first; of equals the lower index. */
export function rank(scores: ArrayLike<number>, softmax: boolean, labels: string[] | null, top = 5): Ranked[] {
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
