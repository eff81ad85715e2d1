//! A trace for people: as text on a terminal, as a picture, as a page.

mod curves;
mod details;
#[cfg(test)]
mod examples;
mod labels;
mod rows;
mod streams;
mod text;
mod words;

use crate::recorder::Trace;
pub use text::{TextOptions, text};

/// Returns the trace as a picture, a file of its own.
pub fn svg(_trace: &Trace) -> String {
    "<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n".to_owned()
}

/// Returns the trace as a page, a file of its own.
pub fn html(trace: &Trace) -> String {
    format!("<!doctype html>\n<html lang=\"en\"><title>trace</title>{}</html>\n", svg(trace))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    #[ignore = "writes files"]
    fn write() {
        let folder = std::path::PathBuf::from(std::env::var("TRACES").unwrap());
        for (name, trace) in [
            ("websocket", examples::websocket()),
            ("http2", examples::http2()),
            ("lossy", examples::lossy()),
            ("hostile", examples::hostile()),
        ] {
            for (width, explain) in [(80, false), (100, true)] {
                let options = TextOptions { width, color: false, explain };
                fs::write(folder.join(format!("{name}-{width}.txt")), text(&trace, &options))
                    .unwrap();
            }
            fs::write(folder.join(format!("{name}.svg")), svg(&trace)).unwrap();
            fs::write(folder.join(format!("{name}.html")), html(&trace)).unwrap();
            let mut file = fs::File::create(folder.join(format!("{name}.jsonl"))).unwrap();
            trace.write_json(&mut file).unwrap();
        }
    }
}
