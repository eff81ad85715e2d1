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
    use crate::event::{Basis, Event, Side, Time, What};
    use crate::recorder::{Header, Trace};

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

    /// A time is that of the end that recorded: it sent then, or had received.
    #[test]
    fn an_arrow_touches_the_end_that_recorded_at_its_time() {
        let event = |at, from| {
            let (at, connection) = (Time(Duration::from_millis(at)), Some(1));
            let what = What::Head { start: "GET / HTTP/1.1".to_owned(), fields: Vec::new() };
            Event { at, took: None, connection, from: Some(from), basis: Basis::Observed, what }
        };
        let arrows = |recorded_by| {
            let header = Header { recorded_by, ..Header::default() };
            let events = vec![event(10, Side::Client), event(20, Side::Server)];
            let svg = svg(&Trace { header, events, ..Trace::default() });
            let svg = roxmltree::Document::parse(&svg).unwrap();
            let is_arrow = |line: &roxmltree::Node<'_, '_>| {
                line.has_tag_name("line")
                    && line.attribute("class").is_some_and(|class| class.ends_with("thin"))
            };
            let x = |line: roxmltree::Node<'_, '_>| {
                ["x1", "x2"].map(|name| line.attribute(name).unwrap().to_owned())
            };
            let arrows: Vec<_> = svg.descendants().filter(is_arrow).map(x).collect();
            let [request, response] = arrows.try_into().unwrap();
            (request, response)
        };
        let ([at, _], [_, end]) = arrows(Side::Client);
        let ([_, arrived], [sent, _]) = arrows(Side::Server);
        assert_eq!((arrived, sent), (at, end));
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
