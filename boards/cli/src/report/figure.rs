//! One part of a page: what it tells, its pictures, and the table of its data.

use crate::report::canvas::Picture;
use crate::report::points::Entry;
use crate::report::table::Table;
use serde::Serialize;

/// A part of a page.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figure {
    /// Its heading.
    pub title: &'static str,
    /// What is to be seen, and how it was found.
    pub about: Vec<String>,
    /// Its pictures.
    pub pictures: Vec<Titled>,
    /// The tables of their data.
    pub tables: Vec<Table>,
    /// Why there is no picture, and what it would need.
    pub lack: Option<String>,
}

/// A picture, its heading, and what its colours and marks mean.
#[derive(Clone, Debug, Serialize)]
pub struct Titled {
    /// Its heading.
    pub title: String,
    /// The picture.
    pub picture: Picture,
    /// Its legend.
    pub legend: Vec<Entry>,
}
