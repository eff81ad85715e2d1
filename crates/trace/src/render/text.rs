//! A trace on a terminal.

use std::fmt::Write;

use anyport_proto::visible::make_visible;

use crate::recorder::Trace;

/// How a trace is shown on a terminal.
#[derive(Debug, Clone, Copy)]
pub struct TextOptions {
    /// Columns of the terminal.
    pub width: usize,
    /// Whether it shows colours.
    pub color: bool,
    /// Whether each kind of event is explained at its first occurrence.
    pub explain: bool,
}

/// Returns the trace as lines for a terminal, in which no character of a peer acts on it.
pub fn text(trace: &Trace, _options: &TextOptions) -> String {
    let mut out = String::new();
    for event in &trace.events {
        let json = serde_json::to_string(&event.what).unwrap_or_default();
        let _ = writeln!(out, "{:9.3} {}", event.at.0.as_secs_f64() * 1e3, make_visible(&json));
    }
    out
}
