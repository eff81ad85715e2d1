//! The rows of the benchmark, in one table: a new transport is one line.

use anyport_console::choices::HAS_LIBRARY;
use anyport_console::{Engine, SinkKind};

use super::peers::Tool;

/// A row of the benchmark: a sender and a receiver that are measured together.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Name in `--pairs`, JSON and CSV.
    pub(super) id: String,
    /// Name in tables and charts.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    /// Id of the row that this one is compared to.
    pub(super) baseline: Option<String>,
    /// Work in addition to the transfer.
    pub(super) extra: Extra,
    /// Payload of a frame, if it differs from `--frame-size`.
    pub(super) frame_size: Option<usize>,
}

/// A skipped row, with its reason.
#[derive(Debug)]
pub(super) struct Skipped {
    pub(super) name: String,
    pub(super) reason: String,
}

/// The group of a row; each group has a heading in reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Baseline,
    /// A bare sender with anyport as the receiver, to compare receivers.
    Receiving,
    Pair,
    /// A pair with additional work: storage, digest or TLS.
    Variant,
    /// A row with another frame size.
    Sized,
    /// Another installed program.
    Peer,
    /// A running server.
    Server,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            // A stable word of JSON and CSV.
            Self::Baseline => "yardstick",
            Self::Receiving => "receiving",
            Self::Pair => "pair",
            Self::Variant => "variant",
            Self::Sized => "sized",
            Self::Peer => "peer",
            Self::Server => "server",
        }
    }

    pub(super) const fn heading(self) -> &'static str {
        match self {
            Self::Baseline => "baselines: bare loops, no product code",
            Self::Receiving => "receivers alone: the same bare sender from memory",
            Self::Pair => {
                "pairs: client → server (own: anyport's code, library: tokio-tungstenite)"
            }
            Self::Variant => "pairs with additional work",
            Self::Sized => "frames of other sizes, with baselines of the same size",
            Self::Peer => "other installed programs",
            Self::Server => "running servers",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Sender {
    Anyport(Client),
    Bare(Bare),
    Tool(Tool),
}

#[derive(Debug, Clone)]
pub(super) enum Receiver {
    Anyport(Engine),
    Bare {
        frames: bool,
    },
    Tool(Tool),
    /// A server that the benchmark does not start.
    Running {
        url: String,
    },
}

/// The transport of anyport's client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// Raw TCP without a preface.
    Raw,
    /// Raw TCP with the preface, so that any anyport server sends a receipt.
    Preface,
    /// Built-in WebSocket implementation, with the opening handshake.
    Ws,
    /// Built-in WebSocket implementation, bare frames.
    Frames,
    /// tokio-tungstenite.
    Library,
}

/// The transport of a baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bare {
    pub(super) framing: Framing,
    /// Whether it reads the file; if not, it sends one buffer repeatedly.
    pub(super) reads_file: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Frames,
    /// Frames after an opening handshake, and a Close.
    WebSocket,
}

/// Work in addition to the transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    None,
    /// The receiver stores a file, whatever `--sink` says.
    Stored,
    /// BLAKE3 at both ends, whatever `--digest` says.
    Hashed,
    /// Under TLS.
    Encrypted,
}

/// The row that the others are compared to.
pub(super) const BASE: &str = "raw-own";

const BARE_TCP: &str = "bare-tcp";
const BARE_WS: &str = "bare-ws";
const BARE_TCP_FILE: &str = "bare-tcp-file";

const MEMORY: Bare = Bare { framing: Framing::None, reads_file: false };
const FILE: Bare = Bare { framing: Framing::None, reads_file: true };
const WEBSOCKET: Bare = Bare { framing: Framing::WebSocket, reads_file: false };
const FILE_FRAMES: Bare = Bare { framing: Framing::Frames, reads_file: true };
const FRAMES: Bare = Bare { framing: Framing::Frames, reads_file: false };

