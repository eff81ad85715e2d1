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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::codec::tests::trace;
    use crate::event::Time;

    proptest! {
        #[test]
        fn any_trace_is_rendered(text: String, number: u64, nanos: u64, yes: bool) {
            let trace = trace(&text, number, nanos, yes);
            let options = TextOptions { width: 80, color: yes, explain: yes };
            prop_assert!(super::text(&trace, &options).ends_with('\n'));
            roxmltree::Document::parse(&svg(&trace)).unwrap();
            prop_assert!(html(&trace).ends_with("</html>\n"));
        }
    }

    /// Times at which adding 1 changes no number.
    #[test]
    fn times_beyond_all_reason_are_rendered() {
        let mut trace = trace("", 1, 0, true);
        let (first, last) = (10_000_000_000_000_000_000, 10_000_000_000_000_002_048);
        for (index, event) in trace.events.iter_mut().enumerate() {
            event.at = Time(Duration::from_secs(if index == 0 { first } else { last }));
            event.took = Some(Time(Duration::MAX));
        }
        assert!(svg(&trace).len() > 1000);
    }
}
