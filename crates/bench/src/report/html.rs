//! One page that needs no other: the picture, the table, the environment.

use std::fmt::Write;

use super::svg::{escape, grouped, svg};
use super::table::show;
use super::{Report, mebibytes, seconds as show_seconds};

/// Beside the style that it shares with the page of the server. The picture is a file of its own
/// too, so it brings colours, which the page replaces.
const STYLE: &str = "\
body{margin:0 auto;max-width:1120px;padding:16px}\
svg{max-width:100%;height:auto;display:block}\
svg text{fill:var(--text)}svg .quiet{fill:var(--muted)}svg .broken{fill:var(--danger)}\
svg .heading{stroke:var(--page)}svg .paper{fill:var(--page)}svg .grid{stroke:var(--line)}\
svg .base{stroke:var(--muted)}svg .whisker{stroke:var(--text)}\
.wide{overflow-x:auto}\
table{border-collapse:collapse;font-size:.8125rem;white-space:nowrap}\
th,td{padding:4px 7px;text-align:right;border-bottom:1px solid var(--line)}\
th{color:var(--muted);font-weight:500}\
th:first-child,td:first-child{text-align:left}\
tbody th{padding-top:14px;color:var(--text);font-weight:600}\
.broken{color:var(--danger);text-align:left;white-space:normal}";

pub(crate) fn html(report: &Report) -> String {
    let base = report.base.as_deref().unwrap_or("the base");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>anyport \
             bench, {date}</title>\n\
         <style>{shared}{STYLE}</style>\n</head>\n<body>\n{picture}\n\
         <div class=\"wide\">\n<table>\n<thead><tr>\
         <th>row</th><th>median s</th><th>min</th><th>max</th><th>GB/s</th><th>times {base}</th>\
         <th>times its baseline</th><th>CPU s: send</th><th>receive</th>\
         <th>memory MiB: idle</th><th>peak</th></tr></thead>\n<tbody>\n",
        date = escape(&report.environment.date),
        picture = svg(report),
        shared = anyport_page::base_style(),
        base = escape(base),
    );
    let mut kind = None;
    for line in &report.rows {
        if kind.replace(line.row.kind) != Some(line.row.kind) {
            let heading = escape(line.row.kind.heading());
            let _ = writeln!(page, "<tr><th colspan=\"11\">{heading}</th></tr>");
        }
        let name = escape(&line.row.name);
        let figures = match &line.figures {
            Ok(figures) => figures,
            Err(reason) => {
                let reason = escape(reason);
                let _ = writeln!(
                    page,
                    "<tr><td>{name}</td><td colspan=\"10\" class=\"broken\">no \
                    result: {reason}</td></tr>"
                );
                continue;
            }
        };
        let seconds = figures.seconds;
        let baseline = figures.over_baseline.as_ref();
        let cells = [
            show_seconds(seconds.median),
            show_seconds(seconds.min),
            show_seconds(seconds.max),
            format!("{:.2}", figures.rate / 1e9),
            figures.over_base.map(show).unwrap_or_default(),
            baseline.map(|(_, ratio)| show(*ratio)).unwrap_or_default(),
            format!("{:.2}", figures.sender_cpu),
            figures.receiver_cpu.map(|cpu| format!("{cpu:.2}")).unwrap_or_default(),
            mebibytes(figures.idle),
            mebibytes(figures.peak),
        ];
        let cells = cells.map(|cell| format!("<td>{}</td>", escape(&cell))).concat();
        let _ = writeln!(page, "<tr><td>{name}</td>{cells}</tr>");
    }
    let _ = writeln!(
        page,
        "</tbody>\n</table>\n</div>\n<p>{} bytes in every run. What each figure means: \
        docs/BENCH.md of anyport.</p>\n\
         </body>\n</html>",
        grouped(report.bytes)
    );
    page
}
