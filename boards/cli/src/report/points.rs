//! The marks of points: a shape and a colour, in pictures and beside their names.

use crate::report::ink::{Ink, SERIES};
use serde::Serialize;
use std::fmt::Write;

/// Half the height of a mark, in pixels.
const RADIUS: i32 = 5;

/// The form of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A circle.
    Circle,
    /// A polygon.
    Square,
    /// See above.
    Triangle,
    /// See above.
    Diamond,
    /// See above.
    Wedge,
}

const SHAPES: [Shape; 5] =
    [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Diamond, Shape::Wedge];

/// How points of one kind look.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Their form.
    pub shape: Shape,
    /// Their colour.
    pub ink: Ink,
    /// Whether only their outline is drawn.
    pub is_hollow: bool,
}

/// A line of a legend.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// A small picture, as SVG.
    key: String,
    /// What it stands for.
    name: String,
}

impl Shape {
    /// The corners around the middle; none for a circle.
    pub fn corners(self) -> &'static [(i32, i32)] {
        const R: i32 = RADIUS;
        match self {
            Self::Circle => &[],
            Self::Square => &[(-R + 1, -R + 1), (R - 1, -R + 1), (R - 1, R - 1), (-R + 1, R - 1)],
            Self::Triangle => &[(0, -R), (R, R - 1), (-R, R - 1)],
            Self::Diamond => &[(0, -R - 1), (R + 1, 0), (0, R + 1), (-R - 1, 0)],
            Self::Wedge => &[(-R, -R + 1), (R, -R + 1), (0, R)],
        }
    }

    /// The radius of a circle.
    pub fn radius(self) -> i32 {
        RADIUS
    }
}

impl Mark {
    /// The mark of the series with this number.
    pub fn of_series(number: usize) -> Self {
        let (shape, ink) = (SHAPES[number % SHAPES.len()], SERIES[number % SERIES.len()]);
        Self { shape, ink, is_hollow: false }
    }

    /// The line of a legend for it.
    pub fn entry(self, name: impl Into<String>) -> Entry {
        let colour = self.ink.light();
        let paint = match self.is_hollow {
            true => format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\""),
            false => format!("fill=\"{colour}\""),
        };
        let picture = match self.shape {
            Shape::Circle => format!("<circle r=\"{RADIUS}\" {paint}/>"),
            shape => {
                let corners = shape.corners().iter().fold(String::new(), |mut text, (x, y)| {
                    write!(text, "{x},{y} ").expect("strings take everything");
                    text
                });
                format!("<polygon points=\"{}\" {paint}/>", corners.trim_end())
            }
        };
        Entry::new(&picture, name)
    }
}

impl Entry {
    fn new(picture: &str, name: impl Into<String>) -> Self {
        let key = format!(
            "<svg class=\"key\" viewBox=\"-8 -8 16 16\" aria-hidden=\"true\">{picture}</svg>"
        );
        Self { key, name: name.into() }
    }

    /// A line in a picture, whole or of dashes.
    pub fn line(ink: Ink, is_dashed: bool, name: impl Into<String>) -> Self {
        let dashes = if is_dashed { " stroke-dasharray=\"4 2\"" } else { "" };
        let line = format!(
            "<path d=\"M-8 0H8\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{dashes}/>",
            ink.light()
        );
        Self::new(&line, name)
    }

    /// An area; shades are pale.
    pub fn area(ink: Ink, opacity: f64, name: impl Into<String>) -> Self {
        let area =
            format!("<path d=\"M-7 -7H7V7H-7Z\" fill=\"{}\" opacity=\"{opacity}\"/>", ink.light());
        Self::new(&area, name)
    }
}
