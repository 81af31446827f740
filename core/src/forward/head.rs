//! The head: from the last hidden states to logits, all of them or those that can be chosen.

use super::{Step, activations};
use crate::arena::{SharedColumns, SharedScratch, Split};
use crate::kernels::{Kernels, Output, Screened};
use crate::plan::padded_vocab;
use crate::screen::{Screen, margin, survivors};
use core::iter::repeat_n;
use kinglet_quant::Matrix;
use kinglet_quant::format::TILE_ROWS;

impl<K: Kernels> Step<'_, '_, K> {
    /// Logits of every token: all, or those that the chunks' screens need, with the survivors
    /// noted. A head that is screened is a matrix in two planes.
    pub(super) fn head(&mut self, is_screened: bool) {
        if is_screened {
            let chunks = self.chunks.clone();
            let screens =
                chunks.iter().flat_map(|chunk| repeat_n(chunk.screen, chunk.tokens.len()));
            let screens =
                screens.map(|screen| screen.expect("a screened pass has one for every row"));
            self.screened_head(self.count, screens);
        } else {
            self.whole_head(self.count);
        }
    }

    /// Logits that the screens of the first `count` rows need.
    pub(crate) fn screened_head(&mut self, count: usize, screens: impl Iterator<Item = Screen>) {
        let (head, width) = (self.model.head(), padded_vocab(self.model.config()));
        self.search_head(&head, width, count, screens);
        self.rescore_head(&head, width, count);
    }

    /// `logits = W_head · input` for the first `count` rows.
    pub(crate) fn whole_head(&mut self, count: usize) {
        let (head, width) = (&self.model.head(), padded_vocab(self.model.config()));
        let (kernels, shares) = (self.kernels, self.tile_shares());
        let b = self.buffers.head();
        let x = activations(count, head.cols(), b.input, b.codes, b.scales, b.starts);
        let split = Split::whole(head.tile_count(), shares);
        let logits = SharedColumns::new(&mut b.logits[..count * width], width, TILE_ROWS, split);
        let panels = SharedScratch::new(b.panels, self.workers.count());
        self.workers.run(shares.count(), &|part| {
            let mut out = logits.take(part);
            kernels.matmul(
                head,
                split.range(part),
                &x,
                &mut out,
                Output::Store,
                &mut panels.lend(),
            );
        });
    }

    /// Coarse logits, and the thresholds that follow from them.
    fn search_head(
        &mut self,
        head: &Matrix<'_>,
        width: usize,
        count: usize,
        screens: impl Iterator<Item = Screen>,
    ) {
        let (kernels, shares, tiles) = (self.kernels, self.tile_shares(), head.tile_count());
        let b = self.buffers.head();
        let x = activations(count, head.cols(), b.input, b.codes, b.scales, b.starts);
        let margins = &mut b.screen.margins[..count];
        for (token, out) in margins.iter_mut().enumerate() {
            *out = margin(&x, token);
        }
        let all_floors = &mut b.screen.floors[..count * tiles];
        let split = Split::whole(tiles, shares);
        let logits = SharedColumns::new(&mut b.logits[..count * width], width, TILE_ROWS, split);
        let floors = SharedColumns::new(all_floors, tiles, 1, split);
        let ceilings = &mut b.screen.ceilings[..count * tiles];
        let ceilings = SharedColumns::new(ceilings, tiles, 1, split);
        self.workers.run(shares.count(), &|part| {
            let mut found = Screened {
                logits: logits.take(part),
                floors: floors.take(part),
                ceilings: ceilings.take(part),
            };
            kernels.screen(head, split.range(part), &x, margins, &mut found);
        });
        let floors = all_floors.chunks_exact_mut(tiles);
        for ((floors, out), screen) in floors.zip(&mut *b.screen.thresholds).zip(screens) {
            *out = screen.threshold(floors);
        }
    }

    /// Exact logits of the tokens that may reach the thresholds.
    fn rescore_head(&mut self, head: &Matrix<'_>, width: usize, count: usize) {
        let (kernels, shares, tiles) = (self.kernels, self.tile_shares(), head.tile_count());
        let b = self.buffers.head();
        let x = activations(count, head.cols(), b.input, b.codes, b.scales, b.starts);
        let (margins, thresholds) = (&b.screen.margins[..count], &b.screen.thresholds[..count]);
        let ceilings = &*b.screen.ceilings;
        let split = Split::whole(tiles, shares);
        let logits = SharedColumns::new(&mut b.logits[..count * width], width, TILE_ROWS, split);
        let masks = &mut b.screen.survivors[..count * tiles];
        let masks = SharedColumns::new(masks, tiles, 1, split);
        self.workers.run(shares.count(), &|part| {
            let (mut logits, mut masks) = (logits.take(part), masks.take(part));
            // Tile by tile, so that what one row has read is still in the cache for the others.
            for (column, index) in split.range(part).enumerate() {
                let rows = TILE_ROWS.min(head.rows() - index * TILE_ROWS);
                for (token, (&margin, &threshold)) in margins.iter().zip(thresholds).enumerate() {
                    let mask = &mut masks.row(token)[column];
                    *mask = 0;
                    if ceilings[token * tiles + index] < threshold {
                        continue;
                    }
                    let logits = &mut logits.row(token)[column * TILE_ROWS..][..TILE_ROWS];
                    *mask = survivors(&head.tile(index), &logits[..rows], margin, threshold);
                    kernels.rescore(head, index, *mask, &x, token, logits);
                }
            }
        });
    }
}
