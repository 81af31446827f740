//! Guessing tokens and checking several in one step changes the speed and nothing else.

use kinglet::{
    GenerateOptions, Generation, KvType, LOOKAHEAD_ROWS, Model, Sampling, Session, SessionOptions,
    StopReason, Tier, Type,
};
use kinglet_backends::Choice;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models::{SMALL, converted_path, real, small};
use std::ops::ControlFlow;

/// What a caller can observe of a generation.
#[derive(Debug, PartialEq)]
struct Observed {
    pieces: Vec<(Option<u32>, String)>,
    stop_reason: StopReason,
    tokens: usize,
    /// The session's tokens afterwards, and the logits behind them.
    left_behind: (Vec<u32>, Vec<f32>),
}

/// Generates behind `prompt`, the callback ending it at its piece number `cancel_at`.
fn observe(
    session: &mut Session,
    prompt: &[u32],
    options: &GenerateOptions<'_>,
    cancel_at: usize,
) -> (Observed, Generation) {
    session.reset();
    let mut pieces = Vec::new();
    let generation = session.generate(prompt, options, &mut |piece| {
        pieces.push((piece.token, piece.text.to_owned()));
        if pieces.len() == cancel_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let generation = generation.unwrap();
    let Generation { stop_reason, tokens, .. } = generation;
    let left_behind = (session.tokens().to_vec(), session.logits().unwrap().to_vec());
    (Observed { pieces, stop_reason, tokens, left_behind }, generation)
}

/// Generates with guesses and without, and compares all that can be observed.
fn compare(
    what: &str,
    session: &mut Session,
    prompt: &[u32],
    options: &GenerateOptions<'_>,
    cancel_at: usize,
) -> (Observed, Generation) {
    let plain = GenerateOptions { speculation: false, ..*options };
    let (plain, plain_generation) = observe(session, prompt, &plain, cancel_at);
    assert_eq!((plain_generation.drafted, plain_generation.accepted), (0, 0));
    let (observed, generation) = observe(session, prompt, options, cancel_at);
    assert!(observed == plain, "{what}: {observed:?}\nwithout guesses: {plain:?}");
    let steps = generation.decode_steps + generation.accepted;
    assert_eq!(steps, plain_generation.decode_steps, "{what}");
    (observed, generation)
}

fn session(model: &Model, kv: KvType, tier: Tier, threads: usize) -> Session {
    let (context, threads) = (Some(model.config().max_context.min(256) as usize), Some(threads));
    let kv = Some(kv);
    let options =
        SessionOptions { context, kv, threads, backend: Some(tier.into()), ..Default::default() };
    model.session(&options).unwrap()
}

/// Whether a batch is cheap enough for this tier to guess at all.
fn guesses(tier: Tier) -> bool {
    tier.further_token_cost() < 100
}

/// A prompt that repeats a phrase with changes in between.
fn repetitive(model: &Model, seed: u64) -> Vec<u32> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let vocab = model.config().vocab_size;
    let phrase: Vec<u32> = (0..12).map(|_| rng.u32(20..vocab)).collect();
    let mut prompt = Vec::new();
    for _ in 0..5 {
        prompt.extend_from_slice(&phrase[..rng.usize(4..=phrase.len())]);
        prompt.push(rng.u32(20..vocab));
    }
    prompt.extend_from_slice(&phrase[..3]);
    prompt
}

/// Ways to choose that follow a text closely, with every means of sampling.
fn samplings(seed: u64) -> [Sampling<'static>; 4] {
    let greedy = Sampling { seed, ..Sampling::default() };
    let sampled = Sampling { temperature: 0.05, top_p: 0.95, ..greedy };
    let penalized = Sampling { repetition_penalty: 1.02, repetition_window: 24, ..greedy };
    [greedy, sampled, penalized, Sampling { temperature: 0.1, top_k: 20, min_p: 0.01, ..penalized }]
}

#[test]
fn texts_are_the_same_with_and_without() {
    let (mut drafted, mut accepted) = (0, 0);
    for name in SMALL {
        for kind in [Type::Q8, Type::Q4] {
            let model = small(name, kind);
            for (threads, tier) in (1..).zip(Tier::available().filter(|&tier| guesses(tier))) {
                for kv in [KvType::F16, KvType::Int8] {
                    let mut session = session(&model, kv, tier, threads);
                    for (seed, sampling) in (0..).zip(samplings(5)) {
                        let what =
                            format!("{name}, {kind:?}, {}, {kv:?}, {sampling:?}", tier.name());
                        let options = GenerateOptions {
                            max_tokens: 90,
                            sampling,
                            ignore_eos: true,
                            ..Default::default()
                        };
                        let prompt = repetitive(&model, seed);
                        let (_, made) = compare(&what, &mut session, &prompt, &options, usize::MAX);
                        drafted += made.drafted;
                        accepted += made.accepted;
                    }
                }
            }
        }
    }
    println!("{accepted} of {drafted} guesses were right");
    if guesses(Tier::best()) {
        assert!(accepted > 1000 && drafted > accepted, "{accepted} of {drafted}: too easy a test");
    }
}

#[test]
fn every_way_to_end_is_the_same_in_the_middle_of_a_draft() {
    for name in SMALL {
        let model = small(name, Type::Q4);
        let mut session = session(&model, KvType::Int8, Tier::best(), 2);
        let prompt = repetitive(&model, 1);
        let free = GenerateOptions { max_tokens: 60, ignore_eos: true, ..Default::default() };
        let (whole, _) = compare(name, &mut session, &prompt, &free, usize::MAX);
        for count in 0..whole.tokens {
            let options = GenerateOptions { max_tokens: count, ..free };
            let (ended, _) = compare(name, &mut session, &prompt, &options, usize::MAX);
            assert_eq!((ended.tokens, ended.stop_reason), (count, StopReason::MaxTokens));
            let (ended, _) = compare(name, &mut session, &prompt, &free, count + 1);
            assert_eq!(ended.stop_reason, StopReason::Cancelled);
        }
        let text: String = whole.pieces.iter().map(|(_, text)| text.as_str()).collect();
        let places = text.char_indices().map(|(at, _)| at).collect::<Vec<_>>();
        for ends in places.windows(4).step_by(5) {
            let stop = [&text[ends[0]..ends[3]]];
            let options = GenerateOptions { stop: &stop, ..free };
            let (ended, _) = compare(name, &mut session, &prompt, &options, usize::MAX);
            assert_eq!(ended.stop_reason, StopReason::StopString, "{stop:?}");
        }
    }
}

#[test]
fn the_end_of_text_is_found_in_the_middle_of_a_draft() {
    let mut ended = 0;
    for name in SMALL {
        let model = small(name, Type::Q8);
        let eos = model.config().eos_tokens()[0];
        let mut session = session(&model, KvType::F16, Tier::best(), 1);
        // The token that ends texts is in the phrase that repeats, so that drafts hold it.
        let mut prompt = repetitive(&model, 2);
        for at in (7..prompt.len()).step_by(9) {
            prompt[at] = eos;
        }
        for bias in 0..30 {
            let logit_bias = [(eos, bias as f32 * 0.5)];
            for sampling in samplings(bias) {
                let sampling = Sampling { logit_bias: &logit_bias, ..sampling };
                let options = GenerateOptions { max_tokens: 60, sampling, ..Default::default() };
                let (made, _) = compare(name, &mut session, &prompt, &options, usize::MAX);
                let is_late = made.stop_reason == StopReason::EndOfText && made.tokens > 2;
                ended += usize::from(is_late);
            }
        }
    }
    assert!(ended > 10, "only {ended} texts came to their end");
}

#[test]
fn a_full_context_is_the_same() {
    for name in SMALL {
        let model = small(name, Type::Q4);
        let prompt = repetitive(&model, 3);
        for room in 0..20 {
            let context = Some(prompt.len() + room);
            let mut session =
                model.session(&SessionOptions { context, ..Default::default() }).unwrap();
            let options = GenerateOptions { ignore_eos: true, ..Default::default() };
            let (full, _) = compare(name, &mut session, &prompt, &options, usize::MAX);
            assert_eq!(full.stop_reason, StopReason::ContextFull);
            assert_eq!((full.tokens, session.room()), (room + 1, 0));
        }
    }
}

#[test]
fn a_reply_goes_on_where_another_ended() {
    let model = small(SMALL[1], Type::Q4);
    let mut session = session(&model, KvType::Int8, Tier::best(), 2);
    let prompt = repetitive(&model, 4);
    let options = GenerateOptions { max_tokens: 23, ignore_eos: true, ..Default::default() };
    let mut talk = |speculation| {
        let options = GenerateOptions { speculation, ..options };
        session.reset();
        let mut tokens = Vec::new();
        for more in [&prompt[..], &prompt[3..9], &[], &prompt[..5]] {
            let generation = session.generate(more, &options, &mut |piece| {
                tokens.extend(piece.token);
                ControlFlow::Continue(())
            });
            generation.unwrap();
        }
        tokens
    };
    assert_eq!(talk(true), talk(false));
}

#[test]
fn sessions_that_cannot_guess_do_not() {
    let generate = |model: &Model, options: &SessionOptions| {
        let context = Some(128);
        let mut session = model.session(&SessionOptions { context, ..options.clone() }).unwrap();
        let options = GenerateOptions { max_tokens: 40, ignore_eos: true, ..Default::default() };
        let prompt = repetitive(model, 1);
        session.generate(&prompt, &options, &mut |_| ControlFlow::Continue(())).unwrap()
    };
    let default = SessionOptions::default();
    assert_eq!(default.logit_rows, LOOKAHEAD_ROWS);
    let one_row = SessionOptions { logit_rows: 1, ..default.clone() };
    assert_eq!(generate(&small(SMALL[0], Type::Q4), &one_row).drafted, 0);
    let small_batch = SessionOptions { batch: 1, ..default.clone() };
    assert_eq!(generate(&small(SMALL[0], Type::Q4), &small_batch).drafted, 0);
    let unquantized = small(SMALL[0], Type::Bf16);
    assert_eq!(generate(&unquantized, &default).drafted, 0);
}

#[test]
fn the_real_model_says_the_same() {
    let article = include_str!("bench/article.txt");
    let prompt = format!(
        "<|im_start|>user\nRepeat this text word by word.\n\n{article}<|im_end|>\n\
         <|im_start|>assistant\n"
    );
    // Rounded to the nearest 4 bits, this model strays from a text that it is to repeat.
    for (kind, least) in [(Type::Q8, 40), (Type::Q4, 10)] {
        let Some(model) = real("the_real_model_says_the_same", kind) else { return };
        let prompt = model.tokenize(&prompt).unwrap();
        let mut session = model.session(&SessionOptions::default()).unwrap();
        let warm = Sampling { temperature: 0.7, top_p: 0.9, seed: 3, ..Sampling::default() };
        for sampling in [Sampling::default(), warm, Sampling { repetition_penalty: 1.1, ..warm }] {
            let options = GenerateOptions { max_tokens: 80, sampling, ..Default::default() };
            let what = format!("{kind:?}, {sampling:?}");
            let (_, made) = compare(&what, &mut session, &prompt, &options, usize::MAX);
            println!("{what}: {} of {} guesses were right", made.accepted, made.drafted);
            let is_greedy = sampling.temperature == 0.0;
            assert!(!is_greedy || !guesses(Tier::best()) || made.accepted >= least, "{what}");
        }
    }
}

#[test]
fn the_command_can_go_without() {
    let home = tempfile::tempdir().unwrap();
    let _ = small(SMALL[1], Type::Q4);
    let run = |flags: &[&str]| {
        let mut command = kinglet(home.path());
        command.arg("run").arg(converted_path(SMALL[1], Type::Q4)).args(flags);
        let prompt = "one two three one two three one two";
        Said::by(command.args(["--json", "--temp", "0", "--ignore-eos", "-n", "60", "-p", prompt]))
            .json()
    };
    let (guessed, plain) = (run(&[]), run(&["--no-speculation"]));
    assert_eq!(guessed["tokens"], plain["tokens"]);
    assert_eq!(plain["drafted_tokens"], 0);
    assert!(guessed["accepted_tokens"].as_u64() <= guessed["drafted_tokens"].as_u64());
    assert!(!guesses(Tier::best()) || guessed["drafted_tokens"].as_u64() > Some(0));
}
