//! The lower part of a picture: time from top to bottom, each message with its name.

use unicode_width::UnicodeWidthStr;

use super::canvas::{Anchor, Canvas, RIGHT};
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

/// Draws the rows.
pub(super) fn draw(canvas: &mut Canvas, trace: &Trace, rows: &[Row]) {
    let (local, peer) = addresses(trace);
    canvas.y += 8.0;
    head(canvas, CLIENT, "client", &local);
    head(canvas, SERVER, "server", &peer);
    canvas.y += 26.0;
    let top = canvas.y;
    canvas.y += 10.0;
    // The lifelines are below everything else, and their length is known at the end.
    let place = canvas.body.len();
    let connections = rows.iter().filter_map(|row| row.connection).max().unwrap_or(0);
    let mut last: Option<&Row> = None;
    let mut connection = None;
    let mut bracket: Option<(Layer, f64)> = None;
    let total = rows.last().map_or(0.0, |row| row.end.0.as_secs_f64());
    for row in rows.iter().take(ROWS) {
        if connections > 1 && row.connection.is_some() && connection != row.connection {
            connection = row.connection;
            divider(canvas, &format!("connection {}", row.connection.unwrap_or_default()));
        } else if let Some(before) = last {
            let pause = row.at.0.saturating_sub(before.end.0.max(before.at.0));
            if pause.as_secs_f64() > total / 12.0 {
                divider(canvas, &format!("{} later", duration(pause)));
            }
        }
        if bracket.is_none_or(|(layer, _)| layer != row.layer) {
            close(canvas, bracket.take());
            bracket = Some((row.layer, canvas.y));
            canvas.text(
                (BRACKET + 8.0, canvas.y + 15.0),
                &format!("small tag {}", row.layer.class()),
                Anchor::Start,
                row.layer.tag(),
            );
        }
        draw_row(canvas, row);
        last = Some(row);
    }
    close(canvas, bracket);
    canvas.y += 8.0;
    let mut lines = Canvas::default();
    lines.line("life", (CLIENT, top), (CLIENT, canvas.y));
    lines.line("life", (SERVER, top), (SERVER, canvas.y));
    canvas.body.insert_str(place, &lines.body);
    canvas.y += 8.0;
    if let Some(more @ 1..) = rows.len().checked_sub(ROWS) {
        let text = format!("{more} further rows are not drawn; the saved trace has them.");
        canvas.text((CLIENT, canvas.y + 10.0), "quiet", Anchor::Start, &text);
        canvas.y += 20.0;
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

fn close(canvas: &mut Canvas, bracket: Option<(Layer, f64)>) {
    if let Some((layer, top)) = bracket {
        let (top, bottom) = (top + 3.0, (canvas.y - 3.0).max(top + 5.0));
        let data = format!("M{:.1} {top:.1}H{BRACKET}V{bottom:.1}h5", BRACKET + 5.0);
        canvas.path(&format!("{} bracket", layer.class()), &data);
    }
}

fn draw_row(canvas: &mut Canvas, row: &Row) {
    canvas.write(format_args!("<g>"));
    if let Some(explanation) = row.explanation {
        let text = format!("{} ({})", explanation.text, explanation.reference);
        canvas.write(format_args!("<title>{}</title>", super::canvas::escape(&text)));
    }
    let at = format!("{} ms", milliseconds(row.at));
    canvas.text((BRACKET - 12.0, canvas.y + 15.0), "small number quiet", Anchor::End, &at);
    let alarm = if row.is_alarm { " alarm" } else { "" };
    let label = row.label_with_time();
    let middle = f64::midpoint(CLIENT, SERVER);
    for line in wrapped(&label, COLUMNS) {
        canvas.y += 15.0;
        match row.is_arrow {
            true => {
                canvas.text((middle, canvas.y), &format!("label{alarm}"), Anchor::Middle, &line);
            }
            false => {
                let (x, class) = (CLIENT + 22.0, format!("label{alarm}"));
                canvas.text((x, canvas.y), &class, Anchor::Start, &line);
            }
        }
    }
    if row.is_arrow {
        arrow(canvas, row);
    } else {
        let y = canvas.y - 4.0;
        canvas.write(format_args!(
            r#"<circle class="{} dot" cx="{CLIENT}" cy="{y:.1}" r="4"/>"#,
            row.layer.class()
        ));
        canvas.y += 6.0;
    }
    details(canvas, &row.details);
    canvas.write(format_args!("</g>"));
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
    let column = names.max().unwrap_or(0).min(28);
    let value = x + (column + 2) as f64 * CHARACTER;
    let space = ((SERVER - 30.0 - value) / CHARACTER) as usize;
    let top = canvas.y;
    let place = canvas.body.len();
    canvas.y += 4.0;
    for detail in details {
        match detail {
            Detail::Pair(name, text) => {
                let name = cut(name, column);
                canvas.text((x, canvas.y + 12.0), "mono quiet", Anchor::Start, &name);
                for line in wrapped(text, space) {
                    canvas.y += 15.0;
                    canvas.text((value, canvas.y - 3.0), "mono", Anchor::Start, &line);
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
