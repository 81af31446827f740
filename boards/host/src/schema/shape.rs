//! Sets of texts, as the parts of a schema describe them.

use kinglet_quant::Result;
use regex_syntax::hir::Hir;

/// A set of texts.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Those that an expression without anchors matches as a whole.
    Regex(Hir),
    /// One behind the other.
    Sequence(Vec<Shape>),
    /// Any of them.
    Choice(Vec<Shape>),
    /// Members of an object in their order.
    Members(Vec<Member>),
    /// Several with a text between them, as items of an array.
    Items(Items),
}

/// A member of an object: its name and value.
#[derive(Clone, Debug)]
pub struct Member {
    /// The text.
    pub shape: Shape,
    /// Whether it cannot be missing.
    pub is_required: bool,
}

/// Several with a text between them.
#[derive(Clone, Debug)]
pub struct Items {
    /// The text.
    pub separator: String,
    /// The first ones.
    pub first: Vec<Shape>,
    /// Every other one; none where there are no others.
    pub rest: Option<Box<Shape>>,
    /// Items at least.
    pub min: usize,
    /// Items at most.
    pub max: Option<usize>,
}

impl Shape {
    /// One text.
    pub fn text(text: &str) -> Self {
        Self::Regex(Hir::literal(text.as_bytes()))
    }

    /// A text in front of others.
    pub fn between(before: &str, shape: Self, after: &str) -> Self {
        Self::Sequence(vec![Self::text(before), shape, Self::text(after)])
    }

    /// Any of those that there are; none where there are none.
    pub fn any(shapes: impl IntoIterator<Item = Result<Option<Self>>>) -> Result<Option<Self>> {
        let shapes: Vec<Option<Self>> = shapes.into_iter().collect::<Result<_>>()?;
        let shapes: Vec<Self> = shapes.into_iter().flatten().collect();
        Ok((!shapes.is_empty()).then_some(Self::Choice(shapes)))
    }
}
