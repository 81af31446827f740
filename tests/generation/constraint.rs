//! Replies that may be only what a constraint allows, whoever wrote it.

use kinglet::grammar::{Constraint, Grammar, keep};
use kinglet::{
    Code, GenerateOptions, KvType, Model, Result, Sampling, Session, SessionOptions, StopReason,
    Type,
};
use kinglet_tests::models::{SMALL, small};
use std::collections::HashMap;
use std::ops::ControlFlow;

const PROMPT: [u32; 6] = [5, 9, 17, 5, 9, 17];
/// A token that ends texts of the small models.
const END: u32 = 2;

/// Lets a reply have tokens with a remainder by its length, and forces every tenth.
#[derive(Debug)]
struct Pattern {
    /// A token fits when it leaves this remainder divided by [`MODULUS`], turned by one each time.
    remainder: u32,
    /// Tokens of a whole reply; from half of it on it may end.
    length: usize,
    /// Forces tokens where [`forced_at`] has one.
    forces: bool,
}

const MODULUS: u32 = 7;

struct Follower<'p> {
    pattern: &'p Pattern,
    taken: usize,
}

/// What is forced: the token at a place of the reply.
fn forced_at(place: usize) -> Option<u32> {
    (place % 10 >= 6).then_some(40 + place as u32)
}

impl Grammar for Pattern {
    fn begin(&self) -> Result<Box<dyn Constraint + '_>> {
        Ok(Box::new(Follower { pattern: self, taken: 0 }))
    }
}

impl Pattern {
    fn allows(&self, place: usize, token: u32) -> bool {
        if self.forces
            && let Some(forced) = forced_at(place)
        {
            return token == forced;
        }
        let remainder = (self.remainder + place as u32) % MODULUS;
        match token {
            END => place * 2 >= self.length,
            token => token % MODULUS == remainder,
        }
    }
}

impl Constraint for Follower<'_> {
    fn filter(&mut self, tokens: &mut [u32]) -> Result<usize> {
        Ok(keep(tokens, |token| self.pattern.allows(self.taken, token)))
    }

    fn advance(&mut self, token: u32) -> Result<()> {
        assert!(self.pattern.allows(self.taken, token), "token {token} at {}", self.taken);
        self.taken += 1;
        Ok(())
    }

    fn forced(&mut self) -> Result<Option<u32>> {
        Ok(forced_at(self.taken).filter(|_| self.pattern.forces))
    }

    fn is_complete(&mut self) -> Result<bool> {
        Ok(self.taken == self.pattern.length)
    }
}

fn session(model: &Model) -> Session {
    let (context, kv) = (Some(128), Some(KvType::Int8));
    model.session(&SessionOptions { context, kv, ..SessionOptions::default() }).unwrap()
}

fn reply(
    session: &mut Session,
    options: &GenerateOptions<'_>,
) -> Result<(Vec<u32>, kinglet::Generation)> {
    let mut tokens = Vec::new();
    let made = session.generate(&PROMPT, options, &mut |piece| {
        tokens.extend(piece.token);
        ControlFlow::Continue(())
    })?;
    Ok((tokens, made))
}

fn samplings() -> [Sampling<'static>; 4] {
    let warm = Sampling { temperature: 1.0, top_p: 0.95, seed: 4, ..Sampling::default() };
    [
        Sampling::default(),
        warm,
        Sampling { top_k: 2, min_p: 0.1, ..warm },
        Sampling {
            repetition_penalty: 1.3,
            frequency_penalty: 0.2,
            logit_bias: &[(9, 3.0)],
            ..warm
        },
    ]
}

/// With guesses and without, with a screened head and all logits, with probabilities, and beside
/// another text: the same tokens, all of which fit.
#[test]
fn a_reply_is_the_same_however_it_is_computed() {
    for (name, kind) in [(SMALL[0], Type::Q4), (SMALL[1], Type::Q8), (SMALL[2], Type::F32)] {
        let model = small(name, kind);
        for sampling in samplings() {
            let pattern = Pattern { remainder: 3, length: 40, forces: false };
            let plain =
                GenerateOptions { sampling, grammar: Some(&pattern), ..GenerateOptions::default() };
            let (tokens, made) = reply(&mut session(&model), &plain).unwrap();
            let is_whole = match made.stop_reason {
                StopReason::Complete => tokens.len() == 40,
                StopReason::EndOfText => (20..40).contains(&tokens.len()),
                _ => false,
            };
            assert!(is_whole, "{} tokens, {:?}", tokens.len(), made.stop_reason);
            for options in [
                GenerateOptions { speculation: false, ..plain },
                GenerateOptions { exact_head: true, ..plain },
                GenerateOptions { candidates: Some(2), ..plain },
            ] {
                let (same, other) = reply(&mut session(&model), &options).unwrap();
                assert_eq!(same, tokens, "{name} {sampling:?}");
                assert_eq!((other.stop_reason, other.draws), (made.stop_reason, made.draws));
            }
            if kind != Type::F32 {
                assert_eq!(beside_another(&model, &plain), tokens, "{name} {sampling:?}");
            }
        }
    }
}

