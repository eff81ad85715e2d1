//! Third-party tools: finds the installed ones, and starts them as receivers and senders.
//!
//! A new tool is one entry in [`KNOWN`] and its two commands.

use std::ffi::OsString;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::child::{Deadline, Start};

/// A tool that is installed.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub(super) kind: ToolKind,
    pub(super) version: String,
    program: PathBuf,
}

/// A supported third-party program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToolKind {
    Iperf3,
    Nc,
    Ncat,
    Socat,
    Websocat,
    Websockets,
    Ws,
    Fastwebsockets,
    Libwebsockets,
}

/// A tool that is not installed, and how to install it.
#[derive(Debug, Clone)]
pub(super) struct Absent {
    pub(super) name: &'static str,
    pub(super) install: &'static str,
}

struct Known {
    kind: ToolKind,
    name: &'static str,
    programs: &'static [&'static str],
    /// Arguments that print its version.
    version_args: &'static [&'static str],
    /// Text that this output must contain, since several programs are called nc.
    marker: &'static str,
    install: &'static str,
}

const KNOWN: [Known; 9] = [
    Known {
        kind: ToolKind::Iperf3,
        name: "iperf3",
        programs: &["iperf3"],
        version_args: &["--version"],
        marker: "iperf 3",
        install: "apt-get install iperf3",
    },
    Known {
        kind: ToolKind::Nc,
        name: "nc (OpenBSD)",
        programs: &["nc.openbsd", "nc"],
        version_args: &["-h"],
        marker: "OpenBSD netcat",
        install: "apt-get install netcat-openbsd",
    },
    Known {
        kind: ToolKind::Ncat,
        name: "ncat",
        programs: &["ncat"],
        version_args: &["--version"],
        marker: "Ncat: Version",
        install: "apt-get install ncat",
    },
    Known {
        kind: ToolKind::Socat,
        name: "socat",
        programs: &["socat"],
        version_args: &["-V"],
        marker: "socat version",
        install: "apt-get install socat",
    },
    Known {
        kind: ToolKind::Websocat,
        name: "websocat",
        programs: &["websocat"],
        version_args: &["--version"],
        marker: "websocat",
        install: "cargo install websocat",
    },
    Known {
        kind: ToolKind::Websockets,
        name: "websockets (PyPI)",
        programs: &["python3", "python"],
        version_args: &[
            "-c",
            "import websockets, platform as p; print('websockets', websockets.__version__ + ', \
            Python', p.python_version())",
        ],
        marker: "websockets",
        install: "pip install websockets",
    },
    Known {
        kind: ToolKind::Ws,
        name: "ws (npm)",
        programs: &["node"],
        version_args: &[
            "-e",
            "console.log('ws', require('ws/package.json').version + ', node', \
            process.versions.node)",
        ],
        marker: "ws",
        install: "npm install --global ws",
    },
    // Libraries have no program of their own; those for the benchmark are in bench/peers.
    Known {
        kind: ToolKind::Fastwebsockets,
        name: "fastwebsockets (Rust)",
        programs: &["anyport-peer-fastwebsockets"],
        version_args: &["--version"],
        marker: "fastwebsockets",
        install: "scripts/bench-peers in the source tree builds it",
    },
    Known {
        kind: ToolKind::Libwebsockets,
        name: "libwebsockets (C)",
        programs: &["anyport-peer-libwebsockets"],
        version_args: &["--version"],
        marker: "libwebsockets",
        install: "scripts/bench-peers in the source tree builds it",
    },
];

/// How long a tool may take to print its version.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Returns the installed tools, and the missing ones.
pub(super) fn find() -> (Vec<Tool>, Vec<Absent>) {
    let (mut tools, mut absent) = (Vec::new(), Vec::new());
    for known in &KNOWN {
        match known.programs.iter().find_map(|program| known.probe(program)) {
            Some(tool) => tools.push(tool),
            None => absent.push(Absent { name: known.name, install: known.install }),
        }
    }
    (tools, absent)
}

impl Known {
    /// Searches `program` in PATH, and runs it to read its version.
    fn probe(&self, program: &str) -> Option<Tool> {
        let path = std::env::var_os("PATH")?;
        let mut places = std::env::split_paths(&path).map(|folder| folder.join(program));
        let program = places.find(|place| place.is_file())?;
        let start =
            Start::new(&program).args(self.version_args).stdout(std::process::Stdio::piped());
        let mut asked = with_modules(start, self.kind).start().ok()?;
        // Some print it on stderr, and some exit with an error.
        let ended = asked.wait(Deadline::within(TIMEOUT)).ok()?;
        let output = format!("{}\n{}", asked.rest(), ended.stderr);
        let line =
            output.lines().find(|line| line.contains(self.marker) && !line.contains("Error"))?;
        // Without the build date of socat and the URL of ncat.
        let version = line.split(" on ").next()?.split(" ( ").next()?;
        Some(Tool { kind: self.kind, version: version.trim().to_owned(), program })
    }
}

