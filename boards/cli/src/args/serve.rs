//! The arguments of `kinglet serve`.

use crate::args::{ModelArgs, SessionArgs};
use crate::units;
use clap::{Args, ValueHint};
use kinglet_machine::power::Request;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `kinglet serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Answers the protocols of OpenAI and Ollama: GET /v1/models, POST /v1/chat/completions,
/v1/completions, /v1/responses and /v1/embeddings, and POST /api/chat, /api/generate and /api/embed
with what belongs to them; also POST /tokenize and /detokenize, GET /health, and GET /metrics for
Prometheus. GET /openapi.json tells all of it. The address itself shows a page to chat on in a
browser.
Up to --slots replies are made at once, each with a context of its own; others wait. SIGTERM and
Ctrl-C let the replies that there are come to their end.

Only this machine can ask, unless --listen names another address; that needs --api-key-file.

Examples:
  kinglet serve smollm2-135m-instruct
  kinglet serve model.q4.kinglet --slots 2 --ctx 4096 --memory-budget 256MB
  kinglet serve model.q4.kinglet --listen 0.0.0.0:8080 --api-key-file key.txt
  kinglet serve model.q4.kinglet --prefix-store /var/lib/kinglet-serve")]
pub struct ServeArgs {
    /// Which model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Address and port to listen on; port 0 takes a free one, which is printed [default:
    /// 127.0.0.1:8080, or the socket that systemd has opened]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Replies that are made at once, each with a context of its own
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=8))]
    pub slots: u32,
    /// A file with the key that requests must send, as `Authorization: Bearer KEY`; without blanks
    /// and 16 characters long at least
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub api_key_file: Option<PathBuf>,
    /// Keep beginnings of texts in this folder, so that they need not be computed again after a
    /// restart; it then holds what users have written
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub prefix_store: Option<PathBuf>,
    /// What the files in that folder may take; those not used for longest go first
    #[arg(long, value_name = "BYTES", value_parser = units::parse_bytes, default_value = "256M")]
    #[arg(requires = "prefix_store")]
    pub prefix_store_bytes: u64,
    /// End when there has been no connection for so long, such as 10m: for a service that systemd
    /// starts again when somebody connects
    #[arg(long, value_name = "TIME", value_parser = units::parse_time)]
    pub exit_idle: Option<Duration>,
    /// The power sensor whose energy GET /metrics tells, named as for `kinglet bench` [default: the
    /// first that works, if any]
    #[arg(long, value_name = "SENSOR")]
    pub power: Option<Request>,
    /// Session
    #[command(flatten)]
    pub session: SessionArgs,
}
