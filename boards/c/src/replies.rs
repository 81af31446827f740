//! Replies: texts that go on until something ends them.

use crate::abi::{self, GenerateOptions, Generation};
use crate::chances::Told;
use crate::clock::Deadline;
use crate::constraint::Rule;
use crate::handle::{self, Bytes, User, array, check_apart};
use crate::session::{SessionHandle, Work, with};
use crate::status::Status;
use crate::versioned;
use core::ffi::{c_char, c_void};
use core::ops::ControlFlow;
use kinglet_core::generate::{self, Counts, Overflow, Reply, ReplyOptions, StopReason};
use kinglet_core::piece::Piece;
use kinglet_core::plan::MAX_TEXTS;
use kinglet_core::stop::MAX_STOPS;
use kinglet_quant::{Code, File, Result, ensure};

const _: () = assert!(abi::KINGLET_MAX_STOP == MAX_STOPS);

/// Goes on with the text until something ends it, and streams it.
///
/// `options`, `on_piece` and `generation` may be null. The token that ends a reply is not appended.
/// Cancellation, deadline and a full context are reasons to end, not failures. Tokens of a stop
/// string stay in the session's text, though they are not part of the reply.
/// `KINGLET_STATUS_BUFFER_TOO_SMALL` when `options->candidate_capacity` is too small.
///
/// This prints every token, the natural logarithm of its probability, and the text as it comes:
///
///     int32_t print(void *user, uint32_t token, const char *text, size_t text_bytes) {
///       const kinglet_candidate *candidates = user;
///       if (token != KINGLET_NO_TOKEN) {
///         printf("%u %.4f ", (unsigned)token, candidates[0].log_probability);
///       }
///       printf("%.*s\n", (int)text_bytes, text);
///       return 0;
///     }
///
///     kinglet_generate_options options = {.struct_size = sizeof options, .top_count = 5};
///     options.candidate_capacity = info.vocabulary + 2 * (1 + options.top_count);
///     options.candidates = malloc(options.candidate_capacity * sizeof *options.candidates);
///     kinglet_session_generate(session, &options, print, options.candidates, NULL);
///
/// `candidates[1]` to `[5]` are the most probable tokens in the place of this one.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_generate(
    session: *mut SessionHandle,
    options: *const GenerateOptions,
    on_piece: abi::OnPiece,
    user: *mut c_void,
    generation: *mut Generation,
) -> Status {
    let work = |work: &mut Work, session: &SessionHandle| {
        let reply = abi::Reply { text: work.number as u32, reserved: 0, options, generation };
        let user = User(user);
        let hand_on = &mut |_: usize, piece: Piece<'_>| {
            let (token, text, bytes) = arguments(&piece);
            // SAFETY: the caller has given the function for this use, with this argument.
            flow(on_piece.map_or(0, |f| unsafe { f(user.0, token, text, bytes) }))
        };
        // SAFETY: as promised by the caller.
        unsafe { generate::<1>(work, session, &[reply], hand_on) }
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// Goes on with several texts of the session in one pass, until something ends each, and streams
/// them: faster than one after the other, and each text is what it would be alone.
///
/// `replies` has `count` entries, each for another text. `on_piece` may be null; when it returns
/// something other than 0, the reply that it was called for ends. Otherwise as
/// `kinglet_session_generate`; a cancellation ends all replies. `KINGLET_STATUS_BAD_ARGUMENT` for
/// an empty text and for a text that comes twice.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_generate_all(
    session: *mut SessionHandle,
    replies: *const abi::Reply,
    count: usize,
    on_piece: abi::OnReplyPiece,
    user: *mut c_void,
) -> Status {
    let work = |work: &mut Work, session: &SessionHandle| {
        // SAFETY: as promised by the caller.
        let replies = unsafe { array(replies, count, "the replies") }?;
        let user = User(user);
        let hand_on = &mut |reply: usize, piece: Piece<'_>| {
            let (token, text, bytes) = arguments(&piece);
            // SAFETY: the caller has given the function for this use, with this argument.
            flow(on_piece.map_or(0, |f| unsafe { f(user.0, reply, token, text, bytes) }))
        };
        // SAFETY: as promised by the caller.
        unsafe { generate::<MAX_TEXTS>(work, session, replies, hand_on) }
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// A piece as callbacks get it: its token, and its text with the length in bytes.
fn arguments(piece: &Piece<'_>) -> (u32, *const c_char, usize) {
    let token = piece.token.unwrap_or(abi::KINGLET_NO_TOKEN);
    (token, piece.text.as_ptr().cast(), piece.text.len())
}

/// Whether a callback's answer says to go on.
fn flow(answer: i32) -> ControlFlow<()> {
    if answer == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// What nothing has done yet.
fn report() -> Generation {
    Generation {
        struct_size: size_of::<Generation>(),
        tokens: 0,
        stop_reason: 0,
        steps: 0,
        drafted: 0,
        accepted: 0,
        reserved: 0,
        slides: 0,
        reserved_slides: 0,
        forced: 0,
        reserved_forced: 0,
    }
}

/// The stop strings of the options.
///
/// # Safety
///
/// The options' array must be as long as it says, and its strings end with a zero.
unsafe fn read_stops<'a>(options: &GenerateOptions) -> Result<heapless::Vec<&'a str, MAX_STOPS>> {
    ensure!(
        options.flags & !(abi::KINGLET_GENERATE_IGNORE_END | abi::KINGLET_GENERATE_SLIDE) == 0,
        Code::BadArgument,
        "there are no flags {:#x}",
        options.flags
    );
    ensure!(
        options.stop_count <= MAX_STOPS,
        Code::BadArgument,
        "{} stop strings: at most {MAX_STOPS} are supported",
        options.stop_count
    );
    // SAFETY: as promised by the caller.
    let strings: &[*const c_char] =
        unsafe { array(options.stop, options.stop_count, "the stop strings") }?;
    let mut stops = heapless::Vec::new();
    for &string in strings {
        // SAFETY: as promised by the caller.
        let stop = unsafe { handle::text(string, "a stop string") }?;
        assert!(stops.push(stop).is_ok(), "the number was checked");
    }
    Ok(stops)
}

/// The options of a reply, as the core has them.
fn reply_options<'a>(options: &GenerateOptions, stop: &'a [&'a str]) -> ReplyOptions<'a> {
    let most = if options.max_tokens == 0 { u32::MAX } else { options.max_tokens };
    let has = |flag| options.flags & flag != 0;
    ReplyOptions {
        max_tokens: most as usize,
        stop,
        ignore_eos: has(abi::KINGLET_GENERATE_IGNORE_END),
        speculation: true,
        exact_head: false,
        overflow: if has(abi::KINGLET_GENERATE_SLIDE) { Overflow::SLIDE } else { Overflow::Stop },
    }
}

/// Generates at most `MOST` replies, and tells in each what it did, also when it fails.
///
/// # Safety
///
/// Options and generations of the replies must be null or what [`versioned::read`] and
/// [`versioned::fill`] take.
unsafe fn generate<const MOST: usize>(
    work: &mut Work,
    session: &SessionHandle,
    requests: &[abi::Reply],
    on_piece: generate::OnReplyPiece<'_>,
) -> Result<()> {
    check_count(requests.len(), work.samplings.len().min(MOST))?;
    // SAFETY: as promised by the caller.
    unsafe { check_requests(session, requests) }?;
    // SAFETY: as promised by the caller.
    let read: Options<'_, MOST> = unsafe { read_requests(requests) }?;
    // SAFETY: as promised by the caller.
    unsafe { check_schemas(session, requests, &read) }?;
    let told = told_chances(session, work.texts.model(), requests, &read)?;
    let Work { texts, samplings, clock, deadline_ms, .. } = work;
    // SAFETY: as promised by the caller.
    let mut rules: Rules<'_, MOST> = unsafe { read_rules(&read, texts.model()) }?;
    let mut replies = heapless::Vec::<Reply<'_>, MOST>::new();
    for ((request, (options, stop)), rule) in requests.iter().zip(&read).zip(&mut rules) {
        let number = number_of(request, samplings.len())?;
        let options = reply_options(options, stop);
        let mut reply = Reply::new(texts.model(), number, samplings[number].sampler(), options)?;
        if let Some(told) = told[replies.len()] {
            // SAFETY: the caller's buffer, which is apart from everything else, stays for the call.
            reply = reply.with_chances(unsafe { told.chances() });
        }
        if let Some(rule) = rule {
            reply = reply.with_constraint(rule.constraint())?;
        }
        assert!(replies.push(reply).is_ok(), "the number was checked");
    }
    let deadline = Deadline::after(clock, *deadline_ms)?;
    let mut is_cancelled = false;
    let mut cancelled = [false; MOST];
    let control = &mut |number: usize| {
        is_cancelled |= session.take_cancelled();
        cancelled[number] = is_cancelled;
        if is_cancelled {
            return Ok(Some(StopReason::Cancelled));
        }
        match deadline.check(clock) {
            Err(error) if error.code() == Code::DeadlinePassed => Ok(Some(StopReason::Deadline)),
            result => result.map(|()| None),
        }
    };
    let hand_on = &mut |number: usize, piece: Piece<'_>| {
        if let (Some(told), Some(_)) = (told[number], piece.token) {
            // SAFETY: as above; nothing else uses this part of it.
            unsafe { told.tell(piece.candidates) };
        }
        on_piece(number, piece)
    };
    let outcome = generate::generate(texts, &mut replies, control, hand_on);
    let mut draws = [0; MOST];
    for (i, (request, reply)) in requests.iter().zip(&replies).enumerate() {
        draws[i] = reply.draws();
        if !request.generation.is_null() {
            // SAFETY: as promised by the caller.
            unsafe { versioned::fill(request.generation, &report_of(reply, cancelled[i])) }?;
        }
    }
    drop(replies);
    for (request, draws) in requests.iter().zip(draws) {
        samplings[request.text as usize].draws = draws;
    }
    outcome
}

/// `BadArgument` for no replies, and for more than `most`.
fn check_count(replies: usize, most: usize) -> Result<()> {
    ensure!(
        (1..=most).contains(&replies),
        Code::BadArgument,
        "{replies} replies: give 1 to {most}, one for each text"
    );
    Ok(())
}

/// The text that a reply goes on with. `BadArgument` when there are no more than `texts`.
fn number_of(request: &abi::Reply, texts: usize) -> Result<usize> {
    let number = request.text as usize;
    ensure!(
        number < texts,
        Code::BadArgument,
        "there is no text {number}: the session has {texts}"
    );
    Ok(number)
}

/// Options of replies and their stop strings.
type Options<'a, const MOST: usize> =
    heapless::Vec<(GenerateOptions, heapless::Vec<&'a str, MAX_STOPS>), MOST>;

/// What decides which tokens replies may have.
type Rules<'a, const MOST: usize> = heapless::Vec<Option<Rule<'a>>, MOST>;

/// Reads the rules that options name.
///
/// # Safety
///
/// They must be what [`Rule::read`] takes.
unsafe fn read_rules<'a, const MOST: usize>(
    read: &Options<'_, MOST>,
    model: &File<'a>,
) -> Result<Rules<'a, MOST>> {
    // SAFETY: as promised by the caller.
    read.iter().map(|(options, _)| unsafe { Rule::read(options, model) }).collect()
}

/// `BadArgument` where a schema overlaps with what is written.
///
/// # Safety
///
/// As for [`generate`].
unsafe fn check_schemas<const MOST: usize>(
    session: &SessionHandle,
    requests: &[abi::Reply],
    read: &Options<'_, MOST>,
) -> Result<()> {
    for (options, _) in read {
        let schema = Bytes::of(options.schema.cast::<u8>(), options.schema_bytes, "a schema");
        check_apart(&[schema, session.memory()])?;
        for request in requests {
            // SAFETY: as promised by the caller.
            let written = unsafe { handle::bytes_of(request.generation, "a generation") };
            check_apart(&[schema, written])?;
        }
    }
    Ok(())
}

/// Reads the options of at most `MOST` replies, and writes reports of nothing.
///
/// # Safety
///
/// As for [`generate`].
unsafe fn read_requests<'a, const MOST: usize>(
    requests: &[abi::Reply],
) -> Result<Options<'a, MOST>> {
    let mut read = Options::new();
    for request in requests {
        ensure!(request.reserved == 0, Code::BadArgument, "the reserved field is not zero");
        if !request.generation.is_null() {
            // SAFETY: as promised by the caller.
            unsafe { versioned::fill(request.generation, &report()) }?;
        }
        // SAFETY: as promised by the caller.
        let options = unsafe { versioned::read(request.options) }?;
        // SAFETY: as promised by the caller.
        let stops = unsafe { read_stops(&options) }?;
        assert!(read.push((options, stops)).is_ok(), "the number was checked");
    }
    Ok(read)
}

