//! A trace on a terminal: two columns, one line for each row.

use std::collections::BTreeSet;

use anyport_proto::transfer::units::format_bytes;
use anyport_proto::visible::make_visible;
use unicode_width::UnicodeWidthStr;

use super::curves::{Curve, curves};
use super::labels::peer;
use super::model::{Detail, Layer, Row};
use super::rows::rows;
use super::streams::{Stream, streams};
use super::words::{count, cut, date, diagnosis_lines, grouped, milliseconds, padded, wrapped};
use crate::event::{Basis, Side};
use crate::recorder::Trace;

/// Options of a trace on a terminal.
#[derive(Debug, Clone, Copy)]
pub struct TextOptions {
    /// Columns of the terminal.
    pub width: usize,
    /// Whether it shows colours.
    pub color: bool,
    /// Whether each kind of event is explained at its first occurrence.
    pub explain: bool,
}

/// Columns that the rendering uses at least and at most.
const WIDTHS: (usize, usize) = (78, 110);

/// Columns of the time and of the layer.
const GUTTER: usize = 10 + 7;

/// Streams of HTTP/2 that are drawn; further ones are counted.
const STREAMS: usize = 24;

/// Returns the trace as lines for a terminal, in which no character of a peer acts on it.
pub fn text(trace: &Trace, options: &TextOptions) -> String {
    let width = options.width.clamp(WIDTHS.0, WIDTHS.1);
    let mut page = Page { out: String::new(), width, color: options.color };
    page.title(trace);
    let rows = rows(trace, usize::MAX);
    page.heads();
    let mut before = None;
    let connections = rows.iter().filter_map(|row| row.connection).max().unwrap_or(0);
    for row in &rows {
        if connections > 1 && row.connection.is_some() && before != row.connection {
            before = row.connection;
            page.remark(&format!("connection {}", row.connection.unwrap_or_default()));
        }
        page.row(row);
        if let Some(explanation) = row.explanation.filter(|_| options.explain) {
            page.explanation(&explanation.to_string());
        }
    }
    page.pair_line("", &" ".repeat(page.inner()), Style::Plain);
    page.streams(&streams(trace));
    page.samples(trace, options.explain);
    page.close(trace);
    page.out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Bold,
    Dim,
    Alarm,
    Layer(Layer),
}

struct Page {
    out: String,
    width: usize,
    color: bool,
}

impl Page {
    /// Columns between the two lifelines.
    const fn inner(&self) -> usize {
        self.width - GUTTER - 2
    }

    fn line(&mut self, text: &str, style: Style) {
        self.span(text.trim_end(), style);
        self.out.push('\n');
    }

    fn span(&mut self, text: &str, style: Style) {
        let code = match style {
            Style::Plain => None,
            Style::Bold => Some("1"),
            Style::Dim => Some("2"),
            Style::Alarm => Some("1;31"),
            Style::Layer(layer) => Some(match layer {
                Layer::Name | Layer::Note => "2",
                Layer::Tcp => "34",
                Layer::Tls => "35",
                Layer::Http | Layer::Http2 => "32",
                Layer::WebSocket | Layer::Preface => "36",
                Layer::Content => "33",
            }),
        };
        match code.filter(|_| self.color && !text.is_empty()) {
            Some(code) => self.out.push_str(&format!("\u{1b}[{code}m{text}\u{1b}[0m")),
            None => self.out.push_str(text),
        }
    }

    fn title(&mut self, trace: &Trace) {
        for line in wrapped(&make_visible(&trace.header.command), self.width) {
            self.line(&line, Style::Bold);
        }
        let captured = if trace.header.captured { "captured segments" } else { "no capture" };
        let date = date(trace.header.began);
        let by =
            if trace.header.recorded_by.is_client() { "" } else { "recorded by the server   " };
        self.line(&format!("── observed   ╌╌ inferred   {by}{captured}   {date}"), Style::Dim);
        self.out.push('\n');
    }

    fn heads(&mut self) {
        let (gap, left) = (self.inner() + 2, " ".repeat(GUTTER - 7));
        let names = format!("{left}       client{:>1$}", "server", gap - 6);
        self.line(&format!("{:>9}{}", "ms", names.get(9..).unwrap_or_default()), Style::Dim);
    }

    /// A line between the lifelines: `gutter` is time and layer, `inner` is cut to its columns.
    fn pair_line(&mut self, gutter: &str, inner: &str, style: Style) {
        self.span(&padded(gutter, GUTTER), Style::Dim);
        self.pair_rest(inner, style);
    }

