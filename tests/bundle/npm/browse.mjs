// Opens a page in headless Chromium, gives it a picture, and prints what it shows as JSON. Everything is on loopback.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname } from "node:path";

const npm = process.env.EDGECOMP_NPM;
const { chromium } = createRequire(`${npm}/package.json`)("playwright-core");
const [folder, profile, query, screenshot, ...pictures] = process.argv.slice(2);
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };

const server = createServer(async ({ url }, response) => {
  const path = decodeURIComponent(new URL(url, "http://localhost").pathname).replace(/\/$/, "/index.html");
  const file = path.startsWith("/node_modules/") ? `${npm}${path}` : `${folder}${path}`;
  try {
    const content = await readFile(file);
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" }).end(content);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));

const flags = ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"];
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: "/usr/bin/chromium",
  headless: true,
  args: [...flags, "disable-component-update", "disable-sync"].map((flag) => `--${flag}`),
});
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/${query}`);
  await page.waitForFunction(() => document.querySelector("#state").textContent !== "Loading …", null, { timeout: 60000 });
  const answers = [];
  for (const picture of pictures) {
    await page.evaluate(() => {
      delete document.querySelector("#answer").dataset.ranked;
      document.querySelector("#state").className = "";
    });
    await page.setInputFiles("#file", picture);
    await page.waitForSelector("#answer[data-ranked], #state.wrong", { state: "attached" });
    answers.push(await page.evaluate(() => document.querySelector("#answer").dataset.ranked ?? null));
  }
  const state = await page.textContent("#state");
  const checks = await page.evaluate(() => document.querySelector("#state").dataset.checks ?? "null");
  await page.screenshot({ path: screenshot });
  console.log(JSON.stringify({ state, checks: JSON.parse(checks), answers: answers.map((text) => JSON.parse(text)) }));
} finally {
  await browser.close();
  server.close();
}
