//! The commands of README.md, as typed by a new user.

use std::path::Path;
use std::process::Stdio;

use anyport_testkit::harness::sandbox::Sandbox;
use anyport_testkit::harness::{
    DEADLINE, Running, anyport, anyport_command, lines, peer, wait_until,
};

const README: &str = include_str!("../../../../README.md");

/// A line after `$`, and its output.
struct Typed {
    command: String,
    below: Vec<&'static str>,
}

/// The lines of all code blocks in a language.
fn blocks(language: &str) -> impl Iterator<Item = &'static str> {
    let mut current = "";
    README.lines().filter(move |line| {
        let fence = line.strip_prefix("```");
        current = fence.unwrap_or(current);
        fence.is_none() && current == language
    })
}

/// All of them, in their order.
fn typed() -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    for line in blocks("console") {
        match (line.strip_prefix("$ "), all.last_mut()) {
            (Some(command), _) => {
                let command = command.split(" # ").next().unwrap().trim().to_owned();
                all.push(Typed { command, below: Vec::new() });
            }
            (None, Some(last)) => last.below.push(line),
            (None, None) => panic!("{line:?} belongs to no command"),
        }
    }
    all.retain(|typed| !typed.command.starts_with('#'));
    assert!(all.len() > 10, "README has lost its commands");
    all
}

/// Commands that run on, and what they say once they work.
const RUNS_ON: [(&str, &str); 3] =
    [("anyport serve ", "listening on "), ("curl -N ", "data: "), ("nc 127.0.0.1 ", "JOINED ")];

/// Runs each command; `port` is where the server is, if that is not the default.
fn run_all(place: &Sandbox, commands: &[Typed], port: Option<&str>) {
    let mut running = Vec::new();
    for Typed { command, below } in commands {
        let command = match port {
            Some(port) => elsewhere(command, port),
            None => command.clone(),
        };
        let tools = command.split(['|', ';', '&']).map(|part| part.split_whitespace().next());
        let mut tools =
            tools.flatten().filter(|tool| !["anyport", "echo", "printf"].contains(tool));
        if !tools.all(|tool| peer(tool).is_some()) {
            continue;
        }
        match RUNS_ON.iter().find(|(prefix, _)| command.starts_with(prefix)) {
            Some((prefix, words)) => {
                // What a person types into nc stands on the next line.
                let first = below.first().filter(|_| prefix.starts_with("nc"));
                let typed = first.map(|line| format!("{line}\n")).unwrap_or_default();
                let started = place.start(&command, &typed);
                started.says(words);
                running.push(started);
            }
            None => place.run(&command, "hello\n"),
        }
    }
}

/// The same command for a server on another port.
fn elsewhere(command: &str, port: &str) -> String {
    let command = command.replace("8331", port);
    let with_port = format!("127.0.0.1:{port}");
    let words = command.split(' ').map(|word| match word.split_once("127.0.0.1") {
        // nc has its port in a word of its own.
        Some((before, after))
            if after.starts_with('/') || (!before.is_empty() && after.is_empty()) =>
        {
            format!("{before}{with_port}{after}")
        }
        _ => word.to_owned(),
    });
    let command = words.collect::<Vec<_>>().join(" ");
    match command.strip_suffix(" 127.0.0.1") {
        Some(start) => format!("{start} {with_port}"),
        None => command,
    }
}

#[test]
fn every_command_of_the_readme_works_in_its_order_in_an_empty_directory() {
    let Some(place) = Sandbox::new() else { return };
    run_all(&place, &typed(), None);
    let copied = |name: &str| std::fs::read(place.root().join("empty").join(name)).unwrap();
    assert_eq!(copied("copy.jpg"), copied("photo.jpg"));
}

#[test]
fn if_the_default_port_is_in_use_the_hint_leads_to_a_working_server() {
    let Some(place) = Sandbox::new() else { return };
    std::fs::create_dir(place.root().join("other")).unwrap();
    let taken = place.start("anyport serve ../other --control none", "");
    taken.says("listening on 127.0.0.1:8331");
    let commands = typed();
    let serve = &commands[0].command;
    assert!(serve.starts_with("anyport serve "), "{serve}");
    let refused = Running::start(place.command(serve), None).outcome().exits(1);
    assert!(refused.stderr.contains("127.0.0.1:8331"), "{refused:?}");
    assert!(!Path::new(&place.root().join("empty/inbox")).exists());
    let (_, flags) = refused.stderr.split_once("another port: ").unwrap();
    let server = place.start(&format!("{serve} {}", flags.trim()), "");
    let port = server.says("listening on 127.0.0.1:");
    run_all(&place, &commands[1..], Some(&port));
}

/// Commands that README only names: those in `text` blocks and between backticks take long, or need
/// another machine.
#[test]
fn every_flag_that_the_readme_names_is_known() {
    let spans = README.split('`').skip(1).step_by(2).filter(|span| !span.contains('\n'));
    let mut known = 0;
    for command in spans.chain(blocks("text")).filter(|text| text.starts_with("anyport ")) {
        // What a command does stands behind several blanks, and a redirection is the shell's.
        let command = command.split("  ").next().unwrap();
        let command = command.split(" > ").next().unwrap();
        let command = command.replace(" PID", " 1");
        let words: Vec<&str> = command.split_whitespace().skip(1).chain(["--help"]).collect();
        anyport(&words).succeeds();
        known += 1;
    }
    assert!(known > 10, "README has lost its commands");
}

#[test]
fn a_directory_that_is_missing_is_created_and_named_but_not_those_above_it() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let serve = |name: &str| {
        let flags = ["--bind", "127.0.0.1:0", "--control", "none"];
        let mut command = anyport_command(&["serve", &path(name)]);
        command.args(flags);
        command
    };
    let refused = Running::start(serve("no/inbox"), None).outcome().exits(1);
    refused.says("cannot create ").says("hint: the parent directory of DIR");
    assert!(!scratch.path().join("no").exists());
    let mut command = serve("inbox");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let said = lines(child.stderr.take().unwrap());
    let first = said.recv_timeout(DEADLINE).unwrap();
    assert_eq!(first, format!("created the directory {}", path("inbox")));
    wait_until("the banner", || said.try_recv().ok().filter(|line| line.contains("listening")));
    assert!(scratch.path().join("inbox").is_dir());
    child.kill().unwrap();
    child.wait().unwrap();
    // A server that cannot listen has created nothing.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let mut command = anyport_command(&["serve", &path("second")]);
    command.args(["--bind", &taken]);
    Running::start(command, None).outcome().exits(1);
    assert!(!scratch.path().join("second").exists());
}
