/** Models: weight files, each in the memory of a worker of its own. */

import { KingletError, Status } from "./error.js";
import { Link } from "./link.js";
import { Session } from "./session.js";

/** Bytes that are copied to a worker at a time. */
const PART = 4 << 20;

async function* partsOf(bytes) {
  for (let start = 0; start < bytes.length; start += PART) {
    yield bytes.slice(start, start + PART);
  }
}

async function* copiesOf(stream) {
  const reader = stream.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    // What is sent away is somebody else's; a copy of it is the worker's alone.
    yield part.value.slice();
  }
}

/** What a worker is told of a source, and the parts that it has to ask for. */
function sourceOf(source, host) {
  if (typeof source === "string" || source instanceof URL) {
    return { told: host.locate(source), parts: null };
  }
  if (source instanceof Blob && host.sendsBlobs) {
    return { told: { blob: source }, parts: null };
  }
  if (source instanceof Blob) {
    return { told: { bytes: source.size }, parts: copiesOf(source.stream()) };
  }
  if (source instanceof ReadableStream) {
    return { told: { bytes: 0 }, parts: copiesOf(source) };
  }
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
    const bytes = ArrayBuffer.isView(source)
      ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
      : new Uint8Array(source);
    return { told: { bytes: bytes.length }, parts: partsOf(bytes) };
  }
  const kinds = "an address, a Blob, a ReadableStream or bytes";
  throw new KingletError(Status.BAD_ARGUMENT, `a model comes from ${kinds}`);
}

/** Sends a worker the next part; what fails here ends the link. */
async function sendNext(link, parts) {
  try {
    const { done, value } = await parts.next();
    link.send(done ? null : value);
  } catch (error) {
    link.end(new KingletError(Status.UNREADABLE, `the model cannot be read: ${error.message}`));
  }
}

/** The class of models whose workers `host` starts. */
export function modelClass(host) {
  return class Model {
    #link;

    static async open(source, { onProgress, signal, trust, tier } = {}) {
      signal?.throwIfAborted();
      const { told, parts } = sourceOf(source, host);
      const link = new Link(host.startWorker());
      const abort = () => link.end(signal.reason);
      signal?.addEventListener("abort", abort);
      try {
        const opened = await link.call("open", { source: told, trust, tier }, (event) => {
          if (event.wantsChunk) {
            void sendNext(link, parts);
          } else {
            onProgress?.(event);
          }
        });
        return new Model(link, opened);
      } catch (error) {
        link.end(error);
        throw error;
      } finally {
        signal?.removeEventListener("abort", abort);
      }
    }

    constructor(link, { info, tier, version }) {
      this.#link = link;
      this.info = Object.freeze(info);
      this.tier = tier;
      this.version = version;
    }

    #call(method, ...args) {
      return this.#link.call("model", { method, args });
    }

    encode(text, options) {
      return this.#call("encode", text, options);
    }

    decode(tokens, options) {
      return this.#call("decode", tokens, options);
    }

    chatTokens(messages, options) {
      return this.#call("chatTokens", messages, options);
    }

    chatText(messages, options) {
      return this.#call("chatText", messages, options);
    }

    plan(options = {}) {
      return this.#call("told", options);
    }

    memory() {
      return this.#call("memory");
    }

    verify() {
      return this.#call("verify");
    }

    async session(options = {}) {
      const { number, info } = await this.#call("session", options);
      return new Session(this.#link, number, info);
    }

    async close() {
      this.#link.end(new KingletError(Status.BAD_HANDLE, "the model was closed"));
    }
  };
}