type Line = (&'static str, &'static str, Kind, Sender, Receiver, Option<&'static str>, Extra);

/// The table: id, name, kind, sender, receiver, baseline, difference.
const TABLE: [Line; 20] = {
    use Client as C;
    use Kind::{Baseline, Pair, Receiving, Variant};
    use Sender::{Anyport, Bare as Loop};
    const TCP: Receiver = Receiver::Bare { frames: false };
    const WS: Receiver = Receiver::Bare { frames: true };
    const OWN: Receiver = Receiver::Anyport(Engine::Own);
    const LIBRARY: Receiver = Receiver::Anyport(Engine::Library);
    [
        (BARE_TCP, "bare tcp", Baseline, Loop(MEMORY), TCP, None, Extra::None),
        (
            "bare-tcp-read",
            "bare tcp, reads file",
            Baseline,
            Loop(FILE),
            TCP,
            Some(BARE_TCP),
            Extra::None,
        ),
        (BARE_WS, "bare ws", Baseline, Loop(FRAMES), WS, Some(BARE_TCP), Extra::None),
        (
            "bare-ws-read",
            "bare ws, reads file",
            Baseline,
            Loop(FILE_FRAMES),
            WS,
            Some(BARE_WS),
            Extra::None,
        ),
        (
            BARE_TCP_FILE,
            "bare tcp → file",
            Baseline,
            Loop(MEMORY),
            TCP,
            Some(BARE_TCP),
            Extra::Stored,
        ),
        ("bare-own", "bare tcp → own", Receiving, Loop(MEMORY), OWN, Some(BARE_TCP), Extra::None),
        (
            "bare-ws-own",
            "bare ws → own",
            Receiving,
            Loop(WEBSOCKET),
            OWN,
            Some(BARE_WS),
            Extra::None,
        ),
        (
            "bare-ws-library",
            "bare ws → library",
            Receiving,
            Loop(WEBSOCKET),
            LIBRARY,
            Some(BARE_WS),
            Extra::None,
        ),
        (BASE, "raw → own", Pair, Anyport(C::Raw), OWN, Some(BARE_TCP), Extra::None),
        ("ws-own", "ws → own", Pair, Anyport(C::Ws), OWN, Some(BARE_WS), Extra::None),
        ("frames-own", "frames → own", Pair, Anyport(C::Frames), OWN, Some(BARE_WS), Extra::None),
        (
            "library-own",
            "library → own",
            Pair,
            Anyport(C::Library),
            OWN,
            Some(BARE_WS),
            Extra::None,
        ),
        (
            "library-library",
            "library → library",
            Pair,
            Anyport(C::Library),
            LIBRARY,
            Some(BARE_WS),
            Extra::None,
        ),
        ("ws-library", "ws → library", Pair, Anyport(C::Ws), LIBRARY, Some(BARE_WS), Extra::None),
        (
            "raw-own-file",
            "raw → own → file",
            Variant,
            Anyport(C::Raw),
            OWN,
            Some(BARE_TCP_FILE),
            Extra::Stored,
        ),
        (
            "ws-own-file",
            "ws → own → file",
            Variant,
            Anyport(C::Ws),
            OWN,
            Some("raw-own-file"),
            Extra::Stored,
        ),
        (
            "raw-own-blake3",
            "raw → own, BLAKE3",
            Variant,
            Anyport(C::Raw),
            OWN,
            Some(BARE_TCP),
            Extra::Hashed,
        ),
        ("tls-own", "raw → own, TLS", Variant, Anyport(C::Raw), OWN, Some(BASE), Extra::Encrypted),
        (
            "wss-own",
            "ws → own, TLS",
            Variant,
            Anyport(C::Ws),
            OWN,
            Some("ws-own"),
            Extra::Encrypted,
        ),
        (
            "wss-library",
            "library → library, TLS",
            Variant,
            Anyport(C::Library),
            LIBRARY,
            Some("library-library"),
            Extra::Encrypted,
        ),
    ]
};

/// Additional frame sizes, each with the suffixes for a row's id and its name.
const SIZES: [(usize, &str, &str); 2] =
    [(64 * 1024, "-64k", ", 64 KiB"), (1024 * 1024, "-1m", ", 1 MiB")];

/// The rows that are measured with frames of each size.
const SIZED: [&str; 7] =
    [BARE_WS, "bare-ws-read", "bare-ws-own", "ws-own", "library-library", "wss-own", "wss-library"];

/// The cost of one layer: the time of `row` divided by the time of `over`.
pub(super) struct Layer {
    pub(super) name: &'static str,
    pub(super) row: &'static str,
    pub(super) over: &'static str,
}

/// The layers whose cost is reported if both rows were measured.
pub(super) const LAYERS: [Layer; 23] = [
    Layer { name: "reading the file", row: "bare-tcp-read", over: BARE_TCP },
    Layer { name: "anyport's raw client and server", row: BASE, over: BARE_TCP },
    Layer { name: "raw, if both read the file", row: BASE, over: "bare-tcp-read" },
    Layer { name: "frames and masks, bare", row: BARE_WS, over: BARE_TCP },
    Layer { name: "reading the file, with frames", row: "bare-ws-read", over: BARE_WS },
    Layer { name: "frames and masks, anyport's", row: "frames-own", over: BASE },
    Layer { name: "WebSocket with its handshake", row: "ws-own", over: BASE },
    Layer { name: "WebSocket, if both read the file", row: "ws-own", over: "bare-ws-read" },
    Layer { name: "with frames of 64 KiB", row: "ws-own-64k", over: "ws-own" },
    Layer { name: "with frames of 1 MiB", row: "ws-own-1m", over: "ws-own" },
    Layer { name: "a library as the client", row: "library-own", over: "ws-own" },
    Layer { name: "a library as the server", row: "ws-library", over: "ws-own" },
    Layer { name: "a library at both ends", row: "library-library", over: "ws-own" },
    Layer { name: "keeping a file", row: "raw-own-file", over: BASE },
    Layer { name: "keeping a file, with frames", row: "ws-own-file", over: "ws-own" },
    Layer { name: "BLAKE3 at both ends", row: "raw-own-blake3", over: BASE },
    Layer { name: "TLS", row: "tls-own", over: BASE },
    Layer { name: "TLS around frames", row: "wss-own", over: "ws-own" },
    Layer { name: "TLS around frames of 64 KiB", row: "wss-own-64k", over: "ws-own-64k" },
    Layer { name: "TLS around frames of 1 MiB", row: "wss-own-1m", over: "ws-own-1m" },
    Layer { name: "TLS around a library", row: "wss-library", over: "library-library" },
    Layer {
        name: "TLS around a library, frames of 64 KiB",
        row: "wss-library-64k",
        over: "library-library-64k",
    },
    Layer {
        name: "TLS around a library, frames of 1 MiB",
        row: "wss-library-1m",
        over: "library-library-1m",
    },
];

/// Returns the rows of the table, without those that would equal another row with this sink, digest
/// and frame size.
pub(super) fn rows(sink: SinkKind, hashed: bool, frame_size: usize) -> Vec<Row> {
    let line = |(id, name, kind, sender, receiver, baseline, extra): Line| Row {
        id: id.to_owned(),
        name: name.to_owned(),
        kind,
        sender,
        receiver,
        baseline: baseline.map(str::to_owned),
        extra,
        frame_size: None,
    };
    let repeats = |row: &Row| match row.extra {
        Extra::None | Extra::Encrypted => false,
        Extra::Stored => sink == SinkKind::File,
        Extra::Hashed => hashed,
    };
    let is_measured = |row: &Row| row.is_built() && !repeats(row);
    let mut rows: Vec<Row> = TABLE.into_iter().map(line).filter(is_measured).collect();
    for size in SIZES.iter().filter(|(size, ..)| *size != frame_size) {
        let sized = SIZED.iter().filter_map(|id| rows.iter().find(|row| row.id == *id));
        let sized: Vec<Row> = sized.map(|row| row.with_frames_of(size)).collect();
        rows.extend(sized);
    }
    rows
}

/// Returns the wanted rows, their baselines and the base row; all rows if none is wanted.
///
/// # Errors
/// The first name that is not a row.
pub(super) fn chosen(rows: Vec<Row>, wanted: &[String]) -> Result<Vec<Row>, String> {
    if let Some(unknown) = wanted.iter().find(|id| !rows.iter().any(|row| row.id == **id)) {
        return Err(unknown.clone());
    }
    if wanted.is_empty() {
        return Ok(rows);
    }
    let mut kept: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let baselines = rows.iter().filter(|row| wanted.contains(&row.id));
    let baselines: Vec<&str> = baselines.filter_map(|row| row.baseline.as_deref()).collect();
    kept.extend(baselines);
    kept.push(BASE);
    Ok(rows.iter().filter(|row| kept.contains(&row.id.as_str())).cloned().collect())
}

impl Row {
    /// Returns the row of a running server at `url`, to which `client` sends.
    pub(super) fn server(url: &str, client: Client) -> Self {
        let suffix = if client == Client::Library { " (library)" } else { "" };
        Self {
            id: format!("{}-{url}", client.as_str()),
            name: format!("{url}{suffix}"),
            kind: Kind::Server,
            sender: Sender::Anyport(client),
            receiver: Receiver::Running { url: url.to_owned() },
            baseline: None,
            extra: Extra::None,
            frame_size: None,
        }
    }

    /// Returns the row with frames of this size, compared to the baseline with the same size.
    fn with_frames_of(&self, (size, id, name): &(usize, &str, &str)) -> Self {
        let with_suffix = |baseline: &String| {
            if SIZED.contains(&baseline.as_str()) {
                format!("{baseline}{id}")
            } else {
                baseline.clone()
            }
        };
        Self {
            id: format!("{}{id}", self.id),
            name: format!("{}{name}", self.name),
            kind: Kind::Sized,
            baseline: self.baseline.as_ref().map(with_suffix),
            frame_size: Some(*size),
            ..self.clone()
        }
    }

    /// Returns whether this build has the WebSocket implementations of both ends.
    fn is_built(&self) -> bool {
        let sends = !matches!(self.sender, Sender::Anyport(Client::Library));
        let receives = !matches!(self.receiver, Receiver::Anyport(Engine::Library));
        (sends && receives) || HAS_LIBRARY
    }

    /// Returns whether its data is in frames.
    pub(super) fn is_framed(&self) -> bool {
        match &self.sender {
            Sender::Anyport(client) => !matches!(client, Client::Raw | Client::Preface),
            Sender::Bare(bare) => bare.framing != Framing::None,
            Sender::Tool(tool) => tool.is_websocket(),
        }
    }
}

impl Client {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Preface => "preface",
            Self::Ws => "ws",
            Self::Frames => "frames",
            Self::Library => "library",
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "library-engine")]
    use std::collections::HashSet;

    use super::*;

    const USUAL: usize = 256 * 1024;

    fn ids(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(|row| row.id.as_str()).collect()
    }

    #[test]
    #[cfg(feature = "library-engine")]
    fn the_table_is_complete() {
        let rows = rows(SinkKind::Discard, false, USUAL);
        assert_eq!(rows.len(), TABLE.len() + SIZES.len() * SIZED.len());
        let known: HashSet<&str> = ids(&rows).into_iter().collect();
        assert_eq!(known.len(), rows.len(), "duplicate id");
        assert!(known.contains(BASE));
        for row in &rows {
            assert!(row.baseline.as_deref().is_none_or(|id| known.contains(id)), "{row:?}");
            assert_eq!(row.baseline.is_none(), row.id == BARE_TCP, "{row:?}");
        }
        let pairs = rows.iter().filter(|row| row.kind == Kind::Pair);
        let pairs: HashSet<String> =
            pairs.map(|row| format!("{:?} {:?}", row.sender, row.receiver)).collect();
        assert_eq!(pairs.len(), 6);
        for layer in LAYERS {
            assert!(known.contains(layer.row) && known.contains(layer.over), "{}", layer.name);
        }
    }

    #[test]
    #[cfg(feature = "library-engine")]
    fn rows_that_would_repeat_another_are_left_out() {
        let stored = rows(SinkKind::File, true, 64 * 1024);
        assert!(stored.iter().all(|row| matches!(row.extra, Extra::None | Extra::Encrypted)));
        assert_eq!(stored.len(), TABLE.len() - 4 + SIZED.len());
        assert!(stored.iter().all(|row| row.frame_size.is_none_or(|size| size == 1024 * 1024)));
    }

    #[test]
    fn rows_with_another_frame_size_have_baselines_of_that_size() {
        let rows = rows(SinkKind::Discard, false, USUAL);
        let beside = |id: &str| {
            let row = rows.iter().find(|row| row.id == id).unwrap();
            (row.frame_size, row.baseline.as_deref())
        };
        assert_eq!(beside("ws-own"), (None, Some("bare-ws")));
        assert_eq!(beside("ws-own-64k"), (Some(65_536), Some("bare-ws-64k")));
        assert_eq!(beside("bare-ws-own-1m"), (Some(1_048_576), Some("bare-ws-1m")));
        assert_eq!(beside("bare-ws-1m"), (Some(1_048_576), Some("bare-tcp")));
        assert!(rows.iter().all(|row| row.frame_size.is_none() || row.is_framed()));
    }

    #[test]
    #[cfg(not(feature = "library-engine"))]
    fn rows_of_an_engine_that_is_not_built_are_left_out() {
        let rows = rows(SinkKind::Discard, false, USUAL);
        assert!(rows.iter().all(|row| !row.id.contains("library")));
        assert!(rows.iter().any(|row| row.id == "ws-own-64k"));
    }

    #[test]
    fn chosen_rows_include_their_baselines_and_the_base_row() {
        let all = rows(SinkKind::Discard, false, USUAL);
        let some = chosen(all.clone(), &["ws-own".to_owned()]).unwrap();
        assert_eq!(ids(&some), ["bare-ws", "raw-own", "ws-own"]);
        assert_eq!(chosen(all.clone(), &[]).unwrap().len(), all.len());
        assert_eq!(chosen(all, &["carrier-pigeon".to_owned()]).unwrap_err(), "carrier-pigeon");
    }
}
