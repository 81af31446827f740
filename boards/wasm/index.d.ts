/** Kinglet: SmolLM models in pages and in Node, as WebAssembly. */

/**
 * Something failed. `code` is the number of `enum kinglet_status` in `kinglet.h`, which never
 * changes: 1xx is the world around, 2xx the weight file, 4xx what was asked for, 5xx this machine,
 * 6xx a fault of Kinglet's own. `message` is a sentence about it.
 */
export class KingletError extends Error {
  readonly code: number;
}

/** Tokens, as numbers of the vocabulary. */
export type Tokens = ArrayLike<number>;

/** A text, or tokens. */
export type Prompt = string | Tokens;

/** One turn of a conversation. */
export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

/** How far something is. `total` is 0 or grows where nobody has told it before. */
export interface Progress {
  done: number;
  total: number;
}

/** Which signed models are accepted. */
export interface Trust {
  /** Who must have signed: a public key as minisign writes it. */
  key: string;
  /** Which model it must be; any that the key has signed without it. */
  modelId?: string;
  /** The oldest version that is accepted. */
  leastVersion?: number | bigint;
}

export interface OpenOptions {
  /** Told how many bytes of the file have come. */
  onProgress?: (progress: Progress) => void;
  /** Ends the opening: it fails with the signal's reason. */
  signal?: AbortSignal;
  /** Who must have signed the file, which is then checked whole before anything is parsed. */
  trust?: Trust;
  /** The kernels; by default the fastest that the engine runs. */
  tier?: "simd128" | "relaxed-simd";
}

/** What a model is. */
export interface ModelInfo {
  readonly fileBytes: number;
  /** Bytes of weights that one generated token reads. */
  readonly readBytesPerToken: number;
  /** Tokens of the vocabulary: the length of logits. */
  readonly vocabulary: number;
  /** Positions that the model was trained for: the largest context. */
  readonly maxContext: number;
  readonly longestTokenBytes: number;
  readonly hasChatTemplate: boolean;
  /** SHA-256 over the file's header and the checksums in it: equal for equal files. */
  readonly fingerprint: Uint8Array;
  /** Numbers of an embedding. */
  readonly embeddingSize: number;
}

/** Bytes of a model's linear memory. */
export interface Memory {
  /** The weight file. */
  readonly fileBytes: number;
  /** Sessions, by their plans. */
  readonly sessionBytes: number;
  /** The stack, tables, room for prompts, what pages are filled up with, and unused memory. */
  readonly restBytes: number;
  /** All of these: what the memory has. It never shrinks while the model is open. */
  readonly totalBytes: number;
}

export interface SessionOptions {
  /** Tokens that the text can have; by default 2048, or the model's context if that is smaller. */
  context?: number;
  /** Tokens per step of a prompt, by default 64: a prompt can be stopped between two steps. */
  batch?: number;
  /** How keys and values are kept: "int8", the default, or "f16", which takes twice the memory. */
  kv?: "int8" | "f16";
  /** Guesses tokens from the text so far and checks several in one step, for more memory. */
  speculate?: boolean;
}

/** A weight file in the memory of a thread of its own, which computes for its sessions. */
export class Model {
  /**
   * Opens a weight file of `kinglet convert`: an address, in Node a path as well, a file that
   * somebody has chosen, a stream, or bytes. It is read into the model's memory as it comes, and
   * there is no other copy of it.
   */
  static open(
    source: string | URL | Blob | ReadableStream<Uint8Array> | ArrayBuffer | ArrayBufferView,
    options?: OpenOptions,
  ): Promise<Model>;

  private constructor();
  readonly info: ModelInfo;
  /** The kernels. */
  readonly tier: "simd128" | "relaxed-simd";
  /** The version of the library. */
  readonly version: string;

  /** The tokens of a text. With `control`, texts of control tokens become those tokens. */
  encode(text: string, options?: { control?: boolean }): Promise<Uint32Array>;
  /** The text of tokens; without control tokens where `skipControl` is set. */
  decode(tokens: Tokens, options?: { skipControl?: boolean }): Promise<string>;
  /** The tokens of a conversation, by default with the beginning of the next reply. */
  chatTokens(messages: Message[], options?: { replyNext?: boolean }): Promise<Uint32Array>;
  /** The text of a conversation, for eyes: messages can spell control tokens in it. */
  chatText(messages: Message[], options?: { replyNext?: boolean }): Promise<string>;
  /** What the memory will have when a session of these options is made. */
  plan(options?: SessionOptions): Promise<Memory>;
  /** What the memory has now. */
  memory(): Promise<Memory>;
  /** Compares the checksums of the whole file; fails with 204 when one is wrong. */
  verify(): Promise<void>;
  /** Makes a session, which takes all of its memory now. */
  session(options?: SessionOptions): Promise<Session>;
  /** Ends the thread and gives all memory back, sessions' as well. */
  close(): Promise<void>;
}

