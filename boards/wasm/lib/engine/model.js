/** A model in linear memory: its weight file, its tokenizer and its template. */

import { KingletError, Status } from "../error.js";
import * as layout from "./layout.js";
import { Session, workBytes } from "./session.js";

/** What may be needed beside a model, for structs and short texts. */
const MODEL_WORK = 8192;

export class Model {
  #library;
  #handle;
  #file;

  /** Reads a weight file into the memory of a library and opens it. */
  static async open(library, source, trust, onBytes) {
    const { memory } = library;
    const handle = memory.take(library.modelBytes);
    const file = await memory.takeStream(source.bytes, source.chunks, onBytes);
    memory.reserve(MODEL_WORK);
    return new Model(library, handle, file, trust);
  }

  constructor(library, place, file, trust) {
    this.#library = library;
    this.#file = file;
    this.#handle = library.scoped((scope) => {
      const where = [place, library.modelBytes];
      if (!trust) {
        return library.make(scope, "model_open_memory", file.start, file.bytes, ...where);
      }
      const struct = scope.put(layout.Trust, {
        key: scope.putString(trust.key, "the key").start,
        model_id: trust.modelId === undefined ? 0 : scope.putString(trust.modelId, "modelId").start,
        least_version: trust.leastVersion ?? 0,
      });
      const args = [file.start, file.bytes, struct, ...where];
      return library.make(scope, "model_open_signed_memory", ...args);
    });
    this.info = library.scoped((scope) => {
      const struct = scope.put(layout.ModelInfo, {});
      this.call("model_describe", this.#handle, struct);
      const told = layout.read(library.memory.view, struct, layout.ModelInfo);
      return {
        fileBytes: told.file_bytes,
        readBytesPerToken: told.read_bytes_per_token,
        vocabulary: told.vocabulary,
        maxContext: told.max_context,
        longestTokenBytes: told.longest_token_bytes,
        hasChatTemplate: told.has_chat_template === 1,
        fingerprint: told.fingerprint,
        embeddingSize: told.embedding_size,
      };
    });
  }

  get library() {
    return this.#library;
  }

  get handle() {
    return this.#handle;
  }

  get fileBytes() {
    return this.#file.bytes;
  }

  /** Calls a function of the library with the model's sentence about what it fails with. */
  call(name, ...args) {
    const sentence = () => this.#library.lastMessage("model", this.#handle);
    this.#library.call(sentence, name, ...args);
  }

  /**
   * Calls a function that writes elements of so many bytes and their number, and says how many it
   * needs where `room` is too few. What `take` makes of the elements' place and number.
   */
  #filled(scope, room, elementBytes, call, take) {
    const count = scope.take(4);
    for (;;) {
      const buffer = scope.take(room * elementBytes);
      const status = call(buffer, room, count);
      const found = this.#library.memory.view.getUint32(count, true);
      if (status === Status.OK) {
        return take(buffer, found);
      }
      if (status !== Status.BUFFER_TOO_SMALL || found <= room) {
        const sentence = this.#library.lastMessage("model", this.#handle);
        throw this.#library.error(status, sentence);
      }
      room = found;
    }
  }

  #tokens(scope, room, call) {
    const { memory } = this.#library;
    const copy = (start, count) => new Uint32Array(memory.view.buffer, start, count).slice();
    return this.#filled(scope, room, 4, call, copy);
  }

  encode(text, { control = false } = {}) {
    const { memory } = this.#library;
    return this.#library.scoped((scope) => {
      const { start, bytes } = scope.putText(text, "the text");
      const flags = control ? layout.TOKENIZE_CONTROL : 0;
      return this.#tokens(scope, bytes + 2, (...out) =>
        this.#library.status("tokenize", this.#handle, start, bytes, flags, ...out),
      );
    });
  }

  decode(tokens, { skipControl = false } = {}) {
    return this.#library.scoped((scope) => {
      const [start, count] = [scope.putTokens(tokens), tokens.length];
      const flags = skipControl ? layout.DETOKENIZE_SKIP_CONTROL : 0;
      return this.#text(scope, count * 8, (...out) =>
        this.#library.status("detokenize", this.#handle, start, count, flags, ...out),
      );
    });
  }

  #text(scope, room, call) {
    const text = (start, bytes) => this.#library.textAt(start, bytes);
    return this.#filled(scope, Math.max(room, 1), 1, call, text);
  }

  /** Messages in memory: where they are, how many, and the bytes of their texts. */
  #messages(scope, messages) {
    const array = scope.take(layout.Message.bytes * messages.length);
    let bytes = 0;
    messages.forEach(({ role, content }, i) => {
      const speaker = scope.putString(role, "a message's role");
      const said = scope.putString(content, "a message's content");
      const fields = { role: speaker.start, content: said.start };
      const { view } = this.#library.memory;
      layout.write(view, array + i * layout.Message.bytes, layout.Message, fields);
      bytes += said.bytes;
    });
    return { array, bytes };
  }

  chatTokens(messages, { replyNext = true } = {}) {
    return this.#library.scoped((scope) => {
      const { array, bytes } = this.#messages(scope, messages);
      const flags = replyNext ? layout.CHAT_REPLY_NEXT : 0;
      const room = Math.ceil(bytes * 1.25) + 64 * (messages.length + 1);
      return this.#tokens(scope, room, (...out) =>
        this.#library.status("chat_tokens", this.#handle, array, messages.length, flags, ...out),
      );
    });
  }

  chatText(messages, { replyNext = true } = {}) {
    return this.#library.scoped((scope) => {
      const { array, bytes } = this.#messages(scope, messages);
      const flags = replyNext ? layout.CHAT_REPLY_NEXT : 0;
      const room = bytes + 64 * (messages.length + 1);
      return this.#text(scope, room, (...out) =>
        this.#library.status("chat_render", this.#handle, array, messages.length, flags, ...out),
      );
    });
  }

  verify() {
    this.call("model_verify", this.#handle);
  }

  /** Options of a session in memory, and its positions. */
  options(scope, { context, batch, kv = "int8", speculate = false }) {
    if (!(kv in layout.KV)) {
      throw new KingletError(Status.BAD_ARGUMENT, `kv is ${kv}: give "int8" or "f16"`);
    }
    return scope.put(layout.SessionOptions, {
      context: context ?? 0,
      batch: batch ?? 0,
      kv: layout.KV[kv],
      flags: speculate ? layout.SESSION_SPECULATE : 0,
    });
  }

  /** Bytes of memory with a session of these options. */
  plan(options) {
    const { memory } = this.#library;
    return this.#library.scoped((scope) => {
      const out = scope.take(4);
      this.call("session_bytes", this.#handle, this.options(scope, options), out);
      const sessionBytes = memory.view.getUint32(out, true);
      const context = options.context ?? Math.min(2048, this.info.maxContext);
      const work = workBytes(context);
      return { sessionBytes, work };
    });
  }

  /** The same as the page or program gets it. */
  told(options) {
    const { sessionBytes, work } = this.plan(options);
    const totalBytes = this.#library.memory.totalWith(sessionBytes, work);
    const restBytes = totalBytes - this.fileBytes - sessionBytes;
    return { fileBytes: this.fileBytes, sessionBytes, restBytes, totalBytes };
  }

  session(options) {
    return new Session(this, options);
  }
}
