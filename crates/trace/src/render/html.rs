//! A trace as a page: the picture, and a table for those who do not see it.

use std::collections::BTreeSet;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::canvas::escape;
use super::curves::curves;
use super::ladder::ROWS;
use super::model::{Detail, Row};
use super::rows::rows;
use super::style::{page_style, svg_style};
use super::svg::{facts, pieces, run};
use super::words::{diagnosis_lines, milliseconds};
use crate::diagnosis::Limit;
use crate::event::{Basis, Side};
use crate::explain::Explanation;
use crate::recorder::Trace;

/// Zooms and pans the picture; without it the buttons stay hidden.
const SCRIPT: &str = include_str!("zoom.js");

/// Returns the trace as a page, a file of its own.
///
/// Its policy allows its styles and the script that zooms, each by its hash, and nothing else.
pub fn html(trace: &Trace) -> String {
    let style = page_style();
    let policy = format!(
        "default-src 'none'; style-src {} {}; script-src {}; base-uri 'none'; form-action 'none'",
        hash(&style),
        hash(&svg_style()),
        hash(SCRIPT)
    );
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n{}\
         <div class=\"zoom\" hidden=\"\">\n<button type=\"button\">−</button>\n\
         <button type=\"button\">+</button>\n<button type=\"button\">Whole picture</button>\n\
         </div>\n<div class=\"frame\">\n<div class=\"picture\">\n{}</div>\n</div>\n\
         <details open=\"\">\n<summary>The same as a table</summary>\n",
        escape(&trace.header.command),
        head(trace),
        pieces(trace),
    );
    table(&mut page, trace);
    measured(&mut page, trace);
    let _ = write!(
        page,
        "</details>\n<footer>Made by anyport trace. The page loads nothing and sends nothing.\
         </footer>\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    );
    page
}

/// What is read first, and so on a narrow screen too: the command, and what limited it.
fn head(trace: &Trace) -> String {
    let (command, facts) = (escape(&trace.header.command), escape(&facts(trace)));
    let mut head = format!("<h1>{command}</h1>\n<p class=\"facts\">{facts}</p>\n");
    if let Some(diagnosis) = &trace.diagnosis {
        let class = if diagnosis.main == Limit::Unknown { "limit unknown" } else { "limit" };
        let _ = writeln!(head, "<div class=\"{class}\">");
        for line in diagnosis_lines(diagnosis) {
            let _ = writeln!(head, "<p>{}</p>", escape(&line));
        }
        head.push_str("</div>\n");
    }
    head
}

