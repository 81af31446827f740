//! The arguments of `kinglet serve`.

use crate::args::{ModelArgs, SessionArgs};
use clap::{Args, ValueHint};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Arguments of `kinglet serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Answers the protocols of OpenAI and Ollama: GET /v1/models, POST /v1/chat/completions,
/v1/completions, /v1/responses and /v1/embeddings, and POST /api/chat, /api/generate and /api/embed
with what belongs to them; also POST /tokenize and /detokenize, GET /health, and GET /metrics for
Prometheus. GET /openapi.json tells all of it.
Up to --slots replies are made at once, each with a context of its own; others wait. SIGTERM and
Ctrl-C let the replies that there are come to their end.

Only this machine can ask, unless --listen names another address; that needs --api-key-file.

Examples:
  kinglet serve smollm2-135m-instruct
  kinglet serve model.q4.kinglet --slots 2 --ctx 4096 --memory-budget 256MB
  kinglet serve model.q4.kinglet --listen 0.0.0.0:8080 --api-key-file key.txt")]
pub struct ServeArgs {
    /// Which model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Address and port to listen on; port 0 takes a free one, which is printed
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Replies that are made at once, each with a context of its own
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=8))]
    pub slots: u32,
    /// A file with the key that requests must send, as `Authorization: Bearer KEY`; without blanks
    /// and 16 characters long at least
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub api_key_file: Option<PathBuf>,
    /// Session
    #[command(flatten)]
    pub session: SessionArgs,
}
