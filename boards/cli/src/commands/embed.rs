//! `kinglet embed`: what a model makes of texts, as vectors.

use crate::args::EmbedArgs;
use crate::{input, interrupt, models, out, settings};
use kinglet::{Code, Result, SessionOptions, Specials, Work};
use kinglet_quant::ensure;
use serde::Serialize;

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    size: usize,
    pooling: &'static str,
    texts: Vec<Text>,
}

/// One text.
#[derive(Serialize)]
struct Text {
    tokens: usize,
    embedding: Vec<f32>,
}

/// Embeds one text, or each line of it.
pub fn run(args: &EmbedArgs) -> Result<()> {
    let text = input::read(&args.text)?;
    let texts: Vec<&[u8]> = match args.lines {
        true => text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect(),
        false => vec![&text],
    };
    ensure!(
        texts.iter().any(|text| !text.is_empty()),
        Code::BadArgument,
        "there is no text to embed: give one with -p, -f or on standard input"
    );
    let options = settings::session_options(&args.session)?;
    interrupt::install();
    let model = models::open(&args.model)?;
    let work = Work { prompt_tokens: 1, new_tokens: 0 };
    let options = SessionOptions { work, ..options };
    let options = settings::fitted(&model, &options, &args.session.memory)?;
    let mut session = model.session(&options)?;
    out::note_selection(session.selection());
    let mut document = Document {
        size: model.config().hidden as usize,
        pooling: args.pooling.name(),
        texts: Vec::new(),
    };
    for text in texts {
        interrupt::check()?;
        let tokens = model.tokenize_as(text, Specials::AsText)?;
        let embedding = session.embed(&tokens, args.pooling.into())?;
        if args.json {
            document.texts.push(Text { tokens: tokens.len(), embedding });
        } else {
            let numbers: Vec<String> = embedding.iter().map(f32::to_string).collect();
            out::text(&(numbers.join(" ") + "\n"))?;
        }
    }
    if args.json { out::json(&document) } else { Ok(()) }
}
