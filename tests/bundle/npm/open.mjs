// Opens a bundle for the web in Node with ONNX Runtime; prints what it says as JSON.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const ort = createRequire(`${process.env.EDGECOMP_NPM}/package.json`)("onnxruntime-node");
const [command, folder, name, key, seen] = process.argv.slice(2);
const bundle = await import(`${folder}/${name}.js`);

const decode = (text) => new Uint8Array(Buffer.from(text, "base64"));
const releases = { read: () => Number(seen ?? 0), write: () => {} };
const reading = { read: (file) => readFile(`${folder}/assets/${file}`), releases };

const commands = {
  async open() {
    const open = bundle[`open${name[0].toUpperCase()}${name.slice(1)}`];
    const trusted = key ? { trustedKey: key } : {};
    const opened = await open([bundle.onnxRuntime(ort)], { ...reading, ...trusted });
    const golden = JSON.parse(await readFile(`${folder}/assets/golden.json`, "utf8"));
    const answer = golden.picture ? await opened.classify(rgba(golden.picture)) : null;
    return { model: opened.model.file, checks: await opened.selfTest(), answer, golden: golden.answer };
  },
  async none() {
    const broken = { format: "tflite", load: async () => { throw new Error("no WebAssembly"); } };
    await bundle.openCats([broken], reading);
  },
  async vectors() {
    const { vectors } = JSON.parse(await readFile(key, "utf8"));
    return vectors.flatMap((vector, index) => {
      const picture = { width: vector.width, height: vector.height, data: decode(vector.rgba) };
      const { data } = bundle.toStored(bundle.preprocess(picture, vector.preprocessing), vector.description);
      const found = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
      return found.equals(decode(vector.expected)) ? [] : [index];
    });
  },
  async pictures() {
    const steps = JSON.parse(await readFile(`${folder}/assets/bundle.json`, "utf8")).processing.preprocessing;
    const sizes = [[0, 5, 0], [5, 0, 0], [1 << 20, 1 << 20, 4], [2, 2, 15], [2.5, 2, 20]];
    return sizes.map(([width, height, length]) => {
      try {
        return bundle.preprocess({ width, height, data: new Uint8Array(length) }, steps).shape;
      } catch (problem) {
        return problem.problem;
      }
    });
  },
  async hashes() {
    const messages = [...Array(130).keys(), 1000].map((size) => new Uint8Array(size).map((_, i) => i * 7));
    return messages.map((message) => Buffer.from(bundle.sha256Portable(message)).toString("hex"));
  },
};

function rgba({ width, height, rgb }) {
  const bytes = decode(rgb);
  const data = Uint8Array.from({ length: width * height * 4 }, (_, i) => (i % 4 === 3 ? 255 : bytes[(i >> 2) * 3 + (i % 4)]));
  return { width, height, data };
}

try {
  console.log(JSON.stringify(await commands[command]()));
} catch (problem) {
  if (!problem.problem) throw problem;
  console.log(JSON.stringify({ problem: problem.problem, message: problem.message }));
}
