/** A text that a model reads and goes on with, in linear memory. */

import { KingletError, Status } from "../error.js";
import * as layout from "./layout.js";

/** What the calls of a session need beside it: structs, and a prompt that fills its context. */
export function workBytes(context) {
  return 8192 + 32 * context;
}

/** How many elements two lists have in common at their beginning. */
function commonLength(one, other) {
  const differs = one.findIndex((token, i) => token !== other[i]);
  return differs < 0 ? one.length : differs;
}

export class Session {
  #model;
  #library;
  #place;
  #handle;

  constructor(model, options) {
    this.#model = model;
    this.#library = model.library;
    const { memory } = this.#library;
    const { sessionBytes, work } = model.plan(options);
    this.bytes = sessionBytes;
    this.#place = memory.take(sessionBytes);
    try {
      memory.reserve(work);
      this.#handle = this.#library.scoped((scope) => {
        const given = [model.options(scope, options), this.#place, sessionBytes];
        return this.#library.make(scope, "session_new", model.handle, ...given);
      });
    } catch (error) {
      memory.give(this.#place);
      throw error;
    }
  }

  close() {
    this.#call("session_destroy");
    this.#library.memory.give(this.#place);
  }

  /** Calls a function of the session. */
  #call(name, ...args) {
    const status = this.#library.status(name, this.#handle, ...args);
    if (status !== Status.OK) {
      throw this.#failure(status);
    }
  }

  #failure(status) {
    return this.#library.error(status, this.#library.lastMessage("session", this.#handle));
  }

  #u32(at) {
    return this.#library.memory.view.getUint32(at, true);
  }

  info() {
    return this.#library.scoped((scope) => {
      const struct = scope.put(layout.SessionInfo, {});
      this.#call("session_describe", struct);
      const told = layout.read(this.#library.memory.view, struct, layout.SessionInfo);
      const { bytes, tokens, context, batch, tier } = told;
      return { bytes, tokens, context, batch, tier };
    });
  }

  tokens() {
    const { tokens } = this.info();
    return this.#library.scoped((scope) => {
      const [buffer, count] = [scope.take(4 * tokens), scope.take(4)];
      this.#call("session_tokens", buffer, tokens, count);
      return new Uint32Array(this.#library.memory.view.buffer, buffer, tokens).slice();
    });
  }

  reset() {
    this.#call("session_reset");
  }

  rewind(count) {
    this.#call("session_rewind", count);
  }

  /**
   * Reads a prompt, a text or tokens. False when it was stopped: the text then has what was read
   * until then.
   */
  prefill(prompt, isStopped, onProgress) {
    const tokens = typeof prompt === "string" ? this.#model.encode(prompt) : prompt;
    let wasStopped = false;
    this.#library.onProgress = (done, total) => {
      onProgress(done, total);
      wasStopped = isStopped();
      return wasStopped;
    };
    this.#call("session_set_progress", this.#library.progressCallback, 0);
    return this.#library.scoped((scope) => {
      const args = [this.#handle, scope.putTokens(tokens), tokens.length];
      const status = this.#library.status("session_prefill", ...args);
      if (status !== Status.OK && !(status === Status.INTERRUPTED && wasStopped)) {
        throw this.#failure(status);
      }
      return status === Status.OK;
    });
  }

  /** Keeps what the text has of a conversation; the tokens that are still to be read. */
  #rest(messages) {
    const wanted = this.#model.chatTokens(messages);
    const common = commonLength(wanted, this.tokens());
    this.rewind(common);
    return wanted.subarray(common);
  }

  /**
   * Reads a request's prompt or conversation and goes on with it. `on` has `isStopped`,
   * `onProgress` and `onPiece`.
   */
  reply(request, on) {
    const start = performance.now();
    const prompt = request.messages ? this.#rest(request.messages) : this.#prompt(request.prompt);
    if (request.sampling) {
      this.#setSampling(request.sampling);
    }
    const wasRead = prompt.length === 0 || this.prefill(prompt, on.isStopped, on.onProgress);
    const read = performance.now();
    const times = { promptTokens: prompt.length, promptSeconds: (read - start) / 1000 };
    if (!wasRead) {
      return { result: { ...times, stopReason: "stopped", tokens: 0 } };
    }
    const before = this.info().tokens;
    const generation = this.#generate(request, on);
    const seconds = (performance.now() - read) / 1000;
    const tokensPerSecond = seconds > 0 ? generation.tokens / seconds : 0;
    return { result: { ...times, ...generation, seconds, tokensPerSecond }, before };
  }

  #prompt(prompt) {
    return typeof prompt === "string" ? this.#model.encode(prompt) : (prompt ?? []);
  }

  #generate(request, { isStopped, onPiece }) {
    const { memory } = this.#library;
    return this.#library.scoped((scope) => {
      const candidates = this.#candidates(scope, request.logprobs);
      const options = this.#replyOptions(scope, request, candidates);
      this.#library.onPiece = (token, text) => {
        const piece = { text, token: token === layout.NO_TOKEN ? null : token };
        onPiece(piece.token === null ? piece : { ...piece, ...this.#chances(candidates) });
        return isStopped();
      };
      const told = scope.put(layout.Generation, {});
      this.#call("session_generate", options, this.#library.pieceCallback, 0, told);
      const generation = layout.read(memory.view, told, layout.Generation);
      const { tokens, stop_reason: reason, steps, drafted, accepted, forced, slides } = generation;
      const stopReason = layout.STOP_REASONS[reason];
      return { stopReason, tokens, steps, drafted, accepted, forced, slides };
    });
  }

  #replyOptions(scope, request, candidates) {
    const { maxTokens = 256, stop = [], schema, ignoreEnd, slide } = request;
    const pointers = stop.map((text) => scope.putString(text, "a stop string").start);
    const ignored = ignoreEnd ? layout.GENERATE_IGNORE_END : 0;
    return scope.put(layout.GenerateOptions, {
      max_tokens: maxTokens,
      flags: ignored | (slide ? layout.GENERATE_SLIDE : 0),
      stop: scope.putTokens(pointers),
      stop_count: pointers.length,
      schema: schema ? scope.putBytes(schema) : 0,
      schema_bytes: schema?.length ?? 0,
      ...candidates?.fields,
    });
  }

  /** Room for the probabilities of some tokens and the chosen one, and to compute them in. */
  #candidates(scope, count) {
    if (count === undefined) {
      return null;
    }
    const { vocabulary } = this.#model.info;
    if (!(count >= 0 && count <= vocabulary)) {
      const range = `give 0 to ${vocabulary}`;
      throw new KingletError(Status.BAD_ARGUMENT, `logprobs is ${count}: ${range}`);
    }
    const capacity = vocabulary + 2 * (1 + count);
    const start = scope.take(capacity * layout.Candidate.bytes);
    const fields = { candidates: start, candidate_capacity: capacity, top_count: count };
    return { start, count, fields };
  }

  #chances(candidates) {
    if (!candidates) {
      return {};
    }
    const [chosen, ...top] = this.#candidatesAt(candidates.start, 1 + candidates.count);
    return { logprob: chosen.logprob, top: top.filter(({ token }) => token !== layout.NO_TOKEN) };
  }

  #candidatesAt(start, count) {
    return Array.from({ length: count }, (_, i) => {
      const at = start + i * layout.Candidate.bytes;
      const read = layout.read(this.#library.memory.view, at, layout.Candidate);
      return { token: read.token, logprob: read.log_probability };
    });
  }

  #setSampling(sampling) {
    this.#library.scoped((scope) => {
      const bias = Object.entries(sampling.logitBias ?? {});
      const array = scope.take(layout.LogitBias.bytes * bias.length);
      bias.forEach(([token, value], i) => {
        const { view } = this.#library.memory;
        const fields = { token: Number(token), bias: value };
        layout.write(view, array + i * layout.LogitBias.bytes, layout.LogitBias, fields);
      });
      const struct = scope.put(layout.Sampling, {
        logit_bias: array,
        logit_bias_count: bias.length,
        seed: sampling.seed ?? 0,
        repetition_penalty: sampling.repetitionPenalty ?? 0,
        repetition_window: sampling.repetitionWindow ?? 0,
        temperature: sampling.temperature ?? 0,
        top_k: sampling.topK ?? 0,
        top_p: sampling.topP ?? 0,
        min_p: sampling.minP ?? 0,
        presence_penalty: sampling.presencePenalty ?? 0,
        frequency_penalty: sampling.frequencyPenalty ?? 0,
        penalizes_prompt: sampling.penalizesPrompt ? 1 : 0,
      });
      this.#call("session_set_sampling", struct);
    });
  }

  top(count) {
    return this.#library.scoped((scope) => {
      const [buffer, found] = [scope.take(count * layout.Candidate.bytes), scope.take(4)];
      this.#call("session_top", buffer, count, found);
      return this.#candidatesAt(buffer, this.#u32(found));
    });
  }

  logits() {
    return this.#library.scoped((scope) => {
      const [place, count] = [scope.take(4), scope.take(4)];
      this.#call("session_logits", place, count);
      return this.#floats(this.#u32(place), this.#u32(count));
    });
  }

  #floats(start, count) {
    return new Float32Array(this.#library.memory.view.buffer, start, count).slice();
  }

  embed(prompt, { pooling = "mean" } = {}) {
    if (!(pooling in layout.POOL)) {
      throw new KingletError(Status.BAD_ARGUMENT, `pooling is ${pooling}: give "mean" or "last"`);
    }
    const [tokens, size] = [this.#prompt(prompt), this.#model.info.embeddingSize];
    return this.#library.scoped((scope) => {
      const [given, out] = [scope.putTokens(tokens), scope.take(4 * size)];
      this.#call("session_embed", given, tokens.length, layout.POOL[pooling], out, size);
      return this.#floats(out, size);
    });
  }

  save() {
    const { memory } = this.#library;
    return this.#library.scoped((scope) => {
      const written = scope.take(4);
      this.#call("session_state_bytes", written);
      const bytes = this.#u32(written);
      const state = scope.take(bytes);
      this.#call("session_save", state, bytes, written);
      return memory.bytes(state, this.#u32(written)).slice();
    });
  }

  restore(state) {
    this.#library.scoped((scope) => {
      this.#call("session_restore", scope.putBytes(state), state.length);
    });
  }
}
