//! Declarations of variables and parameters (5.4).

use super::bytes_of;
use super::names::number;
use super::statement::list;
use super::types::Type;

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub kind: Type,
    /// Its address is a multiple of this.
    pub alignment: usize,
    /// Its bytes; zeros where nothing is said.
    pub data: Vec<u8>,
    /// Whether the launch says how long it is.
    pub is_dynamic: bool,
}

impl Declaration {
    /// Reads a declaration, such as `.global .align 4 .b8 x[3] = {1, 2}`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (declared, values) = match text.split_once('=') {
            Some((declared, values)) => (declared.trim(), Some(values.trim())),
            None => (text.trim(), None),
        };
        let wrong = || format!("the stand-in does not know the declaration {declared}");
        let (words, sizes) = match declared.find('[') {
            Some(start) => declared.split_at(start),
            None => (declared, ""),
        };
        let kind = Type::of_declaration(words).ok_or_else(wrong)?;
        let name = words.split_whitespace().next_back().ok_or_else(wrong)?;
        let alignment = words.split_once(".align").and_then(|(_, rest)| {
            rest.split_whitespace().next().and_then(|number| number.parse::<usize>().ok())
        });
        let alignment = alignment.unwrap_or(kind.bytes());
        let vector = [(".v2", 2), (".v4", 4)].iter().find(|(word, _)| words.contains(word));
        let (count, is_dynamic) = count(sizes).ok_or_else(wrong)?;
        let count = count * vector.map_or(1, |(_, count)| *count);
        let mut data = vec![0; count * kind.bytes()];
        if let Some(values) = values {
            let mut bytes = Vec::new();
            initial(values, kind, &mut bytes)?;
            data.get_mut(..bytes.len()).ok_or_else(wrong)?.copy_from_slice(&bytes);
        }
        if !alignment.is_power_of_two() {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), kind, alignment, data, is_dynamic })
    }
}

/// The elements of `[2][3]`, and whether a size is left open.
fn count(sizes: &str) -> Option<(usize, bool)> {
    let (mut count, mut is_dynamic) = (1usize, false);
    for size in sizes.split('[').skip(1) {
        let size = size.trim().strip_suffix(']')?.trim();
        if size.is_empty() {
            (count, is_dynamic) = (0, true);
        } else {
            count = count.checked_mul(usize::try_from(number(size)?).ok()?)?;
        }
    }
    Some((count, is_dynamic))
}

/// Adds the bytes of initial values.
fn initial(text: &str, kind: Type, bytes: &mut Vec<u8>) -> Result<(), String> {
    if text.starts_with('{') {
        return list(text).into_iter().try_for_each(|part| initial(part, kind, bytes));
    }
    let value = number(text).ok_or_else(|| format!("{text} is no initial value known here"))?;
    bytes.extend(bytes_of(value, kind));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_have_initial_values() {
        let found = Declaration::parse(".visible .global .align 8 .u16 x[2][2] = {{1, -1}, {2}}");
        let found = found.unwrap();
        assert_eq!((found.name.as_str(), found.alignment, found.kind), ("x", 8, Type::U16));
        assert_eq!(found.data, [1, 0, 255, 255, 2, 0, 0, 0]);
        let float = Declaration::parse(".const .f32 one = 0f3F800000").unwrap();
        assert_eq!(float.data, 1f32.to_le_bytes());
    }

    #[test]
    fn open_sizes_are_for_the_launch() {
        let found = Declaration::parse(".extern .shared .align 16 .b8 parts[]").unwrap();
        assert!(found.is_dynamic && found.data.is_empty());
        assert_eq!(found.alignment, 16);
    }
}
