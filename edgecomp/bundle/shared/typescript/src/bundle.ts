// Opens a bundle: signature, release and hashes first, then the first model that a runtime takes.

import { BundleError } from "./errors.js";
import { isSignedBy, sha256 } from "./integrity.js";
import {
  allocate, fromStored, preprocess, rank, toStored,
  type Numbers, type Picture, type Preprocessing, type Ranked, type Tensor, type TensorDescription,
} from "./processing.js";

export const SCHEMA = 1;

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
  processing: { schema: number; preprocessing: Preprocessing | null; softmax: boolean; labels: string | null };
  golden: string;
  assets: Record<string, { sha256: string; size: number }>;
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

interface Golden {
  picture: { width: number; height: number; rgb: string } | null;
  inputs: Record<string, { dtype: string; shape: number[]; data: string }>;
  models: Record<string, { inputs_sha256: string[]; outputs: { values: string; scale: number; stride: number; tolerance: number }[] }>;
}

/** What the self-test found of one model. */
export interface Check {
  file: string;
  /** Whether processing gave the bits that Python gave. */
  sameInputs: boolean;
  /** The largest difference of an output from what was recorded, in units of what is tolerated: at most 1 is well. */
  difference: number;
}

const TEXT = new TextDecoder();

/** Makes sure that a bundle is what was signed, and loads it. */
export async function openBundle(options: Options): Promise<Bundle> {
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

async function readManifest({ read, name, trustedKey }: Options): Promise<Manifest> {
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

function parse(bytes: Uint8Array): Manifest {
  try {
    const manifest = JSON.parse(TEXT.decode(bytes)) as Manifest;
    if (manifest.schema > SCHEMA || manifest.processing.schema > SCHEMA || !manifest.models.length) throw new Error();
    return manifest;
  } catch {
    throw new BundleError("manifest", `bundle.json is damaged, or of a newer schema than ${SCHEMA}`);
  }
}

async function readAssets(manifest: Manifest, { read }: Options): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  const wrong: string[] = [];
  for (const [file, { sha256: expected }] of Object.entries(manifest.assets)) {
    const bytes = await read(file).catch(() => new Uint8Array());
    if ((await sha256(bytes)) !== expected) wrong.push(file);
    files.set(file, bytes);
  }
  const needed = [manifest.golden, ...manifest.models.map((model) => model.file), manifest.processing.labels];
  wrong.push(...needed.filter((file): file is string => file !== null && !files.has(file)));
  if (wrong.length) throw new BundleError("hash", `not the files that the bundle was made of: ${wrong.join(", ")}`);
  return files;
}

async function loadFirst(manifest: Manifest, files: Map<string, Uint8Array>, runtimes: Runtime[]) {
  const reasons: string[] = [];
  for (const model of manifest.models) {
    const runtime = runtimes.find((each) => each.format === model.format);
    try {
      if (!runtime) throw new Error("no runtime for it in this app");
      return { model, session: await runtime.load(files.get(model.file)!, model) };
    } catch (error) {
      reasons.push(`${model.file}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new BundleError("runtime", `none of the models could be loaded: ${reasons.join("; ")}`);
}

/** A model with everything around it, verified and loaded. */
export class Bundle {
  readonly labels: string[] | null;

  constructor(
    readonly manifest: Manifest,
    private readonly files: Map<string, Uint8Array>,
    readonly model: ModelDescription,
    private readonly session: Session,
    private readonly runtimes: Runtime[],
  ) {
    const file = manifest.processing.labels;
    this.labels = file === null ? null : TEXT.decode(files.get(file)).split("\n").slice(0, -1);
  }

  /** The best classes of a picture, best first. */
  async classify(picture: Picture, top = 5): Promise<Ranked[]> {
    const outputs = await this.predict([this.prepare(picture)]);
    return rank(outputs[0].data as Float32Array, this.manifest.processing.softmax, this.labels, top);
  }

  /** Runs the model on inputs as the original model takes them; gives its outputs as the original gives them. */
  async predict(inputs: Tensor[]): Promise<Tensor[]> {
    return predict(this.session, this.model, inputs);
  }

  /** Runs every model that can be loaded here on the golden data. */
  async selfTest(): Promise<Check[]> {
    const golden = JSON.parse(TEXT.decode(this.files.get(this.manifest.golden))) as Golden;
    const checks: Check[] = [];
    for (const model of this.manifest.models) {
      const runtime = this.runtimes.find((each) => each.format === model.format);
      const session = await runtime?.load(this.files.get(model.file)!, model).catch(() => undefined);
      if (!session) continue;
      checks.push(await this.compare(session, model, golden));
      session.close();
    }
    return checks;
  }

  close(): void {
    this.session.close();
  }

  private prepare(picture: Picture): Tensor {
    const steps = this.manifest.processing.preprocessing;
    if (!steps) throw new BundleError("input", "this model does not say how a picture becomes its input; use predict");
    return preprocess(picture, steps);
  }

  private async compare(session: Session, model: ModelDescription, golden: Golden): Promise<Check> {
    const inputs = golden.picture
      ? [this.prepare(toPicture(golden.picture))]
      : model.inputs.map(({ name }) => toTensor(golden.inputs[name]));
    const expected = golden.models[model.file];
    const hashes = await Promise.all(
      inputs.map((tensor, index) => sha256(toBytes(toStored(tensor, model.inputs[index]).data))),
    );
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

async function predict(session: Session, model: ModelDescription, inputs: Tensor[]): Promise<Tensor[]> {
  if (inputs.length !== model.inputs.length) {
    throw new BundleError("input", `expected ${model.inputs.length} inputs, got ${inputs.length}`);
  }
  inputs.forEach((tensor, index) => checkShape(tensor, model.inputs[index]));
  const outputs = await session.run(inputs.map((tensor, index) => toStored(tensor, model.inputs[index])));
  return outputs.map((tensor, index) => fromStored(tensor, model.outputs[index]));
}

function checkShape(tensor: Tensor, { name, shape, permutation }: TensorDescription): void {
  const wanted = permutation ? permutation.map((_, axis) => shape[permutation.indexOf(axis)]) : shape;
  const fits = wanted.length === tensor.shape.length
    && wanted.every((size, axis) => size === null || size === tensor.shape[axis]);
  const count = tensor.shape.reduce((product, size) => product * size, 1);
  if (!fits || count !== tensor.data.length) {
    const given = `${tensor.data.length} numbers of shape ${tensor.shape.join("x")}`;
    throw new BundleError("input", `${name}: expected the shape ${wanted.map((s) => s ?? "any").join("x")}, got ${given}`);
  }
}

function difference(found: Numbers, expected: Float64Array, stride: number): number {
  if (Math.ceil(found.length / stride) !== expected.length) return Infinity;
  return expected.reduce((largest, value, index) => {
    const away = Math.abs(Number(found[index * stride]) - value);
    return away <= largest ? largest : away; // NaN is not less, and stays
  }, 0);
}

function toPicture({ width, height, rgb }: { width: number; height: number; rgb: string }): Picture {
  const bytes = fromBase64(rgb);
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let pixel = 0; pixel < width * height; pixel++) {
    data.set(bytes.subarray(3 * pixel, 3 * pixel + 3), 4 * pixel);
  }
  return { width, height, data };
}

function toTensor({ dtype, shape, data }: { dtype: string; shape: number[]; data: string }): Tensor {
  const numbers = allocate(dtype, shape.reduce((product, size) => product * size, 1));
  toBytes(numbers).set(fromBase64(data));
  return { dtype, shape, data: numbers };
}

function toBytes(numbers: Numbers): Uint8Array {
  return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
}

/** Bytes of base64. */
export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
