//! A picture: a bar a row with its spread, the ratio to the base, and what each layer adds.
//!
//! Written by hand, as the text of an SVG is short; light or dark is the viewer's choice.

use std::fmt::Write;

use super::table::percent;
use super::{Figures, Line, Report, seconds as show_seconds};

/// Escaped for text and attributes of XML, without the characters that XML cannot hold.
pub(super) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
        out
    })
}

/// The whole picture, a file of its own.
pub(crate) fn svg(report: &Report) -> String {
    let mut canvas = Canvas::default();
    canvas.title(report);
    canvas.rows(report);
    canvas.layers(report);
    canvas.footer(report);
    canvas.finish()
}

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 24.0;
/// Start and end of the bars, and the columns of text beside them.
const BARS: f64 = 236.0;
const BARS_END: f64 = 700.0;
const SECONDS: f64 = 768.0;
const RATIO: f64 = 786.0;
const ROW: f64 = 26.0;

const STYLE: &str = "\
text{font:13px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;fill:#1f2328}\
.title{font-size:20px;font-weight:600}\
.heading{font-weight:600;font-size:13px;paint-order:stroke;stroke:#ffffff;stroke-width:6px}\
.small{font-size:11.5px}.quiet{fill:#59636e}.broken{fill:#b42318}\
.number{font-variant-numeric:tabular-nums}\
.paper{fill:#ffffff}.grid{stroke:#d8dee4;stroke-width:1}\
.base{stroke:#59636e;stroke-width:1;stroke-dasharray:4 3}\
.whisker{stroke:#1f2328;stroke-width:1.4;fill:none}\
.yardstick{fill:#9aa4af}.receiving{fill:#7d6bb5}.pair,.server{fill:#3b82c4}.variant{fill:#2f9e8f}\
.sized{fill:#5b9fd0}.peer{fill:#d08a3c}\
.more{fill:#d08a3c}.less{fill:#2f9e8f}\
@media (prefers-color-scheme:dark){text{fill:#e6edf3}\
.quiet{fill:#9da7b1}.broken{fill:#ff8a80}.heading{stroke:#0d1117}\
.paper{fill:#0d1117}.grid{stroke:#30363d}.base{stroke:#9da7b1}.whisker{stroke:#e6edf3}\
.yardstick{fill:#6e7781}.receiving{fill:#8f7fc6}.pair,.server{fill:#4a90d0}.variant{fill:#35a796}\
.sized{fill:#6aaddb}.peer{fill:#c9853a}\
.more{fill:#c9853a}.less{fill:#35a796}}";

#[derive(Default)]
struct Canvas {
    body: String,
    y: f64,
}

impl Canvas {
    fn text(&mut self, x: f64, class: &str, anchor: &str, text: &str) {
        let (y, text) = (self.y, escape(text));
        let _ = writeln!(
            self.body,
            r#"<text x="{x:.1}" y="{y:.1}" class="{class}" text-anchor="{anchor}">{text}</text>"#
        );
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = writeln!(
            self.body,
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        );
    }

    fn title(&mut self, report: &Report) {
        self.y = 40.0;
        self.text(MARGIN, "title", "start", "What each way of sending costs");
        self.y += 22.0;
        let rounds = match report.runs {
            1 => "one round".to_owned(),
            runs => format!("the median of {runs} rounds"),
        };
        let several = match report.parallel {
            1 => String::new(),
            count => format!(" from each of {count} concurrent senders"),
        };
        let what = format!(
            "Seconds for {} bytes{several}, {rounds}; shorter is better. Thin lines: \
            fastest to slowest run.{}",
            grouped(report.bytes),
            if report.base.is_some() { " Dashed: the base." } else { "" },
        );
        self.text(MARGIN, "quiet", "start", &what);
        self.y += 16.0;
        if cfg!(debug_assertions) {
            self.text(
                MARGIN,
                "broken small",
                "start",
                "This is a debug build: its times mean nothing.",
            );
        }
    }

