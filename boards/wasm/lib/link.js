/** Calls to a worker, and what comes back. */

import { KingletError, Status, unpacked } from "./error.js";

export class Link {
  #worker;
  #count = 0;
  /** Calls that have no answer yet: `{ resolve, reject, onEvent }` by their numbers. */
  #waiting = new Map();
  /** Why there is no worker any more. */
  #lost = null;

  /** `worker` has `post`, `listen`, `keep` and `end`. */
  constructor(worker) {
    this.#worker = worker;
    worker.listen(
      (message) => this.#hear(message),
      (error) => this.#lose(new KingletError(Status.INTERNAL, `the worker failed: ${error}`)),
    );
    worker.keep(false);
  }

  /** Calls a function; `onEvent` gets what it tells before its answer. */
  call(name, args, onEvent = null) {
    if (this.#lost) {
      return Promise.reject(this.#lost);
    }
    const id = this.#count++;
    return new Promise((resolve, reject) => {
      this.#worker.post({ id, name, args });
      this.#waiting.set(id, { resolve, reject, onEvent });
      this.#worker.keep(true);
    });
  }

  /** Sends the next bytes of a file, or null at its end. */
  send(chunk) {
    this.#worker.post({ chunk }, chunk ? [chunk.buffer] : []);
  }

  /** Ends the worker; whoever waits, and calls again, gets `error`. */
  end(error) {
    if (!this.#lost) {
      this.#lose(error);
      this.#worker.end();
    }
  }

  #lose(error) {
    this.#lost ??= error;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    waiting.forEach(({ reject }) => reject(error));
  }

  #hear({ id, event, error, value }) {
    const call = this.#waiting.get(id);
    if (!call) {
      return;
    }
    if (event !== undefined) {
      call.onEvent?.(event);
      return;
    }
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) {
      this.#worker.keep(false);
    }
    if (error) {
      call.reject(unpacked(error));
    } else {
      call.resolve(value);
    }
  }
}
