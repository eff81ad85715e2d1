//! Lines below the flags in `--help`, which man pages have too: examples and exit codes.

/// Returns the examples of a command, such as `anyport-serve`: a command line and its effect.
pub(crate) fn examples(title: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let examples = EXAMPLES.iter().filter(move |(page, ..)| *page == title);
    examples.map(|(_, line, effect)| (*line, *effect))
}

/// Returns the exit codes that a command describes in its own words; empty if [`Exit`] suffices.
///
/// [`Exit`]: anyport_console::Exit
pub(crate) fn exit_codes(title: &str) -> &'static [(u8, &'static str)] {
    EXIT_CODES.iter().find(|(page, _)| *page == title).map_or(&[], |(_, codes)| codes)
}

/// Page, codes and their meanings.
const EXIT_CODES: [(&str, &[(u8, &str)]); 12] = [
    (
        "anyport-serve",
        &[
            (0, "Stopped by SIGTERM or anyport stop; with --daemon: started"),
            FAILED,
            USAGE,
            (130, "Stopped by Ctrl-C"),
        ],
    ),
    (
        "anyport-send",
        &[
            (0, "Sent and verified"),
            FAILED,
            USAGE,
            UNREACHABLE,
            (4, "Refused by the server"),
            (5, "The stored file differs from the file that was sent"),
            LOST,
            UNTRUSTED,
        ],
    ),
    ("anyport-get", RECEIVING),
    (
        "anyport-ls",
        &[
            (0, "Listed"),
            FAILED,
            USAGE,
            UNREACHABLE,
            (4, "Refused by the server"),
            (6, "Connection lost"),
            UNTRUSTED,
        ],
    ),
    (
        "anyport-chat",
        &[
            (0, "Left the room"),
            USAGE,
            UNREACHABLE,
            (4, "Refused by the server"),
            (6, "Connection lost, and not restored within --retry"),
            UNTRUSTED,
            (130, "Left by Ctrl-C"),
        ],
    ),
    (
        "anyport-cat",
        &[
            (0, "The server closed cleanly"),
            FAILED,
            USAGE,
            UNREACHABLE,
            (4, "Refused, or closed with another code than 1000"),
            (6, "Connection lost"),
            UNTRUSTED,
        ],
    ),
    (
        "anyport-probe",
        &[
            (0, "A protocol was found; that of the URL, if it has a scheme"),
            (1, "No known protocol was found, or not that of the URL"),
            USAGE,
            (3, "The name does not resolve, or no address accepts connections"),
            (6, "The server closes or resets each connection before any byte"),
            (7, "The URL asks for TLS, which failed, or the server is not trusted"),
        ],
    ),
    (
        "anyport-resolve",
        &[(0, "All names resolved"), USAGE, (3, "One or more names did not resolve")],
    ),
    ("anyport-status", &[(0, "All servers answered"), FAILED, (3, "No server runs")]),
    (
        "anyport-reload",
        &[
            (0, "Reloaded"),
            (1, "The new settings cannot be used; the old ones remain"),
            (2, "Several servers run: select one with --control"),
            (3, "No server runs"),
        ],
    ),
    (
        "anyport-stop",
        &[
            (0, "The server stops (with --wait: has stopped)"),
            FAILED,
            (2, "Several servers run: select one with --control"),
            (3, "No server runs"),
        ],
    ),
    ("anyport-config-check", &[(0, "The settings are valid"), (2, "They are not")]),
];

const RECEIVING: &[(u8, &str)] = &[
    (0, "Received and verified"),
    FAILED,
    USAGE,
    UNREACHABLE,
    (4, "Refused by the server"),
    (5, "The received file differs from the file on the server"),
    LOST,
    UNTRUSTED,
];

const FAILED: (u8, &str) = (1, "Failed for a reason that no other code names");
const USAGE: (u8, &str) = (2, "The command line or a setting is invalid");
const UNREACHABLE: (u8, &str) = (3, "The name does not resolve, or the server cannot be reached");
const LOST: (u8, &str) = (6, "Connection lost; the same command resumes the transfer");
const UNTRUSTED: (u8, &str) = (7, "TLS failed, or the server is not trusted");

