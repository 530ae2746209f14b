import { type Interpolation } from "./resampling.js";
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
export type Numbers = Float32Array | Float64Array | Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | BigInt64Array;
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
export declare const MAX_PIXELS: number;
/** An array of a dtype as numpy calls it. */
export declare function allocate(dtype: string, length: number): Numbers;
/** Half to even, as IEEE 754 and numpy round. */
export declare function round(x: number): number;
/** One picture as float32 with an axis of size 1 in front, in the source's layout. */
export declare function preprocess(picture: Picture, steps: Preprocessing): Tensor;
/** A tensor of the source's dtype and layout as the model stores it. */
export declare function toStored(tensor: Tensor, description: TensorDescription): Tensor;
/** The other way round. */
export declare function fromStored(tensor: Tensor, description: TensorDescription): Tensor;
/** Axes in a new order: axis `i` of the result is axis `permutation[i]` of the tensor. */
export declare function transpose(tensor: Tensor, permutation: number[]): Tensor;
/** The best classes, best first; of equals the lower index. */
export declare function rank(scores: ArrayLike<number>, softmax: boolean, labels: string[] | null, top?: number): Ranked[];
