//! Drafts: tokens that may well come next, looked up in the text so far (prompt lookup decoding,
//! Saxena 2023).
//!
//! A batch that verifies a draft reads the weights once, so it costs little more than one token,
//! and every drafted token that turns out to be right saves a step. Texts that repeat themselves
//! (edits, extracts, summaries) gain much. A draft budget keeps the others from losing: drafted
//! tokens are paid from it, and saved steps add to it. The budget counts hundredths of a step and
//! looks at no clock, so the same text is drafted in the same way in every run.

/// Tokens of a draft at most.
pub const MAX_DRAFT: usize = 5;
/// Rows of logits that a draft of any length needs, with that of the token in front of it.
pub const LOOKAHEAD_ROWS: usize = MAX_DRAFT + 1;
/// Tokens that must match: after a single one the text goes on as before in one case of four.
const MIN_MATCH: usize = 2;
/// Tokens that are compared at most; of longer matches the latest counts.
const MAX_MATCH: usize = 8;

/// A step in the budget's unit.
const STEP: i32 = 100;
/// What every token of the text adds to the budget, so that losses stay below 2%.
const ALLOWANCE: i32 = 2;
/// The budget at the start of a text.
const START: i32 = 100;
/// The largest budget: what a text may lose again once it stops repeating itself.
const MOST: i32 = 400;

/// A draft.
pub type Draft = heapless::Vec<u32, MAX_DRAFT>;

/// Finds drafts, as many and as long as the budget allows.
#[derive(Clone, Debug)]
pub struct Drafter {
    /// What a drafted token costs, right or wrong.
    price: i32,
    /// The draft budget: what drafts may cost from now on.
    account: i32,
}

impl Drafter {
    /// Drafts for kernels whose batches cost `price` hundredths of a step more with each token.
    pub fn new(price: u8) -> Self {
        Self { price: i32::from(price).max(1), account: START }
    }

    /// A draft of at most `most` tokens behind `text` and the token `next`; often empty.
    ///
    /// It repeats what followed the longest earlier match of the text's end, the latest of equal
    /// ones, for no more tokens than match: short matches are often chance.
    pub fn draft(&self, text: &[u32], next: u32, most: usize) -> Draft {
        let most = most.min(self.affordable()).min(MAX_DRAFT);
        let mut draft = Draft::new();
        if most > 0 {
            let (matched, start) = longest_match(text, next);
            let length = if matched < MIN_MATCH { 0 } else { matched.min(most) };
            // Where the source reaches the end of the text it starts again: the text is repeating.
            let sources = text[start..].iter().copied().chain([next]).cycle();
            draft.extend(sources.take(length));
        }
        draft
    }

    /// Drafted tokens that the budget pays for; where each costs a step it cannot save one.
    fn affordable(&self) -> usize {
        if self.price < STEP { (self.account / self.price).max(0) as usize } else { 0 }
    }

    /// Tells what came of a draft, or of none, after one more token and those accepted.
    pub fn settle(&mut self, drafted: usize, accepted: usize) {
        assert!(accepted <= drafted && drafted <= MAX_DRAFT);
        let (drafted, accepted) = (drafted as i32, accepted as i32);
        let change = accepted * STEP - drafted * self.price + (1 + accepted) * ALLOWANCE;
        self.account = (self.account + change).min(MOST);
    }
}

