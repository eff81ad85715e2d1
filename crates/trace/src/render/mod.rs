//! A trace for people: as text on a terminal, as a picture, as a page.

mod canvas;
mod curves;
mod details;
#[cfg(test)]
mod examples;
mod html;
mod labels;
mod ladder;
mod model;
mod overview;
mod rows;
mod scale;
mod streams;
mod style;
mod svg;
mod text;
mod words;

pub use html::html;
pub use svg::svg;
pub use text::{TextOptions, text};