    fn pair_rest(&mut self, inner: &str, style: Style) {
        let inner = padded(inner, self.inner());
        self.span("│", Style::Dim);
        self.span(&inner, style);
        self.span("│", Style::Dim);
        self.out.push('\n');
    }

    fn row(&mut self, row: &Row) {
        self.span(&format!("{:>9} ", milliseconds(row.at)), Style::Dim);
        let layer = Style::Layer(row.layer);
        self.span(&padded(row.layer.tag(), GUTTER - 10), layer);
        let style = match (row.is_alarm, row.is_arrow) {
            (true, _) => Style::Alarm,
            (false, true) => layer,
            (false, false) => Style::Plain,
        };
        let label = row.label_with_time();
        let space = self.inner() - if row.is_arrow { 8 } else { 3 };
        let mut lines = wrapped(&label, space).into_iter();
        let first = lines.next().unwrap_or_default();
        let arrow = self.arrow(row, &first);
        self.pair_rest(&arrow, style);
        let indent = if row.is_arrow && row.from == Some(Side::Server) { "    " } else { "   " };
        for line in lines {
            self.pair_line("", &format!("{indent}{line}"), style);
        }
        self.details(&row.details);
    }

    fn arrow(&self, row: &Row, label: &str) -> String {
        if !row.is_arrow {
            return format!(" • {label}");
        }
        let dash = if row.basis == Basis::Observed { "─" } else { "╌" };
        let rest = self.inner().saturating_sub(label.width() + 6);
        let line = dash.repeat(rest);
        match row.from {
            Some(Side::Server) => format!("◄{dash}{dash} {label} {line}{dash}"),
            _ => format!("{dash}{dash} {label} {line}{dash}►"),
        }
    }

    fn details(&mut self, details: &[Detail]) {
        let names = details.iter().filter_map(|detail| match detail {
            Detail::Pair(name, _) => Some(name.width()),
            Detail::Bits(_) => None,
        });
        let column = names.max().unwrap_or(0).min((self.inner() * 2 / 5).max(30));
        for detail in details {
            match detail {
                Detail::Pair(name, value) => {
                    let space = self.inner().saturating_sub(column + 6);
                    let (name, value) = (padded(name, column), peer(value));
                    for (index, line) in wrapped(&value, space).iter().enumerate() {
                        let name = if index == 0 { &name } else { &" ".repeat(column) };
                        self.pair_line("", &format!("    {name}  {line}"), Style::Dim);
                    }
                }
                Detail::Bits(parts) => self.bits(parts),
            }
        }
    }

    /// Three lines: bytes, bits, meaning, in columns.
    fn bits(&mut self, parts: &[[String; 3]]) {
        for line in 0..3 {
            let mut text = String::from("   ");
            for part in parts {
                let column = part.iter().map(|cell| cell.width()).max().unwrap_or(0);
                let [bytes, bits, meaning] = part;
                // A part without bytes belongs to the byte of the part before it.
                text.push_str(if bytes.is_empty() { " " } else { "  " });
                text.push_str(&padded([bytes, bits, meaning][line], column));
            }
            self.pair_line("", text.trim_end(), Style::Dim);
        }
    }

    fn explanation(&mut self, text: &str) {
        for (index, line) in wrapped(text, self.inner() - 7).iter().enumerate() {
            let mark = if index == 0 { "»" } else { " " };
            self.pair_line("", &format!("    {mark} {line}"), Style::Plain);
        }
    }

    /// Lines below a curve, where there is no lifeline.
    fn explanation_of_curve(&mut self, text: &str) {
        for (index, line) in wrapped(text, self.width - 20).iter().enumerate() {
            let mark = if index == 0 { "»" } else { " " };
            self.line(&format!("{:>16}  {line}", mark), Style::Plain);
        }
    }

    fn remark(&mut self, text: &str) {
        let rest = "┈".repeat(self.inner().saturating_sub(text.width() + 4));
        self.pair_line("", &format!("┈ {text} {rest}┈"), Style::Dim);
    }

