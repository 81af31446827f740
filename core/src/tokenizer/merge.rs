//! Byte-pair merging of one word, in place.

use kinglet_quant::Vocab;

/// Written in place of a token that was merged into the one before it.
const HOLE: u32 = u32::MAX;
/// Blocks that a word is divided into at most.
const MAX_BLOCKS: usize = 256;
/// Shortest block, so that ordinary words are one block.
const MIN_BLOCK: usize = 16;

/// The next pair to merge in a block of a word; ordered as merging proceeds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    rank: u32,
    /// Position of the left token.
    left: usize,
    /// Position of the right token.
    right: usize,
    /// The token that replaces both.
    token: u32,
}

/// Merges words; holds the best pair of each block of the current one.
///
/// Tokens stay where they are and leave holes where they were merged, so that a merge changes the
/// best pairs of the blocks around it only. The pairs that belong to a block are those whose left
/// token lies in it.
pub(super) struct Merger<'a> {
    vocab: Vocab<'a>,
    best: heapless::Vec<Option<Pair>, MAX_BLOCKS>,
}

impl<'a> Merger<'a> {
    pub(super) fn new(vocab: Vocab<'a>) -> Self {
        Self { vocab, best: heapless::Vec::new() }
    }

    /// Merges the pair of lowest rank, of those the leftmost, until none is left. Returns how many
    /// tokens remain at the front of `tokens`.
    pub(super) fn merge(&mut self, tokens: &mut [u32]) -> usize {
        let block = tokens.len().div_ceil(MAX_BLOCKS).max(MIN_BLOCK);
        let blocks = tokens.len().div_ceil(block);
        self.best.clear();
        for index in 0..blocks {
            let best = self.best_pair(tokens, index * block, block);
            self.best.extend([best]);
        }
        while let Some(pair) = self.best.iter().flatten().min().copied() {
            tokens[pair.left] = pair.token;
            tokens[pair.right] = HOLE;
            // The token before the pair has a new right neighbour, and the right token is gone.
            let before = tokens[..pair.left].iter().rposition(|&token| token != HOLE);
            let first = before.unwrap_or(pair.left) / block;
            for index in first..=pair.right / block {
                self.best[index] = self.best_pair(tokens, index * block, block);
            }
        }
        close_holes(tokens)
    }

    /// The next pair to merge among those whose left token is one of `length` from `start` on.
    fn best_pair(&self, tokens: &[u32], start: usize, length: usize) -> Option<Pair> {
        let end = start + length;
        let mut best: Option<Pair> = None;
        let mut left = None;
        for right in (start..tokens.len()).filter(|&at| tokens[at] != HOLE) {
            if let Some(left) = left
                && let Some(merge) = self.vocab.merge(tokens[left], tokens[right])
                && best.is_none_or(|best| merge.rank < best.rank)
            {
                best = Some(Pair { rank: merge.rank, left, right, token: merge.token });
            }
            if right >= end {
                break;
            }
            left = Some(right);
        }
        best
    }
}

/// Moves the tokens together and returns their number.
fn close_holes(tokens: &mut [u32]) -> usize {
    let mut len = 0;
    for at in 0..tokens.len() {
        if tokens[at] != HOLE {
            tokens[len] = tokens[at];
            len += 1;
        }
    }
    len
}
