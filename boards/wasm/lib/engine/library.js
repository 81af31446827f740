/** The C library as a module: its functions, its memory, and what it calls back. */

import { KingletError, Status } from "../error.js";
import { Memory } from "./memory.js";
import { write } from "./layout.js";

/** Bytes of a sentence about a failure; the library cuts what is longer. */
const MESSAGE_BYTES = 1024;
const UTF8 = new TextDecoder();
const TO_UTF8 = new TextEncoder();

/** A module with a function of so many numbers that calls one of its importer's. */
function forwarder(parameters) {
  const i32 = 0x7f;
  const type = [0x60, parameters, ...Array(parameters).fill(i32), 1, i32];
  const section = (id, content) => [id, content.length, ...content];
  const name = [1, 0x66];
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, ...type]),
    ...section(2, [1, ...name, ...name, 0, 0]),
    ...section(7, [1, ...name, 0, 0]),
  ]);
}

/** A function of JavaScript as tables of WebAssembly take it. */
function exported(parameters, f) {
  const module = new WebAssembly.Module(forwarder(parameters));
  return new WebAssembly.Instance(module, { f: { f } }).exports.f;
}

export class Library {
  #exports;

  constructor(module) {
    const instance = new WebAssembly.Instance(module, {});
    this.#exports = instance.exports;
    this.memory = new Memory(instance.exports.memory, instance.exports.__heap_base.value);
    /** What the next calls call back: `(token, text)` and `(done, total)`, true to stop. */
    this.onPiece = null;
    this.onProgress = null;
    this.pieceCallback = this.#callback(4, (_user, token, text, bytes) =>
      Number(this.onPiece(token >>> 0, this.textAt(text >>> 0, bytes >>> 0))),
    );
    this.progressCallback = this.#callback(3, (_user, done, total) =>
      Number(this.onProgress(done >>> 0, total >>> 0)),
    );
  }

  #callback(parameters, f) {
    const table = this.#exports.__indirect_function_table;
    const index = table.grow(1);
    table.set(index, exported(parameters, f));
    return index;
  }

  /** Bytes of a model's handle. */
  get modelBytes() {
    return this.#exports.kinglet_model_bytes();
  }

  get version() {
    return this.#stringAt(this.#exports.kinglet_version());
  }

  /** Calls a function; its status. */
  status(name, ...args) {
    return this.#exports[`kinglet_${name}`](...args);
  }

  /** Calls a function; what it fails with has the sentence that `sentence` gives. */
  call(sentence, name, ...args) {
    const status = this.status(name, ...args);
    if (status !== Status.OK) {
      throw this.error(status, sentence?.());
    }
  }

  error(status, sentence) {
    const text = this.#stringAt(this.#exports.kinglet_status_text(status));
    return new KingletError(status, sentence || text);
  }

  /** Does something with memory that is given back in the end. */
  scoped(work) {
    const taken = [];
    const scope = new Scope(this, taken);
    try {
      return work(scope);
    } finally {
      taken.forEach((start) => this.memory.give(start));
    }
  }

  /** What a handle says about its last failure. */
  lastMessage(kind, handle) {
    return this.scoped((scope) => {
      const buffer = scope.take(MESSAGE_BYTES);
      this.status(`${kind}_message`, handle, buffer, MESSAGE_BYTES);
      return this.#stringAt(buffer);
    });
  }

  /** Calls a function that makes a handle and may leave a sentence. */
  make(scope, name, ...args) {
    const [handle, message] = [scope.take(4), scope.take(MESSAGE_BYTES)];
    this.memory.view.setUint8(message, 0);
    this.call(() => this.#stringAt(message), name, ...args, handle, message, MESSAGE_BYTES);
    return this.memory.view.getUint32(handle, true);
  }

  textAt(start, bytes) {
    return bytes === 0 ? "" : UTF8.decode(this.memory.bytes(start, bytes));
  }

  #stringAt(start) {
    const rest = this.memory.bytes(start, this.memory.total - start);
    return UTF8.decode(rest.subarray(0, rest.indexOf(0)));
  }
}

/** Memory that is given back when a call has returned. */
class Scope {
  #library;
  #taken;

  constructor(library, taken) {
    this.#library = library;
    this.#taken = taken;
  }

  take(bytes) {
    const start = this.#library.memory.take(bytes);
    this.#taken.push(start);
    return start;
  }

  /** A struct with these values. */
  put(struct, values) {
    const start = this.take(struct.bytes);
    write(this.#library.memory.view, start, struct, values);
    return start;
  }

  putBytes(bytes) {
    const start = this.take(bytes.length);
    this.#library.memory.bytes(start, bytes.length).set(bytes);
    return start;
  }

  /** A text in UTF-8: where it is, and its bytes without the zero behind it. */
  putText(text, what) {
    if (typeof text !== "string") {
      throw new KingletError(Status.BAD_ARGUMENT, `${what} is no text`);
    }
    const bytes = TO_UTF8.encode(`${text}\0`);
    return { start: this.putBytes(bytes), bytes: bytes.length - 1 };
  }

  /** The same of a text that must have no zeros in it. */
  putString(text, what) {
    const put = this.putText(text, what);
    if (text.includes("\0")) {
      throw new KingletError(Status.BAD_ARGUMENT, `${what} has a zero in it`);
    }
    return put;
  }

  putTokens(tokens) {
    const start = this.take(4 * tokens.length);
    new Uint32Array(this.#library.memory.view.buffer, start, tokens.length).set(tokens);
    return start;
  }
}