/// The tokens of a reply that is made in one pass with one without a constraint.
fn beside_another(model: &Model, options: &GenerateOptions<'_>) -> Vec<u32> {
    let two = SessionOptions { texts: 2, context: Some(128), ..SessionOptions::default() };
    let mut batch = model.batch(&two).unwrap();
    for text in 0..2 {
        batch.text(text).prefill(&PROMPT, &mut |_| Ok(())).unwrap();
    }
    let free = GenerateOptions { grammar: None, max_tokens: 30, ..*options };
    let mut tokens = Vec::new();
    let mut collect = |reply, piece: kinglet::Piece<'_>| {
        tokens.extend(piece.token.filter(|_| reply == 1));
        ControlFlow::Continue(())
    };
    batch.generate(&[(0, free), (1, *options)], &mut collect).unwrap();
    tokens
}

/// Tokens that are forced cost no pass of their own, and the text is what it would be had they been
/// read.
#[test]
fn forced_tokens_go_along() {
    for (name, kind) in [(SMALL[0], Type::Q4), (SMALL[1], Type::Q8)] {
        let model = small(name, kind);
        for (sampling, batch) in samplings().into_iter().zip([64, 2, 3, 16]) {
            let pattern = Pattern { remainder: 1, length: 60, forces: true };
            let options = GenerateOptions {
                max_tokens: 58,
                sampling,
                grammar: Some(&pattern),
                ..GenerateOptions::default()
            };
            let limits = SessionOptions { context: Some(128), batch, ..SessionOptions::default() };
            let mut session = model.session(&limits).unwrap();
            let (tokens, made) = reply(&mut session, &options).unwrap();
            let free = (0..tokens.len()).filter(|&place| forced_at(place).is_none()).count();
            assert_eq!(made.forced, tokens.len() - free);
            assert!(made.decode_steps <= free, "{} steps, {free} chosen", made.decode_steps);
            // It ends among forced tokens, which the cache does not have yet.
            if made.stop_reason == StopReason::MaxTokens {
                assert_eq!(forced_at(57), tokens.last().copied());
            }
            let mut state = vec![0; session.state_bytes()];
            let mut fork = model.session(&limits).unwrap();
            fork.fork(&mut session, PROMPT.len() + tokens.len() - 1).unwrap();
            session.save(0, &mut state).unwrap();
            let logits = session.logits().unwrap().to_vec();
            let mut fresh = model.session(&limits).unwrap();
            fresh.prefill(&[&PROMPT[..], &tokens].concat()).unwrap();
            assert_eq!(fresh.logits().unwrap(), logits, "{name}");
            let mut expected = vec![0; fresh.state_bytes()];
            fresh.save(0, &mut expected).unwrap();
            assert!(state == expected, "{name}: states differ");
            fork.push(*tokens.last().unwrap()).unwrap();
            assert_eq!(fork.logits().unwrap(), logits, "{name}: a fork differs");
        }
    }
}

/// What is drawn has the probabilities of the model's distribution, filtered, then restricted to
/// what fits. Expected counts of at least 5 each, and a bound that one in a million runs exceeds.
#[test]
fn draws_are_exact() {
    const DRAWS: usize = 4000;
    let model = small(SMALL[0], Type::Q4);
    let pattern = Pattern { remainder: 3, length: 1, forces: false };
    let temperature = 0.7;
    for top_k in [0, 50] {
        let mut session = session(&model);
        session.prefill(&PROMPT).unwrap();
        let logits = session.logits().unwrap().to_vec();
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
        order.truncate(if top_k == 0 { order.len() } else { top_k });
        order.retain(|&token| pattern.allows(0, token));
        let weight = |token: u32| {
            f64::from((logits[token as usize] - logits[order[0] as usize]) / temperature).exp()
        };
        let sum: f64 = order.iter().map(|&token| weight(token)).sum();
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for seed in 0..DRAWS as u64 {
            session.rewind(PROMPT.len());
            let sampling = Sampling { temperature, top_k, seed, ..Sampling::default() };
            let options = GenerateOptions {
                max_tokens: 1,
                sampling,
                grammar: Some(&pattern),
                ..GenerateOptions::default()
            };
            let made = session.generate(&[], &options, &mut |piece| {
                piece.token.iter().for_each(|&token| *counts.entry(token).or_default() += 1);
                ControlFlow::Continue(())
            });
            assert_eq!(made.unwrap().tokens, 1);
        }
        assert!(counts.keys().all(|token| order.contains(token)));
        let (mut chi_squared, mut cells, mut rest) = (0.0, 0, (0.0, 0));
        for &token in &order {
            let expected = weight(token) / sum * DRAWS as f64;
            let count = counts.get(&token).copied().unwrap_or(0);
            if expected >= 5.0 {
                chi_squared += (count as f64 - expected).powi(2) / expected;
                cells += 1;
            } else {
                rest = (rest.0 + expected, rest.1 + count);
            }
        }
        if rest.0 >= 5.0 {
            chi_squared += (rest.1 as f64 - rest.0).powi(2) / rest.0;
            cells += 1;
        }
        // Wilson and Hilferty's approximation, at 4.75 standard deviations.
        let freedom = f64::from(cells - 1);
        let spread = 2.0 / (9.0 * freedom);
        let bound = freedom * (1.0 - spread + 4.75 * spread.sqrt()).powi(3);
        assert!(cells >= 4 && chi_squared < bound, "{chi_squared} of {bound}, {cells} cells");
    }
}