/// The tokens that an earlier part of `text` has in common with the end of `text` and `next`, and
/// where that part ends; 0 when there is none.
fn longest_match(text: &[u32], next: u32) -> (usize, usize) {
    let mut best = (0, text.len());
    for end in (1..=text.len()).rev().filter(|&end| text[end - 1] == next) {
        let earlier = text[..end - 1].iter().rev();
        let same = earlier.zip(text.iter().rev()).take(MAX_MATCH - 1).take_while(|(a, b)| a == b);
        let length = 1 + same.count();
        if length > best.0 {
            best = (length, end);
        }
        if length == MAX_MATCH {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The draft of a drafter that has lost nothing yet.
    fn fresh(text: &[u32], next: u32) -> Draft {
        Drafter::new(10).draft(text, next, MAX_DRAFT)
    }

    #[test]
    fn the_longest_match_is_continued() {
        // `2 3` came twice, `1 2 3` once.
        let text = [1, 2, 3, 10, 11, 12, 13, 2, 3, 20, 21, 22, 1, 2];
        assert_eq!(fresh(&text, 3), [10, 11, 12]);
    }

    #[test]
    fn the_latest_of_equal_matches_is_continued() {
        assert_eq!(fresh(&[1, 2, 7, 8, 9, 1, 2, 17, 18, 19, 1], 2), [17, 18]);
    }

    #[test]
    fn a_repetition_goes_on_behind_the_end() {
        assert_eq!(fresh(&[9, 1, 2, 3, 1, 2, 3, 1, 2], 3), [1, 2, 3, 1, 2]);
        assert_eq!(fresh(&[5; 20], 5), [5; MAX_DRAFT]);
    }

    #[test]
    fn single_tokens_are_no_match() {
        assert!(fresh(&[1, 2, 3, 4], 2).is_empty());
        assert!(fresh(&[], 2).is_empty());
    }

    #[test]
    fn drafts_that_cannot_pay_are_not_made() {
        let text = [5; 20];
        assert!(Drafter::new(100).draft(&text, 5, MAX_DRAFT).is_empty());
        assert_eq!(Drafter::new(40).draft(&text, 5, MAX_DRAFT).len(), 2);
        assert_eq!(Drafter::new(10).draft(&text, 5, 3).len(), 3);
    }

    #[test]
    fn a_text_that_begins_to_copy_is_drafted_again() {
        let mut drafter = Drafter::new(25);
        for _ in 0..1000 {
            let drafted = drafter.draft(&[5; 20], 5, MAX_DRAFT).len();
            drafter.settle(drafted, 0);
        }
        let mut accepted = 0;
        for _ in 0..100 {
            let drafted = drafter.draft(&[5; 20], 5, MAX_DRAFT).len();
            drafter.settle(drafted, drafted);
            accepted += drafted;
        }
        assert!(accepted > 80 * MAX_DRAFT, "{accepted} tokens in 100 steps");
    }

    /// What [`longest_match`] says, found by comparing all parts with the end.
    fn slowly(text: &[u32], next: u32) -> (usize, usize) {
        let whole: std::vec::Vec<u32> = text.iter().copied().chain([next]).collect();
        for length in (1..=MAX_MATCH.min(text.len())).rev() {
            let end = &whole[whole.len() - length..];
            for stop in (length..=text.len()).rev() {
                if text[stop - length..stop] == *end {
                    return (length, stop);
                }
            }
        }
        (0, text.len())
    }

    proptest! {
        #[test]
        fn matches_are_the_longest_and_latest(
            text in prop::collection::vec(0u32..3, 0..80), next in 0u32..3,
        ) {
            prop_assert_eq!(longest_match(&text, next), slowly(&text, next));
        }

        #[test]
        fn drafts_go_on_as_the_text_did(
            text in prop::collection::vec(0u32..4, 0..60), next in 0u32..4, most in 0usize..9,
        ) {
            let mut whole = text.clone();
            whole.push(next);
            let (matched, start) = slowly(&text, next);
            let draft = Drafter::new(10).draft(&text, next, most);
            prop_assert!(draft.len() <= most.min(MAX_DRAFT).min(matched));
            prop_assert!(draft.is_empty() || matched >= MIN_MATCH);
            let period = text.len() + 1 - start;
            for (i, &token) in draft.iter().enumerate() {
                whole.push(token);
                prop_assert_eq!(token, whole[whole.len() - 1 - period], "{}", i);
            }
        }

        #[test]
        fn losses_are_bounded(price in 1u8..100, luck in prop::collection::vec(0usize..8, 1..400)) {
            let mut drafter = Drafter::new(price);
            let (mut balance, mut tokens, mut highest) = (0, 0, 0);
            for luck in luck {
                let drafted = drafter.draft(&[5; 20], 5, MAX_DRAFT).len();
                let accepted = luck.min(drafted);
                drafter.settle(drafted, accepted);
                balance += accepted as i32 * STEP - drafted as i32 * i32::from(price);
                tokens += 1 + accepted as i32;
                prop_assert!(balance >= -START - ALLOWANCE * tokens);
                highest = highest.max(balance);
                prop_assert!(balance >= highest - MOST - ALLOWANCE * tokens);
            }
        }
    }
}
