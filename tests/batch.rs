//! Texts that go on in one pass are what each would be alone, to the bit.

use kinglet::{
    Batch, Code, GenerateOptions, KvType, Model, Piece, Replies, Sampling, SessionOptions,
    StopReason, Tier, Type,
};
use kinglet_tests::models::{SMALL, real, small};
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What one reply was, and what it left behind.
#[derive(Debug, PartialEq)]
struct Observed {
    pieces: Vec<(Option<u32>, String)>,
    stop_reason: StopReason,
    draws: u64,
    text: Vec<u32>,
    logits: Vec<f32>,
}

/// A text, and how it goes on.
struct Task {
    prompt: Vec<u32>,
    options: GenerateOptions<'static>,
    /// The piece at which the callback ends it.
    cancel_at: usize,
}

fn options(texts: usize, kv: KvType, tier: Tier) -> SessionOptions {
    let (context, threads) = (Some(96), Some(2));
    SessionOptions {
        texts,
        context,
        kv: Some(kv),
        threads,
        backend: Some(tier.into()),
        ..SessionOptions::default()
    }
}

/// Tasks of all kinds: some copy, some draw, some end early, some are cancelled.
fn tasks(model: &Model, count: usize, seed: u64) -> Vec<Task> {
    let mut random = fastrand::Rng::with_seed(seed);
    let vocabulary = model.config().vocab_size;
    let mut task = |number: usize| {
        let phrase: Vec<u32> =
            (0..random.usize(1..9)).map(|_| random.u32(20..vocabulary)).collect();
        let length = random.usize(1..60);
        let prompt = phrase.iter().copied().cycle().take(length).collect();
        let greedy = Sampling { seed: number as u64, ..Sampling::default() };
        let sampling = match number % 4 {
            0 => greedy,
            1 => Sampling { temperature: 0.05, top_p: 0.95, ..greedy },
            2 => Sampling { temperature: 0.8, top_k: 20, ..greedy },
            _ => Sampling { repetition_penalty: 1.05, ..greedy },
        };
        let stop: &[&str] = if number.is_multiple_of(3) { &["e", "zz"] } else { &[] };
        let options = GenerateOptions {
            max_tokens: random.usize(0..40),
            sampling,
            stop,
            ignore_eos: number.is_multiple_of(2),
            exact_head: number % 5 == 1,
            ..GenerateOptions::default()
        };
        let cancel_at = if number % 4 == 3 { 7 } else { usize::MAX };
        Task { prompt, options, cancel_at }
    };
    (0..count).map(&mut task).collect()
}

