//! The lower part of a picture: time from top to bottom, each message with its name.

use unicode_width::UnicodeWidthStr;

use super::canvas::{Anchor, Canvas, RIGHT};
use super::labels::peer;
use super::model::{Detail, Layer, Row};
use super::words::{cut, duration, milliseconds, wrapped};
use crate::event::{Basis, Side, What};
use crate::recorder::Trace;

/// Rows that are drawn; a person reads no more, and the table of the page has as many.
pub(super) const ROWS: usize = 300;

/// The lifelines.
const CLIENT: f64 = 190.0;
const SERVER: f64 = RIGHT - 10.0;

/// The bracket of a layer.
const BRACKET: f64 = 116.0;

/// How far an arrow falls on its way.
const FALL: f64 = 10.0;

/// Width of a character of the fixed font, in user units.
const CHARACTER: f64 = 7.25;

/// Columns of labels and of details.
const COLUMNS: usize = 100;

/// Columns of names of details: those of the longest common fields fit.
const NAMES: usize = 34;

/// Draws the rows below the content of `canvas`. Behind a row that ends below `height` a new canvas
/// begins, so that paper is not cut within a row.
pub(super) fn draw(mut canvas: Canvas, trace: &Trace, rows: &[Row], height: f64) -> Vec<Canvas> {
    let (local, peer) = addresses(trace);
    canvas.y += 8.0;
    head(&mut canvas, CLIENT, "client", &local);
    head(&mut canvas, SERVER, "server", &peer);
    canvas.y += 26.0;
    let mut ladder = Ladder::on(canvas, trace.header.recorded_by);
    ladder.canvas.y += 10.0;
    let connections = rows.iter().filter_map(|row| row.connection).max().unwrap_or(0);
    let mut last: Option<&Row> = None;
    let mut connection = None;
    // A remark is no part of the transfer, and may come long after it.
    let timed = rows.iter().filter(|row| row.layer != Layer::Note);
    let total = timed.map(|row| row.end.0.as_secs_f64()).fold(0.0, f64::max);
    for row in rows.iter().take(ROWS) {
        // Rather between layers, so that none has two brackets.
        let is_new = ladder.layer.is_none_or(|(layer, _)| layer != row.layer);
        if ladder.canvas.y > if is_new { height } else { height * 2.5 } {
            ladder.turn();
        }
        if connections > 1 && row.connection.is_some() && connection != row.connection {
            connection = row.connection;
            let name = format!("connection {}", row.connection.unwrap_or_default());
            divider(&mut ladder.canvas, &name);
        } else if let Some(before) = last.filter(|_| row.layer != Layer::Note) {
            let pause = row.at.0.saturating_sub(before.end.0.max(before.at.0));
            if pause.as_secs_f64() > total / 12.0 {
                divider(&mut ladder.canvas, &format!("{} later", duration(pause)));
            }
        }
        ladder.row(row);
        last = Some(row);
    }
    ladder.end_layer();
    ladder.canvas.y += 8.0;
    ladder.end_lines();
    let canvas = &mut ladder.canvas;
    canvas.y += 8.0;
    if let Some(more @ 1..) = rows.len().checked_sub(ROWS) {
        let text = format!("{more} further rows are not drawn; the saved trace has them.");
        canvas.text((CLIENT, canvas.y + 10.0), "quiet", Anchor::Start, &text);
        canvas.y += 20.0;
    }
    ladder.pages.push(ladder.canvas);
    ladder.pages
}

/// The rows on one canvas, and the canvases before it.
struct Ladder {
    pages: Vec<Canvas>,
    canvas: Canvas,
    /// The end that records.
    ours: Side,
    /// Where the lifelines begin, and their place in the picture: below everything else.
    top: f64,
    place: usize,
    /// The layer of the last row, and where its bracket begins.
    layer: Option<(Layer, f64)>,
}

impl Ladder {
    fn on(canvas: Canvas, ours: Side) -> Self {
        let (top, place) = (canvas.y, canvas.body.len());
        Self { pages: Vec::new(), canvas, ours, top, place, layer: None }
    }

    /// Continues on a new canvas.
    fn turn(&mut self) {
        self.end_layer();
        self.end_lines();
        // A picture has whole units of height, so that nothing is between two.
        self.canvas.y = self.canvas.y.ceil();
        self.pages.push(std::mem::take(&mut self.canvas));
        (self.top, self.place) = (0.0, 0);
    }

