/** A thread of Node that runs a model. */

import { open, readFile } from "node:fs/promises";
import { parentPort } from "node:worker_threads";
import { KingletError, Status } from "./lib/error.js";
import { Server } from "./lib/engine/server.js";

/** Bytes that are read of a file at a time. */
const PART = 1 << 20;

async function* partsOf(file, path) {
  const part = new Uint8Array(PART);
  try {
    for (;;) {
      const { bytesRead } = await file.read(part, 0, PART);
      if (bytesRead === 0) {
        return;
      }
      yield part.subarray(0, bytesRead);
    }
  } catch (error) {
    throw new KingletError(Status.UNREADABLE, `${path} cannot be read: ${error.code}`);
  } finally {
    await file.close();
  }
}

async function openPath(path) {
  let file;
  try {
    file = await open(path);
  } catch (error) {
    if (error.code === "ENOENT") {
      throw new KingletError(Status.NOT_FOUND, `there is no file ${path}`);
    }
    throw new KingletError(Status.UNREADABLE, `${path} cannot be opened: ${error.code}`);
  }
  return { bytes: (await file.stat()).size, chunks: partsOf(file, path) };
}

const server = new Server({
  post: (message, moved) => parentPort.postMessage(message, moved),
  readModule: (name) => readFile(new URL(`./kinglet-${name}.wasm`, import.meta.url)),
  openPath,
});
parentPort.on("message", (message) => void server.answer(message));
