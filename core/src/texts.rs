//! An engine and the texts that it works on: their tokens, and how far each is in its cache.

mod choose;
mod pass;

use crate::Cpu;
use crate::draft::Draft;
use crate::engine::{Chunk, Engine, Logits};
use crate::kernels::{Choice, Workers};
use crate::plan::{Limits, MAX_TEXTS, Plan, TextBuffers};
use crate::screen::Screen;
use kinglet_quant::format::ALIGN;
use kinglet_quant::{Code, File, Result, Type, ensure};

/// A model, the engine that computes it, and up to [`MAX_TEXTS`] texts in the making.
#[derive(Debug)]
pub struct Texts<'a, E> {
    pub(crate) model: File<'a>,
    pub(crate) engine: E,
    /// Scratch of samplers `[vocabulary]`.
    candidates: &'a mut [u32],
    states: heapless::Vec<State<'a>, MAX_TEXTS>,
    /// Passes of the engine until now.
    passes: u64,
}

/// One text.
#[derive(Debug)]
pub(crate) struct State<'a> {
    /// `[context]`: the text, then guesses that are in the cache as well.
    pub history: &'a mut [u32],
    /// Tokens of the text.
    pub length: usize,
    /// Tokens in the cache: all, or all but the last; more where the last ones are guesses.
    pub cached: usize,
    /// The logits that the engine has for this text.
    rows: Rows,
}

/// Rows of logits behind neighbouring tokens of a text.
#[derive(Clone, Copy, Debug, Default)]
struct Rows {
    /// The pass that computed them, as counted by [`Texts::passes`]: only the last one's are left.
    pass: u64,
    /// The number of the first row.
    row: usize,
    /// Tokens of the text in front of the first row's logits.
    first: usize,
    /// Rows.
    count: usize,
    /// Which of the logits are exact.
    screen: Option<Screen>,
}

impl State<'_> {
    /// The tokens of the text.
    pub fn tokens(&self) -> &[u32] {
        &self.history[..self.length]
    }

    /// Tokens that the text can still take.
    pub fn room(&self) -> usize {
        self.history.len() - self.length
    }

    /// Appends a chosen token. Whether the cache has it already, because it was guessed.
    fn append(&mut self, token: u32) -> bool {
        let is_guessed = self.length < self.cached && self.history[self.length] == token;
        if !is_guessed {
            // Logits behind a guess are none behind another token.
            self.drop_guesses();
            self.drop_logits();
            self.history[self.length] = token;
        }
        self.length += 1;
        is_guessed
    }

    /// Forgets guesses.
    pub fn drop_guesses(&mut self) {
        self.cached = self.cached.min(self.length);
    }

    /// Keeps the first `length` tokens.
    pub fn cut(&mut self, length: usize) {
        self.length = length;
        self.drop_guesses();
    }

    /// Forgets the logits behind the text.
    pub fn drop_logits(&mut self) {
        self.rows.count = 0;
    }
}

/// One text's part in a pass of decoding.
#[derive(Debug)]
pub(crate) struct Turn {
    pub text: usize,
    /// Guesses of what comes behind the text.
    pub draft: Draft,
    /// The logits that are wanted.
    pub screen: Option<Screen>,
}

impl<'a, C: Choice, W: Workers> Texts<'a, Cpu<'a, C, W>> {
    /// Texts on the processor, in `memory`, which must start at a multiple of 64 bytes
    /// (`Misaligned`) and hold [`Plan::total_bytes`] (`BudgetTooSmall`).
    ///
    /// `BadArgument` as from [`Plan::new`], and for more workers than the plan has.
    pub fn on_cpu(
        model: File<'a>,
        limits: &Limits,
        choice: C,
        workers: W,
        memory: &'a mut [u8],
    ) -> Result<Self> {
        let plan = Plan::new(&model, limits)?;
        check_memory(&plan, memory)?;
        ensure!(
            workers.count() <= limits.workers,
            Code::BadArgument,
            "{} workers: the session's memory is planned for {}",
            workers.count(),
            limits.workers
        );
        let (own, rest) = memory.split_at_mut(plan.engine_bytes());
        Ok(Self::new(model, Cpu::new(choice, workers, model, plan, own), rest))
    }
}