/** How tokens are chosen; the steps apply in this order. Without options, greedily. */
export interface Sampling {
  /** Added to the logits of tokens, of at most 64. */
  logitBias?: Record<number, number>;
  /** Divides positive and multiplies negative logits of recent tokens. */
  repetitionPenalty?: number;
  /** Tokens that count as recent, by default 64. */
  repetitionWindow?: number;
  /** Subtracted from the logits of tokens that have occurred in the reply. */
  presencePenalty?: number;
  /** Subtracted from a token's logit once for each time that it has occurred in the reply. */
  frequencyPenalty?: number;
  /** Whether these two count what came before the reply, too. */
  penalizesPrompt?: boolean;
  /** Divides logits; 0, the default, always takes the largest. */
  temperature?: number;
  /** Keeps so many of the most probable tokens. */
  topK?: number;
  /** Keeps the most probable tokens up to this sum. */
  topP?: number;
  /** Keeps tokens at least this probable relative to the most probable. */
  minP?: number;
  /** Equal seeds give equal texts. */
  seed?: number | bigint;
}

export interface ReadOptions {
  /** Told how many tokens of the prompt are read. */
  onProgress?: (progress: Progress) => void;
  /** Ends the work: it fails with the signal's reason, and the text keeps what was read. */
  signal?: AbortSignal;
}

export interface ReplyOptions extends ReadOptions {
  /** Tokens to generate at most, by default 256; 0 sets no limit. */
  maxTokens?: number;
  /** How tokens are chosen, from now on and from the start of the seed's random sequence. */
  sampling?: Sampling;
  /** Up to 8 strings that end the reply and are not part of it. */
  stop?: string[];
  /** A table of `kinglet compile-schema`, whose JSON schema the reply then has. */
  schema?: Uint8Array;
  /** Tells each token's probability, and those of so many most probable ones. */
  logprobs?: number;
  /** Goes on behind tokens that end a reply. */
  ignoreEnd?: boolean;
  /** Goes on when the context is full, with the text's first 4 tokens and its last ones. */
  slide?: boolean;
}

/** A token and the natural logarithm of its probability. */
export interface Candidate {
  token: number;
  logprob: number;
}

/** A piece of a reply. */
export interface Piece {
  readonly text: string;
  /** The token, or null where text comes behind its token. */
  readonly token: number | null;
  /** The natural logarithm of the token's probability, with `logprobs`. */
  readonly logprob?: number;
  /** The most probable tokens in its place, best first, with `logprobs`. */
  readonly top?: Candidate[];
}

/** What a reply did. */
export interface Result {
  /** "stopped": by a signal, or because the iterator was left. "complete": its schema ends. */
  readonly stopReason:
    | "max-tokens"
    | "end-of-text"
    | "stop-string"
    | "context-full"
    | "complete"
    | "stopped";
  /** Tokens generated, without the one that ends a reply. */
  readonly tokens: number;
  /** Tokens of the prompt that had to be read, and the time for that. */
  readonly promptTokens: number;
  readonly promptSeconds: number;
  /** The time for the reply itself; missing, as all below, where the prompt was not read. */
  readonly seconds?: number;
  readonly tokensPerSecond?: number;
  /** Steps through the model; each reads the weights once. */
  readonly steps?: number;
  /** Tokens that were guessed, and guesses that came true. */
  readonly drafted?: number;
  readonly accepted?: number;
  /** Tokens that the schema left no choice about. */
  readonly forced?: number;
  /** How often the context was full and the text went on. */
  readonly slides?: number;
}

/**
 * A reply in the making: an iterator of its pieces. It begins when the first one is asked for. Where
 * it is left, the text keeps exactly the tokens of the pieces that were taken.
 */
export class Reply implements AsyncIterableIterator<Piece> {
  private constructor();
  [Symbol.asyncIterator](): this;
  next(): Promise<IteratorResult<Piece>>;
  return(): Promise<IteratorResult<Piece>>;
  /** The text of all pieces that are left. */
  read(): Promise<string>;
  /** What was done; fails with 407 before the end. */
  readonly result: Result;
}

/** What a session is, and how far its text is. */
export interface SessionInfo {
  /** Bytes of its plan. */
  readonly bytes: number;
  /** Tokens of the text. */
  readonly tokens: number;
  readonly context: number;
  readonly batch: number;
  readonly tier: string;
}

/** A text that a model reads and goes on with. A reply uses it until it ends; others get 407. */
export class Session {
  private constructor();
  readonly bytes: number;
  readonly context: number;
  readonly batch: number;
  readonly tier: string;

  /** Appends a prompt to the text. Fails with 401 when it does not fit into the context. */
  prefill(prompt: Prompt, options?: ReadOptions): Promise<void>;
  /** Appends a prompt to the text, if there is one, and goes on with it. */
  generate(prompt?: Prompt | null, options?: ReplyOptions): Reply;
  /** Replies to a conversation. What the text has of its beginning is not read again. */
  chat(messages: Message[], options?: ReplyOptions): Reply;
  /** Replaces the text by this one; a vector of length 1, to compare by products. */
  embed(prompt: Prompt, options?: { pooling?: "mean" | "last" }): Promise<Float32Array>;
  /** The most probable next tokens, best first. */
  top(count: number): Promise<Candidate[]>;
  /** All logits behind the text. */
  logits(): Promise<Float32Array>;
  /** The tokens of the text. */
  tokens(): Promise<Uint32Array>;
  info(): Promise<SessionInfo>;
  /** Forgets the whole text. */
  reset(): Promise<void>;
  /** Keeps the first `count` tokens of the text. */
  rewind(count: number): Promise<void>;
  /** The text with its keys and values, to be kept by the page or program. */
  save(): Promise<Uint8Array>;
  /** Replaces the text by a saved one, of this model and a session with the same options. */
  restore(state: Uint8Array): Promise<void>;
  /** Gives the session's memory to later sessions of the model. */
  close(): Promise<void>;
}
