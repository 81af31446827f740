/**
 * How a thread that computes, and so gets no messages, hears that it should stop: by a word of
 * memory that both see, where the engine gives such memory, else by the address of an object that
 * is there until it should. Pages get shared memory only with the headers of cross-origin
 * isolation, which many servers do not send.
 */

/** So often an address is asked for at most. */
const ASK_MS = 50;

const isShared = () =>
  typeof SharedArrayBuffer === "function" && globalThis.crossOriginIsolated !== false;

/** What the page or program keeps. */
export class Stop {
  #word = null;
  #url = null;

  constructor() {
    if (isShared()) {
      this.#word = new Int32Array(new SharedArrayBuffer(4));
    } else {
      this.#url = URL.createObjectURL(new Blob(["go on"]));
    }
  }

  /** What the thread that computes gets. */
  get flag() {
    return this.#word ?? this.#url;
  }

  raise() {
    if (this.#word) {
      Atomics.store(this.#word, 0, 1);
    } else {
      URL.revokeObjectURL(this.#url);
    }
  }

  /** Gives back what it took; nobody may look any more. */
  release() {
    this.raise();
  }
}

/** Whether an address leads to something. */
function leadsSomewhere(url) {
  const request = new XMLHttpRequest();
  request.open("GET", url, false);
  try {
    request.send();
    return request.status === 200;
  } catch {
    return false;
  }
}

let canAsk = null;

/** Whether this thread may ask for such addresses, which a page's policy can forbid. */
function mayAsk() {
  if (canAsk === null) {
    const url = URL.createObjectURL(new Blob(["probe"]));
    canAsk = leadsSomewhere(url);
    URL.revokeObjectURL(url);
  }
  return canAsk;
}

/** A function that tells whether the other side has raised a flag. */
export function stopOf(flag) {
  if (flag instanceof Int32Array) {
    return () => Atomics.load(flag, 0) !== 0;
  }
  if (!flag || !mayAsk()) {
    return () => false;
  }
  let last = 0;
  let isStopped = false;
  return () => {
    const now = performance.now();
    if (!isStopped && now - last >= ASK_MS) {
      last = now;
      isStopped = !leadsSomewhere(flag);
    }
    return isStopped;
  };
}
