//! What replies and texts can do, in one program: building each of its own takes as long as most of
//! their tests.

mod constraint;
mod embed;
mod guide;
mod likelihood;
mod schema;
mod slide;
mod templates;
mod tool_tables;
mod tools;