/// Where the candidates of each reply go. `BufferTooSmall`, and `BadArgument` where they overlap
/// with anything else that the call needs.
fn told_chances<const MOST: usize>(
    session: &SessionHandle,
    model: &File<'_>,
    requests: &[abi::Reply],
    read: &Options<'_, MOST>,
) -> Result<[Option<Told>; MOST]> {
    let mut all = [None; MOST];
    let array = Bytes::of(requests.as_ptr(), requests.len(), "the replies");
    for (i, (options, _)) in read.iter().enumerate() {
        let told = Told::read(options, model.config().vocab_size as usize)?;
        let Some(buffer) = told.map(|told| told.bytes()) else { continue };
        check_apart(&[buffer, array, session.memory()])?;
        for request in requests {
            // SAFETY: both were read or filled before.
            let (options, generation) = unsafe {
                let options = handle::bytes_of(request.options, "the options");
                (options, handle::bytes_of(request.generation, "a generation"))
            };
            check_apart(&[buffer, options])?;
            check_apart(&[buffer, generation])?;
        }
        for other in all[..i].iter().flatten() {
            check_apart(&[buffer, Told::bytes(other)])?;
        }
        all[i] = told;
    }
    Ok(all)
}

/// `BadArgument` where what is written overlaps with anything else that the call needs.
///
/// # Safety
///
/// As for [`generate`].
unsafe fn check_requests(session: &SessionHandle, requests: &[abi::Reply]) -> Result<()> {
    let array = Bytes::of(requests.as_ptr(), requests.len(), "the replies");
    for (i, request) in requests.iter().enumerate() {
        // SAFETY: as promised by the caller.
        let written = unsafe { handle::bytes_of(request.generation, "a generation") };
        check_apart(&[written, array, session.memory()])?;
        for (j, other) in requests.iter().enumerate() {
            // SAFETY: as promised by the caller.
            let options = unsafe { handle::bytes_of(other.options, "the options") };
            check_apart(&[written, options])?;
            if i != j {
                // SAFETY: as promised by the caller.
                let other = unsafe { handle::bytes_of(other.generation, "another generation") };
                check_apart(&[written, other])?;
            }
        }
    }
    Ok(())
}

/// What a reply did.
fn report_of(reply: &Reply<'_>, is_cancelled: bool) -> Generation {
    let Counts { tokens, steps, drafted, accepted, forced, slides } = reply.counts();
    Generation {
        tokens: tokens as u32,
        stop_reason: reply.stop_reason().map_or(0, |reason| match reason {
            StopReason::MaxTokens => abi::KINGLET_STOP_MAX_TOKENS,
            StopReason::EndOfText => abi::KINGLET_STOP_END_OF_TEXT,
            StopReason::Complete => abi::KINGLET_STOP_COMPLETE,
            StopReason::StopString => abi::KINGLET_STOP_STRING,
            StopReason::ContextFull => abi::KINGLET_STOP_CONTEXT_FULL,
            StopReason::Cancelled if is_cancelled => abi::KINGLET_STOP_CANCELLED,
            StopReason::Cancelled => abi::KINGLET_STOP_CALLBACK,
            StopReason::Deadline => abi::KINGLET_STOP_DEADLINE,
        }),
        steps: steps as u32,
        drafted: drafted as u32,
        accepted: accepted as u32,
        slides: slides as u32,
        forced: forced as u32,
        ..report()
    }
}
