//! Replies that come and go: texts of a batch that go on in one pass, whenever each of them began.

use crate::generate::{GenerateOptions, Generation, Memory, Piece, Times};
use crate::runtime::Texts;
use crate::{Batch, Model};
use kinglet_core::generate::{self as core, Reply};
use kinglet_quant::{Code, Result, ensure};
use std::any::Any;
use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// Replies in the making, each to a text of one [`Batch`].
///
/// [`Batch::generate`] takes replies that begin together and returns when all have ended. Here a
/// reply can join between two steps, and leaves when it has ended. With quantized weights each is
/// what it would be alone, to the bit.
#[derive(Default)]
pub struct Replies {
    running: Vec<Running>,
}

/// One reply and all that it borrows from.
struct Running {
    /// Borrows from `memory`, `owner` and `model`, which are dropped after it (field order).
    reply: Reply<'static>,
    options: GenerateOptions<'static>,
    /// Borrows from `owner`; only `reply` uses it.
    _memory: Owned<Memory<'static>>,
    /// `options` borrow from it.
    _owner: Owned<dyn Any>,
    _model: Model,
    text: usize,
    start: Instant,
    first_token: Option<Duration>,
    first_steps: usize,
}

/// What came out of a box, which may be moved while it is borrowed, unlike the box.
struct Owned<T: ?Sized>(NonNull<T>);

impl<T: ?Sized> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box and is given back once; `Running` drops what borrows
        // from it before.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Replies {
    /// No replies.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Begins a reply to a text of the batch, which has its prompt. `options` may borrow from
    /// `owner`, which lives as long as the reply; `stop` is used instead of theirs, and their
    /// deadline counts from now.
    ///
    /// `BadArgument` for a text that is empty, not there, or has a reply already, for wrong stop
    /// strings, and what the grammar returns.
    pub fn join<O: 'static>(
        &mut self,
        batch: &mut Batch,
        text: usize,
        stop: &[&str],
        owner: O,
        options: impl for<'o> FnOnce(&'o O) -> GenerateOptions<'o>,
    ) -> Result<()> {
        ensure!(
            self.running.iter().all(|running| running.text != text),
            Code::BadArgument,
            "text {text} has a reply already: wait until that has ended"
        );
        let model = batch.model().clone();
        let texts = batch.texts_mut();
        let place = NonNull::from(Box::leak(Box::new(owner)));
        let owner: Owned<dyn Any> = Owned(place);
        // SAFETY: what is in the box stays where it is until `owner` is dropped, and nobody changes
        // it; `Running` drops all that borrows from it before.
        let options = options(unsafe { place.as_ref() });
        let mut memory = Owned(NonNull::from(Box::leak(Box::new(options.begin(texts)?))));
        // SAFETY: as above, and this is the only reference to the memory until it is dropped.
        let mut reply = options.reply(texts, text, stop, unsafe { memory.0.as_mut() })?;
        reply.check(texts)?;
        reply.begin(texts);
        let first_steps = usize::from(!texts.has_logits(text));
        self.running.push(Running {
            reply,
            options,
            _memory: memory,
            _owner: owner,
            _model: model,
            text,
            start: Instant::now(),
            first_token: None,
            first_steps,
        });
        Ok(())
    }

    /// Goes on with all replies by one pass. Returns those that have ended, by their texts: they
    /// have left. `on_piece` gets every piece with the text that it is for and can stop that reply.
    ///
    /// A reply that fails ends with its error and leaves the others alone; where the pass fails,
    /// all end with its error.
    pub fn step(
        &mut self,
        batch: &mut Batch,
        on_piece: &mut dyn FnMut(usize, Piece<'_>) -> ControlFlow<()>,
    ) -> Vec<(usize, Result<Generation>)> {
        let texts = batch.texts_mut();
        let mut ended = self.go_on(texts, on_piece);
        if self.running.is_empty() {
            return ended;
        }
        let mut replies: Vec<_> = self.running.iter_mut().map(|each| &mut each.reply).collect();
        match core::pass(texts, &mut replies) {
            Ok(()) => ended.extend(self.go_on(texts, on_piece)),
            Err(error) => {
                let failed = self.running.drain(..).map(|each| (each.text, Err(error.clone())));
                ended.extend(failed);
            }
        }
        ended
    }

    /// Chooses the tokens that there are logits for, and lets those leave that have ended.
    fn go_on(
        &mut self,
        texts: &mut Texts,
        on_piece: &mut dyn FnMut(usize, Piece<'_>) -> ControlFlow<()>,
    ) -> Vec<(usize, Result<Generation>)> {
        let mut ended = Vec::new();
        self.running.retain_mut(|running| {
            let outcome = running.go_on(texts, on_piece);
            let generation = match outcome {
                Ok(()) if running.reply.stop_reason().is_none() => return true,
                outcome => outcome.map(|()| running.tell()),
            };
            // Guesses behind its end are not the text's.
            let mut text = texts.text(running.text);
            let length = text.tokens().len();
            text.rewind(length).expect("a text can keep all its tokens");
            ended.push((running.text, generation));
            false
        });
        ended
    }
}

impl Running {
    fn go_on(
        &mut self,
        texts: &mut Texts,
        on_piece: &mut dyn FnMut(usize, Piece<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let Self { reply, options, text, start, first_token, .. } = self;
        reply.go_on(texts, &mut || Ok(options.reason_to_end(*start)), &mut |piece| {
            first_token.get_or_insert_with(|| start.elapsed());
            on_piece(*text, piece)
        })
    }

    /// What a reply that has ended did.
    fn tell(&self) -> Generation {
        let Self { first_token, first_steps, start, .. } = *self;
        let times =
            Times { prefill: Duration::ZERO, first_token, end: start.elapsed(), first_steps };
        Generation::new(&self.reply, 0, times)
    }
}