    fn rows(&mut self, report: &Report) {
        let figures = || report.rows.iter().filter_map(|line| line.figures.as_ref().ok());
        let longest = figures().map(|figures| figures.seconds.max).fold(0.0, f64::max);
        let scale = Scale::to(longest);
        let top = self.y + 22.0;
        self.y = top;
        self.text(SECONDS, "quiet small", "end", "seconds");
        let over = report.base.as_deref().map(|base| format!("times {base} [95 %]"));
        self.text(RATIO, "quiet small", "start", &over.unwrap_or_default());
        // The grid lies under the bars, and its height is known: headings and rows.
        let headings =
            1 + report.rows.windows(2).filter(|pair| pair[0].row.kind != pair[1].row.kind).count();
        let bottom = top + 4.0 + headings as f64 * (ROW + 6.0) + report.rows.len() as f64 * ROW;
        for tick in scale.ticks() {
            let x = scale.x(tick);
            self.line("grid", (x, top + 8.0), (x, bottom + 4.0));
            self.y = bottom + 18.0;
            self.text(x, "quiet small number", "middle", &scale.label(tick));
        }
        let base = report.base.as_ref();
        let base = report.rows.iter().find(|line| Some(&line.row.name) == base);
        if let Some(Ok(base)) = base.map(|line| &line.figures) {
            let x = scale.x(base.seconds.median);
            self.line("base", (x, top + 8.0), (x, bottom + 4.0));
        }
        self.y = top + 4.0;
        let mut kind = None;
        for line in &report.rows {
            if kind.replace(line.row.kind) != Some(line.row.kind) {
                self.y += ROW + 2.0;
                self.text(MARGIN, "heading", "start", line.row.kind.heading());
                self.y += 4.0;
            }
            self.y += ROW;
            self.row(line, &scale);
        }
        self.y = bottom + 30.0;
    }

    fn row(&mut self, line: &Line, scale: &Scale) {
        let name = shortened(&line.row.name, 32);
        self.text(BARS - 10.0, "", "end", &name);
        let figures = match &line.figures {
            Ok(figures) => figures,
            Err(reason) => {
                let reason = shortened(&format!("no result: {reason}"), 100);
                return self.text(BARS + 4.0, "broken small", "start", &reason);
            }
        };
        let Figures { seconds, over_base, .. } = figures;
        let (top, middle) = (self.y - 14.0, self.y - 5.0);
        let (width, class) = (scale.x(seconds.median) - BARS, line.row.kind.as_str());
        let _ = writeln!(
            self.body,
            r#"<rect class="{class}" x="{BARS}" y="{top:.1}" width="{width:.1}" height="18" rx="2"><title>{}: {:.6} s ({:.6} to {:.6})</title></rect>"#,
            escape(&line.row.name),
            seconds.median,
            seconds.min,
            seconds.max,
        );
        self.whisker(scale.x(seconds.min), scale.x(seconds.max), middle);
        self.text(SECONDS, "number", "end", &show_seconds(seconds.median));
        if let Some(ratio) = over_base {
            let text = format!("{:.2}×  [{:.2} to {:.2}]", ratio.median, ratio.low, ratio.high);
            self.text(RATIO, "number", "start", &text);
        }
    }

    fn whisker(&mut self, from: f64, to: f64, y: f64) {
        let (a, b) = (y - 4.0, y + 4.0);
        let _ = writeln!(
            self.body,
            r#"<path class="whisker" d="M{from:.1} {a:.1}V{b:.1}M{from:.1} {y:.1}H{to:.1}M{to:.1} {a:.1}V{b:.1}"/>"#
        );
    }

    /// Draws how many times as long the upper row of each layer takes; the line means "no
    /// difference".
    fn layers(&mut self, report: &Report) {
        if report.layers.is_empty() {
            return;
        }
        self.y += 24.0;
        self.text(MARGIN, "heading", "start", "what each layer costs");
        self.text(
            BARS,
            "quiet",
            "start",
            "Median of how much longer, round by round. Thin lines: 95 % interval of that median.",
        );
        let ratios = || report.layers.iter().map(|layer| layer.ratio);
        let most = ratios().map(|ratio| ratio.high).fold(1.2, f64::max);
        let least = ratios().map(|ratio| ratio.low).fold(0.9, f64::min);
        let x = |ratio: f64| BARS + (ratio - least) / (most - least) * (BARS_END - BARS);
        let top = self.y + 8.0;
        let bottom = top + report.layers.len() as f64 * ROW + 6.0;
        self.line("base", (x(1.0), top), (x(1.0), bottom));
        for layer in &report.layers {
            self.y += ROW;
            self.text(BARS - 10.0, "", "end", layer.name);
            let ratio = layer.ratio;
            let (from, to) = (x(ratio.median.min(1.0)), x(ratio.median.max(1.0)));
            let (top, width) = (self.y - 14.0, to - from);
            let class = if ratio.median < 1.0 { "less" } else { "more" };
            let _ = writeln!(
                self.body,
                r#"<rect class="{class}" x="{from:.1}" y="{top:.1}" width="{width:.1}" height="18" rx="2"/>"#
            );
            self.whisker(x(ratio.low), x(ratio.high), self.y - 5.0);
            self.text(SECONDS, "number", "end", &percent(ratio.median));
            let (row, over) = (&layer.row, &layer.over);
            self.text(RATIO, "quiet small", "start", &format!("{row} / {over}"));
        }
        self.y = bottom + 6.0;
    }

