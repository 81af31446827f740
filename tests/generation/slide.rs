//! Texts that go on when their context is full.

use kinglet::{
    Batch, GenerateOptions, Model, Overflow, Sampling, Session, SessionOptions, StopReason, Type,
};
use kinglet_tests::models::{SMALL, small};
use std::ops::ControlFlow;

const CONTEXT: usize = 64;
const SINKS: usize = 4;
const PROMPT: [u32; 12] = [5, 9, 17, 5, 9, 21, 4, 33, 8, 12, 5, 9];

fn options(model: &Model, texts: usize) -> SessionOptions {
    assert!(model.config().max_context as usize >= CONTEXT);
    SessionOptions { texts, context: Some(CONTEXT), ..SessionOptions::default() }
}

fn sliding(max_tokens: usize, temperature: f32) -> GenerateOptions<'static> {
    GenerateOptions {
        max_tokens,
        sampling: Sampling { temperature, seed: 2, ..Sampling::default() },
        ignore_eos: true,
        overflow: Overflow::Slide { sinks: SINKS },
        ..GenerateOptions::default()
    }
}

fn reply(session: &mut Session, options: &GenerateOptions<'_>) -> (Vec<u32>, usize, StopReason) {
    let mut tokens = Vec::new();
    let made = session.generate(&PROMPT, options, &mut |piece| {
        tokens.extend(piece.token);
        ControlFlow::Continue(())
    });
    let made = made.unwrap();
    (tokens, made.slides, made.stop_reason)
}

/// What is left of the text was computed as if it had never been longer.
#[test]
fn a_text_that_slid_on_is_what_it_would_be_alone() {
    for (name, temperature) in [(SMALL[0], 0.0), (SMALL[1], 0.8), (SMALL[2], 0.8)] {
        let model = small(name, Type::Q4);
        let mut session = model.session(&options(&model, 1)).unwrap();
        let (tokens, slides, reason) = reply(&mut session, &sliding(300, temperature));
        assert_eq!((tokens.len(), reason), (300, StopReason::MaxTokens));
        assert!(
            (8..=10).contains(&slides),
            "half of 64 positions are made free each time: {slides}"
        );
        let kept = session.tokens().to_vec();
        assert_eq!(kept[..SINKS], PROMPT[..SINKS]);
        assert_eq!(kept[SINKS..], tokens[tokens.len() - (kept.len() - SINKS)..]);
        let logits = session.logits().unwrap().to_vec();
        let mut fresh = model.session(&options(&model, 1)).unwrap();
        fresh.prefill(&kept).unwrap();
        assert_eq!(fresh.logits().unwrap(), logits, "{name}");
    }
}

/// The same tokens with and without guesses, and until the context is full the same as ever.
#[test]
fn guesses_change_nothing() {
    let model = small(SMALL[0], Type::Q4);
    let make = |options: &GenerateOptions<'_>| {
        reply(&mut model.session(&self::options(&model, 1)).unwrap(), options)
    };
    let (tokens, ..) = make(&sliding(200, 0.0));
    let plain = GenerateOptions { speculation: false, ..sliding(200, 0.0) };
    assert_eq!(make(&plain).0, tokens);
    let stopping = GenerateOptions { overflow: Overflow::Stop, ..plain };
    let (short, slides, reason) = make(&stopping);
    assert_eq!((slides, reason), (0, StopReason::ContextFull));
    assert_eq!(short, tokens[..short.len()]);
}

/// One text slides on while its neighbour ends.
#[test]
fn texts_of_one_pass_slide_on_alone() {
    let model = small(SMALL[0], Type::Q4);
    let mut batch: Batch = model.batch(&options(&model, 2)).unwrap();
    for text in 0..2 {
        batch.text(text).prefill(&PROMPT, &mut |_| Ok(())).unwrap();
    }
    let warm = sliding(150, 0.7);
    let cold = GenerateOptions { overflow: Overflow::Stop, ..sliding(150, 0.0) };
    let mut tokens = [Vec::new(), Vec::new()];
    let made = batch.generate(&[(0, warm), (1, cold)], &mut |number, piece| {
        tokens[number].extend(piece.token);
        ControlFlow::Continue(())
    });
    let made = made.unwrap();
    assert!(made[0].slides > 0 && made[1].slides == 0);
    for (options, tokens) in [warm, cold].iter().zip(&tokens) {
        let mut session = model.session(&self::options(&model, 1)).unwrap();
        assert_eq!(reply(&mut session, options).0, *tokens);
    }
}

#[test]
fn room_is_made_on_request() {
    let model = small(SMALL[0], Type::Q4);
    let mut session = model.session(&options(&model, 1)).unwrap();
    session.prefill(&PROMPT).unwrap();
    assert_eq!(session.slide(SINKS).unwrap(), 0, "there is room enough");
    while session.room() > 0 {
        session.push(7).unwrap();
    }
    assert_eq!(session.slide(1000).unwrap(), CONTEXT / 2);
    assert_eq!(session.tokens().len(), CONTEXT / 2);
    assert_eq!(session.tokens()[..PROMPT.len()], PROMPT, "at most half of what stays is sinks");
    session.push(7).unwrap();
}
