//! Drawing a picture in two sizes: for wide screens, and for phones.

use crate::report::format::cut;
use crate::report::ink::{AXIS, GRID, Ink, TEXT};
use crate::report::points::{Mark, Shape};
use crate::report::scale::Scale;
use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{
    Circle, Drawable, EmptyElement, PathElement, PointCollection, Polygon, Rectangle, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, ShapeStyle, TextStyle};
use serde::Serialize;

/// Strings take everything, and all numbers are checked before they are drawn.
const NEVER_FAILS: &str = "drawing into a string does not fail";

/// Room at the right of a picture for half of the last mark of the axis, in pixels.
const RIGHT: i32 = 24;

/// The length of a dash and of the gap behind it, in pixels.
const DASH: [f64; 2] = [8.0, 5.0];

/// A size of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// For wide screens.
    Wide,
    /// For phones.
    Narrow,
}

/// A picture in both sizes, as the content of an SVG element.
#[derive(Clone, Debug, Serialize)]
pub struct Picture {
    /// What it shows, for those who do not see it.
    label: String,
    /// Their width, height and content.
    wide: (i32, i32, String),
    narrow: (i32, i32, String),
}

impl Picture {
    /// Draws both sizes; `height` is in pixels.
    pub fn new(label: String, height: i32, paint: impl Fn(&mut Canvas<'_>)) -> Self {
        let draw = |size: Size| {
            let mut svg = String::new();
            let area = SVGBackend::with_string(&mut svg, (size.width() as u32, height as u32))
                .into_drawing_area();
            paint(&mut Canvas { size, height, area });
            (size.width(), height, content(&svg))
        };
        Self { label, wide: draw(Size::Wide), narrow: draw(Size::Narrow) }
    }
}

/// What lies between the tags of an SVG element: the page writes those itself.
fn content(svg: &str) -> String {
    let start = svg.find('>').map_or(0, |end| end + 1);
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    svg[start..end].trim().to_owned()
}

impl Size {
    /// Pixels.
    pub fn width(self) -> i32 {
        match self {
            Self::Wide => 900,
            Self::Narrow => 360,
        }
    }

    /// The height of a line of text as plotters counts it: letters get 1 / 1.24 of it, which is
    /// 14 and 12 pixels.
    fn font(self) -> i32 {
        match self {
            Self::Wide => 17,
            Self::Narrow => 15,
        }
    }

    /// Pixels that a letter is wide at most, on average over a text.
    fn letter(self) -> f64 {
        f64::from(self.font()) / 1.24 * 0.65
    }

    /// Marks of a horizontal axis at most.
    pub fn marks(self) -> usize {
        match self {
            Self::Wide => 9,
            Self::Narrow => 4,
        }
    }
}

/// A picture that is being drawn.
pub struct Canvas<'a> {
    /// Its size.
    pub size: Size,
    height: i32,
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

/// The plane between two axes.
pub struct Plane<'a, 'b> {
    chart: ChartContext<'a, SVGBackend<'b>, Cartesian2d<Scale, Scale>>,
    size: Size,
}

impl<'b> Canvas<'b> {
    /// Draws both axes with their titles: the vertical one's stands above it.
    pub fn axes(&self, x: (Scale, &str), y: (Scale, &str)) -> Plane<'_, 'b> {
        let font = self.size.font();
        let left = (y.0.longest_mark() as f64 * self.size.letter()) as i32 + 14;
        self.text(4, font / 2 + 2, y.1);
        let mut chart = ChartBuilder::on(&self.area)
            .margin_top(font + 18)
            .margin_right(RIGHT)
            .x_label_area_size(font * 2 + 14)
            .y_label_area_size(left)
            .build_cartesian_2d(x.0, y.0)
            .expect(NEVER_FAILS);
        chart
            .configure_mesh()
            .light_line_style(GRID.colour().mix(0.0))
            .bold_line_style(GRID.colour())
            .axis_style(AXIS.colour())
            .label_style(style(font))
            .axis_desc_style(style(font))
            .x_desc(x.1)
            .draw()
            .expect(NEVER_FAILS);
        Plane { chart, size: self.size }
    }

