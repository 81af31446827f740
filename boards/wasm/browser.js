/** Kinglet in pages: models run in a worker each. */

import { modelClass } from "./lib/model.js";

export { KingletError } from "./lib/error.js";

export const Model = modelClass({
  sendsBlobs: true,

  startWorker() {
    // Bundlers look for these words.
    const worker = new Worker(new URL("./browser-worker.js", import.meta.url), { type: "module" });
    return {
      post: (message, moved = []) => worker.postMessage(message, moved),
      listen(hear, lose) {
        worker.addEventListener("message", ({ data }) => hear(data));
        worker.addEventListener("error", ({ message }) => lose(message ?? "it cannot be loaded"));
      },
      keep() {},
      end: () => worker.terminate(),
    };
  },

  locate: (source) => ({ url: new URL(source, location.href).href }),
});
