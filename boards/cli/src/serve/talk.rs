//! What a model says to a request: from the engine's events to words, calls and ends, which each
//! protocol writes in its own form.

use super::answer::{Answer, Delivery, Usage};
use super::event::{Event, Piece};
use super::failure::{Failure, Outcome};
use kinglet::tools::{Call, Toolbox, Turn};
use kinglet::{Candidate, StopReason};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The replies to a request, as far as they are made.
pub struct Talk {
    /// The replies.
    pub replies: Vec<Reply>,
    /// What they took.
    pub usage: Usage,
    /// How long.
    pub times: Times,
    /// The functions, where replies may call them.
    functions: Option<Functions>,
}

/// One of the replies.
#[derive(Default)]
pub struct Reply {
    /// What was said; empty where functions are called.
    pub text: String,
    /// What is called, once that is certain.
    pub calls: Vec<Called>,
    /// The candidates for each of its tokens, where they are wanted.
    pub candidates: Vec<Vec<Candidate>>,
    /// Why it ended, once it has.
    pub finish: Option<Finish>,
    /// Bytes of the text, and tokens with candidates, that were told.
    told: (usize, usize),
}

/// A call with an identifier.
pub struct Called {
    /// The identifier.
    pub id: String,
    /// The call.
    pub call: Call,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It is whole.
    Stop,
    /// Tokens, context or time were used up.
    Length,
    /// It calls functions.
    Calls,
}

/// How long a request took.
pub struct Times {
    asked: Instant,
    /// Reading the prompt, without waiting.
    pub prompt: Duration,
    read: Option<Instant>,
    ended: Option<Instant>,
}

impl Times {
    /// From the request to the end.
    pub fn total(&self) -> Duration {
        self.ended.unwrap_or_else(Instant::now) - self.asked
    }

    /// From the prompt, which was read, to the end.
    pub fn replies(&self) -> Duration {
        let read = self.read.unwrap_or(self.asked);
        self.ended.map_or(Duration::ZERO, |ended| ended - read)
    }
}

/// What replies may call.
pub struct Functions {
    /// The functions.
    pub toolbox: Toolbox,
    /// Whether a reply may have more than one call.
    pub several: bool,
}

/// What has become of a reply.
pub enum News {
    /// The prompt was read.
    Begins,
    /// It goes on with a text and the candidates for some tokens.
    Goes(String, Vec<Vec<Candidate>>),
    /// It calls: the number of the call.
    Calls(usize),
    /// It has ended.
    Ends,
}

/// How a protocol tells of replies.
pub trait Form: Send {
    /// The documents by which a stream tells the news of a reply.
    fn tell(&mut self, talk: &Talk, reply: usize, news: &News) -> Vec<Value>;

    /// Those behind the last reply.
    fn end(&mut self, talk: &Talk) -> Vec<Value>;

    /// What tells of a failure in a stream.
    fn failure(&mut self, failure: &Failure) -> Value;

    /// The text of the document that tells all.
    fn text(&self, talk: &Talk) -> String;
}

impl Talk {
    /// Replies that nothing was said in.
    pub fn new(replies: Vec<Reply>, usage: Usage, functions: Option<Functions>) -> Self {
        let times =
            Times { asked: Instant::now(), prompt: Duration::ZERO, read: None, ended: None };
        Self { replies, usage, times, functions }
    }

    fn take(&mut self, index: usize, event: Event) -> Outcome<Vec<News>> {
        match event {
            Event::Read(read) => {
                if index == 0 {
                    self.usage.reused = read.reused;
                    self.times.prompt = read.time;
                    self.times.read = Some(Instant::now());
                }
                Ok(vec![News::Begins])
            }
            Event::Piece(piece) => Ok(self.piece(index, piece).into_iter().collect()),
            Event::End(outcome) => {
                self.times.ended = Some(Instant::now());
                Ok(self.end(index, outcome.map_err(|error| *error)?))
            }
            Event::Embedding(_) => unreachable!("a reply was asked for"),
        }
    }