/// Returns the signals that a command handles, and their effects.
pub(crate) fn signals(title: &str) -> &'static [(&'static str, &'static str)] {
    if title == "anyport-serve" { &SIGNALS } else { &[] }
}

const SIGNALS: [(&str, &str); 3] = [
    ("SIGTERM, Ctrl-C", "Stop after --drain-delay and running transfers; twice: now"),
    ("SIGHUP", "Reload the settings, as anyport reload does"),
    ("SIGUSR1", "Reopen the --log-file"),
];

/// The command line of a server for other machines.
pub(crate) const OPEN: &str = "anyport serve inbox --open --bind 0.0.0.0";

/// Page, command line and its effect.
const EXAMPLES: [(&str, &str, &str); 30] = [
    ("anyport", "anyport serve inbox", "Receive files into the directory inbox, from this machine"),
    ("anyport", OPEN, "The same, from other machines too"),
    ("anyport", "anyport send photo.jpg HOST", "Send a file (the default port is 8331)"),
    ("anyport", "anyport get HOST/photo.jpg", "Download it"),
    ("anyport-serve", OPEN, "Receive files from all networks"),
    (
        "anyport-serve",
        "anyport serve --bind 0.0.0.0 --token-file tokens inbox",
        "Receive files from all networks, with a token",
    ),
    ("anyport-serve", "anyport serve --config anyport.toml", "Read the settings from a file"),
    ("anyport-serve", "ANYPORT_MAX_SIZE=1GiB anyport serve", "Set a limit in the environment"),
    (
        "anyport-send",
        "anyport send -p src/ HOST:8331/backup/",
        "Send a directory with its permissions",
    ),
    (
        "anyport-send",
        "tar c src | anyport send - HOST:8331/src.tar",
        "Send the output of a program",
    ),
    (
        "anyport-get",
        "anyport get tcp://HOST/backup/ -o here/",
        "Download a directory and its content",
    ),
    ("anyport-get", "anyport get HOST --pipe secret -o -", "Receive from a pipe, to stdout"),
    ("anyport-ls", "anyport ls -R tcp://HOST/", "List all files of a server"),
    ("anyport-chat", "anyport chat HOST/rooms/lobby --as Ann", "Chat in a room"),
    (
        "anyport-cat",
        "echo hello | anyport cat ws://HOST/echo",
        "Send a message and print the answer",
    ),
    (
        "anyport-cat",
        "printf '%64s' | anyport cat -q 1s udp://HOST:13",
        "Send a datagram of 64 bytes; wait 1 s for answers",
    ),
    ("anyport-probe", "anyport probe HOST:8331", "Find out what a port speaks"),
    (
        "anyport-probe",
        "anyport probe https://example.org/ --json",
        "Show TLS, certificate and HTTP of a site as JSON",
    ),
    (
        "anyport-trace",
        "anyport trace send photo.jpg HOST",
        "Send a file, and show its connection and what limited it",
    ),
    (
        "anyport-trace",
        "anyport trace --explain --html trace.html get https://HOST/photo.jpg",
        "Download a file; explain each event, also as a page",
    ),
    (
        "anyport-resolve",
        "anyport resolve --reverse example.org",
        "Resolve a name and its addresses",
    ),
    (
        "anyport-token",
        "(umask 077; anyport token --name ann >> tokens)",
        "Add a token to the file that serve --token-file reads",
    ),
    ("anyport-bench", "anyport bench --size 100MB --runs 3", "Measure with a smaller file"),
    ("anyport-config", "anyport config example > anyport.toml", "Start a settings file"),
    ("anyport-config-check", "anyport config check anyport.toml", "Check a file before a restart"),
    (
        "anyport-config-show",
        "anyport config show -c anyport.toml",
        "Show all values and their origins",
    ),
    ("anyport-config-example", "anyport config example > anyport.toml", "Start a settings file"),
    ("anyport-man", "anyport man --dir /usr/local/share/man/man1", "Install all pages"),
    ("anyport-man", "anyport man serve | man -l -", "Read a page"),
    (
        "anyport-completions",
        "source <(anyport completions bash)",
        "Enable completion in this shell",
    ),
];
