/** A worker of a page that runs a model. */

import { KingletError, Status } from "./lib/error.js";
import { Server } from "./lib/engine/server.js";

/** Addresses of the modules. Bundlers look for these words. */
const MODULES = {
  "relaxed-simd": new URL("./kinglet-relaxed-simd.wasm", import.meta.url),
  simd128: new URL("./kinglet-simd128.wasm", import.meta.url),
};

async function readModule(name) {
  const response = await fetch(MODULES[name]);
  if (!response.ok) {
    const message = `${MODULES[name]} cannot be fetched: the server answers ${response.status}`;
    throw new KingletError(Status.NETWORK, message);
  }
  return response.arrayBuffer();
}

const server = new Server({
  post: (message, moved) => postMessage(message, { transfer: moved }),
  readModule,
});
addEventListener("message", ({ data }) => void server.answer(data));
