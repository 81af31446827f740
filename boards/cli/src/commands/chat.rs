//! `kinglet chat`: a conversation in the terminal.

use crate::args::ChatArgs;
use crate::chat::Conversation;
use crate::editor::{Editor, unreadable};
use crate::interrupt::Waiting;
use crate::{grammar, interrupt, models, out, settings};
use kinglet::grammar::Grammar;
use kinglet::{Code, GenerateOptions, Result};
use std::io::{self, BufRead, IsTerminal};

const HELP: &str = "/reset forgets the conversation, /system TEXT sets the system message, /result \
                    TEXT tells what a called function returned, /quit ends";

/// Where the user's lines come from.
enum Lines {
    /// A terminal, with editing and history.
    Terminal(Editor),
    /// A pipe or file.
    Pipe,
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Request<'a> {
    Nothing,
    Say(&'a str),
    System(&'a str),
    Result(&'a str),
    Reset,
    Help,
    Quit,
}

/// Reads lines and answers them until the user ends it.
pub fn run(args: &ChatArgs) -> Result<()> {
    let options = settings::session_options(&args.session)?;
    let mut lines = Lines::open()?;
    interrupt::install();
    let model = models::open(&args.model)?;
    let options = settings::fitted(&model, &options, &args.session.memory)?;
    let session = model.session(&options)?;
    let grammar = grammar::read(&args.grammar, &model)?;
    let (toolbox, calls) = grammar::tools(&args.tools, &model)?.unzip();
    let grammar = grammar.or(calls.map(|calls| Box::new(calls) as Box<dyn Grammar>));
    let mut conversation = Conversation::new(model, session, args.system.clone(), toolbox)?;
    let stop: Vec<&str> = args.sampling.stop.iter().map(String::as_str).collect();
    let options = GenerateOptions {
        max_tokens: args.max_tokens.map_or(usize::MAX, |n| n as usize),
        sampling: settings::sampling(&args.sampling, conversation.model().config())?,
        stop: &stop,
        exact_head: args.sampling.exact_head,
        ignore_eos: false,
        speculation: !args.sampling.no_speculation,
        overflow: args.ctx_overflow.into(),
        grammar: grammar.as_deref(),
        deadline: args.deadline,
        ..GenerateOptions::default()
    };
    lines.hint();
    while let Some(line) = lines.next()? {
        let outcome = match parse(&line) {
            Request::Nothing => continue,
            Request::Quit => break,
            Request::Help => {
                out::note(HELP);
                continue;
            }
            Request::Reset => {
                conversation.reset();
                continue;
            }
            Request::System(text) => {
                conversation.set_system(text.to_owned());
                continue;
            }
            Request::Say(text) => answer(&mut conversation, Some(text), &options),
            Request::Result(text) => {
                conversation.tell_result(text.to_owned()).and_then(|is_last| {
                    // The model goes on once every call has its result.
                    if is_last { answer(&mut conversation, None, &options) } else { Ok(()) }
                })
            }
        };
        match outcome {
            // A person at a terminal can try something else, but a script must get the failure.
            Err(error) if lines.is_terminal() => out::failure(&error),
            result => result?,
        }
    }
    Ok(())
}

/// Streams one reply. Ctrl-C ends it; in a terminal the conversation goes on.
fn answer(
    conversation: &mut Conversation,
    text: Option<&str>,
    options: &GenerateOptions<'_>,
) -> Result<()> {
    let reply = conversation.say(text.map(str::to_owned), options, &mut out::foreign_text);
    let interrupted = interrupt::requested();
    interrupt::clear();
    let reply = reply?;
    if !reply.text.ends_with('\n') {
        out::text("\n")?;
    }
    reply.note_cost_briefly();
    kinglet_quant::ensure!(!interrupted, Code::Interrupted, "interrupted: the reply is incomplete");
    Ok(())
}

fn parse(line: &str) -> Request<'_> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match word {
        "" => Request::Nothing,
        "/quit" | "/exit" | "/bye" => Request::Quit,
        "/reset" | "/clear" => Request::Reset,
        "/help" | "/?" => Request::Help,
        "/system" => Request::System(rest.trim()),
        "/result" => Request::Result(rest.trim()),
        _ => Request::Say(line),
    }
}

impl Lines {
    fn open() -> Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(Self::Pipe);
        }
        Editor::open().map(Self::Terminal)
    }

    fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    fn hint(&self) {
        if self.is_terminal() {
            out::note(HELP);
        }
    }

    /// The next line; `None` at the end.
    fn next(&mut self) -> Result<Option<String>> {
        match self {
            Self::Pipe => {
                let _waiting = Waiting::begin()?;
                let mut line = Vec::new();
                let mut stdin = io::stdin().lock();
                let count =
                    stdin.read_until(b'\n', &mut line).map_err(|cause| unreadable(&cause))?;
                Ok((count > 0).then(|| String::from_utf8_lossy(&line).into_owned()))
            }
            Self::Terminal(editor) => editor.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_or_messages() {
        assert_eq!(parse("  \n"), Request::Nothing);
        assert_eq!(parse("/quit\n"), Request::Quit);
        assert_eq!(parse("/system  Be brief.\n"), Request::System("Be brief."));
        assert_eq!(parse("/system"), Request::System(""));
        assert_eq!(parse("/result {\"a\": 1}\n"), Request::Result("{\"a\": 1}"));
        assert_eq!(parse(" Hello there \n"), Request::Say("Hello there"));
        assert_eq!(parse("/reset"), Request::Reset);
        assert_eq!(parse("/etc/passwd is a file"), Request::Say("/etc/passwd is a file"));
    }
}
