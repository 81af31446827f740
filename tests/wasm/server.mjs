// A server of files for pages: server.mjs PACKAGE MODEL prints its address.
//
// Below /plain/ lie the package and the model, below /isolated/ the same with the headers that give
// pages shared memory, and below /packed/ they come compressed.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const TYPES = { js: "text/javascript", html: "text/html; charset=utf-8", wasm: "application/wasm" };
const ISOLATED = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** `others` are further files, texts or addresses; `onPost` gets what pages post. */
export async function serve(folder, model, { others = {}, onPost = null } = {}) {
  const content = (name) => {
    const other = name === "model.kinglet" ? model : (others[name] ?? `${folder}/${name}`);
    return String(other).startsWith("<") ? Buffer.from(other) : readFile(other);
  };
  const server = createServer(async (request, response) => {
    const [, way, ...names] = new URL(request.url, "http://localhost").pathname.split("/");
    const name = names.join("/");
    if (request.method === "POST") {
      onPost?.(await bodyOf(request));
      response.end();
      return;
    }
    try {
      const bytes = await content(name);
      const type = TYPES[name.split(".").at(-1)] ?? "application/octet-stream";
      const headers = { "content-type": type, ...(way === "isolated" ? ISOLATED : {}) };
      if (way === "packed") {
        response.writeHead(200, { ...headers, "content-encoding": "gzip" });
        response.end(gzipSync(bytes, { level: 1 }));
      } else {
        response.writeHead(200, { ...headers, "content-length": bytes.length });
        response.end(bytes);
      }
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => server.close(server.closeAllConnections());
  return { address: `http://127.0.0.1:${server.address().port}`, close };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { address } = await serve(...process.argv.slice(2));
  console.log(address);
}
