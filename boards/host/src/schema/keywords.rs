//! From the keywords of a schema to the texts that they allow.

use super::refusal::refusal;
use super::shape::{Items, Member, Shape};
use super::strings;
use super::value::{self, Keywords, Kind};
use super::{disjoint, number};
use kinglet_quant::Result;
use serde_json::Value;

/// Keywords that say nothing about what is valid.
const NOTES: [&str; 10] = [
    "title",
    "description",
    "default",
    "examples",
    "$comment",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$defs",
    "definitions",
];
/// Notes of a whole document.
const ROOT_NOTES: [&str; 2] = ["$schema", "$id"];

/// Schemas inside of one another, and schemas in all once references are followed.
const MAX_NESTING: usize = 200;
const MAX_SCHEMAS: usize = 20_000;

/// Reads a schema and what it refers to.
pub struct Reader<'s> {
    root: &'s Value,
    /// Levels of a schema that refers to itself.
    depth: usize,
    /// The references that led to where it reads, and that of the document in front.
    followed: Vec<&'s str>,
    nesting: usize,
    schemas: usize,
}

impl<'s> Reader<'s> {
    /// A reader of a document.
    pub fn new(root: &'s Value, depth: usize) -> Self {
        Self { root, depth, followed: vec!["#"], nesting: 0, schemas: 0 }
    }

    /// The texts of a schema, and none where all of them are deeper than allowed.
    pub fn read(&mut self, schema: &'s Value, place: &str) -> Result<Option<Shape>> {
        self.schemas += 1;
        if self.nesting == MAX_NESTING || self.schemas > MAX_SCHEMAS {
            return Err(refusal(place, "it is too deep or too large: lower --depth"));
        }
        self.nesting += 1;
        let shape = self.keywords(schema, place);
        self.nesting -= 1;
        shape
    }

    fn keywords(&mut self, schema: &'s Value, place: &str) -> Result<Option<Shape>> {
        let keywords = match schema {
            Value::Object(keywords) => keywords,
            Value::Bool(_) => {
                return Err(refusal(place, "true and false bound nothing: write what it is"));
            }
            _ => return Err(refusal(place, "a schema is an object")),
        };
        if let Some(reference) = keywords.get("$ref") {
            check_known(keywords, place, &["$ref"])?;
            return self.follow(reference, place);
        }
        if let Some(value) = keywords.get("const") {
            check_known(keywords, place, &["const", "type"])?;
            return self.constants(keywords, std::slice::from_ref(value), place);
        }
        if let Some(values) = keywords.get("enum") {
            check_known(keywords, place, &["enum", "type"])?;
            let values = values.as_array().ok_or_else(|| refusal(place, "enum is a list"))?;
            return self.constants(keywords, values, place);
        }
        for keyword in ["anyOf", "oneOf"] {
            let Some(branches) = keywords.get(keyword) else { continue };
            check_known(keywords, place, &[keyword])?;
            let place = format!("{place}/{keyword}");
            let branches = branches.as_array().ok_or_else(|| refusal(&place, "it is a list"))?;
            if keyword == "oneOf" {
                disjoint::check(self.root, branches, &place)?;
            }
            let numbered = branches.iter().enumerate();
            return Shape::any(numbered.map(|(i, b)| self.read(b, &format!("{place}/{i}"))));
        }
        let kinds = value::kinds(keywords, place)?;
        if kinds.is_empty() {
            check_known(keywords, place, &[])?;
            return Err(refusal(place, "it does not say what it is: give it a type"));
        }
        let known: Vec<&str> =
            kinds.iter().flat_map(|kind| kind.keywords()).chain(&["type"]).copied().collect();
        check_known(keywords, place, &known)?;
        Shape::any(kinds.into_iter().map(|kind| self.of_kind(kind, keywords, place)))
    }

    fn of_kind(
        &mut self,
        kind: Kind,
        keywords: &'s Keywords,
        place: &str,
    ) -> Result<Option<Shape>> {
        match kind {
            Kind::Null => Ok(Some(Shape::text("null"))),
            Kind::Boolean => {
                Ok(Some(Shape::Choice(["false", "true"].map(Shape::text).into_iter().collect())))
            }
            Kind::Integer => number::read(keywords, place).map(Some),
            Kind::Number => Ok(Some(Shape::Regex(number::expression(number::NUMBER)))),
            Kind::String => strings::read(keywords, place).map(Some),
            Kind::Array => self.array(keywords, place),
            Kind::Object => self.object(keywords, place),
        }
    }

