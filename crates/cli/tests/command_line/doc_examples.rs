//! The console blocks of docs/: each command runs, and prints what its page shows.
//!
//! Every page runs in a network and a directory of its own, in which the files that examples send
//! exist. A command that serves or listens runs until a later block starts another server. A block
//! that needs what a test machine lacks is fenced with `console norun: REASON`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyport_testkit::harness::sandbox::{Background, Sandbox};
use anyport_testkit::harness::{DEADLINE, Running, anyport, peer};

/// Blocks that need another machine, a terminal, systemd or a minute of waiting. Raise it only for
/// one more of these.
const MOST_NORUN: usize = 10;

/// Programs that examples use and that a machine may lack.
const TOOLS: [&str; 12] = [
    "curl", "jq", "nc", "ncat", "nginx", "openssl", "socat", "tar", "unzip", "websocat", "wget",
    "xxd",
];

/// Commands that run until they are ended, and the words that show that they work.
const RUNS_ON: [(&str, &str); 6] = [
    ("anyport serve ", "listening on "),
    ("prlimit ", "listening on "),
    ("anyport -v serve ", "listening on "),
    ("curl -N ", "data: "),
    ("nc 127.0.0.1 8331", "JOINED "),
    ("nginx ", ""),
];

const DAYS_AND_MONTHS: [&str; 19] = [
    "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Jan", "Feb", "Mar", "Apr", "May", "Jun",
    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

struct Example {
    block: usize,
    line: usize,
    command: String,
    shown: Vec<String>,
}

/// The commands of a page in their order, and the number of blocks that are not run.
fn examples(page: &str, name: &str) -> (Vec<Example>, usize) {
    let mut all: Vec<Example> = Vec::new();
    let (mut fence, mut block, mut norun) = (None, 0, 0);
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), fence) {
            (Some(info), None) => {
                fence = Some(info);
                block += 1;
                if let Some(marker) = info.strip_prefix("console ") {
                    let reason = marker.strip_prefix("norun: ").unwrap_or_default();
                    assert!(!reason.is_empty(), "{name}:{}: ```{info}", number + 1);
                    norun += 1;
                }
            }
            (Some(_), Some(_)) => fence = None,
            (None, Some("console")) => match (line.strip_prefix("$ "), all.last_mut()) {
                (Some(command), _) => {
                    let command = command.split(" # ").next().unwrap().trim().to_owned();
                    let line = number + 1;
                    all.push(Example { block, line, command, shown: Vec::new() });
                }
                (None, Some(last)) if last.block == block => last.shown.push(line.to_owned()),
                (None, _) => panic!("{name}:{}: output of no command: {line}", number + 1),
            },
            (None, _) => {}
        }
    }
    (all, norun)
}

/// What of a line is the same in every run: neither numbers, units of speed and size, times nor
/// digests.
fn stable(line: &str) -> Vec<String> {
    let unit =
        |word: &str| ["B", "kB", "MB", "GB", "B/s", "kB/s", "MB/s", "GB/s", "ms"].contains(&word);
    let day = |word: &str| DAYS_AND_MONTHS.iter().any(|name| word.starts_with(name));
    let trim = |word: &str| word.trim_matches([',', ';', '(', ')']).to_owned();
    let varies = |word: &String| {
        word.is_empty() || unit(word) || day(word) || word.contains(|c: char| c.is_ascii_digit())
    };
    line.split_whitespace().map(trim).filter(|word| !varies(word)).collect()
}

/// Whether `line` is one that `shown` stands for. `…` at the end stands for any rest.
fn is_shown(shown: &str, line: &str) -> bool {
    match shown.split_once('…') {
        Some((start, _)) => {
            let start =
                stable(start.rsplit_once(char::is_whitespace).map_or("", |(start, _)| start));
            stable(line).starts_with(&start)
        }
        None => stable(shown) == stable(line),
    }
}

/// The lines of `example` that `output` does not have.
fn missing(example: &Example, output: &str) -> Option<String> {
    let has = |shown: &&String| output.lines().any(|line| is_shown(shown, line));
    let lines: Vec<&String> =
        example.shown.iter().filter(|shown| !shown.trim().is_empty() && !has(shown)).collect();
    let Example { line, command, .. } = example;
    (!lines.is_empty()).then(|| format!("{line}: $ {command}\nnot printed: {lines:#?}\n{output}"))
}

fn has_tools(command: &str) -> bool {
    let words = command.split(|c: char| c.is_whitespace() || "|;&()".contains(c));
    words.filter(|word| TOOLS.contains(word)).all(|tool| peer(tool).is_some())
}

/// Files that examples send.
fn provide(directory: &Path) {
    let noise = |seed| anyport_testkit::noise(3_000_007, seed);
    std::fs::create_dir(directory.join("photos")).unwrap();
    std::fs::write(directory.join("photo.jpg"), noise(1)).unwrap();
    std::fs::write(directory.join("film.mkv"), noise(2)).unwrap();
    std::fs::write(directory.join("photos/a.jpg"), noise(3)).unwrap();
    std::fs::write(directory.join("photos/b.jpg"), noise(4)).unwrap();
    std::fs::write(directory.join("notes.txt"), "a note\n").unwrap();
    std::fs::write(directory.join("build.log"), "one\ntwo\nthree\n").unwrap();
}

/// Ends what runs and returns the lines that its page shows and it did not print.
fn end(running: Vec<(Example, Background, String)>, problems: &mut String) {
    for (example, background, mut output) in running {
        for line in background.rest() {
            let _ = writeln!(output, "{line}");
        }
        problems.extend(missing(&example, &output));
    }
}

