//! Which protocol do these bytes speak? Reads standard input until detection has a result.
//!
//! ```text
//! $ printf 'GET / HTTP/1.1\r\n' | cargo run -p anyport-proto --example detect_a_protocol
//! http1 after 16 bytes
//! ```
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::io::{self, Read};

use anyport_proto::detect::{Detection, detect, detect_at_end};
use anyport_proto::limits::Limits;

fn main() -> io::Result<()> {
    let limits = Limits::default();
    let mut prefix = Vec::new();
    let mut piece = [0; 4096];
    loop {
        // Each call gets all bytes from the first one; a result never changes when bytes are added.
        if let Detection::Known(protocol) = detect(&prefix, &limits) {
            println!("{protocol} after {} bytes", prefix.len());
            return Ok(());
        }
        let count = io::stdin().read(&mut piece)?;
        if count == 0 {
            println!("{} at the end of the stream", detect_at_end(&prefix, &limits));
            return Ok(());
        }
        prefix.extend_from_slice(&piece[..count]);
    }
}
