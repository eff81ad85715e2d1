//! A trace for people: as text on a terminal, as a picture, as a page.

mod text;

use crate::recorder::Trace;
pub use text::{TextOptions, text};

/// Returns the trace as a picture, a file of its own.
pub fn svg(_trace: &Trace) -> String {
    "<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n".to_owned()
}

/// Returns the trace as a page, a file of its own.
pub fn html(trace: &Trace) -> String {
    format!("<!doctype html>\n<html lang=\"en\"><title>trace</title>{}</html>\n", svg(trace))
}