    /// Follows a reference, unless the way here has followed it as often as allowed.
    fn follow(&mut self, reference: &'s Value, place: &str) -> Result<Option<Shape>> {
        let (name, target) = value::target(self.root, reference, place)?;
        if self.followed.iter().filter(|&&other| other == name).count() == self.depth {
            return Ok(None);
        }
        self.followed.push(name);
        let shape = self.read(target, name);
        self.followed.pop();
        shape
    }

    fn constants(
        &mut self,
        keywords: &Keywords,
        values: &[Value],
        place: &str,
    ) -> Result<Option<Shape>> {
        let kinds = value::kinds(keywords, place)?;
        let fits = |value: &&Value| kinds.is_empty() || kinds.iter().any(|kind| kind.has(value));
        let texts = values.iter().filter(fits).map(|value| Shape::text(&value::text(value)));
        let texts: Vec<Shape> = texts.collect();
        if texts.is_empty() {
            return Err(refusal(place, "no value is left: give one that has the type"));
        }
        Ok(Some(Shape::Choice(texts)))
    }

    fn array(&mut self, keywords: &'s Keywords, place: &str) -> Result<Option<Shape>> {
        let min = value::count(keywords, "minItems", place)?.unwrap_or(0);
        let max = value::count(keywords, "maxItems", place)?;
        let mut first = Vec::new();
        // Where an item is too deep, it and all behind it are left out.
        let mut is_cut = false;
        if let Some(items) = keywords.get("prefixItems") {
            let place = format!("{place}/prefixItems");
            let items = items.as_array().ok_or_else(|| refusal(&place, "it is a list"))?;
            for (i, item) in items.iter().enumerate() {
                let item = self.read(item, &format!("{place}/{i}"))?;
                is_cut |= item.is_none();
                first.extend(item.filter(|_| !is_cut));
            }
        }
        let rest = match keywords.get("items") {
            None if !keywords.contains_key("prefixItems") && max != Some(0) => {
                return Err(refusal(place, "it does not say what an item is: give it items"));
            }
            None | Some(Value::Bool(false)) => None,
            Some(items) => {
                let rest = self.read(items, &format!("{place}/items"))?;
                is_cut |= rest.is_none();
                rest.filter(|_| !is_cut).map(Box::new)
            }
        };
        let most = if rest.is_some() { usize::MAX } else { first.len() };
        if max.is_some_and(|max| min > max) || min > most && !is_cut {
            return Err(refusal(place, "minItems is above the number of items that it can have"));
        }
        if min > most {
            return Ok(None);
        }
        let separator = ", ".to_owned();
        let items = Shape::Items(Items { separator, first, rest, min, max });
        Ok(Some(Shape::between("[", items, "]")))
    }

    fn object(&mut self, keywords: &'s Keywords, place: &str) -> Result<Option<Shape>> {
        if keywords.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false)) {
            let reason = "additionalProperties can only be false: no others are written";
            return Err(refusal(place, reason));
        }
        let required = value::names(keywords, "required", place)?;
        let properties = match keywords.get("properties") {
            None => None,
            Some(Value::Object(properties)) => Some(properties),
            Some(_) => return Err(refusal(place, "properties is an object of schemas")),
        };
        let has = |name: &str| properties.is_some_and(|own| own.contains_key(name));
        if let Some(name) = required.iter().find(|name| !has(name)) {
            let reason = format_args!("it requires {name}, which properties do not have");
            return Err(refusal(place, reason));
        }
        let mut members = Vec::new();
        for (name, schema) in properties.into_iter().flatten() {
            let is_required = required.contains(&name.as_str());
            let place = format!("{place}/properties/{}", value::escaped(name));
            match self.read(schema, &place)? {
                Some(shape) => {
                    let name = value::text(&Value::String(name.clone()));
                    let shape = Shape::Sequence(vec![Shape::text(&format!("{name}: ")), shape]);
                    members.push(Member { shape, is_required });
                }
                None if is_required => return Ok(None),
                None => {}
            }
        }
        Ok(Some(Shape::between("{", Shape::Members(members), "}")))
    }
}

/// `BadGrammar` for a keyword that is neither a note nor one of these.
fn check_known(keywords: &Keywords, place: &str, known: &[&str]) -> Result<()> {
    let is_note =
        |keyword: &str| NOTES.contains(&keyword) || place == "#" && ROOT_NOTES.contains(&keyword);
    let unknown =
        keywords.keys().find(|keyword| !is_note(keyword) && !known.contains(&keyword.as_str()));
    match unknown {
        Some(keyword) => Err(refusal(
            place,
            format_args!("a table cannot keep the keyword {keyword} there: remove it"),
        )),
        None => Ok(()),
    }
}