/// Adds the directories of npm's global modules to NODE_PATH for ws: node searches modules next to
/// the script, and a script of `-e` has no directory.
fn with_modules(start: Start, kind: ToolKind) -> Start {
    if kind != ToolKind::Ws {
        return start;
    }
    let given = std::env::var("NODE_PATH").unwrap_or_default();
    start.env("NODE_PATH", format!("{given}:/usr/local/lib/node_modules:/usr/lib/node_modules"))
}

/// The parameters of a tool in a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) file: &'a Path,
    pub(super) size: u64,
    pub(super) buffer: usize,
    pub(super) frame_size: usize,
    /// The name of an algorithm.
    pub(super) congestion: &'a str,
}

/// How a receiver reports its port and its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reporting {
    /// Lines as `anyport serve --json` writes them.
    Events,
    /// Neither: it listens on the given port, and exits after it has received everything.
    Nothing,
    /// No port, and the result in the sender's report.
    BySender,
}

impl Tool {
    pub(super) const fn short(&self) -> &'static str {
        match self.kind {
            ToolKind::Iperf3 => "iperf3",
            ToolKind::Nc => "nc",
            ToolKind::Ncat => "ncat",
            ToolKind::Socat => "socat",
            ToolKind::Websocat => "websocat",
            ToolKind::Websockets => "websockets",
            ToolKind::Ws => "npm ws",
            ToolKind::Fastwebsockets => "fastwebsockets",
            ToolKind::Libwebsockets => "libwebsockets",
        }
    }

    pub(super) const fn reporting(&self) -> Reporting {
        match self.kind {
            ToolKind::Websockets
            | ToolKind::Ws
            | ToolKind::Fastwebsockets
            | ToolKind::Libwebsockets => Reporting::Events,
            ToolKind::Iperf3 => Reporting::BySender,
            ToolKind::Nc | ToolKind::Ncat | ToolKind::Socat | ToolKind::Websocat => {
                Reporting::Nothing
            }
        }
    }

    /// Returns whether it uses WebSocket instead of raw bytes.
    pub(super) const fn is_websocket(&self) -> bool {
        !matches!(self.kind, ToolKind::Iperf3 | ToolKind::Nc | ToolKind::Ncat | ToolKind::Socat)
    }

    /// Returns whether the congestion control of its sender can be set.
    pub(super) const fn sets_congestion(&self) -> bool {
        matches!(
            self.kind,
            ToolKind::Iperf3
                | ToolKind::Socat
                | ToolKind::Websockets
                | ToolKind::Fastwebsockets
                | ToolKind::Libwebsockets
        )
    }

    /// Returns a receiver of one connection on a port of 127.0.0.1, which stores or discards the
    /// data.
    pub(super) fn receiver(&self, job: Job<'_>, port: u16, store: Option<&Path>) -> Result<Start> {
        let out = || -> Result<File> {
            let path = store.unwrap_or_else(|| Path::new("/dev/null"));
            File::create(path).with_context(|| format!("cannot write {}", path.display()))
        };
        let start = Start::new(&self.program);
        Ok(match self.kind {
            ToolKind::Iperf3 => {
                start.args(["-s", "-1", "-B", "127.0.0.1", "-p", &port.to_string()])
            }
            ToolKind::Nc => start.args(["-d", "-l", "127.0.0.1", &port.to_string()]).stdout(out()?),
            ToolKind::Ncat => {
                start.args(["-l", "127.0.0.1", &port.to_string(), "--recv-only"]).stdout(out()?)
            }
            ToolKind::Socat => start
                .args(["-u", "-b", &job.buffer.to_string()])
                .arg(format!("TCP-LISTEN:{port},bind=127.0.0.1"))
                .arg("STDOUT")
                .stdout(out()?),
            ToolKind::Websocat => {
                let mut to = OsString::from("writefile:");
                to.push(store.unwrap_or_else(|| Path::new("/dev/null")));
                // The buffer must hold a whole frame.
                let buffer = job.frame_size.saturating_add(65_536);
                start
                    .args(["-b", "-u", "-q", "--oneshot", "-B", &buffer.to_string()])
                    .arg(format!("ws-l:127.0.0.1:{port}"))
                    .arg(to)
            }
            ToolKind::Websockets => start.args(["-c", WEBSOCKETS_RECEIVE]).args(store),
            ToolKind::Ws => {
                with_modules(start, self.kind).args(["-e", WS_RECEIVE, "--"]).args(store)
            }
            ToolKind::Fastwebsockets | ToolKind::Libwebsockets => start.arg("receive").args(store),
        })
    }

    /// Returns a sender of the file to `address`.
    pub(super) fn sender(&self, job: Job<'_>, address: SocketAddr) -> Result<Start> {
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let file = || File::open(job.file).context("cannot open the file to send");
        let frame_size = job.frame_size.to_string();
        let start = Start::new(&self.program);
        Ok(match self.kind {
            ToolKind::Iperf3 => start
                .args(["-c", &ip, "-p", &port, "-n", &job.size.to_string(), "-J"])
                .args(["-l", &job.buffer.min(IPERF3_LONGEST).to_string(), "-C", job.congestion]),
            ToolKind::Nc => start.args(["-N", &ip, &port]).stdin(file()?),
            ToolKind::Ncat => start.args(["--send-only", &ip, &port]).stdin(file()?),
            ToolKind::Socat => start
                .args(["-u", "-b", &job.buffer.to_string(), "STDIN"])
                // IPPROTO_TCP, TCP_CONGESTION.
                .arg(format!("TCP:{address},setsockopt-string=6:13:{}", job.congestion))
                .stdin(file()?),
            ToolKind::Websocat => start
                .args(["-b", "-u", "-q", "-B", &frame_size])
                .args(["-", &format!("ws://{address}/")])
                .stdin(file()?),
            ToolKind::Websockets => start.args(["-c", WEBSOCKETS_SEND]).arg(job.file).args([
                &format!("ws://{address}/"),
                &frame_size,
                job.congestion,
            ]),
            ToolKind::Ws => with_modules(start, self.kind)
                .args(["-e", WS_SEND, "--"])
                .arg(job.file)
                .args([&format!("ws://{address}/"), &frame_size]),
            ToolKind::Fastwebsockets => start.arg("send").arg(job.file).args([
                &address.to_string(),
                &frame_size,
                job.congestion,
            ]),
            ToolKind::Libwebsockets => {
                start.arg("send").arg(job.file).args([&ip, &port, &frame_size, job.congestion])
            }
        })
    }
}

