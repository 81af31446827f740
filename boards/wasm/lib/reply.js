/** Replies as they are generated. */

import { KingletError, Status } from "./error.js";
import { Stop } from "./stop.js";

/** Something that others wait for. */
function deferred() {
  const all = {};
  all.promise = new Promise((resolve) => (all.resolve = resolve));
  return all;
}

export class Reply {
  #use;
  #signal;
  #onProgress;
  /** Pieces that have come and were not asked for yet. */
  #pieces = [];
  /** Tokens of the pieces that were. */
  #taken = 0;
  #stop = null;
  /** Resolves when anything of this has changed. */
  #more = deferred();
  /** The end of the work, once it has begun. */
  #work = null;
  #hasEnded = false;
  #isLeft = false;
  #error = null;
  #result = null;

  /** `use` has `alone`, `begin` and `rewind` of a session. */
  constructor(use, { signal, onProgress }) {
    this.#use = use;
    this.#signal = signal;
    this.#onProgress = onProgress;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async next() {
    if (!this.#work) {
      this.#signal?.throwIfAborted();
      this.#work = this.#use.alone(() => this.#run());
      this.#work.catch((error) => (this.#error = error)).finally(() => this.#end());
    }
    while (!this.#wasLeft && this.#pieces.length === 0 && !this.#hasEnded) {
      await this.#more.promise;
    }
    if (!this.#wasLeft && this.#pieces.length > 0) {
      const piece = this.#pieces.shift();
      this.#taken += piece.token === null ? 0 : 1;
      this.#wake();
      return { done: false, value: piece };
    }
    await this.#work.catch(() => {});
    if (this.#error) {
      throw this.#error;
    }
    return { done: true, value: undefined };
  }

  /** Whether no more pieces are wanted. */
  get #wasLeft() {
    return this.#isLeft || this.#signal?.aborted === true;
  }

  async return() {
    this.#isLeft = true;
    this.#stop?.raise();
    this.#wake();
    await this.#work?.catch(() => {});
    this.#work ??= Promise.resolve();
    this.#hasEnded = true;
    return { done: true, value: undefined };
  }

  async read() {
    let text = "";
    for await (const piece of this) {
      text += piece.text;
    }
    return text;
  }

  get result() {
    if (!this.#result) {
      throw new KingletError(Status.BUSY, "the reply has not ended, or has failed");
    }
    return this.#result;
  }

  #wake() {
    this.#more.resolve();
    this.#more = deferred();
  }

  #end() {
    this.#hasEnded = true;
    this.#wake();
  }

  /** Lets the worker reply, and keeps of the text what was taken here. */
  async #run() {
    this.#stop = new Stop();
    const abort = () => {
      this.#stop.raise();
      this.#wake();
    };
    this.#signal?.addEventListener("abort", abort);
    try {
      const told = await this.#use.begin(this.#stop.flag, (event) => this.#hear(event));
      while (!this.#wasLeft && this.#pieces.length > 0) {
        await this.#more.promise;
      }
      this.#result = Object.freeze(this.#wasLeft ? await this.#cut(told) : told.result);
      this.#signal?.throwIfAborted();
    } finally {
      this.#signal?.removeEventListener("abort", abort);
      this.#stop.release();
    }
  }

  /** Takes from the text what was generated and not taken here; what was done then. */
  async #cut({ result, before }) {
    // A text that has lost its middle cannot be cut where it was.
    if (result.slides === 0 && this.#taken < result.tokens) {
      await this.#use.rewind(before + this.#taken);
      return { ...result, tokens: this.#taken, stopReason: "stopped" };
    }
    return { ...result, stopReason: "stopped" };
  }

  #hear({ piece, done, total }) {
    if (piece) {
      this.#pieces.push(piece);
      this.#wake();
    } else {
      this.#onProgress?.({ done, total });
    }
  }
}