    /// A bar for each stream, on the axis from the first frame to the last one.
    fn streams(&mut self, streams: &[Stream]) {
        let (Some(from), Some(to)) = (
            streams.iter().map(|stream| stream.from).min(),
            streams.iter().map(|stream| stream.to).max(),
        ) else {
            return;
        };
        let columns = self.width - 52;
        let span = to.0.saturating_sub(from.0).as_secs_f64().max(1e-9);
        let axis = format!("{} to {} ms", milliseconds(from), milliseconds(to));
        self.out.push('\n');
        self.line(&format!("Streams of HTTP/2, {axis}"), Style::Bold);
        for stream in streams.iter().take(STREAMS) {
            let place = |at: crate::event::Time| {
                let share = at.0.saturating_sub(from.0).as_secs_f64() / span;
                (share * columns as f64) as usize
            };
            let start = place(stream.from).min(columns - 1);
            let length = place(stream.to).clamp(start + 1, columns) - start;
            let bar = format!("{}{}", " ".repeat(start), "█".repeat(length));
            let name = padded(&cut(&stream.label, 25), 25);
            self.span(&format!("{:>6} {name} ", stream.id), Style::Plain);
            self.span(&padded(&bar, columns), Style::Layer(Layer::Http2));
            let result = format!(" {} {}", format_bytes(stream.bytes), stream.status);
            self.line(&result, Style::Plain);
        }
        if let Some(more @ 1..) = streams.len().checked_sub(STREAMS) {
            self.line(&format!("       and {more} more"), Style::Dim);
        }
    }

    fn samples(&mut self, trace: &Trace, explain: bool) {
        let columns = self.width - 44;
        let mut explained = BTreeSet::new();
        for (number, curves) in curves(trace) {
            let Some((from, to)) = Curve::span(&curves) else { continue };
            self.out.push('\n');
            let axis = format!("{} to {} ms", milliseconds(from), milliseconds(to));
            let end = trace.header.recorded_by;
            let head = format!("Connection {number} as the {end}'s kernel measured it, {axis}");
            self.line(&head, Style::Bold);
            for curve in &curves {
                let (low, high) = curve.range();
                let line = curve.sparkline(from, to, columns);
                self.span(&format!("{:>16}  ", curve.name), Style::Plain);
                self.span(&padded(&line, columns), Style::Layer(Layer::Tcp));
                self.line(&format!("  {}", curve.show_range(low, high)), Style::Plain);
                if explain && explained.insert(curve.explanation.text) {
                    self.explanation_of_curve(&curve.explanation.to_string());
                }
            }
            let retransmits = trace.samples.iter().rev();
            let mut last = retransmits.filter(|sample| sample.connection == number);
            if let Some(again @ 1..) = last.find_map(|sample| sample.retransmits) {
                let text = format!("{:>16}  {}", "sent again", count(again, "segment"));
                self.line(&text, Style::Alarm);
            }
        }
    }