/// Where nothing that the filters leave fits, they look at what fits: the likeliest of all.
#[test]
fn what_fits_is_found_wherever_it_is() {
    #[derive(Debug)]
    struct Only(u32);
    struct Follower(u32, bool);
    impl Grammar for Only {
        fn begin(&self) -> Result<Box<dyn Constraint + '_>> {
            Ok(Box::new(Follower(self.0, false)))
        }
    }
    impl Constraint for Follower {
        fn filter(&mut self, tokens: &mut [u32]) -> Result<usize> {
            let found = tokens.contains(&self.0);
            tokens[0] = self.0;
            Ok(usize::from(found))
        }
        fn advance(&mut self, token: u32) -> Result<()> {
            self.1 = true;
            assert_eq!(token, self.0);
            Ok(())
        }
        fn is_complete(&mut self) -> Result<bool> {
            Ok(self.1)
        }
    }
    for (name, kind) in [(SMALL[0], Type::Q4), (SMALL[2], Type::F32)] {
        let model = small(name, kind);
        let vocabulary = model.config().vocab_size;
        for sampling in samplings() {
            for token in [3, 17, vocabulary - 1] {
                let options = GenerateOptions {
                    sampling,
                    grammar: Some(&Only(token)),
                    ..GenerateOptions::default()
                };
                let (tokens, made) = reply(&mut session(&model), &options).unwrap();
                assert_eq!((tokens, made.stop_reason), (vec![token], StopReason::Complete));
            }
        }
        let nothing = GenerateOptions { grammar: Some(&Only(u32::MAX)), ..Default::default() };
        let error = reply(&mut session(&model), &nothing).unwrap_err();
        assert_eq!(error.code(), Code::BadGrammar);
        let endless = GenerateOptions { ignore_eos: true, grammar: Some(&Only(5)), ..nothing };
        let error = reply(&mut session(&model), &endless).unwrap_err();
        assert_eq!(error.code(), Code::BadArgument);
    }
}

/// A constraint of somebody else's cannot make Kinglet read beyond its arrays.
#[test]
fn wrong_answers_are_refused() {
    #[derive(Clone, Copy, Debug)]
    enum Wrong {
        Count,
        Token,
        Forced,
    }
    impl Grammar for Wrong {
        fn begin(&self) -> Result<Box<dyn Constraint + '_>> {
            Ok(Box::new(*self))
        }
    }
    impl Constraint for Wrong {
        fn filter(&mut self, tokens: &mut [u32]) -> Result<usize> {
            if let Self::Token = self {
                tokens.fill(u32::MAX);
            }
            Ok(if let Self::Count = self { tokens.len() + 1 } else { tokens.len() })
        }
        fn advance(&mut self, _: u32) -> Result<()> {
            Ok(())
        }
        fn forced(&mut self) -> Result<Option<u32>> {
            Ok(matches!(self, Self::Forced).then_some(640))
        }
        fn is_complete(&mut self) -> Result<bool> {
            Ok(false)
        }
    }
    let model = small(SMALL[0], Type::Q4);
    for (wrong, code) in [
        (Wrong::Count, Code::BadArgument),
        (Wrong::Token, Code::BadArgument),
        (Wrong::Forced, Code::TokenOutOfRange),
    ] {
        let mut session = session(&model);
        let options = GenerateOptions { grammar: Some(&wrong), ..GenerateOptions::default() };
        assert_eq!(reply(&mut session, &options).unwrap_err().code(), code, "{wrong:?}");
        assert_eq!(session.tokens(), PROMPT, "the session stays usable");
        reply(&mut session, &GenerateOptions { max_tokens: 3, ..Default::default() }).unwrap();
    }
}
