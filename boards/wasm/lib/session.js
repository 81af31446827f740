/** Sessions: texts that a model reads and goes on with. */

import { KingletError, Status } from "./error.js";
import { Reply } from "./reply.js";
import { Stop } from "./stop.js";

export class Session {
  #link;
  #number;
  #isBusy = false;

  constructor(link, number, { bytes, context, batch, tier }) {
    this.#link = link;
    this.#number = number;
    this.bytes = bytes;
    this.context = context;
    this.batch = batch;
    this.tier = tier;
  }

  #call(method, args = [], flag = null, onEvent = null) {
    const call = { session: this.#number, method, args, flag };
    return this.#link.call("session", call, onEvent);
  }

  /** Does something while nobody else may use the session. */
  async #alone(work) {
    if (this.#isBusy) {
      const message = "the session is in use by a reply that has not ended: read it to its end";
      throw new KingletError(Status.BUSY, message);
    }
    this.#isBusy = true;
    try {
      return await work();
    } finally {
      this.#isBusy = false;
    }
  }

  #take(method, ...args) {
    return this.#alone(() => this.#call(method, args));
  }

  async prefill(prompt, { signal, onProgress } = {}) {
    signal?.throwIfAborted();
    await this.#alone(async () => {
      const stop = new Stop();
      const abort = () => stop.raise();
      signal?.addEventListener("abort", abort);
      try {
        await this.#call("prefill", [prompt], stop.flag, onProgress);
      } finally {
        signal?.removeEventListener("abort", abort);
        stop.release();
      }
      signal?.throwIfAborted();
    });
  }

  generate(prompt = null, options = {}) {
    return this.#reply({ prompt }, options);
  }

  chat(messages, options = {}) {
    return this.#reply({ messages }, options);
  }

  #reply(what, { signal, onProgress, ...options }) {
    const use = {
      alone: (work) => this.#alone(work),
      begin: (flag, onEvent) => this.#call("reply", [{ ...what, ...options }], flag, onEvent),
      rewind: (count) => this.#call("rewind", [count]),
    };
    return new Reply(use, { signal, onProgress });
  }

  embed(prompt, options) {
    return this.#take("embed", prompt, options);
  }

  top(count) {
    return this.#take("top", count);
  }

  logits() {
    return this.#take("logits");
  }

  tokens() {
    return this.#take("tokens");
  }

  info() {
    return this.#take("info");
  }

  reset() {
    return this.#take("reset");
  }

  rewind(count) {
    return this.#take("rewind", count);
  }

  save() {
    return this.#take("save");
  }

  restore(state) {
    return this.#take("restore", state);
  }

  close() {
    return this.#take("close");
  }
}
