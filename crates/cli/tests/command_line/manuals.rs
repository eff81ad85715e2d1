//! Manual pages and completions, as man and shells take them.

use std::path::Path;
use std::process::Command;

use anyport_testkit::harness::{Outcome, Running, anyport, peer};

fn run(command: Command) -> Outcome {
    Running::start(command, None).outcome()
}

/// All pages, by name.
fn pages(directory: &Path) -> Vec<String> {
    anyport(&["man", "--dir", directory.to_str().unwrap()]).succeeds();
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_command_has_a_valid_manual_page() {
    let scratch = tempfile::tempdir().unwrap();
    // A directory that is made.
    let directory = scratch.path().join("share/man1");
    let names = pages(&directory);
    let help = anyport(&["--help"]).succeeds().stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    // A continued line is indented further.
    let commands = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let commands: Vec<_> = commands.filter(|command| !command.is_empty()).collect();
    assert!(commands.contains(&"serve") && commands.contains(&"completions"), "{help}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        let name = format!("anyport-{command}.1");
        assert!(names.contains(&name), "no {name}");
    }
    for name in ["anyport.1", "anyport-serve.1", "anyport-config-check.1", "anyport-bench-echo.1"] {
        assert!(names.iter().any(|one| one == name), "{name} is not among {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("peer") || name.contains("help")), "{names:?}");
    for name in &names {
        let text = std::fs::read_to_string(directory.join(name)).unwrap();
        for section in
            ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"]
        {
            let heading = format!(".SH {section}");
            let quoted = format!(".SH \"{section}\"");
            assert!(text.contains(&heading) || text.contains(&quoted), "{name} lacks {section}");
        }
        if let Some(mut groff) = peer("groff") {
            groff.args(["-man", "-Kutf8", "-Tutf8", "-ww", "-z"]).arg(directory.join(name));
            let outcome = run(groff).succeeds();
            assert_eq!(outcome.stderr, "", "{name}");
        }
        if let Some(mut mandoc) = peer("mandoc") {
            mandoc.args(["-T", "lint", "-W", "warning"]).arg(directory.join(name));
            // Words beginning with an upper-case letter after a macro, and other matters of taste,
            // are not warnings.
            let outcome = run(mandoc);
            assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""), "{name}");
        }
    }
}

#[test]
fn a_page_tells_flags_variables_and_codes() {
    let Some(mut groff) = peer("groff") else { return };
    let page = anyport(&["man", "serve"]).succeeds().stdout;
    groff.args(["-man", "-rHY=0", "-Kutf8", "-Tascii", "-P-cbou"]);
    let outcome = Running::start(groff, Some(page.into_bytes())).outcome().succeeds();
    let words = outcome.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "anyport-serve - Receive and serve files on one port",
        "--max-conns <COUNT>",
        "ANYPORT_MAX_CONNS,",
        " ANYPORT_DIRECTORY, ",
        "Each sets the flag of the same name, which overrides it.",
        "2 The command line or a setting is invalid.",
        "anyport serve --config anyport.toml",
        "anyport(1)",
    ] {
        assert!(words.contains(said), "no {said:?} in {}", outcome.stdout);
    }
    anyport(&["man", "config", "check"]).succeeds();
    let wrong = anyport(&["man", "sreve"]).exits(2).says("anyport has no command \"sreve\"");
    assert!(wrong.stderr.contains("expected one of serve, send"), "{wrong:?}");
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let Some(_) = peer("bash") else { return };
    let completed = |words: &str| {
        let script = format!(
            "source <({anyport} completions bash); COMP_WORDS=({words}); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _anyport anyport \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            anyport = env!("CARGO_BIN_EXE_anyport"),
        );
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &script]);
        let outcome = run(bash).succeeds();
        assert_eq!(outcome.stderr, "", "{words}");
        outcome.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(completed("anyport serve --max-conn"), ["--max-conns", "--max-conns-per-ip"]);
    assert_eq!(completed("anyport serve --sink d"), ["discard"]);
    assert!(completed("anyport s").contains(&"serve".to_owned()));
    assert_eq!(completed("anyport config ch"), ["check"]);
    assert_eq!(completed("anyport completions z"), ["zsh"]);
}

#[test]
fn other_shells_accept_their_scripts() {
    let scratch = tempfile::tempdir().unwrap();
    for (shell, words) in [
        ("bash", "complete -F _anyport"),
        ("zsh", "#compdef anyport"),
        ("fish", "complete -c anyport"),
        ("elvish", "set edit:completion:arg-completer[anyport]"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = anyport(&["completions", shell]).succeeds().stdout;
        assert!(script.contains(words), "{shell}: {script}");
        assert!(script.contains("max-conns"), "{shell}");
        if !["bash", "zsh", "fish"].contains(&shell) {
            continue;
        }
        let path = scratch.path().join(shell);
        std::fs::write(&path, script).unwrap();
        if let Some(mut check) = peer(shell) {
            check.arg("-n").arg(&path);
            assert_eq!(run(check).succeeds().stderr, "", "{shell}");
        }
    }
    anyport(&["completions", "tcsh"]).exits(2).says("invalid value 'tcsh'");
}
