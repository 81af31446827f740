//! Which tests belong together, and what tells them apart.

use crate::report::points::Mark;
use crate::report::test::{Test, stem};

/// What can differ between tests of one model on one tier, as names show it.
const DETAILS: [fn(&Test) -> String; 5] = [
    |test| test.machine.clone(),
    |test| match test.threads {
        1.0 => "1 thread".into(),
        threads => format!("{threads} threads"),
    },
    |test| format!("batch {}", test.batch),
    |test| format!("{} cache", test.kv),
    |test| match test.texts {
        1.0 => "1 text".into(),
        texts => format!("{texts} texts"),
    },
];

/// All tests, each with the series that it belongs to.
#[derive(Debug)]
pub struct Series {
    /// Names in the order of their first tests.
    names: Vec<String>,
    /// The series of each test.
    of_test: Vec<usize>,
}

impl Series {
    /// Sorts tests into series: one for each model and tier, and for each detail that differs.
    pub fn new(tests: &[Test]) -> Self {
        let differs = |detail: &&fn(&Test) -> String| {
            let mut found = tests.iter().map(detail);
            let first = found.next();
            found.any(|other| Some(&other) != first.as_ref())
        };
        let details: Vec<_> = DETAILS.iter().filter(differs).collect();
        let name = |test: &Test| {
            let details = details.iter().map(|detail| format!(", {}", detail(test)));
            format!("{}, {}{}", test.model, test.tier, details.collect::<String>())
        };
        let names: Vec<String> = tests.iter().map(name).collect();
        let is_same = |i: usize, j: usize| {
            let same = |test: &Test| (test.title(), test.depth.to_bits());
            names[i] == names[j] && same(&tests[i]) == same(&tests[j])
        };
        let count = tests.len();
        let repeats =
            (0..count).any(|i| (0..i).any(|j| tests[i].file != tests[j].file && is_same(i, j)));
        let mut series = Self { names: Vec::new(), of_test: Vec::new() };
        for (test, mut name) in tests.iter().zip(names) {
            if repeats {
                name = format!("{name}, {}", stem(&test.file));
            }
            let number = series.names.iter().position(|known| *known == name);
            series.of_test.push(number.unwrap_or(series.names.len()));
            if number.is_none() {
                series.names.push(name);
            }
        }
        series
    }

    /// The number of the series of a test.
    pub fn of(&self, test: usize) -> usize {
        self.of_test[test]
    }

    /// What a series is called.
    pub fn name(&self, number: usize) -> &str {
        &self.names[number]
    }

    /// How the points of a series look.
    pub fn mark(&self, number: usize) -> Mark {
        Mark::of_series(number)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.names.len()
    }
}
