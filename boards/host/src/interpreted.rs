//! Replies that borrow from what they keep, in an interpreter that sees every access: `tests/miri`
//! names a model in `KINGLET_MIRI_MODEL`, a tiny one. What replies say is proved by
//! `tests/batch.rs`.

use crate::{Backend, Batch, Code, GenerateOptions, Model, Piece, Replies, Sampling};
use crate::{SessionOptions, StopReason};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

const VARIABLE: &str = "KINGLET_MIRI_MODEL";
const PROMPT: [u32; 2] = [40, 41];

/// What options borrow from; says when it is dropped.
struct Owner {
    bias: Vec<(u32, f32)>,
    cancel: AtomicBool,
    dropped: Rc<Cell<usize>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        // It is whole, and nobody looks at it any more.
        assert_eq!(self.bias, [(2, -100.0)]);
        self.dropped.set(self.dropped.get() + 1);
    }
}

fn options(owner: &Owner) -> GenerateOptions<'_> {
    GenerateOptions {
        max_tokens: 3,
        ignore_eos: true,
        sampling: Sampling { logit_bias: &owner.bias, temperature: 1.0, ..Sampling::default() },
        cancel: Some(&owner.cancel),
        candidates: Some(2),
        ..GenerateOptions::default()
    }
}

fn go_on(replies: &mut Replies, batch: &mut Batch) -> Vec<(usize, Option<StopReason>)> {
    let mut pieces = 0;
    let ended = replies.step(batch, &mut |_, piece: Piece<'_>| {
        pieces += piece.text.len() + piece.candidates.len();
        ControlFlow::Continue(())
    });
    ended.into_iter().map(|(text, made)| (text, made.ok().map(|made| made.stop_reason))).collect()
}

#[test]
fn replies_come_and_go_with_what_they_borrow_from() {
    let path = std::env::var_os(VARIABLE).expect("tests/miri names a model");
    let model = Model::open(path).unwrap();
    let asked = SessionOptions {
        texts: 2,
        context: Some(12),
        threads: Some(1),
        batch: 2,
        logit_rows: 2,
        backend: Some(Backend::from_name("scalar").unwrap()),
        ..SessionOptions::default()
    };
    let mut batch = model.batch(&asked).unwrap();
    // Each reply keeps what it needs of the model.
    drop(model);
    let dropped = Rc::new(Cell::new(0));
    let owner = || Owner {
        bias: vec![(2, -100.0)],
        cancel: AtomicBool::new(false),
        dropped: Rc::clone(&dropped),
    };
    for text in 0..2 {
        batch.text(text).prefill(&PROMPT, &mut |_| Ok(())).unwrap();
    }
    let mut replies = Replies::new();
    replies.join(&mut batch, 0, &["no such text"], owner(), options).unwrap();
    assert_eq!(go_on(&mut replies, &mut batch), []);
    // What fails to join is dropped at once, and leaves the other one alone.
    let error = replies.join(&mut batch, 1, &[""], owner(), options).unwrap_err();
    assert_eq!((error.code(), dropped.get()), (Code::BadArgument, 1));
    // It joins while the other goes on, and others move in the list when one leaves.
    replies.join(&mut batch, 1, &[], owner(), options).unwrap();
    let mut ended = Vec::new();
    while !replies.is_empty() {
        ended.extend(go_on(&mut replies, &mut batch));
    }
    assert_eq!(ended, [(0, Some(StopReason::MaxTokens)), (1, Some(StopReason::MaxTokens))]);
    assert_eq!(dropped.get(), 3);
    // One that ends by the flag that it lends, and one that is dropped in the middle.
    replies
        .join(&mut batch, 0, &[], owner(), |owner| {
            owner.cancel.store(true, Ordering::Relaxed);
            options(owner)
        })
        .unwrap();
    assert_eq!(go_on(&mut replies, &mut batch), [(0, Some(StopReason::Cancelled))]);
    replies.join(&mut batch, 1, &[], owner(), options).unwrap();
    drop(batch);
    drop(replies);
    assert_eq!(dropped.get(), 5);
}