/// Flags of other programs that the pages name.
const FLAGS_OF_OTHERS: [&str; 27] = [
    "cap-drop",
    "check",
    "data-binary",
    "default-page",
    "dry-run",
    "exclude",
    "formula",
    "haproxy-protocol",
    "http2-prior-knowledge",
    "ignore-missing",
    "ignored",
    "locked",
    "no-default-features",
    "no-iri",
    "nofile",
    "path",
    "remap-path-prefix",
    "request-target",
    "restrict-file-names",
    "send-only",
    "sign",
    "ssl",
    "tag",
    "target",
    "test",
    "version",
    "workspace",
];

/// The flags in `text`, without their dashes.
fn flags(text: &str) -> BTreeSet<&str> {
    let is_flag = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let flag = |(at, _): (usize, &str)| text[at + 2..].split(|c| !is_flag(c)).next();
    let begins = |at: usize| !text[..at].ends_with(|c: char| is_flag(c) || c == '<');
    let found = text.match_indices("--").filter(|(at, _)| begins(*at)).filter_map(flag);
    found.filter(|flag| flag.starts_with(|c: char| c.is_ascii_lowercase())).collect()
}

#[test]
fn every_flag_that_the_docs_name_is_known() {
    let commands = [
        "serve",
        "send",
        "trace",
        "get",
        "ls",
        "share",
        "chat",
        "cat",
        "probe",
        "resolve",
        "status",
        "reload",
        "stop",
        "token",
        "config show",
        "bench",
        "bench echo",
        "bench idle",
        "bench rooms",
    ];
    let mut help = String::new();
    for command in commands {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        help.push_str(&anyport(&words).succeeds().stdout);
    }
    let known = flags(&help);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut unknown = Vec::new();
    for page in pages(&root.join("docs")).into_iter().chain([root.join("SECURITY.md")]) {
        let text = std::fs::read_to_string(&page).unwrap();
        // A switch has an opposite, which help does not show.
        let is_known = |flag: &str| {
            let plain = flag.strip_prefix("no-").unwrap_or(flag);
            known.contains(flag)
                || known.contains(plain)
                || known.contains(format!("no-{flag}").as_str())
                || FLAGS_OF_OTHERS.contains(&flag)
        };
        let flags = flags(&text).into_iter().filter(|flag| !is_known(flag));
        unknown.extend(flags.map(|flag| format!("{}: --{flag}", page.display())));
    }
    assert!(known.len() > 60, "{known:?}");
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// The pages of docs/ without the decisions.
fn pages(docs: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(docs).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// Runs one page and returns what went wrong.
fn run_page(name: &str, examples: Vec<Example>) -> String {
    let Some(place) = Sandbox::new() else { return String::new() };
    provide(&place.directory());
    let mut problems = String::new();
    let mut running: Vec<(Example, Background, String)> = Vec::new();
    for example in examples {
        let command = example.command.as_str();
        let on = RUNS_ON.iter().find(|(prefix, _)| command.starts_with(prefix));
        let on = on.filter(|_| !command.contains("--daemon"));
        let starts_server =
            command.contains("anyport serve") || command.contains("anyport -v serve");
        if starts_server && running.iter().all(|(earlier, ..)| earlier.block != example.block) {
            end(std::mem::take(&mut running), &mut problems);
        }
        if !has_tools(command) {
            continue;
        }
        let background = command.strip_suffix(" &");
        if on.is_none() && background.is_none() {
            let mut shell = place.command("exec timeout 15 sh -c \"$COMMAND\"");
            shell.env("COMMAND", command);
            let outcome = Running::start(shell, Some(Vec::new())).outcome();
            let output = format!("{}{}", outcome.stdout, outcome.stderr);
            let fails = example.shown.iter().any(|line| line.starts_with("error: "));
            if (outcome.code == Some(0)) == fails {
                let code = outcome.code;
                let _ = writeln!(problems, "{}: $ {command}\n{code:?}\n{output}", example.line);
            }
            problems.extend(missing(&example, &output.replace(&place.home(), "/home/ann")));
            continue;
        }
        // What a person types into nc stands in the page as the first line of the output.
        let typed = example.shown.first().filter(|_| command.starts_with("nc "));
        let typed = typed.map(|line| format!("{line}\n")).unwrap_or_default();
        let started = place.start(background.unwrap_or(command), &typed);
        let words = on.map_or("", |(_, words)| words);
        let mut output = typed;
        while !words.is_empty() && !output.contains(words) {
            match started.said.recv_timeout(DEADLINE) {
                Ok(line) => writeln!(output, "{line}").unwrap(),
                Err(error) => {
                    let _ = writeln!(problems, "{}: $ {command}\n{error}\n{output}", example.line);
                    break;
                }
            }
        }
        running.push((example, started, output));
    }
    end(running, &mut problems);
    // A page whose commands failed may have left its daemon.
    let _ = Running::start(place.command("anyport stop --now"), Some(Vec::new())).outcome();
    if problems.is_empty() { problems } else { format!("\n== {name}\n{problems}") }
}

#[test]
fn every_command_of_the_docs_works_and_prints_what_its_page_shows() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let (mut all, mut norun, mut commands) = (Vec::new(), 0, 0);
    for path in pages(&docs) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (examples, skipped) = examples(&std::fs::read_to_string(&path).unwrap(), &name);
        norun += skipped;
        commands += examples.len();
        all.push((name, examples));
    }
    assert!(commands > 60, "the pages have lost their commands: {commands}");
    assert!(norun <= MOST_NORUN, "{norun} blocks of docs/ are not run by any test");
    let all = all.into_iter().filter(|(_, examples)| !examples.is_empty());
    let running: Vec<_> =
        all.map(|(name, examples)| std::thread::spawn(move || run_page(&name, examples))).collect();
    let problems: String = running.into_iter().map(|page| page.join().unwrap()).collect();
    assert!(problems.is_empty(), "{problems}");
}
