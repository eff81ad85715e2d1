//! Rows with third-party programs.

use anyport_console::Engine;

use crate::peers::{Tool, ToolKind};
use crate::rows::{Bare, Extra, Framing, Kind, Receiver, Row, Sender};

impl Tool {
    /// Returns the rows of this program.
    pub(super) fn rows(&self) -> Vec<Row> {
        let tool = || self.clone();
        let row = |from: Sender, to: Receiver, baseline| {
            let name = match (&from, &to) {
                (Sender::Tool(_), Receiver::Tool(_)) => format!("{0} → {0}", self.short()),
                (Sender::Tool(_), _) => format!("{} → own", self.short()),
                (Sender::Bare(bare), _) if bare.framing != Framing::None => {
                    format!("bare ws → {}", self.short())
                }
                _ => format!("bare tcp → {}", self.short()),
            };
            Row {
                id: name.replace(" → ", "-").replace(' ', "-"),
                name,
                kind: Kind::Peer,
                sender: from,
                receiver: to,
                baseline: Some(String::from(baseline)),
                extra: Extra::None,
                frame_size: None,
            }
        };
        let own = || Receiver::Anyport(Engine::Own);
        let bare = |framing| Sender::Bare(Bare { framing, reads_file: false });
        match self.kind {
            ToolKind::Iperf3 => {
                vec![row(Sender::Tool(tool()), Receiver::Tool(tool()), "bare-tcp")]
            }
            ToolKind::Nc | ToolKind::Ncat | ToolKind::Socat => vec![
                row(bare(Framing::None), Receiver::Tool(tool()), "bare-tcp"),
                row(Sender::Tool(tool()), own(), "bare-tcp"),
            ],
            ToolKind::Websocat
            | ToolKind::Websockets
            | ToolKind::Ws
            | ToolKind::Fastwebsockets
            | ToolKind::Libwebsockets => vec![
                row(bare(Framing::WebSocket), Receiver::Tool(tool()), "bare-ws"),
                row(Sender::Tool(tool()), own(), "bare-ws"),
            ],
        }
    }
}
