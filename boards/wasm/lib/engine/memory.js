/** The linear memory: who has which part of it, and how far it has grown. */

import { KingletError, Status } from "../error.js";
import { ALIGNMENT } from "./layout.js";

const PAGE = 65536;
/** Addresses have 32 bits. */
const LIMIT = 2 ** 32;

const aligned = (bytes) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
const inPages = (bytes) => Math.ceil(bytes / PAGE) * PAGE;

export class Memory {
  #memory;
  #view = null;
  /** Nothing is taken from here on. */
  #top;
  /** Parts that are taken, and their bytes. */
  #taken = new Map();
  /** Gaps below the top, in ascending order: `[start, bytes]`. */
  #gaps = [];

  /** A memory whose first `base` bytes are the library's own. */
  constructor(memory, base) {
    this.#memory = memory;
    this.#top = aligned(base);
  }

  /** All bytes, now. */
  get total() {
    return this.#memory.buffer.byteLength;
  }

  /** A view that is good until memory grows. */
  get view() {
    if (this.#view?.buffer !== this.#memory.buffer) {
      this.#view = new DataView(this.#memory.buffer);
    }
    return this.#view;
  }

  /** Some bytes, good until memory grows. */
  bytes(start, count) {
    return new Uint8Array(this.#memory.buffer, start, count);
  }

  /** All bytes that there would be with so many more that are taken, and `work` behind them. */
  totalWith(bytes, work) {
    const needed = aligned(bytes);
    const top = this.#gap(needed) === undefined ? this.#top + needed : this.#top;
    return Math.max(this.total, inPages(top + work));
  }

  /** Makes sure that so many bytes can be taken without growing. */
  reserve(bytes) {
    this.#growTo(this.#top + bytes);
  }

  /** Takes bytes, at a multiple of 64. */
  take(bytes) {
    const needed = aligned(Math.max(bytes, 1));
    const gap = this.#gap(needed);
    let start = this.#top;
    if (gap === undefined) {
      this.#growTo(start + needed);
      this.#top += needed;
    } else {
      start = gap[0];
      gap[0] += needed;
      gap[1] -= needed;
      this.#gaps = this.#gaps.filter(([, left]) => left > 0);
    }
    this.#taken.set(start, needed);
    return start;
  }

  /** Gives bytes back; memory does not shrink by that. */
  give(start) {
    this.#gaps.push([start, this.#taken.get(start)]);
    this.#taken.delete(start);
    this.#gaps.sort(([a], [b]) => a - b);
    const merged = [];
    for (const gap of this.#gaps) {
      const before = merged.at(-1);
      if (before && before[0] + before[1] === gap[0]) {
        before[1] += gap[1];
      } else {
        merged.push(gap);
      }
    }
    const last = merged.at(-1);
    if (last[0] + last[1] === this.#top) {
      this.#top = last[0];
      merged.pop();
    }
    this.#gaps = merged;
  }

  /** Takes what comes chunk by chunk, about `expected` bytes, for which memory grows once. */
  async takeStream(expected, chunks, onBytes) {
    const start = this.#top;
    this.#growTo(start + aligned(expected));
    let count = 0;
    for await (const chunk of chunks) {
      this.#growTo(start + aligned(count + chunk.byteLength));
      this.bytes(start + count, chunk.byteLength).set(chunk);
      count += chunk.byteLength;
      onBytes(count);
    }
    this.#top = start + aligned(Math.max(count, 1));
    this.#taken.set(start, this.#top - start);
    return { start, bytes: count };
  }

  #gap(needed) {
    return this.#gaps.find(([, bytes]) => bytes >= needed);
  }

  #growTo(end) {
    const more = inPages(end) - this.total;
    if (more <= 0) {
      return;
    }
    try {
      if (end > LIMIT) {
        throw new RangeError();
      }
      this.#memory.grow(more / PAGE);
    } catch {
      const what = `${more} bytes more than the ${this.total} that are there`;
      throw new KingletError(Status.RESOURCE, `there is no memory for ${what}`);
    }
  }
}