fn hash(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

fn table(page: &mut String, trace: &Trace) {
    let rows = rows(trace, run(trace));
    let several = rows.iter().any(|row| row.connection > Some(1));
    page.push_str("<div class=\"wide\">\n<table>\n<thead><tr><th>ms</th>");
    if several {
        page.push_str("<th>connection</th>");
    }
    page.push_str("<th>from</th><th>layer</th><th>known</th><th>what</th></tr></thead>\n<tbody>\n");
    for row in rows.iter().take(ROWS) {
        table_row(page, row, several);
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
    if let Some(more @ 1..) = rows.len().checked_sub(ROWS) {
        let _ = writeln!(page, "<p>{more} further rows are in the saved trace only.</p>");
    }
}

fn table_row(page: &mut String, row: &Row, several: bool) {
    let from = match row.from {
        Some(Side::Client) => "client",
        Some(Side::Server) => "server",
        None => "",
    };
    let basis = match row.basis {
        Basis::Observed => "observed",
        Basis::Inferred => "inferred",
    };
    let _ = write!(page, "<tr><td>{}</td>", milliseconds(row.at));
    if several {
        let number = row.connection.map(|number| number.to_string()).unwrap_or_default();
        let _ = write!(page, "<td>{number}</td>");
    }
    let alarm = if row.is_alarm { " class=\"alarm\"" } else { "" };
    let (layer, label) = (row.layer.name(), escape(&row.label_with_time()));
    let _ = write!(page, "<td>{from}</td><td>{layer}</td><td>{basis}</td><td{alarm}>{label}");
    if let Some(explanation) = row.explanation {
        explain(page, explanation);
    }
    let mut pairs = row.details.iter().flat_map(|detail| match detail {
        Detail::Pair(name, value) => vec![(name.clone(), value.clone())],
        Detail::Bits(parts) => {
            let pair = |[_, bits, meaning]: &[String; 3]| (meaning.clone(), bits.clone());
            parts.iter().map(pair).collect()
        }
    });
    if let Some(first) = pairs.next() {
        page.push_str("<dl>");
        for (name, value) in std::iter::once(first).chain(pairs) {
            let _ = write!(page, "<dt>{}</dt><dd>{}</dd>", escape(&name), escape(&value));
        }
        page.push_str("</dl>");
    }
    page.push_str("</td></tr>\n");
}

/// The curves below the axis: lowest and highest value, and what they mean.
fn measured(page: &mut String, trace: &Trace) {
    let connections = curves(trace);
    let several = connections.len() > 1;
    let (mut explained, end) = (BTreeSet::new(), trace.header.recorded_by);
    for (number, curves) in &connections {
        let of = if several { format!(", connection {number}") } else { String::new() };
        let _ = writeln!(
            page,
            "<h2>Measured by the {end}'s kernel{of}</h2>\n<div class=\"wide\">\n<table>\n<tbody>"
        );
        for curve in curves {
            let (low, high) = curve.range();
            let (name, range) = (escape(curve.name), escape(&curve.show_range(low, high)));
            let _ = write!(page, "<tr><td>{name}</td><td>{range}");
            if explained.insert(curve.explanation.text) {
                explain(page, curve.explanation);
            }
            page.push_str("</td></tr>\n");
        }
        page.push_str("</tbody>\n</table>\n</div>\n");
    }
}

fn explain(page: &mut String, Explanation { text, reference }: Explanation) {
    let (text, reference) = (escape(text), escape(reference));
    let _ = write!(page, "<p>{text} <cite>{reference}</cite></p>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::What;
    use crate::render::examples;

    /// The texts between an opening tag and its end.
    fn elements<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        page.split(&open).skip(1).filter_map(|rest| rest.split(&close).next()).collect()
    }

    #[test]
    fn the_policy_allows_the_styles_and_the_script_of_the_page_only() {
        let page = html(&examples::websocket());
        let policy = page.split("content=\"default-src 'none'; ").nth(1).unwrap();
        let policy = policy.split('"').next().unwrap();
        let all = [elements(&page, "style"), elements(&page, "script")].concat();
        assert_eq!(all.len(), 3);
        for element in all {
            assert!(policy.contains(&hash(element)), "{element}");
        }
        assert_eq!(policy.matches("sha256-").count(), 3, "{policy}");
        let handler = |rest: &str| rest.split([' ', '>']).next().unwrap().contains('=');
        let has_handler = page.split(" on").skip(1).any(handler);
        assert!(!page.contains(" style=") && !has_handler, "no attribute is allowed");
    }

    #[test]
    fn texts_of_a_peer_are_no_elements() {
        let page = html(&examples::hostile());
        assert_eq!(page.matches("<script").count(), 1);
        assert_eq!(page.matches("<style").count(), 2);
        assert!(page.contains("&lt;/text&gt;&lt;script&gt;alert(1)"));
        assert!(!page.contains(['\u{1b}', '\u{202e}', '\u{9b}', '\u{7}', '\r', '\u{fffe}']));
        // Every element is closed: what is written as HTML is XML too, but for void elements.
        let xml = page.replacen("<!doctype html>\n", "", 1);
        let void = |line: &str| {
            let is_void = line.starts_with("<meta ");
            if is_void { line.replace('>', "/>") } else { line.to_owned() }
        };
        let xml = xml.lines().map(void).collect::<Vec<_>>().join("\n");
        let xml = xml.replace(SCRIPT.trim_end(), "");
        roxmltree::Document::parse(&xml).unwrap();
    }

    #[test]
    fn the_table_holds_the_rows_of_the_picture() {
        let page = html(&examples::http2());
        assert!(page.contains("<td>client</td><td>HTTP/2</td><td>observed</td>"));
        assert!(page.contains("<td>client</td><td>TCP</td><td>inferred</td><td>SYN to"));
        assert!(page.len() < 1_000_000);
    }
    #[test]
    fn curves_are_explained_in_the_picture_and_in_a_table() {
        let page = html(&examples::lossy());
        for part in ["The time from a segment to its ACK", "Bytes per second that the other end"] {
            assert_eq!(page.matches(part).count(), 2, "{part}");
        }
        assert!(page.contains("<cite>RFC 6298 §2</cite>"));
    }

    #[test]
    fn the_table_has_whole_values_and_the_picture_has_them_as_a_tooltip() {
        let mut trace = examples::websocket();
        let value = format!("begin{}end", "-".repeat(500));
        let path = format!("GET /{}.jpg HTTP/1.1", "p".repeat(300));
        let head = trace.events.iter_mut().find_map(|event| match &mut event.what {
            What::Head { start, fields } => Some((start, fields)),
            _ => None,
        });
        let (start, fields) = head.unwrap();
        start.clone_from(&path);
        fields.push(("X-Long".to_owned(), value.clone()));
        fields.push(("X-Longest".to_owned(), format!("{}end", "=".repeat(60_000))));
        let page = html(&trace);
        assert!(page.contains(&format!("<dt>X-Long</dt><dd>{value}</dd>")));
        assert!(
            page.contains("=…=") && !page.contains(&"=".repeat(2000)) && page.contains("=end<")
        );
        assert!(page.contains(&format!("<title>X-Long: {value}</title>")));
        assert!(page.contains(&format!("<dt>first line</dt><dd>{path}</dd>")));
        let dashes = |line: &str| line.contains("class=\"mono\"") && line.contains("-end</text>");
        assert!(page.lines().any(dashes), "the end of the value is shown");
    }
}