    fn close(&mut self, trace: &Trace) {
        if trace.left_out > 0 {
            let text = format!("{} events were left out in all", grouped(trace.left_out));
            self.out.push('\n');
            self.line(&text, Style::Alarm);
        }
        let Some(diagnosis) = &trace.diagnosis else { return };
        self.out.push('\n');
        for (index, line) in diagnosis_lines(diagnosis).iter().enumerate() {
            let style = if index == 0 { Style::Bold } else { Style::Plain };
            for line in wrapped(line, self.width) {
                self.line(&line, style);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::What;
    use crate::render::examples;
    use crate::sample::Sample;

    fn all() -> [Trace; 4] {
        use examples::{hostile, http2, lossy, websocket};
        [websocket(), http2(), lossy(), hostile()]
    }

    #[test]
    fn lines_fit_the_terminal_and_hold_no_control() {
        for trace in all() {
            for (width, explain) in [(60, true), (80, false), (100, true), (0, true), (500, false)]
            {
                let text = text(&trace, &TextOptions { width, color: false, explain });
                let longest = text.lines().map(|line| line.width()).max();
                assert!(longest <= Some(width.clamp(78, 110)), "{longest:?} of {width}\n{text}");
                assert!(text.lines().all(|line| make_visible(line) == line), "{text}");
            }
        }
    }

    #[test]
    fn colours_change_no_character() {
        for trace in all() {
            let text = |color| text(&trace, &TextOptions { width: 90, color, explain: true });
            let mut plain = String::new();
            for (index, part) in text(true).split('\u{1b}').enumerate() {
                let rest = part.split_once('m').filter(|_| index > 0);
                plain.push_str(rest.map_or(part, |(_, rest)| rest));
            }
            assert_eq!(plain, text(false));
        }
    }

    #[test]
    fn a_websocket_upload_shows_each_layer_and_its_diagnosis() {
        let options = TextOptions { width: 80, color: false, explain: false };
        let text = text(&examples::websocket(), &options);
        for part in [
            "TCP    │╌╌ SYN to 127.0.0.1:8331 ╌",
            "TCP    │◄╌╌ SYN ACK ╌",
            "HTTP   │── GET /photo.jpg HTTP/1.1 ─",
            "│    2 + GUID  dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA",
            "WS     │── 45 binary frames, 2.95 MB, in 2.3 ms ─",
            "│     82              ff            0000000000010000  37fa213d",
            "│     1   000 0010    1    1111111  65,536            XOR ",
            "│     FIN RSV binary  MASK length   in 8 bytes        mask key",
            "TCP    │╌╌ FIN",
            "option       window scale 7 (times 128)",
            "Main limit: hashing on this machine, 61 % of the time.",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(text.lines().count() < 90, "{text}");
    }

    #[test]
    fn repeated_events_are_folded_and_lost_segments_are_marked() {
        let options = TextOptions { width: 100, color: false, explain: false };
        let text = text(&examples::lossy(), &options);
        assert!(text.lines().count() < 60, "{text}");
        for part in ["segments, 4.16 MB, seq 186,849 to", "[retransmission]", "56 duplicate ACKs"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    /// A capture that began late has neither the handshake nor the scale of windows.
    #[test]
    fn segments_without_a_capture_are_inferred() {
        let mut trace = examples::lossy();
        trace.events.retain(|event| match &event.what {
            What::Segment(segment) => !segment.flags.iter().any(|flag| flag == "SYN"),
            _ => true,
        });
        let options = TextOptions { width: 100, color: false, explain: false };
        let text = text(&trace, &options);
        assert!(text.contains("│╌╌ SYN to 10.9.0.2:8331 ╌"), "{text}");
        assert!(text.contains("│◄╌╌ SYN ACK ╌"), "{text}");
        assert!(!text.contains("connecting to"), "{text}");
    }

    #[test]
    fn each_kind_of_event_is_explained_once() {
        let options = TextOptions { width: 100, color: false, explain: true };
        let text = text(&examples::lossy(), &options);
        assert_eq!(text.matches("SYN: the client asks").count(), 1, "{text}");
        assert_eq!(text.matches("These bytes were sent before").count(), 1, "{text}");
    }
    #[test]
    fn each_curve_is_explained_once_and_only_on_request() {
        let mut trace = examples::lossy();
        let second = trace.samples.iter().map(|sample| Sample { connection: 2, ..*sample });
        trace.samples.extend(second.collect::<Vec<_>>());
        let text = |explain| text(&trace, &TextOptions { width: 100, color: false, explain });
        let explained = text(true);
        for part in [
            "»  The time from a segment to its ACK",
            "»  How many segments the sender may have on the way.",
            "»  The receive window of the other end",
            "»  Bytes per second that the other end acknowledged.",
            "(RFC 6298 §2)",
            "(RFC 5681 §3.1)",
            "(RFC 9293 §3.8.6)",
        ] {
            assert_eq!(explained.matches(part).count(), 1, "{part}\n{explained}");
        }
        assert!(!text(false).contains('»'));
    }

    /// The windows of the client limit its own output, which is small.
    #[test]
    fn a_download_shows_the_curves_of_its_receiver() {
        let mut trace = examples::lossy();
        for sample in &mut trace.samples {
            sample.received = sample.acked.replace(300);
            sample.receive_space = Some(65_536);
        }
        let text = text(&trace, &TextOptions { width: 100, color: false, explain: true });
        for part in ["receive space", "Bytes per second that arrived here"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        for part in ["cwnd", "peer's window"] {
            assert!(!text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn a_long_value_keeps_its_end() {
        let mut trace = examples::websocket();
        let value = format!("begin{}end", "-".repeat(500));
        for event in &mut trace.events {
            if let What::Head { fields, .. } = &mut event.what {
                fields.push(("X-Long".to_owned(), value.clone()));
            }
        }
        let text = text(&trace, &TextOptions { width: 100, color: false, explain: false });
        assert!(text.contains("X-Long") && text.contains("begin---"), "{text}");
        let joined = text.replace(['│', '\n', ' '], "");
        assert!(joined.contains("---…---") && joined.contains("---end"), "{text}");
    }
}