/// Maximum buffer of iperf3.
const IPERF3_LONGEST: usize = 1024 * 1024;

/// Returns the receiver's time for `size` bytes in seconds, from the report of iperf3's sender.
///
/// iperf3 stops counting when the sender has written the last byte, so it misses bytes in flight.
/// The time is therefore scaled to `size`; a report of less than half the bytes is an error.
pub(super) fn read_iperf3(said: &str, size: u64) -> Result<f64> {
    let report: serde_json::Value = serde_json::from_str(said)
        .with_context(|| format!("iperf3: unexpected output {said:.200}"))?;
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3: {error}");
    }
    let received = &report["end"]["sum_received"];
    let figures = received["bytes"].as_u64().zip(received["seconds"].as_f64());
    let (bytes, seconds) = figures.context("iperf3 reported no received bytes")?;
    if bytes < size / 2 || bytes > size + IPERF3_LONGEST as u64 {
        bail!("iperf3 counted {bytes} bytes of {size}");
    }
    Ok(seconds * size as f64 / bytes as f64)
}

const WEBSOCKETS_RECEIVE: &str = include_str!("websockets_receive.py");
const WEBSOCKETS_SEND: &str = include_str!("websockets_send.py");
const WS_RECEIVE: &str = include_str!("ws_receive.js");
const WS_SEND: &str = include_str!("ws_send.js");

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn tool(kind: ToolKind) -> Tool {
        Tool { kind, version: "1".to_owned(), program: PathBuf::from("/bin/true") }
    }

    #[test]
    fn every_tool_has_its_own_rows_with_existing_baselines() {
        let table = super::super::rows::rows(anyport_console::SinkKind::Discard, false, 256 * 1024);
        let mut ids = HashSet::new();
        for known in &KNOWN {
            let rows = tool(known.kind).rows();
            assert!(!rows.is_empty(), "{}", known.name);
            for row in rows {
                assert!(
                    table.iter().any(|line| Some(&line.id) == row.baseline.as_ref()),
                    "{row:?}"
                );
                assert!(ids.insert(row.id.clone()), "{row:?}");
            }
        }
    }

    #[test]
    fn the_report_of_iperf3_is_that_of_its_receiver() {
        let said = r#"{"end":{"sum_received":{"seconds":0.5,"bytes":2097152}}}"#;
        assert_eq!(read_iperf3(said, 2_097_152).unwrap(), 0.5);
        assert_eq!(read_iperf3(said, 4_194_304).unwrap(), 1.0, "scaled");
        assert!(read_iperf3(said, 5_000_000).is_err(), "less than half");
        assert!(read_iperf3(said, 1).is_err(), "too many");
        assert!(read_iperf3(r#"{"error":"unable to connect"}"#, 1).is_err());
        assert!(read_iperf3("{}", 1).is_err());
        assert!(read_iperf3("no JSON", 1).is_err());
    }
}
