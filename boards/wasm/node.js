/** Kinglet in Node: models run on a thread each. */

import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { modelClass } from "./lib/model.js";

export { KingletError } from "./lib/error.js";

export const Model = modelClass({
  // Blobs of files cannot be sent to threads of Node.
  sendsBlobs: false,

  startWorker() {
    const worker = new Worker(new URL("./node-worker.js", import.meta.url));
    return {
      post: (message, moved = []) => worker.postMessage(message, moved),
      listen(hear, lose) {
        worker.on("message", hear);
        worker.on("error", lose);
      },
      // A program may end while nothing is computed.
      keep: (isBusy) => (isBusy ? worker.ref() : worker.unref()),
      end: () => void worker.terminate(),
    };
  },

  locate(source) {
    const address = String(source);
    if (/^https?:/.test(address)) {
      return { url: address };
    }
    return { path: /^file:/.test(address) ? fileURLToPath(address) : address };
  },
});
