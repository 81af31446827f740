//! Sections of a profile: facts with their source, read in the user's words.

use kinglet_quant::{Code, Error, Result, ensure};
use toml::{Table, Value};

/// The keys that speak about the other facts of a section.
const ABOUT: [&str; 2] = ["source", "unverified"];

/// One fact as a profile states it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// The section that it is in; empty for the board as a whole.
    pub section: String,
    /// Its key, which ends in its unit.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// Where it is from; `None` where nobody has checked it.
    pub source: Option<String>,
}

/// A table of a profile, taken key by key, so that keys that nobody takes are noticed.
pub struct Section<'a> {
    /// What messages call the profile.
    profile: &'a str,
    name: &'a str,
    table: &'a Table,
    taken: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The keys of `table`.
    pub fn new(profile: &'a str, name: &'a str, table: &'a Table) -> Self {
        Self { profile, name, table, taken: Vec::new() }
    }

    /// A number above 0.
    pub fn number(&mut self, key: &'static str) -> Result<f64> {
        let found = self.optional_number(key)?;
        found.ok_or_else(|| self.lack(key, "a number above 0"))
    }

    /// A number above 0, or nothing.
    pub fn optional_number(&mut self, key: &'static str) -> Result<Option<f64>> {
        let number = |value: &Value| match value {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        };
        let fits = |value: &f64| value.is_finite() && *value > 0.0;
        self.take(key, "a number above 0", |value| number(value).filter(fits))
    }

    /// A whole number above 0.
    pub fn count(&mut self, key: &'static str) -> Result<u64> {
        let found = self.optional_count(key)?;
        found.ok_or_else(|| self.lack(key, "a whole number above 0"))
    }

    /// A whole number above 0, or nothing.
    pub fn optional_count(&mut self, key: &'static str) -> Result<Option<u64>> {
        self.take(key, "a whole number above 0", |value| {
            u64::try_from(value.as_integer()?).ok().filter(|&count| count > 0)
        })
    }

    /// Whole numbers above 0, at least one.
    pub fn counts(&mut self, key: &'static str) -> Result<Vec<u64>> {
        let wanted = "a list of whole numbers above 0";
        let one = |value: &Value| u64::try_from(value.as_integer()?).ok().filter(|&n| n > 0);
        let found = self.take(key, wanted, |value| {
            let counts: Vec<u64> = value.as_array()?.iter().map(one).collect::<Option<_>>()?;
            (!counts.is_empty()).then_some(counts)
        })?;
        found.ok_or_else(|| self.lack(key, wanted))
    }

    /// A text that is not empty.
    pub fn text(&mut self, key: &'static str) -> Result<String> {
        let wanted = "a text in quotation marks";
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let found = self.take(key, wanted, |value| text(value).filter(|text| !text.is_empty()))?;
        found.ok_or_else(|| self.lack(key, wanted))
    }

    /// Texts; none where the key is missing.
    pub fn texts(&mut self, key: &'static str) -> Result<Vec<String>> {
        let found = self.take(key, "a list of texts in quotation marks", |value| {
            value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
        })?;
        Ok(found.unwrap_or_default())
    }

    /// True or false.
    pub fn flag(&mut self, key: &'static str) -> Result<bool> {
        let found = self.take(key, "true or false", Value::as_bool)?;
        found.ok_or_else(|| self.lack(key, "true or false"))
    }

    /// The facts of the section. `BadArgument` when it has keys that nobody has taken, names an
    /// unknown source, or marks a key that is not there.
    pub fn finish(self, sources: &Table) -> Result<Vec<Fact>> {
        let known = |key: &str| self.taken.contains(&key) || ABOUT.contains(&key);
        if let Some(key) = self.table.keys().find(|key| !known(key)) {
            let taken = self.taken.join(", ");
            return Err(self.wrong(format_args!("`{key}` is not known here; known are {taken}")));
        }
        let source = match self.table.get("source") {
            None => None,
            Some(name) => Some(self.source(name, sources)?),
        };
        let unverified = match self.table.get("unverified") {
            None => Vec::new(),
            Some(value) => self.unverified(value)?,
        };
        let facts = self.table.iter().filter(|(key, _)| !ABOUT.contains(&key.as_str()));
        Ok(facts
            .map(|(name, value)| Fact {
                section: self.name.to_owned(),
                name: name.clone(),
                value: value.clone(),
                source: source.clone().filter(|_| !unverified.contains(&name.as_str())),
            })
            .collect())
    }

    fn source(&self, name: &Value, sources: &Table) -> Result<String> {
        let found = name.as_str().and_then(|name| sources.get(name)).and_then(Value::as_str);
        let found = found.map(str::to_owned);
        found.ok_or_else(|| self.wrong(format_args!("the source {name} is not under [sources]")))
    }

    fn unverified(&self, value: &'a Value) -> Result<Vec<&'a str>> {
        let names: Option<Vec<&str>> =
            value.as_array().and_then(|names| names.iter().map(Value::as_str).collect());
        let names =
            names.ok_or_else(|| self.wrong(format_args!("`unverified` must be a list of keys")))?;
        if let Some(name) = names.iter().find(|name| !self.table.contains_key(**name)) {
            return Err(self.wrong(format_args!("`unverified` names `{name}`, which is not there")));
        }
        Ok(names)
    }

    /// The value of a key as `read` understands it; `BadArgument` where it does not.
    fn take<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        self.taken.push(key);
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let found = read(value);
        ensure!(
            found.is_some(),
            Code::BadArgument,
            "{}: {}`{key}` is {value}: write {wanted}",
            self.profile,
            self.place()
        );
        Ok(found)
    }

    fn lack(&self, key: &str, wanted: &str) -> Error {
        self.wrong(format_args!("`{key}` is missing: write {wanted}"))
    }

    fn wrong(&self, what: std::fmt::Arguments<'_>) -> Error {
        Error::new(Code::BadArgument, format_args!("{}: {}{what}", self.profile, self.place()))
    }

    fn place(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!("[{}] ", self.name) }
    }
}