fn note(pieces: &mut Vec<(Option<u32>, String)>, piece: Piece<'_>, end: usize) -> ControlFlow<()> {
    pieces.push((piece.token, piece.text.to_owned()));
    if pieces.len() == end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn alone(model: &Model, options: &SessionOptions, task: &Task) -> Observed {
    let mut session = model.session(&SessionOptions { texts: 1, ..options.clone() }).unwrap();
    let mut pieces = Vec::new();
    let made = session.generate(&task.prompt, &task.options, &mut |piece| {
        note(&mut pieces, piece, task.cancel_at)
    });
    let made = made.unwrap();
    let text = session.tokens().to_vec();
    let logits = session.logits().unwrap().to_vec();
    Observed { pieces, stop_reason: made.stop_reason, draws: made.draws, text, logits }
}

fn together(batch: &mut Batch, tasks: &[Task]) -> Vec<Observed> {
    // The order of the replies is not that of the texts.
    let numbers: Vec<usize> = (0..tasks.len()).rev().collect();
    for (&number, task) in numbers.iter().zip(tasks) {
        batch.text(number).rewind(0).unwrap();
        batch.text(number).prefill(&task.prompt, &mut |_| Ok(())).unwrap();
    }
    let replies: Vec<_> =
        numbers.iter().zip(tasks).map(|(&number, task)| (number, task.options)).collect();
    let mut pieces = vec![Vec::new(); tasks.len()];
    let made = batch.generate(&replies, &mut |reply, piece| {
        note(&mut pieces[reply], piece, tasks[reply].cancel_at)
    });
    let made = made.unwrap();
    let observe = |((&number, pieces), made): ((&usize, Vec<_>), &kinglet::Generation)| Observed {
        pieces,
        stop_reason: made.stop_reason,
        draws: made.draws,
        text: batch.text(number).tokens().to_vec(),
        logits: batch.logits(number).unwrap().to_vec(),
    };
    numbers.iter().zip(pieces).zip(&made).map(observe).collect()
}

#[test]
fn texts_are_the_same_together_and_alone() {
    for (name, kind) in SMALL.into_iter().zip([Type::Q8, Type::Q4].into_iter().cycle()) {
        let model = small(name, kind);
        for tier in Tier::available() {
            for (kv, count) in [(KvType::Int8, 8), (KvType::F16, 3), (KvType::Int8, 2)] {
                let options = options(count, kv, tier);
                let mut batch = model.batch(&options).unwrap();
                assert_eq!(batch.texts(), count);
                for seed in 0..2 {
                    let tasks = tasks(&model, count, seed);
                    let found = together(&mut batch, &tasks);
                    for (number, (task, found)) in tasks.iter().zip(&found).enumerate() {
                        let expected = alone(&model, &options, task);
                        assert!(
                            *found == expected,
                            "{name}, {}, {kv:?}, text {number} of {count}: {:?}, alone {:?}",
                            tier.name(),
                            found.pieces,
                            expected.pieces
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn tokens_that_are_pushed_together_give_the_logits_of_each_alone() {
    for name in SMALL {
        let model = small(name, Type::Q4);
        let mut random = fastrand::Rng::with_seed(3);
        let vocabulary = model.config().vocab_size;
        let options = options(4, KvType::Int8, Tier::best());
        let mut batch = model.batch(&options).unwrap();
        let mut texts = vec![Vec::new(); 4];
        for _ in 0..40 {
            let mut tokens = Vec::new();
            for (number, text) in texts.iter_mut().enumerate().rev() {
                if random.f32() < 0.6 {
                    let token = random.u32(..vocabulary);
                    text.push(token);
                    tokens.push((number, token));
                }
            }
            batch.push(&tokens).unwrap();
        }
        for (number, text) in texts.iter().enumerate() {
            assert_eq!(batch.text(number).tokens(), text);
            let mut session =
                model.session(&SessionOptions { texts: 1, ..options.clone() }).unwrap();
            session.prefill(text).unwrap();
            assert_eq!(batch.logits(number).unwrap(), session.logits().unwrap(), "{name}");
        }
    }
}

#[test]
fn several_texts_go_on_from_one_prompt() {
    let model = small(SMALL[1], Type::Q8);
    let options = options(3, KvType::Int8, Tier::best());
    let mut batch = model.batch(&options).unwrap();
    let prompt: Vec<u32> = (30..70).collect();
    batch.text(1).prefill(&prompt, &mut |_| Ok(())).unwrap();
    batch.copy(1, 0, 40).unwrap();
    batch.copy(1, 2, 17).unwrap();
    for (number, length) in [(0, 40), (1, 40), (2, 17)] {
        let mut session = model.session(&SessionOptions { texts: 1, ..options.clone() }).unwrap();
        session.prefill(&prompt[..length]).unwrap();
        assert_eq!(batch.text(number).tokens(), &prompt[..length]);
        assert_eq!(batch.logits(number).unwrap(), session.logits().unwrap());
    }
    assert_eq!(batch.copy(2, 0, 18).unwrap_err().code(), Code::BadArgument);
    assert_eq!(batch.copy(2, 3, 1).unwrap_err().code(), Code::BadArgument);
}

#[test]
fn wrong_requests_change_nothing() {
    let model = small(SMALL[0], Type::Q8);
    let options = SessionOptions { context: Some(4), ..options(2, KvType::Int8, Tier::best()) };
    let mut batch = model.batch(&options).unwrap();
    batch.text(0).prefill(&[30, 31, 32, 33], &mut |_| Ok(())).unwrap();
    let go = GenerateOptions::default();
    let mut ignore = |_: usize, _: Piece<'_>| ControlFlow::Continue(());
    for (replies, code) in [
        (vec![(1, go)], Code::BadArgument),
        (vec![(0, go), (0, go)], Code::BadArgument),
        (vec![(2, go)], Code::BadArgument),
    ] {
        assert_eq!(batch.generate(&replies, &mut ignore).unwrap_err().code(), code);
    }
    assert!(batch.generate(&[], &mut ignore).unwrap().is_empty());
    let unknown = model.config().vocab_size;
    for (tokens, code) in [
        (vec![(1, 40), (0, 40)], Code::ContextFull),
        (vec![(1, 40), (1, 41)], Code::BadArgument),
        (vec![(1, unknown)], Code::TokenOutOfRange),
        (vec![(2, 40)], Code::BadArgument),
    ] {
        assert_eq!(batch.push(&tokens).unwrap_err().code(), code);
    }
    assert_eq!(batch.text(0).tokens(), [30, 31, 32, 33]);
    assert!(batch.text(1).tokens().is_empty());
    let nine = SessionOptions { texts: 9, ..options.clone() };
    assert_eq!(model.batch(&nine).err().unwrap().code(), Code::BadArgument);
    assert_eq!(model.session(&options).err().unwrap().code(), Code::BadArgument);
}

#[test]
fn a_deadline_and_a_cancellation_end_every_reply() {
    let model = small(SMALL[1], Type::Q8);
    let options = options(2, KvType::Int8, Tier::best());
    let mut batch = model.batch(&options).unwrap();
    let cancel = AtomicBool::new(true);
    let go = GenerateOptions { ignore_eos: true, ..GenerateOptions::default() };
    let late = GenerateOptions { deadline: Some(Duration::ZERO), ..go };
    let cancelled = GenerateOptions { cancel: Some(&cancel), ..go };
    for text in 0..2 {
        batch.text(text).prefill(&[30, 31], &mut |_| Ok(())).unwrap();
    }
    let made =
        batch.generate(&[(0, late), (1, cancelled)], &mut |_, _| panic!("no token is chosen"));
    let reasons: Vec<StopReason> = made.unwrap().iter().map(|made| made.stop_reason).collect();
    assert_eq!(reasons, [StopReason::Deadline, StopReason::Cancelled]);

    let mut session = model.session(&SessionOptions { texts: 1, ..options }).unwrap();
    let ignore = &mut |_: Piece<'_>| ControlFlow::Continue(());
    let error = session.generate(&[30, 31], &late, ignore).unwrap_err();
    assert_eq!(error.code(), Code::DeadlinePassed);
    let error = session.generate(&[30, 31], &cancelled, ignore).unwrap_err();
    assert_eq!(error.code(), Code::Interrupted);
    assert!(session.tokens().is_empty());
}

#[test]
fn the_real_model_says_the_same_to_several() {
    let test = "the_real_model_says_the_same_to_several";
    let Some(model) = real(test, Type::Q4) else { return };
    let options = options(4, KvType::Int8, Tier::best());
    let mut batch = model.batch(&options).unwrap();
    let prompts = ["The capital of France is", "def add(a, b):", "Once upon a time", "1, 2, 3, 4,"];
    let task = |(number, prompt): (usize, &&str)| Task {
        prompt: model.tokenize(prompt).unwrap(),
        options: GenerateOptions {
            max_tokens: 20 + number,
            sampling: Sampling { temperature: 0.5 * number as f32, ..Sampling::default() },
            ..GenerateOptions::default()
        },
        cancel_at: usize::MAX,
    };
    let tasks: Vec<Task> = prompts.iter().enumerate().map(task).collect();
    for (task, found) in tasks.iter().zip(together(&mut batch, &tasks)) {
        assert!(found == alone(&model, &options, task), "{:?}", found.pieces);
    }
}

#[test]
fn sessions_are_saved_restored_and_forked() {
    let model = small(SMALL[2], Type::Q8);
    let options = options(1, KvType::Int8, Tier::best());
    let [mut here, mut there] = [(); 2].map(|()| model.session(&options).unwrap());
    let prompt: Vec<u32> = (30..60).collect();
    let sampling = Sampling { temperature: 0.8, seed: 4, ..Sampling::default() };
    let go = GenerateOptions { max_tokens: 9, sampling, ignore_eos: true, ..Default::default() };
    let next = |session: &mut kinglet::Session, prompt: &[u32], draws: u64| {
        let mut tokens = Vec::new();
        let made = session.generate(prompt, &GenerateOptions { draws, ..go }, &mut |piece| {
            tokens.extend(piece.token);
            ControlFlow::Continue(())
        });
        (tokens, made.unwrap().draws)
    };
    let (first, draws) = next(&mut here, &prompt, 0);
    assert_eq!(here.tokens(), [&prompt[..], &first].concat());
    let mut state = vec![0; here.state_bytes()];
    assert_eq!(here.save(draws, &mut state).unwrap(), state.len());
    assert_eq!(there.restore(&state).unwrap(), draws);
    assert_eq!(next(&mut there, &[], draws), next(&mut here, &[], draws));

    there.fork(&mut here, 33).unwrap();
    here.rewind(33);
    assert_eq!(there.tokens(), here.tokens());
    assert_eq!(there.logits().unwrap(), here.logits().unwrap());
    let mut best = [kinglet::Candidate::default(); 3];
    assert_eq!(here.top(&mut best).unwrap(), 3);
    let mut greedy = kinglet_core::sample::Sampler::new(Sampling::default());
    assert_eq!(here.sample(&mut greedy).unwrap(), best[0].token);

    let mut seen = Vec::new();
    there.reset();
    let error = there.prefill_with(&[&prompt[..]; 3].concat(), &mut |done| {
        seen.push(done);
        match done {
            0 => Ok(()),
            _ => Err(kinglet::Error::new(Code::Interrupted, format_args!("enough"))),
        }
    });
    assert_eq!(error.unwrap_err().code(), Code::Interrupted);
    assert_eq!((seen, there.tokens().len()), (vec![0, 64], 64));
}

/// Texts join one after the other, as they have room, and leave when they have ended.
#[test]
fn replies_that_come_and_go_are_what_they_are_alone() {
    const TEXTS: usize = 3;
    let model = small(SMALL[1], Type::Q4);
    let options = options(TEXTS, KvType::Int8, Tier::Scalar);
    let mut batch = model.batch(&options).unwrap();
    let tasks = tasks(&model, 12, 5);
    let mut replies = Replies::new();
    let mut numbers = [None; TEXTS];
    let mut pieces = vec![Vec::new(); tasks.len()];
    let (mut next, mut ended) = (0, 0);
    while ended < tasks.len() {
        if let (Some(text), true) = (numbers.iter().position(Option::is_none), next < tasks.len()) {
            let Task { prompt, options, .. } = &tasks[next];
            batch.text(text).rewind(0).unwrap();
            batch.text(text).prefill(prompt, &mut |_| Ok(())).unwrap();
            let (stop, options) = (options.stop, *options);
            replies.join(&mut batch, text, stop, options, |&options| options).unwrap();
            let twice = replies.join(&mut batch, text, stop, options, |&options| options);
            assert_eq!(twice.unwrap_err().code(), Code::BadArgument);
            numbers[text] = Some(next);
            next += 1;
        }
        let left = replies.step(&mut batch, &mut |text, piece| {
            let number = numbers[text].unwrap();
            note(&mut pieces[number], piece, tasks[number].cancel_at)
        });
        for (text, made) in left {
            let number = numbers[text].take().unwrap();
            let made = made.unwrap();
            let found = Observed {
                pieces: std::mem::take(&mut pieces[number]),
                stop_reason: made.stop_reason,
                draws: made.draws,
                text: batch.tokens(text).to_vec(),
                logits: batch.logits(text).unwrap().to_vec(),
            };
            assert!(found == alone(&model, &options, &tasks[number]), "task {number}");
            ended += 1;
        }
    }
    assert!(replies.is_empty());
}
