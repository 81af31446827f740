//! Lists and ranges of numbers as flags take them.

use std::str::FromStr;

const LIST_RULE: &str = "write numbers such as 1,2 or 16-64 or 16-64+16 or 1-8*2";
const PAIR_RULE: &str = "write two numbers such as 512,128";
/// More values than this in one flag must be a typing error.
const MOST: usize = 1000;

/// One value of a flag: numbers and ranges `first-last`, `first-last+step`, `first-last*factor`,
/// separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values(pub Vec<u32>);

impl FromStr for Values {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut values = Vec::new();
        for part in text.split(',') {
            append_range(part, &mut values).ok_or(LIST_RULE)?;
        }
        Ok(Self(values))
    }
}

/// Appends the values of one range; `None` where it is none.
fn append_range(text: &str, values: &mut Vec<u32>) -> Option<()> {
    let (first, rest) = text.split_once('-').unwrap_or((text, text));
    let at = rest.find(['+', '*']).filter(|_| text != rest);
    let (last, step) = at.map_or((rest, "+1"), |at| rest.split_at(at));
    let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
    let by: u32 = step[1..].parse().ok()?;
    let mut value = first;
    while value <= last {
        values.push(value);
        let next =
            if step.starts_with('*') { value.checked_mul(by) } else { value.checked_add(by) };
        match next {
            Some(next) if next > value && values.len() < MOST => value = next,
            Some(_) => return None,
            None => break,
        }
    }
    Some(())
}

/// The numbers of all values of a flag.
pub fn numbers(values: &[Values]) -> Vec<usize> {
    values.iter().flat_map(|values| &values.0).map(|&n| n as usize).collect()
}

/// Tokens of a prompt and tokens generated after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens generated.
    pub generated: usize,
}

impl FromStr for Pair {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (prompt, generated) = text.split_once(',').ok_or(PAIR_RULE)?;
        let number = |text: &str| text.parse::<u32>().map(|n| n as usize).map_err(|_| PAIR_RULE);
        Ok(Self { prompt: number(prompt)?, generated: number(generated)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Vec<u32>> {
        text.parse().ok().map(|Values(values)| values)
    }

    #[test]
    fn lists_and_ranges_expand() {
        assert_eq!(parsed("7"), Some(vec![7]));
        assert_eq!(parsed("1,2,0"), Some(vec![1, 2, 0]));
        assert_eq!(parsed("3-5"), Some(vec![3, 4, 5]));
        assert_eq!(parsed("16-64+16,1"), Some(vec![16, 32, 48, 64, 1]));
        assert_eq!(parsed("1-8*2"), Some(vec![1, 2, 4, 8]));
        assert_eq!(parsed("5-3"), Some(vec![]));
        assert_eq!(parsed("4294967295"), Some(vec![u32::MAX]));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for wrong in ["", ",", "1,", "a", "-1", "1-", "1-2+", "1-2/2", "1-4+0", "0-8*2", "1-8*1"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
        assert_eq!(parsed("0-4294967295"), None);
    }

    #[test]
    fn pairs_are_two_numbers() {
        assert_eq!("512,128".parse(), Ok(Pair { prompt: 512, generated: 128 }));
        for wrong in ["", "512", "512,", "1,2,3", "-1,2"] {
            assert!(wrong.parse::<Pair>().is_err(), "{wrong}");
        }
    }
}
