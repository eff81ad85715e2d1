//! Properties of a setting that clap does not know, and its name in messages.

use std::fmt;

use anyport_proto::setting::{OUTPUT, PROXY, Setting};
use clap::builder::ArgExt;

/// When a change of a flag of `anyport serve` needs a restart: a running server keeps its old
/// value. A reload applies flags without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    /// For any change.
    Always,
    /// To set or to unset it; another value is applied.
    ToSetOrUnset,
    /// To listen on other addresses; what is set for a present listener is applied.
    ToListenElsewhere,
}

impl ArgExt for Restart {}

/// Writes a setting that a library names in a message as the flag that sets it.
pub(crate) fn as_flag(setting: Setting, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match setting {
        OUTPUT => f.write_str("-o"),
        PROXY => f.write_str("-x"),
        setting => write!(f, "--{}", setting.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use anyport_proto::setting::ALL;

    #[test]
    fn each_setting_that_a_message_names_is_a_flag() {
        let program = crate::layers::program();
        let longs = program.get_subcommands().flat_map(|command| command.get_arguments());
        let longs: Vec<_> = longs.filter_map(clap::Arg::get_long).collect();
        for setting in ALL {
            assert!(longs.contains(&setting.as_str()), "{setting:?}");
        }
    }
}
