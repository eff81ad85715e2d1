//! The environment of a benchmark: machine, kernel, congestion control, versions, date.

use std::net::{TcpListener, TcpStream};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::flags::Bench;

/// The environment of a benchmark.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) date: String,
    pub(super) kernel: String,
    pub(super) cpu: String,
    pub(super) cores: usize,
    /// Congestion control of senders that can be configured, and the system's default, which the
    /// others use.
    pub(super) congestion: String,
    pub(super) system_congestion: String,
    pub(super) command: String,
}

impl Environment {
    /// # Errors
    /// The system does not support the requested congestion control.
    pub(super) fn gather(flags: &Bench) -> Result<Self> {
        let congestion = || -> std::io::Result<(String, String)> {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let socket = TcpStream::connect(listener.local_addr()?)?;
            let system = anyport_net::congestion::in_use(&socket)?;
            Ok((
                flags.congestion.apply(&socket, socket.local_addr()?, socket.peer_addr()?)?,
                system,
            ))
        };
        let (congestion, system_congestion) = congestion()
            .with_context(|| format!("cannot use congestion control {}", flags.congestion))?;
        let arguments = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
        Ok(Self {
            date: jiff::Zoned::now().strftime("%Y-%m-%d %H:%M %Z").to_string(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            cpu: cpu(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            congestion,
            system_congestion,
            command: format!("anyport {arguments}"),
        })
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "version": VERSION, "date": self.date, "kernel": self.kernel, "cpu": self.cpu,
            "cores": self.cores, "congestion": self.congestion,
            "system_congestion": self.system_congestion, "command": self.command,
        })
    }

    /// A line each.
    pub(super) fn lines(&self) -> Vec<String> {
        vec![
            format!(
                "anyport {VERSION}, {}, Linux {}, {} × {}",
                self.date, self.kernel, self.cores, self.cpu
            ),
            format!(
                "congestion control {} (the system's own: {})",
                self.congestion, self.system_congestion
            ),
            self.command.clone(),
        ]
    }
}

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|rest| rest.split_once(':')).map(|(_, model)| model.trim());
    model.unwrap_or("unknown CPU").to_owned()
}
