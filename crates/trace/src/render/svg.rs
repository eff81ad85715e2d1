//! A trace as a picture: time from left to right above, from top to bottom below.

use super::canvas::{Anchor, Canvas, MARGIN, RIGHT, WIDTH};
use super::model::Layer;
use super::rows::rows;
use super::style::svg_style;
use super::words::{count, date, diagnosis_lines, wrapped};
use super::{ladder, overview};
use crate::diagnosis::Limit;
use crate::recorder::Trace;

/// A run of events that repeat each other is drawn in at most this number of steps, which show
/// the progress of a transfer.
const STEPS: usize = 8;

/// Events that repeat each other are folded if they are more than this.
const RUN: usize = 40;

/// Lines of the command; the title of the file has all of it.
const TITLE: usize = 3;

/// How many events one row stands for at most.
pub(super) fn run(trace: &Trace) -> usize {
    (trace.events.len() / STEPS).max(RUN)
}

/// Returns the trace as a picture, a file of its own.
pub fn svg(trace: &Trace) -> String {
    let mut canvas = Canvas { y: 44.0, ..Canvas::default() };
    title(&mut canvas, trace);
    diagnosis(&mut canvas, trace);
    let mut pictures = draw(canvas, trace, f64::INFINITY);
    let Canvas { body, y } = pictures.pop().unwrap_or_default();
    let height = y + MARGIN;
    let paper = format!("<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height:.0}\"/>\n{body}");
    titled(trace, &paper, height)
}

/// Returns the trace as pictures one below the other, for a page that may be printed and has the
/// title and the diagnosis above.
pub(super) fn pieces(trace: &Trace) -> String {
    let canvas = Canvas { y: 12.0, ..Canvas::default() };
    let mut pictures = draw(canvas, trace, PIECE).into_iter();
    let first = pictures.next().unwrap_or_default();
    let mut out = titled(trace, &first.body, first.y.ceil());
    for Canvas { body, y } in pictures {
        out.push_str(&format!(
            "<svg viewBox=\"0 0 {WIDTH} {:.0}\" aria-hidden=\"true\">\n{body}</svg>\n",
            y.ceil()
        ));
    }
    out
}

/// Height behind which a piece of a picture ends, in user units: a tenth of a page, which is what
/// remains empty at the end of one.
const PIECE: f64 = 140.0;

fn draw(mut canvas: Canvas, trace: &Trace, height: f64) -> Vec<Canvas> {
    legend(&mut canvas, trace);
    overview::draw(&mut canvas, trace);
    heading(&mut canvas, "Step by step");
    ladder::draw(canvas, trace, &rows(trace, run(trace)), height)
}

/// An element with the name of the trace and the style.
fn titled(trace: &Trace, body: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         width=\"{WIDTH}\" height=\"{height:.0}\" role=\"img\" aria-labelledby=\"picture\">\n\
         <title id=\"picture\">Trace of a connection: {}</title>\n\
         <style>{}</style>\n{body}</svg>\n",
        super::canvas::escape(&trace.header.command),
        svg_style(),
    )
}

fn title(canvas: &mut Canvas, trace: &Trace) {
    let mut lines = wrapped(&trace.header.command, 84);
    if lines.len() > TITLE {
        lines.truncate(TITLE);
        if let Some(last) = lines.last_mut() {
            last.push_str(" …");
        }
    }
    for line in &lines {
        canvas.text((MARGIN, canvas.y), "title", Anchor::Start, line);
        canvas.y += 26.0;
    }
    canvas.text((MARGIN, canvas.y - 4.0), "quiet", Anchor::Start, &facts(trace));
    canvas.y += 16.0;
}

/// Returns when, by whom and with what the trace was recorded.
pub(super) fn facts(trace: &Trace) -> String {
    let captured = match trace.header.captured {
        true => "segments captured",
        false => "without a capture: segments are inferred",
    };
    let mut facts = vec![count(trace.events.len() as u64, "event"), captured.to_owned()];
    facts.insert(0, date(trace.header.began));
    if !trace.header.recorded_by.is_client() {
        facts.push("recorded by the server".to_owned());
    }
    if trace.left_out > 0 {
        facts.push(format!("{} left out", count(trace.left_out, "event")));
    }
    facts.retain(|fact| !fact.is_empty());
    facts.join(" · ")
}

fn diagnosis(canvas: &mut Canvas, trace: &Trace) {
    let Some(diagnosis) = &trace.diagnosis else { return };
    let (top, place) = (canvas.y, canvas.body.len());
    canvas.y += 8.0;
    for (index, line) in diagnosis_lines(diagnosis).iter().enumerate() {
        let (class, columns) = if index == 0 { ("diagnosis", 105) } else { ("", 130) };
        for line in wrapped(line, columns) {
            canvas.y += 19.0;
            canvas.text((MARGIN + 20.0, canvas.y - 3.0), class, Anchor::Start, &line);
        }
    }
    canvas.y += 10.0;
    let height = canvas.y - top;
    let mut below = Canvas::default();
    below.rect("soft", (MARGIN, top), (RIGHT - MARGIN, height));
    let mark = if diagnosis.main == Limit::Unknown { "mark unknown" } else { "mark" };
    below.rect(mark, (MARGIN, top), (5.0, height));
    canvas.body.insert_str(place, &below.body);
    canvas.y += 20.0;
}