    fn row(&mut self, row: &Row) {
        if self.layer.is_none_or(|(layer, _)| layer != row.layer) {
            self.end_layer();
            self.layer = Some((row.layer, self.canvas.y));
            self.canvas.text(
                (BRACKET + 8.0, self.canvas.y + 15.0),
                &format!("small tag {}", row.layer.class()),
                Anchor::Start,
                row.layer.tag(),
            );
        }
        draw_row(&mut self.canvas, row, self.ours);
    }

    fn end_layer(&mut self) {
        if let Some((layer, top)) = self.layer.take() {
            let (top, bottom) = (top + 3.0, (self.canvas.y - 3.0).max(top + 5.0));
            let data = format!("M{:.1} {top:.1}H{BRACKET}V{bottom:.1}h5", BRACKET + 5.0);
            self.canvas.path(&format!("{} bracket", layer.class()), &data);
        }
    }

    /// Draws the lifelines, whose length is known now.
    fn end_lines(&mut self) {
        let mut lines = Canvas::default();
        for x in [CLIENT, SERVER] {
            lines.line("life", (x, self.top), (x, self.canvas.y.ceil()));
        }
        self.canvas.body.insert_str(self.place, &lines.body);
    }
}

/// Addresses of both ends of the first connection.
fn addresses(trace: &Trace) -> (String, String) {
    let find = trace.events.iter().find_map(|event| match &event.what {
        What::Connected { local, peer, .. } => Some((local.clone(), peer.clone())),
        _ => None,
    });
    find.unwrap_or_default()
}

fn head(canvas: &mut Canvas, x: f64, name: &str, address: &str) {
    let y = canvas.y + 14.0;
    let left = (x - 80.0).min(RIGHT - 180.0);
    let middle = left + 90.0;
    canvas.rect("head", (left, canvas.y - 6.0), (180.0, 34.0));
    canvas.text((middle, y - 6.0), "strong", Anchor::Middle, name);
    canvas.text((middle, y + 8.0), "small quiet", Anchor::Middle, &cut(address, 28));
}

/// Time or a connection between two rows.
fn divider(canvas: &mut Canvas, text: &str) {
    let y = canvas.y + 8.0;
    canvas.line("gap", (CLIENT, y), (SERVER, y));
    let middle = f64::midpoint(CLIENT, SERVER);
    let width = text.width() as f64 * 6.6 + 16.0;
    canvas.rect("paper", (middle - width / 2.0, y - 8.0), (width, 16.0));
    canvas.text((middle, y + 4.0), "small quiet", Anchor::Middle, text);
    canvas.y += 20.0;
}

fn draw_row(canvas: &mut Canvas, row: &Row, ours: Side) {
    canvas.write(format_args!("<g>"));
    if let Some(explanation) = row.explanation {
        canvas.tooltip(&explanation.to_string());
    }
    let at = format!("{} ms", milliseconds(row.at));
    canvas.text((BRACKET - 12.0, canvas.y + 15.0), "small number quiet", Anchor::End, &at);
    let alarm = if row.is_alarm { " alarm" } else { "" };
    let label = row.label_with_time();
    let middle = f64::midpoint(CLIENT, SERVER);
    // What the recording end found is beside its lifeline.
    let (lifeline, beside, anchor) = match ours {
        Side::Server => (SERVER, SERVER - 22.0, Anchor::End),
        Side::Client => (CLIENT, CLIENT + 22.0, Anchor::Start),
    };
    let (x, anchor) = if row.is_arrow { (middle, Anchor::Middle) } else { (beside, anchor) };
    for line in wrapped(&label, columns(&label, row.is_alarm)) {
        canvas.y += 15.0;
        canvas.text((x, canvas.y), &format!("label{alarm}"), anchor, &line);
    }
    if row.is_arrow {
        arrow(canvas, row);
    } else {
        let y = canvas.y - 4.0;
        canvas.write(format_args!(
            r#"<circle class="{} dot" cx="{lifeline}" cy="{y:.1}" r="4"/>"#,
            row.layer.class()
        ));
        canvas.y += 6.0;
    }
    details(canvas, &row.details);
    canvas.write(format_args!("</g>"));
}

/// Returns the columns of a label, whose capitals and bold letters are wider than others.
fn columns(label: &str, is_bold: bool) -> usize {
    let width = label.width().max(1);
    let capitals = label.chars().filter(char::is_ascii_uppercase).count();
    let bold = if is_bold { width / 10 } else { 0 };
    COLUMNS * width / (width + capitals / 4 + bold)
}

