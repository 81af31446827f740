//! The order that llama.cpp gives the rows of queries and keys.

/// Where llama.cpp's converter put row `row` of a query or key matrix.
///
/// Its rotary embedding turns neighbouring rows, so `LlamaModel.permute` in `convert_hf_to_gguf.py`
/// interleaves the two halves of each head: row `i` of half `h` goes to `2i + h`.
pub(super) fn permuted_row(row: usize, head_dim: usize) -> usize {
    let (head, within) = (row / head_dim, row % head_dim);
    let (half, i) = (within / (head_dim / 2), within % (head_dim / 2));
    head * head_dim + 2 * i + half
}
