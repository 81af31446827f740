/** What a worker does: it answers the calls of the page or program that has started it. */

import { KingletError, Status, packed } from "../error.js";
import { stopOf } from "../stop.js";
import { Library } from "./library.js";
import { Model } from "./model.js";
import { moduleName } from "./module.js";
import { openSource } from "./source.js";

/** What calls are made of: a list of what to send with the answer. */
const moved = (value) => (ArrayBuffer.isView(value) ? [value.buffer] : []);

export class Server {
  #host;
  #model = null;
  #sessions = new Map();
  #sessionCount = 0;
  /** Who waits for the next bytes of a file that the other side has. */
  #chunk = null;

  /** `host` has `post`, `readModule` and, where there are files, `openPath`. */
  constructor(host) {
    this.#host = host;
  }

  async answer({ id, name, args, chunk }) {
    if (name === undefined) {
      this.#chunk(chunk);
      return;
    }
    const event = (what) => this.#host.post({ id, event: what });
    try {
      const value = await this.#do(name, args, event);
      this.#host.post({ id, value }, moved(value));
    } catch (error) {
      this.#host.post({ id, error: packed(error) });
    }
  }

  #do(name, args, event) {
    if (name === "open") {
      return this.#open(args, event);
    }
    if (name === "model") {
      return this.#ofModel(args);
    }
    const session = this.#sessions.get(args.session);
    if (!session) {
      throw new KingletError(Status.BAD_HANDLE, "the session was closed");
    }
    return this.#ofSession(session, args, event);
  }

  async #open({ source, trust, tier }, event) {
    const name = moduleName(tier);
    const module = await WebAssembly.compile(await this.#host.readModule(name));
    const library = new Library(module);
    const pulled = this.#pulled(event);
    const { bytes, chunks } = await openSource(source, this.#host, pulled);
    const onBytes = (done) => event({ done, total: Math.max(bytes, done) });
    this.#model = await Model.open(library, { bytes, chunks }, trust, onBytes);
    return { info: this.#model.info, tier: name, version: library.version };
  }

  /** Bytes that the other side has, each asked for. */
  async *#pulled(event) {
    for (;;) {
      const next = new Promise((resolve) => (this.#chunk = resolve));
      event({ wantsChunk: true });
      const chunk = await next;
      if (!chunk) {
        return;
      }
      yield chunk;
    }
  }

  #ofModel({ method, args }) {
    if (method === "session") {
      const session = this.#model.session(...args);
      const number = this.#sessionCount++;
      this.#sessions.set(number, session);
      return { number, info: session.info() };
    }
    return method === "memory" ? this.#memory() : this.#model[method](...args);
  }

  #memory() {
    const { fileBytes, library } = this.#model;
    const totalBytes = library.memory.total;
    const sizes = [...this.#sessions.values()].map(({ bytes }) => bytes);
    const sessionBytes = sizes.reduce((sum, bytes) => sum + bytes, 0);
    return { fileBytes, sessionBytes, restBytes: totalBytes - fileBytes - sessionBytes, totalBytes };
  }

  #ofSession(session, { session: number, method, args, flag }, event) {
    const isStopped = stopOf(flag);
    const onProgress = (done, total) => event({ done, total });
    switch (method) {
      case "reply":
        return session.reply(...args, { isStopped, onProgress, onPiece: (piece) => event({ piece }) });
      case "prefill":
        return session.prefill(...args, isStopped, onProgress);
      case "close":
        this.#sessions.delete(number);
        return session.close();
      default:
        return session[method](...args);
    }
  }
}
