//! Stop strings are found as by a search through the whole text, however it is cut into pieces.

use kinglet_core::stop::{MAX_STOP_BYTES, MAX_STOPS, StopMatcher};
use kinglet_quant::Code;
use proptest::prelude::*;

/// The text before the stop string that is complete first, and whether there is one.
fn reference<'t>(text: &'t str, stops: &[String]) -> (&'t str, bool) {
    let ends = text.char_indices().map(|(at, character)| at + character.len_utf8());
    for end in ends {
        let complete = stops.iter().filter(|stop| text[..end].ends_with(stop.as_str()));
        if let Some(longest) = complete.map(String::len).max() {
            return (&text[..end - longest], true);
        }
    }
    (text, false)
}

/// Cuts a text at the characters whose turn in `cuts` is true.
fn pieces(text: &str, cuts: &[bool]) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for (character, cut) in text.chars().zip(cuts.iter().cycle()) {
        pieces.last_mut().unwrap().push(character);
        if *cut {
            pieces.push(String::new());
        }
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn finds_what_a_search_finds(
        text in "[abé🙂]{0,40}",
        stops in prop::collection::vec("[abé🙂]{1,5}", 0..=MAX_STOPS),
        cuts in prop::collection::vec(any::<bool>(), 1..20),
    ) {
        let stop_strs: Vec<&str> = stops.iter().map(String::as_str).collect();
        let mut matcher = StopMatcher::new(&stop_strs).unwrap();
        let mut out = String::new();
        let (expected, is_stopped) = reference(&text, &stops);
        let mut found = false;
        for piece in pieces(&text, &cuts) {
            found = matcher.push(&piece, |text| out.push_str(text));
            prop_assert!(expected.starts_with(&out), "too much came out: {out:?}");
        }
        prop_assert_eq!(found, is_stopped);
        matcher.finish(|text| out.push_str(text));
        prop_assert_eq!(out, expected);
    }
}

#[test]
fn text_without_candidates_comes_out_in_one_piece() {
    let mut matcher = StopMatcher::new(&["\n\n", "</s>"]).unwrap();
    let mut pieces = Vec::new();
    matcher.push("Hello there", |text| pieces.push(text.to_owned()));
    assert_eq!(pieces, ["Hello there"]);
}

#[test]
fn the_limits_are_errors() {
    let longest = "x".repeat(MAX_STOP_BYTES);
    let mut matcher = StopMatcher::new(&[longest.as_str(); MAX_STOPS]).unwrap();
    let mut out = String::new();
    assert!(matcher.push(&format!("é{longest}y"), |text| out.push_str(text)));
    assert_eq!(out, "é");
    let too_long = "x".repeat(MAX_STOP_BYTES + 1);
    for stops in [&[""][..], &[too_long.as_str()][..], &["x"; MAX_STOPS + 1][..]] {
        assert_eq!(StopMatcher::new(stops).unwrap_err().code(), Code::BadArgument);
    }
}
