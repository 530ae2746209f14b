export type Interpolation = "nearest" | "bilinear" | "bicubic" | "lanczos";
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
export declare function resample(picture: Pixels, width: number, height: number, box: Box, channels: number, method: Interpolation): Uint8Array;