    /// A plane with a horizontal axis only. Its vertical scale counts pixels downwards.
    pub fn bars(&self, x: (Scale, &str)) -> Plane<'_, 'b> {
        let font = self.size.font();
        let rows = self.height - (font * 2 + 14);
        let mut chart = ChartBuilder::on(&self.area)
            .margin_left(8)
            .margin_right(RIGHT)
            .x_label_area_size(font * 2 + 14)
            .build_cartesian_2d(x.0, Scale::linear(-f64::from(rows), 0.0, 2))
            .expect(NEVER_FAILS);
        chart
            .configure_mesh()
            .disable_mesh()
            .axis_style(AXIS.colour())
            .label_style(style(font))
            .axis_desc_style(style(font))
            .x_desc(x.1)
            .draw()
            .expect(NEVER_FAILS);
        Plane { chart, size: self.size }
    }

    fn text(&self, x: i32, y: i32, text: &str) {
        let words = Text::new(text.to_owned(), (x, y), style(self.size.font()));
        self.area.draw(&words).expect(NEVER_FAILS);
    }
}

fn style(font: i32) -> TextStyle<'static> {
    ("sans-serif", font).into_font().color(&TEXT.colour())
}

impl<'b> Plane<'_, 'b> {
    /// A line through some points.
    pub fn line(&mut self, points: &[(f64, f64)], ink: Ink) {
        let stroke = ink.colour().stroke_width(2);
        self.draw(PathElement::new(points.to_vec(), stroke));
    }

    /// A straight line of dashes.
    pub fn dashes(&mut self, points: [(f64, f64); 2], ink: Ink) {
        let stroke = ink.colour().stroke_width(2);
        let (from, to) =
            (self.chart.backend_coord(&points[0]), self.chart.backend_coord(&points[1]));
        let (x, y) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
        let length = x.hypot(y);
        let place = |along: f64| {
            let share = along.min(length) / length;
            ((x * share).round() as i32, (y * share).round() as i32)
        };
        let mut start = 0.0;
        while start < length {
            let dash = vec![place(start), place(start + DASH[0])];
            self.draw(EmptyElement::at(points[0]) + PathElement::new(dash, stroke));
            start += DASH[0] + DASH[1];
        }
    }

    /// A point.
    pub fn point(&mut self, at: (f64, f64), mark: Mark) {
        let colour = mark.ink.colour();
        let style: ShapeStyle =
            if mark.is_hollow { colour.stroke_width(2) } else { colour.filled() };
        if mark.shape == Shape::Circle {
            self.draw(Circle::new(at, mark.shape.radius(), style));
            return;
        }
        let mut corners = mark.shape.corners().to_vec();
        if mark.is_hollow {
            corners.push(corners[0]);
            self.draw(EmptyElement::at(at) + PathElement::new(corners, style));
        } else {
            self.draw(EmptyElement::at(at) + Polygon::new(corners, style));
        }
    }

    /// How far values scatter around a point.
    pub fn spread(&mut self, (x, y): (f64, f64), deviation: f64, ink: Ink) {
        let line = vec![(x, y - deviation), (x, y + deviation)];
        self.draw(PathElement::new(line, ink.colour().stroke_width(1)));
    }

    /// A rectangle.
    pub fn area(&mut self, corners: [(f64, f64); 2], ink: Ink, opacity: f64) {
        self.draw(Rectangle::new(corners, ink.colour().mix(opacity).filled()));
    }

    /// A text that begins at a point of the plane, cut where it would leave the picture.
    pub fn text(&mut self, at: (f64, f64), text: &str) {
        let (left, _) = self.chart.backend_coord(&at);
        let room = f64::from(self.size.width() - left) / self.size.letter();
        let text = cut(text, room as usize);
        self.draw(Text::new(text, at, style(self.size.font())));
    }

    /// A figure right behind the end of a bar, whose middle lies at `at`.
    pub fn text_behind(&mut self, at: (f64, f64), text: &str) {
        let middle = Pos::new(HPos::Left, VPos::Center);
        let style = style(self.size.font()).pos(middle);
        self.draw(EmptyElement::at(at) + Text::new(text.to_owned(), (6, 0), style));
    }

    fn draw<E>(&mut self, element: E)
    where
        for<'e> &'e E: PointCollection<'e, (f64, f64)>,
        E: Drawable<SVGBackend<'b>>,
    {
        self.chart.plotting_area().draw(&element).expect(NEVER_FAILS);
    }
}