    fn footer(&mut self, report: &Report) {
        self.y += 16.0;
        for line in report.preamble().iter().chain(&report.footnotes()) {
            for piece in wrapped(line, 150) {
                self.y += 16.0;
                self.text(MARGIN, "quiet small", "start", &piece);
            }
        }
        self.y += 20.0;
    }

    fn finish(self) -> String {
        let (height, body) = (self.y, self.body);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
            width=\"{WIDTH}\" \
             height=\"{height:.0}\" role=\"img\">\n<title>anyport bench: what each way of \
                 sending costs</title>\n\
             <style>{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" \
                 height=\"100%\"/>\n{body}</svg>\n"
        )
    }
}

/// Seconds to places, with round ticks.
struct Scale {
    longest: f64,
    step: f64,
}

impl Scale {
    fn to(longest: f64) -> Self {
        let longest = if longest > 0.0 { longest } else { 1.0 };
        let power = 10_f64.powf((longest / 6.0).log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
        let step = steps.into_iter().find(|step| longest / step <= 6.0).unwrap_or(longest);
        Self { longest, step }
    }

    fn x(&self, seconds: f64) -> f64 {
        BARS + seconds / self.longest * (BARS_END - BARS)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (step, longest) = (self.step, self.longest);
        (0..=6).map(move |i| f64::from(i) * step).filter(move |tick| *tick <= longest * 1.0001)
    }

    fn label(&self, tick: f64) -> String {
        let decimals = (0..7).find(|d| {
            let scaled = self.step * 10_f64.powi(*d);
            (scaled - scaled.round()).abs() < 1e-6 * scaled
        });
        let decimals = usize::try_from(decimals.unwrap_or(6)).unwrap_or(6);
        format!("{tick:.decimals$} s")
    }
}

/// 1017558069 as 1,017,558,069.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let start: String = text.chars().take(most - 1).collect();
    format!("{start}…")
}

/// Lines of at most `most` characters, broken between words where words allow.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > most {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;
    use anyport_console::SinkKind;

    #[test]
    fn text_is_escaped_and_what_xml_cannot_hold_is_left_out() {
        assert_eq!(escape("a<b> & \"c'\u{1}\n\u{1b}"), "a&lt;b&gt; &amp; &quot;c&#39; ");
    }

    #[test]
    fn each_kind_of_row_has_a_colour_by_day_and_by_night() {
        for row in rows::rows(SinkKind::Discard, false, 256 * 1024) {
            let class = format!(".{}", row.kind.as_str());
            assert_eq!(STYLE.matches(&class).count(), 2, "{class}");
        }
    }

    #[test]
    fn ticks_are_round_and_reach_to_the_end() {
        let labels = |longest| {
            let scale = Scale::to(longest);
            scale.ticks().map(|tick| scale.label(tick)).collect::<Vec<_>>()
        };
        assert_eq!(labels(0.6), ["0.0 s", "0.1 s", "0.2 s", "0.3 s", "0.4 s", "0.5 s", "0.6 s"]);
        assert_eq!(labels(12.0), ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s", "12 s"]);
        assert_eq!(labels(0.0), labels(1.0));
    }

    #[test]
    fn numbers_are_grouped_and_lines_broken() {
        assert_eq!(
            [0, 999, 1000, 1_017_558_069].map(grouped),
            ["0", "999", "1,000", "1,017,558,069"]
        );
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(shortened("abcdef", 4), "abc…");
    }
}
