//! Inputs that consist of several files.

/// What stands between two parts. A line that people see, and that mutations seldom break.
const BORDER: &[u8] = b"\n%%%%\n";

/// The parts of an input; those that are missing are empty.
pub fn split<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut rest = Some(input);
    std::array::from_fn(|index| {
        let Some(bytes) = rest.take() else { return &[][..] };
        let border = bytes.windows(BORDER.len()).position(|window| window == BORDER);
        match border.filter(|_| index + 1 < N) {
            Some(at) => {
                rest = Some(&bytes[at + BORDER.len()..]);
                &bytes[..at]
            }
            None => bytes,
        }
    })
}

/// The input that [`split`] makes these parts of.
pub fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.join(BORDER)
}
