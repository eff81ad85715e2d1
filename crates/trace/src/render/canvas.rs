//! Elements of a picture, each on a line of its own.

use std::fmt::{self, Write};

use anyport_proto::visible::make_visible;

/// Width of a picture, its margin, and its right end.
pub(super) const WIDTH: f64 = 1000.0;
pub(super) const MARGIN: f64 = 24.0;
pub(super) const RIGHT: f64 = WIDTH - MARGIN;

/// Escaped for text and attributes of XML and HTML: visible characters, and none that XML cannot
/// hold.
pub(super) fn escape(text: &str) -> String {
    let visible = make_visible(text);
    visible.chars().fold(String::with_capacity(visible.len()), |mut out, character| {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push(char::REPLACEMENT_CHARACTER),
            _ => out.push(character),
        }
        out
    })
}

/// A point in user units.
pub(super) type Point = (f64, f64);

/// Where a text begins, is centred, or ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture that grows downwards.
#[derive(Debug, Default)]
pub(super) struct Canvas {
    pub(super) body: String,
    /// The next free line.
    pub(super) y: f64,
}

impl Canvas {
    pub(super) fn write(&mut self, element: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }

    pub(super) fn text(&mut self, (x, y): Point, class: &str, anchor: Anchor, text: &str) {
        let text = escape(text);
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        self.write(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}"{anchor}>{text}</text>"#
        ));
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): Point, (x2, y2): Point) {
        self.write(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    pub(super) fn rect(&mut self, class: &str, (x, y): Point, (width, height): Point) {
        self.write(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="3"/>"#
        ));
    }

    pub(super) fn path(&mut self, class: &str, data: &str) {
        self.write(format_args!(r#"<path class="{class}" d="{data}"/>"#));
    }

    /// The text that a browser shows for the group that begins with it.
    pub(super) fn tooltip(&mut self, text: &str) {
        self.write(format_args!("<title>{}</title>", escape(text)));
    }

    /// A line with a head at its end.
    pub(super) fn arrow(&mut self, class: &str, from: Point, to: Point) {
        self.line(class, from, to);
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        // `hypot` would be the only function that needs glibc 2.35.
        let length = (dx * dx + dy * dy).sqrt().max(1e-6);
        let (ux, uy) = (dx / length, dy / length);
        let (bx, by) = (to.0 - ux * 9.0, to.1 - uy * 9.0);
        let (nx, ny) = (-uy * 3.6, ux * 3.6);
        self.path(
            &format!("{class} tip"),
            &format!(
                "M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}Z",
                to.0,
                to.1,
                bx + nx,
                by + ny,
                bx - nx,
                by - ny
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_what_xml_cannot_hold_is_replaced() {
        assert_eq!(escape("a<b> & \"c'\u{1}\u{202e}\u{fffe}"), "a&lt;b&gt; &amp; &quot;c&#39;␁��");
    }
}
