// One measurement of the package: measure.mjs PACKAGE MODEL TIER [BROWSER]
//
// In the Node that runs this, or in a browser without a window. Prints a line of JSON.

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { serve } from "./server.mjs";
import { speed } from "./speed.js";

const [folder, model, tier, browser] = process.argv.slice(2);
// How a browser is started with an empty profile.
const FLAGS = {
  chromium: (profile) => [
    ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    ...["--remote-debugging-port=0", `--user-data-dir=${profile}`],
  ],
  firefox: (profile) => ["--headless", "--no-remote", "--profile", profile],
};

async function inNode() {
  const { Model } = await import(pathToFileURL(`${folder}/node.js`));
  return speed(Model, model, { tier });
}

async function inBrowser() {
  const page = `<!DOCTYPE html><script type="module">
    import { Model } from "./browser.js";
    import { speed } from "./speed.js";
    const post = (body) => fetch("told", { method: "POST", body: JSON.stringify(body) });
    speed(Model, "model.kinglet", { tier: "${tier}" })
      .then(post, (error) => post({ error: String(error) }));
  </script>`;
  let told = null;
  const result = new Promise((resolve) => (told = resolve));
  const others = { "page.html": page, "speed.js": new URL("./speed.js", import.meta.url) };
  const server = await serve(folder, model, { others, onPost: (body) => told(JSON.parse(body)) });
  const profile = await mkdtemp(join(tmpdir(), "kinglet-wasm-"));
  const flags = FLAGS[browser.includes("firefox") ? "firefox" : "chromium"];
  const args = [...flags(profile), `${server.address}/isolated/page.html`];
  // A group of its own: a browser is several processes.
  const child = spawn(browser, args, { stdio: "ignore", detached: true });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  try {
    return await result;
  } finally {
    process.kill(-child.pid, "SIGKILL");
    await ended;
    server.close();
    await rm(profile, { recursive: true, maxRetries: 5, retryDelay: 200 });
  }
}

console.log(JSON.stringify(browser ? await inBrowser() : await inNode()));
