//! The program under test.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Once, OnceLock};

use tokio::signal::unix::{self, SignalKind};

use super::process::{Outcome, Running, lines};
use super::waiting::DEADLINE;

/// Returns the path of the `anyport` that cargo built for the running test.
///
/// Cargo names it to the integration tests of `crates/cli` only. A test binary that is run by hand
/// finds it in the directory above its own, where cargo puts it.
pub fn program_path() -> PathBuf {
    let beside = || std::env::current_exe().unwrap().parent().unwrap().with_file_name("anyport");
    std::env::var_os("CARGO_BIN_EXE_anyport").map_or_else(beside, PathBuf::from)
}

/// Returns a directory for keys and known hosts, which must not be those of the user.
pub fn state_home() -> PathBuf {
    let directory = program_path().parent().unwrap().with_file_name("tmp");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// Returns the program without arguments.
///
/// It obeys SIGINT and SIGHUP also where the tests run under nohup or in the background of a
/// script: a signal that is ignored at the start of a process stays ignored, but a handler of this
/// process becomes the default of its children.
pub fn program() -> Command {
    static HANDLE_SIGNALS: Once = Once::new();
    HANDLE_SIGNALS.call_once(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        for kind in [SignalKind::hangup(), SignalKind::interrupt()] {
            if ignored & (1 << (kind.as_raw_value() - 1)) != 0 {
                drop(unix::signal(kind).unwrap());
            }
        }
    });
    Command::new(program_path())
}

/// Returns the program with arguments and with a state directory for tests.
pub fn anyport_command(arguments: &[&str]) -> Command {
    let mut command = program();
    let home = state_home();
    command.args(arguments).env("XDG_STATE_HOME", &home).env("XDG_CONFIG_HOME", &home);
    // Listings are in local time.
    command.env_remove("STATE_DIRECTORY").env("TZ", "UTC0");
    command
}

/// Returns the values of `--engine` that this build of the program has.
pub fn engines() -> impl Iterator<Item = &'static str> {
    static HELP: OnceLock<String> = OnceLock::new();
    let help = HELP.get_or_init(|| {
        let output = program().args(["serve", "--help"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    });
    ["own", "library"].into_iter().filter(|engine| *engine == "own" || help.contains("- library:"))
}

/// Runs `anyport` with these arguments to its end.
#[track_caller]
pub fn anyport(arguments: &[&str]) -> Outcome {
    start(arguments).outcome()
}

/// Runs `anyport` with bytes on its standard input to its end.
#[track_caller]
pub fn anyport_with_input(arguments: &[&str], input: &[u8]) -> Outcome {
    Running::start(anyport_command(arguments), Some(input.to_vec())).outcome()
}

/// Starts `anyport` with these arguments.
pub fn start(arguments: &[&str]) -> Running {
    Running::start(anyport_command(arguments), None)
}

/// Starts a server without `--json`, returns its stderr until a line that contains `last`, and
/// kills it.
pub fn announcement(flags: &[&str], last: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut child = program()
        .arg("serve")
        .args(flags)
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = lines(child.stderr.take().unwrap());
    let mut said = String::new();
    while let Ok(line) = stderr.recv_timeout(DEADLINE) {
        said.push_str(&format!("{line}\n"));
        if line.contains(last) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let directory = directory.path().display().to_string();
    assert!(said.contains(&directory), "no {directory} in {said}");
    said
}