    fn piece(&mut self, index: usize, piece: Piece) -> Option<News> {
        self.usage.replies += usize::from(piece.has_token);
        let reply = &mut self.replies[index];
        reply.text.push_str(&piece.text);
        if !piece.candidates.is_empty() {
            reply.candidates.push(piece.candidates);
        }
        if self.may_call(&self.replies[index].text) {
            return None;
        }
        self.replies[index].rest()
    }

    /// Whether a reply is, or may become, calls instead of words.
    fn may_call(&self, text: &str) -> bool {
        self.functions.as_ref().is_some_and(|Functions { toolbox, .. }| {
            let dialect = toolbox.dialect();
            let begin = format!("{}{}", dialect.open, dialect.before_name);
            text.chars().next() == begin.chars().next() || text.is_empty()
        })
    }

    fn end(&mut self, index: usize, reason: StopReason) -> Vec<News> {
        let is_calls = self.may_call(&self.replies[index].text);
        let reply = &mut self.replies[index];
        let mut finish = Finish::of(reason);
        let mut news = Vec::new();
        if let Some(functions) = self.functions.as_ref().filter(|_| is_calls) {
            // A call that was cut is none, and no text either.
            if let Ok(Turn::Assistant { calls, .. }) = functions.toolbox.read(&reply.text) {
                let most = if functions.several { usize::MAX } else { 1 };
                reply.calls = calls.into_iter().take(most).map(Called::new).collect();
            }
            reply.text.clear();
            news.extend((0..reply.calls.len()).map(News::Calls));
            if !reply.calls.is_empty() {
                finish = Finish::Calls;
            }
        }
        reply.finish = Some(finish);
        news.push(News::Ends);
        news
    }
}

impl Reply {
    /// What was not told yet.
    fn rest(&mut self) -> Option<News> {
        let (bytes, tokens) = self.told;
        self.told = (self.text.len(), self.candidates.len());
        let is_new = self.told != (bytes, tokens);
        is_new.then(|| News::Goes(self.text[bytes..].into(), self.candidates[tokens..].to_vec()))
    }

    /// Drops the candidates that were told, which a stream needs no more.
    fn forget(&mut self) {
        self.candidates.drain(..self.told.1);
        self.told.1 = 0;
    }
}

impl Called {
    fn new(call: Call) -> Self {
        Self { id: format!("call_{:024x}", fastrand::u64(..)), call }
    }
}

impl Finish {
    /// Why a reply ended.
    pub fn of(reason: StopReason) -> Self {
        match reason {
            StopReason::MaxTokens | StopReason::ContextFull | StopReason::Deadline => Self::Length,
            StopReason::EndOfText
            | StopReason::Complete
            | StopReason::StopString
            | StopReason::Cancelled => Self::Stop,
        }
    }
}

/// An answer in the making: what is said, and the form that it gets.
pub struct Talking {
    /// What is said.
    pub talk: Talk,
    /// The form.
    pub form: Box<dyn Form>,
    /// How the client gets it.
    pub delivery: Delivery,
}

impl Answer for Talking {
    fn take(&mut self, task: usize, event: Event) -> Outcome<String> {
        let news = self.talk.take(task, event)?;
        let Delivery::Stream(framing) = self.delivery else { return Ok(String::new()) };
        let told = news.iter().flat_map(|news| self.form.tell(&self.talk, task, news));
        let documents: Vec<Value> = told.collect();
        self.talk.replies[task].forget();
        Ok(framing.text(&documents))
    }

    fn end(&mut self) -> String {
        let Delivery::Stream(framing) = self.delivery else { return String::new() };
        framing.text(&self.form.end(&self.talk)) + framing.end()
    }

    fn failure(&mut self, failure: &Failure) -> Option<String> {
        let Delivery::Stream(framing) = self.delivery else { return None };
        Some(framing.text(&[self.form.failure(failure)]))
    }

    fn text(&self) -> String {
        self.form.text(&self.talk)
    }
}