fn arrow(canvas: &mut Canvas, row: &Row) {
    let mut class = if row.is_alarm { "alarm" } else { row.layer.class() }.to_owned();
    if row.basis == Basis::Inferred {
        class.push_str(" inferred");
    }
    if let Some(stream @ 1..) = row.stream {
        class.push_str(&format!(" stream{}", stream / 2 % 8));
    }
    let (from, to) = match row.from {
        Some(Side::Server) => (SERVER, CLIENT),
        _ => (CLIENT, SERVER),
    };
    let y = canvas.y + 5.0;
    // Many messages, or one that took its time: a band as high as the rest allows.
    let thick = if row.is_many { 7.0 } else { 0.0 };
    if thick > 0.0 {
        let data = format!(
            "M{from} {y:.1}L{to} {:.1}V{:.1}L{from} {:.1}Z",
            y + FALL,
            y + FALL + thick,
            y + thick
        );
        canvas.path(&format!("{class} band"), &data);
    }
    canvas.arrow(&class, (from, y), (to, y + FALL));
    if thick > 0.0 {
        canvas.arrow(&class, (from, y + thick), (to, y + FALL + thick));
    }
    canvas.y += 5.0 + FALL + thick + 6.0;
}

fn details(canvas: &mut Canvas, details: &[Detail]) {
    if details.is_empty() {
        return;
    }
    let x = CLIENT + 40.0;
    let names = details.iter().filter_map(|detail| match detail {
        Detail::Pair(name, _) => Some(name.width()),
        Detail::Bits(_) => None,
    });
    let column = names.max().unwrap_or(0).min(NAMES);
    let value = x + (column + 2) as f64 * CHARACTER;
    let space = ((SERVER - 52.0 - value) / CHARACTER) as usize;
    let top = canvas.y;
    let place = canvas.body.len();
    canvas.y += 4.0;
    for detail in details {
        match detail {
            Detail::Pair(name, text) => {
                let (short, shown) = (cut(name, column), peer(text));
                let is_cut = short != *name || shown != *text;
                if is_cut {
                    canvas.write(format_args!("<g>"));
                    canvas.tooltip(&format!("{name}: {text}"));
                }
                canvas.text((x, canvas.y + 12.0), "mono quiet", Anchor::Start, &short);
                for line in wrapped(&shown, space) {
                    canvas.y += 15.0;
                    canvas.text((value, canvas.y - 3.0), "mono", Anchor::Start, &line);
                }
                if is_cut {
                    canvas.write(format_args!("</g>"));
                }
            }
            Detail::Bits(parts) => bits(canvas, x, parts),
        }
    }
    canvas.y += 4.0;
    let mut box_ = Canvas::default();
    box_.rect("soft", (x - 12.0, top), (SERVER - 28.0 - x, canvas.y - top));
    canvas.body.insert_str(place, &box_.body);
    canvas.y += 8.0;
}

/// The header of a frame in cells: bytes above, bits in the cell, meaning below.
fn bits(canvas: &mut Canvas, x: f64, parts: &[[String; 3]]) {
    let mut x = x;
    let y = canvas.y + 4.0;
    for (index, part) in parts.iter().enumerate() {
        let [bytes, bits, meaning] = part;
        let columns = part.iter().map(|cell| cell.width()).max().unwrap_or(0);
        let width = columns as f64 * CHARACTER + 14.0;
        if !bytes.is_empty() && index > 0 {
            x += 10.0;
        }
        let middle = x + width / 2.0;
        canvas.text((x + 4.0, y + 10.0), "mono small quiet", Anchor::Start, bytes);
        canvas.rect("cell", (x, y + 15.0), (width, 20.0));
        canvas.text((middle, y + 29.0), "mono", Anchor::Middle, bits);
        canvas.text((middle, y + 48.0), "small quiet", Anchor::Middle, meaning);
        x += width;
    }
    canvas.y += 58.0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_have_fewer_columns() {
        assert_eq!(columns("text frame, 130 B", false), COLUMNS);
        assert!(columns(&"RQAAPORTQAB".repeat(9), false) <= 80);
        assert!(columns("6 retransmissions, 8.69 kB", true) < COLUMNS);
        assert_eq!(columns("", true), COLUMNS);
    }
}
