//! The words for a limit: its name, and what to change. A download has its receiver here.

use super::{Diagnosis, Direction, Ended, Evidence, Limit};

impl Diagnosis {
    /// Returns the main limit in words, which name the end where it is.
    #[must_use]
    pub fn limit(&self) -> String {
        match (self.main, self.direction) {
            (main, Some(Direction::Receiving)) => of_download(main).to_owned(),
            (main, _) => main.to_string(),
        }
    }

    /// Returns it in the words for an upload: the receiver that found it is the server, and not the
    /// end that requested a download.
    pub(crate) fn of_upload(mut self) -> Self {
        self.direction = None;
        let advice = match self.main {
            Limit::SenderOrPath => {
                "Look at the sender, and at the path to here; a trace at the sender tells them \
                 apart."
            }
            Limit::Loss => {
                "Look for the link that drops or reorders packets; the sender may try another \
                            congestion control, such as bbr."
            }
            _ => return self,
        };
        self.advice = Some(advice.to_owned());
        self
    }
}

/// Returns the words for a limit of a download.
const fn of_download(main: Limit) -> &'static str {
    match main {
        Limit::Sender => "the program on the server that writes the content",
        Limit::Reading => "reading the file on the server",
        Limit::Hashing => "hashing on the server",
        Limit::RateLimit => "the requested rate (--limit-rate)",
        Limit::Congestion => "the path (its rate, or congestion)",
        Limit::Loss => "lost segments, or segments in another order",
        Limit::Reordering => "segments that were late, or in another order (the path)",
        Limit::ReceiveWindow => "the receive window of this machine (net.ipv4.tcp_rmem)",
        Limit::SendBuffer => "the send buffer of the server (net.ipv4.tcp_wmem)",
        Limit::Receiver => "the program that reads the output",
        Limit::ReceiverHashing => "hashing on this machine",
        Limit::Storing => "storing the content on this machine",
        Limit::Tls => "TLS on this machine",
        Limit::Handshakes => "handshakes and round trips",
        Limit::Idle => "nothing to receive",
        Limit::SenderOrPath => "the server or the path",
        Limit::Unknown => "unknown",
    }
}

/// Returns what to do about a command that did not complete; `of_limit` is the advice for what
/// limited it until then.
pub(super) fn advice_after(
    ended: Ended,
    evidence: Option<&Evidence>,
    of_limit: Option<String>,
) -> Option<String> {
    // What a program wrote, or a person typed, cannot be read again.
    let is_gone =
        |evidence: &Evidence| evidence.source_is_stream || evidence.direction == Direction::Both;
    let advice = match ended {
        Ended::Lost if evidence.is_some_and(is_gone) => return None,
        Ended::Lost => "Run the same command again: it continues if the server can resume.",
        Ended::Unreachable => "anyport probe shows why there is no connection.",
        Ended::Unexpected => "anyport probe shows which protocol the server speaks.",
        // Their own text says what to do, and the limit until then is not the reason.
        Ended::Refused | Ended::Untrusted | Ended::Mismatch | Ended::Local => return None,
        Ended::TimedOut | Ended::Interrupted => return of_limit,
    };
    Some(advice.to_owned())
}

/// Returns one sentence on what to change.
pub(super) fn advice(main: Limit, evidence: &Evidence) -> &'static str {
    let receives = evidence.direction == Direction::Receiving;
    let reports = evidence.remote.is_some();
    match main {
        Limit::Sender => "Look at the program that writes the input: this end waited for it.",
        Limit::Reading => "Read from a faster disk, or send another file meanwhile.",
        Limit::Hashing => "Use --digest blake3, or --digest none where TLS protects the content.",
        Limit::ReceiverHashing if receives => "Use --digest blake3, or --digest none under TLS.",
        Limit::ReceiverHashing => "Use --digest blake3, or give the receiver a faster CPU.",
        Limit::RateLimit => "Raise --limit-rate, or leave it out.",
        Limit::Congestion => {
            "Look for the slowest link and for other traffic on it; on a long path \
             compare --congestion bbr with cubic."
        }
        Limit::Loss if receives => {
            "Look for the link that drops or reorders packets; until then try --congestion bbr at \
             the server."
        }
        Limit::Loss => "Look for the link that drops packets; until then try --congestion bbr.",
        Limit::Reordering => {
            "Look for parallel links that one connection is spread over, for a path that stalls, \
             or for a device that retries; --congestion bbr suffers less."
        }
        Limit::ReceiveWindow if receives => {
            "Raise the maximum of net.ipv4.tcp_rmem on this machine."
        }
        Limit::ReceiveWindow => "Raise the maximum of net.ipv4.tcp_rmem on the receiver.",
        Limit::SendBuffer => "Raise the maximum of net.ipv4.tcp_wmem on this machine.",
        Limit::Receiver if receives => "Look at the program that reads the output.",
        Limit::Receiver if reports => {
            "Look at the CPU of the receiver: it neither hashed nor stored."
        }
        Limit::Receiver => "Look at the receiver; its reason is not visible from here.",
        Limit::Storing if receives => "Store on a faster disk.",
        Limit::Storing => "Look at the disk of the receiver, and at --fsync of its server.",
        Limit::Tls => {
            "Use a CPU with AES instructions, or transfer without TLS inside a trusted network."
        }
        Limit::Handshakes if receives => {
            "Fetch many files over one connection: get their directory, as in HOST/photos/."
        }
        Limit::Handshakes => {
            "Send many files over one connection: name them in one command, or send a directory."
        }
        Limit::Idle => "Nothing: the connection waited for input.",
        Limit::SenderOrPath => {
            "Look at the CPU and the disk of the server, and at the path from there to here."
        }
        Limit::Unknown => "Run it again with more content.",
    }
}