fn heading(canvas: &mut Canvas, text: &str) {
    canvas.y += 24.0;
    canvas.text((MARGIN, canvas.y), "heading", Anchor::Start, text);
    canvas.y += 10.0;
}

/// What lines and colours mean; no colour is the only sign of anything.
fn legend(canvas: &mut Canvas, trace: &Trace) {
    canvas.y += 8.0;
    let y = canvas.y;
    canvas.arrow("base", (MARGIN, y - 4.0), (MARGIN + 44.0, y - 4.0));
    canvas.text((MARGIN + 52.0, y), "small", Anchor::Start, "observed");
    canvas.arrow("base inferred", (MARGIN + 122.0, y - 4.0), (MARGIN + 166.0, y - 4.0));
    canvas.text((MARGIN + 174.0, y), "small", Anchor::Start, "inferred: it must have happened");
    canvas.arrow("alarm", (MARGIN + 376.0, y - 4.0), (MARGIN + 420.0, y - 4.0));
    canvas.text((MARGIN + 428.0, y), "small", Anchor::Start, "lost, late, window 0, failed");
    canvas.path("base band", &format!("M{:.1} {:.1}h44v9h-44Z", MARGIN + 606.0, y - 9.0));
    canvas.text((MARGIN + 658.0, y), "small", Anchor::Start, "many, or one that took its time");
    canvas.y += 18.0;
    let has = |layer: &Layer| trace.events.iter().any(|event| Layer::of(&event.what) == *layer);
    let mut x = MARGIN;
    for layer in Layer::ALL.iter().filter(|layer| has(layer)) {
        canvas.rect(&format!("{} swatch", layer.class()), (x, canvas.y - 9.0), (10.0, 10.0));
        canvas.text((x + 16.0, canvas.y), "small", Anchor::Start, layer.name());
        x += 36.0 + layer.name().len() as f64 * 7.0;
    }
    let text = "setup, transfer and end have a scale of their own";
    canvas.text((RIGHT, canvas.y), "small quiet", Anchor::End, text);
    canvas.y += 20.0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Basis, Event, Side, What};
    use crate::render::examples;

    #[test]
    fn a_picture_is_well_formed_and_bounded() {
        let mut long = examples::lossy();
        for _ in 0..5 {
            long.events.extend(long.events.clone());
        }
        long.events.sort_by_key(|event| event.at);
        let all =
            [examples::websocket(), examples::http2(), examples::lossy(), examples::hostile()];
        for trace in all.into_iter().chain([long, Trace::default()]) {
            let svg = svg(&trace);
            let document = roxmltree::Document::parse(&svg).unwrap();
            assert!(document.descendants().all(|node| node.tag_name().name() != "script"));
            assert!(svg.len() < 1_000_000, "{} bytes", svg.len());
            let texts = document.descendants().filter_map(|node| node.text());
            for text in texts {
                assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{text:?}");
            }
            // Numbers that are none would hide a shape.
            assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{svg}");
        }
    }

    /// Those at the ends of the axis began, or arrive, outside of it.
    #[test]
    fn arrows_of_a_server_end_within_the_picture_and_its_remarks_are_beside_its_lifeline() {
        let mut trace = examples::websocket();
        trace.header.recorded_by = Side::Server;
        let (basis, from) = (Basis::Observed, Some(Side::Server));
        let what = What::Note { text: "detected".to_owned() };
        let (at, connection) = (trace.events[0].at, Some(1));
        trace.events.insert(0, Event { at, took: None, connection, from, basis, what });
        let svg = svg(&trace);
        let document = roxmltree::Document::parse(&svg).unwrap();
        let number = |node: roxmltree::Node<'_, '_>, name| {
            node.attribute(name).unwrap().parse::<f64>().unwrap()
        };
        let lines = document.descendants().filter(|node| node.tag_name().name() == "line");
        for line in lines {
            for x in ["x1", "x2"].map(|name| number(line, name)) {
                assert!((MARGIN..=RIGHT).contains(&x), "{line:?}");
            }
        }
        let text = document.descendants().find(|node| node.text() == Some("detected")).unwrap();
        let parent = text.parent_element().unwrap();
        let dot = parent.children().find(|node| node.tag_name().name() == "circle").unwrap();
        assert!(number(dot, "cx") > RIGHT - 20.0, "{dot:?}");
    }

    #[test]
    fn the_first_piece_of_a_page_does_not_cut_its_legend() {
        let pieces = pieces(&examples::lossy());
        let first = pieces.split("</svg>").next().unwrap();
        let text = first.split("<text class=\"small\"").nth(1).unwrap();
        let y: f64 = text.split("y=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        assert!(y >= 16.0, "{text}");
    }

    #[test]
    fn inferred_and_lost_segments_are_drawn_differently() {
        let websocket = svg(&examples::websocket());
        assert!(websocket.contains("class=\"tcp inferred\""));
        assert!(svg(&examples::lossy()).contains("class=\"alarm"));
    }
}
