// What benchmarks/pictures.py times in Node: a picture of noise, the bundle's own way and, where it is installed, pica's.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const [core, settings, modules, ...numbers] = process.argv.slice(2);
const [width, height, side, rounds] = numbers.map(Number);
const { preprocess } = await import(core);
const steps = JSON.parse(await readFile(settings, "utf8"));
const data = Uint8Array.from({ length: width * height * 4 }, (_, place) => (place * 97 + (place >> 7)) & 255);
const size = { toWidth: Math.round((width * side) / height), toHeight: side };

const work = { edgecomp: () => preprocess({ width, height, data }, steps) };
try {
  const require = createRequire(`${modules}/package.json`);
  const { version } = require("pica/package.json");
  for (const feature of ["js", "wasm"]) {
    const pica = require("pica")({ features: [feature] });
    work[`pica ${version}, ${feature}`] = () => pica.resizeBuffer({ src: data, width, height, ...size, filter: "hamming" });
  }
} catch (problem) {
  console.error(`pica is not installed in ${modules}: ${problem.message}`);
}

for (let round = 0; round < rounds; round++) {
  for (const [name, run] of Object.entries(work)) {
    const start = process.cpuUsage();
    await run();
    const { user, system } = process.cpuUsage(start);
    console.log(`${name}\t${(user + system) / 1000}`);
  }
}
