//! One page that needs no other: the picture, the table, the environment.

use std::fmt::Write;

use super::svg::{escape, grouped, svg};
use super::table::show;
use super::{Report, mebibytes, seconds as show_seconds};

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif;\
margin:0 auto;max-width:1120px;padding:16px;\
background:#fff;color:#1f2328}\
svg{max-width:100%;height:auto;display:block}\
.wide{overflow-x:auto}\
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;white-space:nowrap}\
th,td{padding:4px 7px;text-align:right;border-bottom:1px solid #d8dee4}\
th:first-child,td:first-child{text-align:left}\
tbody th{padding-top:14px}\
.broken{color:#b42318;text-align:left;white-space:normal}\
@media (prefers-color-scheme:dark){\
body{background:#0d1117;color:#e6edf3}th,td{border-color:#30363d}\
.broken{color:#ff8a80}}";

pub(crate) fn html(report: &Report) -> String {
    let base = report.base.as_deref().unwrap_or("the base");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>anyport \
             bench, {date}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{picture}\n\
         <div class=\"wide\">\n<table>\n<thead><tr>\
         <th>row</th><th>median s</th><th>min</th><th>max</th><th>GB/s</th><th>times {base}</th>\
         <th>times its baseline</th><th>CPU s: send</th><th>receive</th>\
         <th>memory MiB: idle</th><th>peak</th></tr></thead>\n<tbody>\n",
        date = escape(&report.environment.date),
        picture = svg(report),
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