/// `BudgetTooSmall` and `Misaligned` for memory that cannot hold a plan.
pub fn check_memory(plan: &Plan, memory: &[u8]) -> Result<()> {
    ensure!(
        memory.len() >= plan.total_bytes(),
        Code::BudgetTooSmall,
        "the session needs {} bytes, {} are given: lower the context or the batch",
        plan.total_bytes(),
        memory.len()
    );
    ensure!(
        memory.as_ptr().addr().is_multiple_of(ALIGN),
        Code::Misaligned,
        "session memory must start at a multiple of {ALIGN} bytes"
    );
    Ok(())
}

impl<'a, E: Engine> Texts<'a, E> {
    /// Empty texts on an engine for `model`. `memory`, at a multiple of 64 bytes, is what
    /// [`Plan::total_bytes`] has behind [`Plan::engine_bytes`].
    pub fn new(model: File<'a>, engine: E, memory: &'a mut [u8]) -> Self {
        let Limits { texts, context, .. } = *engine.plan().limits();
        let TextBuffers { candidates, mut history } = TextBuffers::cut(engine.plan(), memory);
        let mut states = heapless::Vec::new();
        for _ in 0..texts {
            let (own, rest) = history.split_at_mut(context);
            history = rest;
            let state = State { history: own, length: 0, cached: 0, rows: Rows::default() };
            assert!(states.push(state).is_ok(), "the plan has MAX_TEXTS texts at most");
        }
        Self { model, engine, candidates, states, passes: 0 }
    }

