//! Rows with third-party programs.

use anyport_console::Engine;

use crate::peers::{Tool, Which};
use crate::rows::{Bare, Extra, Framing, Kind, Receiver, Row, Sender};

impl Tool {
    /// Returns the rows of this program.
    pub(super) fn rows(&self) -> Vec<Row> {
        let tool = || self.clone();
        let row = |from: Sender, to: Receiver, yardstick| {
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
                yardstick: Some(String::from(yardstick)),
                extra: Extra::None,
                frame_size: None,
            }
        };
        let own = || Receiver::Anyport(Engine::Own);
        let bare = |framing| Sender::Bare(Bare { framing, reads_file: false });
        match self.which {
            Which::Iperf3 => {
                vec![row(Sender::Tool(tool()), Receiver::Tool(tool()), "bare-tcp")]
            }
            Which::Nc | Which::Ncat | Which::Socat => vec![
                row(bare(Framing::None), Receiver::Tool(tool()), "bare-tcp"),
                row(Sender::Tool(tool()), own(), "bare-tcp"),
            ],
            Which::Websocat
            | Which::Websockets
            | Which::Ws
            | Which::Fastwebsockets
            | Which::Libwebsockets => vec![
                row(bare(Framing::WebSocket), Receiver::Tool(tool()), "bare-ws"),
                row(Sender::Tool(tool()), own(), "bare-ws"),
            ],
        }
    }
}
