import { type Picture, type Preprocessing, type Ranked, type Tensor, type TensorDescription } from "./processing.js";
export declare const SCHEMA = 1;
export interface ModelDescription {
    format: string;
    file: string;
    runtime: string;
    inputs: TensorDescription[];
    outputs: TensorDescription[];
}
export interface Manifest {
    schema: number;
    name: string;
    release: number;
    models: ModelDescription[];
    processing: {
        schema: number;
        preprocessing: Preprocessing | null;
        softmax: boolean;
        labels: string | null;
    };
    golden: string;
    assets: Record<string, {
        sha256: string;
        size: number;
    }>;
}
/** A model that a runtime has loaded. */
export interface Session {
    /** Takes and gives tensors as the model stores them, in its order. */
    run(inputs: Tensor[]): Promise<Tensor[]>;
    close(): void;
}
/** What can load models of one format. */
export interface Runtime {
    format: string;
    load(model: Uint8Array, description: ModelDescription): Promise<Session>;
}
/** Remembers the highest release that was opened, so that an older bundle cannot take its place. */
export interface Releases {
    read(name: string): number | Promise<number>;
    write(name: string, release: number): void | Promise<void>;
}
export interface Options {
    /** Gives the bytes of one of the bundle's files. */
    read: (file: string) => Promise<Uint8Array>;
    /** What the bundle must be called. */
    name: string;
    /** The public key in base64 that must have signed it; "" for bundles that are not signed. */
    trustedKey: string;
    runtimes: Runtime[];
    releases?: Releases;
}
/** What the self-test found of one model. */
export interface Check {
    file: string;
    /** Whether processing gave the bits that Python gave. */
    sameInputs: boolean;
    /** The largest difference of an output from what was recorded, in units of what is tolerated: at most 1 is well. */
    difference: number;
}
/** Makes sure that a bundle is what was signed, and loads it. */
export declare function openBundle(options: Options): Promise<Bundle>;
/** A model with everything around it, verified and loaded. */
export declare class Bundle {
    readonly manifest: Manifest;
    private readonly files;
    readonly model: ModelDescription;
    private readonly session;
    private readonly runtimes;
    readonly labels: string[] | null;
    constructor(manifest: Manifest, files: Map<string, Uint8Array>, model: ModelDescription, session: Session, runtimes: Runtime[]);
    /** The best classes of a picture, best first. */
    classify(picture: Picture, top?: number): Promise<Ranked[]>;
    /** Runs the model on inputs as the original model takes them; gives its outputs as the original gives them. */
    predict(inputs: Tensor[]): Promise<Tensor[]>;
    /** Runs every model that can be loaded here on the golden data. */
    selfTest(): Promise<Check[]>;
    close(): void;
    private prepare;
    private compare;
}
/** Bytes of base64. */
export declare function fromBase64(text: string): Uint8Array;
