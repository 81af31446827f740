//! The names of a GGUF file that was split: `NAME-00001-of-00003.gguf` and so on.

use std::path::{Path, PathBuf};

/// Digits of the numbers in such a name.
const DIGITS: usize = 5;

/// What the name of a part says.
struct Part {
    stem: String,
    count: u32,
}

/// Reads the name of a part; `None` for other files.
fn parse(path: &Path) -> Option<Part> {
    let number = |text: &str| {
        let is_number = text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten().filter(|&number: &u32| number > 0)
    };
    let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
    let (rest, count) = name.rsplit_once("-of-")?;
    let (stem, own) = rest.rsplit_once('-')?;
    let (count, own) = (number(count)?, number(own)?);
    (own <= count).then(|| Part { stem: stem.to_owned(), count })
}

fn numbered(path: &Path, part: &Part, number: u32) -> PathBuf {
    path.with_file_name(format!("{}-{number:05}-of-{:05}.gguf", part.stem, part.count))
}

/// The first part of the file that this one belongs to; the file itself where it is whole.
pub(super) fn first(path: &Path) -> PathBuf {
    parse(path).map_or_else(|| path.to_owned(), |part| numbered(path, &part, 1))
}

/// All parts of a GGUF file by their names, whether they exist or not; one where it is whole.
pub fn parts(path: &Path) -> Vec<PathBuf> {
    match parse(path) {
        Some(part) => (1..=part.count).map(|number| numbered(path, &part, number)).collect(),
        None => vec![path.to_owned()],
    }
}

/// The model's name in the name of a file, without what numbers its part.
pub(super) fn stem(path: &Path) -> Option<String> {
    let name = parse(path).map(|part| part.stem);
    name.or_else(|| Some(path.file_name()?.to_str()?.strip_suffix(".gguf")?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_by_their_names() {
        let path = Path::new("a/b-7b-00002-of-00003.gguf");
        assert_eq!(first(path), Path::new("a/b-7b-00001-of-00003.gguf"));
        assert_eq!(parts(path).len(), 3);
        assert_eq!(parts(path)[2], Path::new("a/b-7b-00003-of-00003.gguf"));
        assert_eq!(stem(path).as_deref(), Some("b-7b"));
        for name in ["b.gguf", "b-00004-of-00003.gguf", "b-2-of-3.gguf", "b-00001-of-00003.bin"] {
            assert_eq!(parts(Path::new(name)), [Path::new(name)]);
        }
    }
}
