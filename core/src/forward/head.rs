//! The head: from the last hidden states to logits.

use super::{Step, activations, share_panels};
use crate::arena::{SharedColumns, Split};
use crate::kernels::{Kernels, Output};
use kinglet_quant::Matrix;
use kinglet_quant::format::TILE_ROWS;

impl<K: Kernels> Step<'_, '_, K> {
    /// `logits = W_head · normed` for the first `count` rows.
    pub(super) fn head(&mut self, head: &Matrix<'_>, width: usize, count: usize) {
        let (kernels, parts) = (self.kernels, self.workers.count());
        let b = &mut *self.buffers;
        let x = activations(count, head.cols(), b.normed, b.codes, b.scales, b.sums);
        let split = Split::whole(head.tile_count(), parts);
        let logits = SharedColumns::new(&mut b.logits[..count * width], width, TILE_ROWS, split);
        let panels = share_panels(b.panels, parts);
        self.workers.run(&|part| {
            let mut out = logits.take(part);
            kernels.matmul(head, split.range(part), &x, &mut out, Output::Store, panels.take(part));
        });
    }
}
