//! Values that several commands accept.

use anyport_proto::transfer::receipt::Engine;
use anyport_store::{Fsync, SinkKind};
use clap::builder::TypedValueParser;

use crate::values::{Choices, choice};

/// Storage backends.
pub const SINKS: Choices<SinkKind> = &[
    ("discard", SinkKind::Discard, "Discard received bytes"),
    ("memory", SinkKind::Memory, "Keep files in memory until the receipt is sent"),
    ("file", SinkKind::File, "Store files on disk"),
];

/// Data to fsync before sending the receipt.
pub const FSYNC: Choices<Fsync> = &[
    ("file", Fsync::File, "The file and its directory entry"),
    ("none", Fsync::None, "The receipt does not wait for the disk"),
];

/// Whether this build has the WebSocket library.
pub const HAS_LIBRARY: bool = cfg!(feature = "library-engine");

/// Returns the parser of a WebSocket implementation.
///
/// It refuses one that this build does not have.
pub fn engine() -> impl TypedValueParser<Value = Engine> {
    const LIBRARY: &str = if HAS_LIBRARY { "tokio-tungstenite, for comparison" } else { "" };
    const ENGINES: Choices<Engine> = &[
        ("own", Engine::Own, "The built-in implementation"),
        ("library", Engine::Library, LIBRARY),
    ];
    choice(ENGINES).try_map(|engine| match engine {
        Engine::Library if !HAS_LIBRARY => {
            Err("this build has no library engine (cargo feature library-engine)")
        }
        engine => Ok(engine),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_is_not_built_is_refused_and_not_offered() {
        let engine = clap::Arg::new("engine").long("engine").value_parser(engine());
        let mut command = clap::Command::new("anyport").arg(engine);
        let error = |value: &str| {
            let parsed = command.clone().try_get_matches_from(["anyport", "--engine", value]);
            parsed.err().map(|error| error.to_string())
        };
        assert_eq!(error("own"), None);
        assert!(error("carrier-pigeon").unwrap().contains("possible values: own"));
        let refused = error("library");
        let help = command.render_help().to_string();
        if cfg!(feature = "library-engine") {
            assert_eq!((refused, help.contains("library")), (None, true));
        } else {
            assert!(refused.unwrap().contains("this build has no library engine"));
            assert!(!help.contains("library"), "{help}");
        }
    }
}