    /// The model.
    pub fn model(&self) -> &File<'a> {
        &self.model
    }

    /// The engine.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// What the texts can be, and the memory that they take.
    pub fn plan(&self) -> &Plan {
        self.engine.plan()
    }

    /// The tokens of a text. Panics when there are fewer texts.
    pub fn tokens(&self, text: usize) -> &[u32] {
        self.states[text].tokens()
    }

    /// Tokens that a text can still take. Panics when there are fewer texts.
    pub fn room(&self, text: usize) -> usize {
        self.states[text].room()
    }

    /// Replaces a text by the first `count` tokens of another one. `BadArgument` when that is
    /// shorter or there are fewer texts.
    pub fn copy(&mut self, from: usize, to: usize, count: usize) -> Result<()> {
        let texts = self.states.len();
        ensure!(from < texts && to < texts, Code::BadArgument, "there are {texts} texts");
        ensure!(
            count <= self.states[from].length,
            Code::BadArgument,
            "a prefix of {count} tokens: the text has {}",
            self.states[from].length
        );
        if from == to {
            self.states[to].cut(count);
            return Ok(());
        }
        let cached = count.min(self.states[from].cached);
        // If the engine fails half-way, the text is empty.
        self.states[to].cut(0);
        self.states[to].drop_logits();
        self.engine.copy_text(from, to, cached)?;
        let [source, target] = self
            .states
            .get_disjoint_mut([from, to])
            .unwrap_or_else(|_| panic!("two texts that are there, as checked above"));
        target.history[..count].copy_from_slice(&source.history[..count]);
        (target.length, target.cached) = (count, cached);
        Ok(())
    }

    /// Appends a token to each of several texts and computes all logits behind them, in one pass.
    ///
    /// `ContextFull`, `TokenOutOfRange`, `BadArgument` for a text that is not there or comes twice;
    /// nothing is changed then, nor when the engine fails.
    pub fn push(&mut self, tokens: &[(usize, u32)]) -> Result<()> {
        let texts = self.states.len();
        for (i, &(text, token)) in tokens.iter().enumerate() {
            ensure!(
                text < texts && tokens[..i].iter().all(|&(other, _)| other != text),
                Code::BadArgument,
                "token {i} is for text {text}: give each of the {texts} texts one at most"
            );
            self.check_token(token)?;
            ensure!(self.room(text) > 0, Code::ContextFull, "the context of text {text} is full");
        }
        // Logits behind the tokens that are there already are not needed any more, and those that
        // are not in the cache need passes of their own.
        for &(text, _) in tokens {
            self.catch_up(text, self.states[text].length)?;
        }
        let mut turns: heapless::Vec<Turn, MAX_TEXTS> = heapless::Vec::new();
        for &(text, token) in tokens {
            self.append(text, token);
            let turn = Turn { text, draft: Draft::new(), screen: None };
            assert!(turns.push(turn).is_ok(), "checked above");
        }
        if turns.is_empty() {
            return Ok(());
        }
        let outcome = self.run_turns(&mut turns);
        if outcome.is_err() {
            for &(text, _) in tokens {
                let state = &mut self.states[text];
                state.cut(state.length - 1);
            }
        }
        outcome
    }

    /// `TokenOutOfRange`
    pub(crate) fn check_token(&self, token: u32) -> Result<()> {
        let vocab = self.model.config().vocab_size;
        ensure!(
            token < vocab,
            Code::TokenOutOfRange,
            "token {token} is not in the vocabulary of {vocab}"
        );
        Ok(())
    }

    /// Tokens of a text that the cache does not have yet.
    pub(crate) fn waiting(&self, text: usize) -> usize {
        let State { length, cached, .. } = &self.states[text];
        length.saturating_sub(*cached)
    }

    pub(crate) fn state(&self, text: usize) -> &State<'a> {
        &self.states[text]
    }

    pub(crate) fn state_mut(&mut self, text: usize) -> &mut State<'a> {
        &mut self.states[text]
    }

    /// The row of the logits behind a text, if the engine has them.
    fn row(&self, text: usize) -> Option<usize> {
        let State { length, rows, .. } = &self.states[text];
        let is_there =
            rows.pass == self.passes && (rows.first..rows.first + rows.count).contains(length);
        is_there.then(|| rows.row + length - rows.first)
    }

    /// Whether the engine has logits behind a text, so that the next token needs no pass.
    pub fn has_logits(&self, text: usize) -> bool {
        self.row(text).is_some()
    }

    /// The screen, if the head can be screened.
    fn possible(&self, screen: Option<Screen>) -> Option<Screen> {
        screen.filter(|_| self.model.head().kind() == Type::Q8Planes)
    }

    /// Runs a pass of one text's tokens, which lie behind those of its cache.
    pub(crate) fn run_one(
        &mut self,
        text: usize,
        count: usize,
        logits: Logits,
        screen: Option<Screen>,
    ) -> Result<()> {
        let screen = self.possible(screen);
        let State { history, cached, .. } = &self.states[text];
        let tokens = &history[*cached..*cached + count];
        let chunk = Chunk { text, first: *cached, tokens, logits, screen };
        // Whatever becomes of the pass, the rows of the one before are gone.
        self.passes += 1;
        self.engine.run(&[chunk])?;
        let state = &mut self.states[text];
        state.cached += count;
        let rows = logits.rows(count);
        let first = state.cached + 1 - rows;
        state.rows = Rows { pass: self.passes, row: 0, first, count: rows, screen };
        Ok(())
    }

    /// Makes the cache have the first `count` tokens of a text, as passes without logits.
    fn catch_up(&mut self, text: usize, count: usize) -> Result<()> {
        let batch = self.plan().limits().batch;
        while self.states[text].cached < count {
            let some = (count - self.states[text].cached).min(batch);
            self.run_one(text, some, Logits::None, None)?;
        }
        Ok(())
    }

    /// Runs one pass for all turns: takes each text's last token and the guesses behind it, and
    /// computes logits behind each. Turns are of different texts, none of which is empty. Tokens
    /// in front of the last that the cache does not have go along.
    pub(crate) fn run_turns(&mut self, turns: &mut [Turn]) -> Result<()> {
        assert!(turns.iter().all(|turn| self.states[turn.text].length > 0));
        // Insertion: there are few, and the library's sort would take 8 kB of firmware.
        for end in 1..turns.len() {
            for i in (1..=end).rev() {
                if turns[i - 1].text > turns[i].text {
                    turns.swap(i - 1, i);
                }
            }
        }
        // Each text's share of what a pass can take.
        let most = self.plan().limits().batch / turns.len();
        for turn in &mut *turns {
            turn.screen = self.possible(turn.screen);
            let state = &mut self.states[turn.text];
            // What the cache has behind the text was guessed wrongly; the last token is taken
            // again where nothing else gives logits behind it.
            state.cached = state.cached.min(state.length - 1);
            let behind = if turn.draft.is_empty() { most } else { 1 };
            self.catch_up(turn.text, self.states[turn.text].length.saturating_sub(behind))?;
            let state = &mut self.states[turn.text];
            state.history[state.length..][..turn.draft.len()].copy_from_slice(&turn.draft);
        }
        let mut pass: heapless::Vec<Chunk<'_>, MAX_TEXTS> = heapless::Vec::new();
        for turn in &*turns {
            let State { history, length, cached, .. } = &self.states[turn.text];
            let tokens = &history[*cached..*length + turn.draft.len()];
            let (text, first, screen) = (turn.text, *cached, turn.screen);
            let logits = if turn.draft.is_empty() { Logits::Last } else { Logits::All };
            let chunk = Chunk { text, first, tokens, logits, screen };
            assert!(pass.push(chunk).is_ok(), "a turn for each text");
        }
        self.passes += 1;
        let outcome = self.engine.run(&pass);
        drop(pass);
        outcome?;
        let mut row = 0;
        for turn in &*turns {
            let state = &mut self.states[turn.text];
            let count = 1 + turn.draft.len();
            let (pass, screen) = (self.passes, turn.screen);
            state.rows = Rows { pass, row, first: state.length, count, screen };
            state.cached = state.length + turn.draft.len();
            row += count;
        }
        Ok(())
    }

    /// Makes the engine have logits behind a text: all, or those that `screen` asks for.
    pub(crate) fn compute_logits(&mut self, text: usize, screen: Option<Screen>) -> Result<usize> {
        let screen = self.possible(screen);
        if self.row(text).is_none() {
            ensure!(
                self.states[text].length > 0,
                Code::BadArgument,
                "the session is empty: give it a prompt first"
            );
            self.run_turns(&mut [Turn { text, draft: Draft::new(), screen }])?;
        } else if self.states[text].rows.screen.is_some_and(|known| Some(known) != screen) {
            self.complete()?;
        }
        Ok(self.row(text).expect("computed just now"))
    }

    /// Computes all logits of the last pass.
    fn complete(&mut self) -> Result<()> {
        let outcome = self.engine.repeat_head(None);
        if outcome.is_err() {
            // What the rows hold now is anybody's guess.
            self.passes += 1;
            return outcome;
        }
        for state in &mut self.states {
            state.rows.screen = None;
        }
        Ok(())
    }

    /// All logits behind a text, `[vocabulary]`; computed now where no pass has. `BadArgument` for
    /// an empty text.
    pub fn logits(&mut self, text: usize) -> Result<&[f32]> {
        let row = self.compute_logits(text, None)?;
        self.row_logits(row)
    }

    /// All logits of a row of the last pass, which were computed without a screen.
    pub(crate) fn row_logits(&mut self, row: usize) -> Result<&[f32]> {
        Ok(self.engine.logits(row)?)
    }

    /// All logits behind a text, and scratch of the same length.
    pub(crate) fn logits_and_scratch(&mut self, text: usize) -> Result<(&[f32], &mut [u32])> {
        let row = self.compute_logits(text, None)?;
        Ok((self.engine.logits(row)?, self.candidates))
    }

    /// Makes room in a text: keeps its first tokens, up to `sinks`, and its last ones, together
    /// half of the context, and computes the last ones anew where they are then. Returns how many
    /// it dropped: 0 when the text is not longer than that.
    ///
    /// The first tokens get much attention whatever they are, so a text that loses them falls
    /// apart: Xiao et al., "Efficient Streaming Language Models with Attention Sinks" (2023). If
    /// the engine fails, the text is what was computed so far.
    pub fn slide(&mut self, text: usize, sinks: usize) -> Result<usize> {
        let batch = self.plan().limits().batch;
        let State { history, length, .. } = &self.states[text];
        let most = (history.len() / 2).max(1);
        let (length, sinks) = (*length, sinks.min(most / 2));
        let Some(dropped) = length.checked_sub(most).filter(|&dropped| dropped > 0) else {
            return Ok(0);
        };
        let state = &mut self.states[text];
        state.drop_guesses();
        state.drop_logits();
        state.history.copy_within(sinks + dropped..length, sinks);
        state.cached = state.cached.min(sinks);
        let end = length - dropped;
        while self.states[text].cached < end {
            let count = (end - self.states[text].cached).min(batch);
            self.states[text].length = self.states[text].cached;
            self.run_one(text, count, Logits::None, None)?;
        }
        self.states[text].length = end;
        Ok(dropped)
    }

    /// Appends a chosen token to a text that has room. Whether the cache has it already.
    pub(crate) fn append(&mut self, text: usize, token: u32) -> bool {
        self.states[text].append(token)
    }

    /// Hands the next tokens of a text that its cache has not as a chunk to `take`, which runs it
    /// and computes no logits.
    pub(crate) fn take_chunk(
        &mut self,
        text: usize,
        count: usize,
        take: &mut dyn FnMut(&mut E, &Chunk<'_>) -> Result<()>,
    ) -> Result<()> {
        let State { history, cached, .. } = &self.states[text];
        let (first, tokens) = (*cached, &history[*cached..*cached + count]);
        let chunk = Chunk { text, first, tokens, logits: Logits::None, screen: None };
        self.passes += 1;
        take(&mut self.engine, &chunk)?;
        self.states[text].cached += count;
        Ok(())
    }
}
