use super::*;
use crate::flags::{self, Command as Subcommand};

/// Parses `anyport` with these arguments, a file of this text and these variables.
fn layers(
    arguments: &[&str],
    file: &str,
    variables: &[(&str, &str)],
) -> Result<Parsed, ParseError> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("anyport.toml");
    std::fs::write(&path, file).unwrap();
    let mut line: Vec<OsString> = vec!["anyport".into()];
    line.extend(arguments.iter().map(OsString::from));
    let variable = |name: &str| match name {
        "ANYPORT_CONFIG" if !file.is_empty() => Some(path.clone().into()),
        name => variables.iter().find(|(one, _)| *one == name).map(|(_, value)| value.into()),
    };
    parse(line, &variable)
}

fn serve(arguments: &[&str], file: &str, variables: &[(&str, &str)]) -> flags::Serve {
    let line = [&["serve"], arguments].concat();
    let parsed = layers(&line, file, variables).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let Subcommand::Serve(serve) = parsed.flags.command else { panic!() };
    *serve
}

fn mistakes(arguments: &[&str], file: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let line = [&["serve"], arguments].concat();
    let lines = layers(&line, file, variables).unwrap_err().lines();
    // Without the directory, which is another one each time.
    let short = |line: String| match line.find("anyport.toml") {
        Some(at) if line.starts_with('/') => line[at..].to_owned(),
        _ => line,
    };
    lines.into_iter().map(short).collect()
}

#[test]
fn a_mistyped_variable_is_reported_with_the_one_that_was_meant() {
    let unknown = |name: &str| unknown_variables([OsString::from(name)].into_iter());
    let meant = Some("ANYPORT_MAX_CONNS".to_owned());
    assert_eq!(unknown("ANYPORT_MAX_CONN"), [("ANYPORT_MAX_CONN".to_owned(), meant)]);
    assert_eq!(unknown("ANYPORT_NOTHING_LIKE"), [("ANYPORT_NOTHING_LIKE".to_owned(), None)]);
    for known in [
        "ANYPORT_MAX_CONNS",
        "ANYPORT_CONFIG",
        "ANYPORT_LOG",
        "ANYPORT_TOKEN",
        "ANYPORT_PORT_8331_TCP",
        "PATH",
    ] {
        assert_eq!(unknown(known), [], "{known}");
    }
}

#[test]
fn each_layer_beats_those_below_it() {
    let file = "max-conns = 2";
    let variable = [("ANYPORT_MAX_CONNS", "3")];
    let max_conns = |arguments: &[&str], file: &str, variables: &[(&str, &str)]| {
        serve(arguments, file, variables).limits.max_conns
    };
    assert_eq!(max_conns(&[], "", &[]), 1024);
    assert_eq!(max_conns(&[], file, &[]), 2);
    assert_eq!(max_conns(&[], file, &variable), 3);
    assert_eq!(max_conns(&["--max-conns", "4"], file, &variable), 4);
    assert_eq!(max_conns(&["--max-conns=4"], file, &[]), 4);
    assert_eq!(max_conns(&[], file, &[("ANYPORT_MAX_CONNS", "")]), 2);
    assert_eq!(max_conns(&[], "max_conns = 2", &[]), 2);
    assert_eq!(max_conns(&[], "max-conns = 0x10", &[]), 16);
}

/// Names that flags had in earlier versions, and the names that they have.
const RENAMED: [(&str, &str, &str); 3] = [
    ("max-undecided", "max-unclassified", "7"),
    ("conversation-threads", "reactor-threads", "7"),
    ("keep-parts", "keep-partial", "7h"),
];

#[test]
fn a_former_name_sets_the_renamed_option_in_each_layer() {
    for (former, name, value) in RENAMED {
        let variable = format!("ANYPORT_{}", former.replace('-', "_").to_uppercase());
        let file = format!("{former} = {value:?}");
        let flag = format!("--{former}");
        let setting = |arguments: &[&str], file: &str, variables: &[(&str, &str)]| {
            let line = [&["serve"], arguments].concat();
            let parsed = layers(&line, file, variables);
            let parsed = parsed.unwrap_or_else(|refusal| panic!("{former}: {refusal:?}"));
            assert!(parsed.settings.iter().all(|setting| setting.key != former));
            let setting = parsed.settings.into_iter().find(|setting| setting.key == name);
            let setting = setting.unwrap();
            assert_eq!(setting.values, [value], "{former}");
            setting.source
        };
        assert_eq!(setting(&[&flag, value], "", &[]), Source::Flag);
        let from_variable = Source::Environment(variable.clone());
        assert_eq!(setting(&[], "", &[(&variable, value)]), from_variable);
        assert!(matches!(setting(&[], &file, &[]), Source::File(Position { line: 1, .. })));
        // A higher layer wins under either name.
        let lower = format!("{name} = \"9h\"");
        let lower = if value.ends_with('h') { lower } else { format!("{name} = 9") };
        assert_eq!(setting(&[], &lower, &[(&variable, value)]), from_variable);
        assert_eq!(setting(&[&flag, value], &file, &[(&variable, value)]), Source::Flag);
    }
}

#[test]
fn both_names_of_an_option_in_one_layer_are_an_error_that_names_both() {
    for (former, name, value) in RENAMED {
        let variable = |name: &str| format!("ANYPORT_{}", name.replace('-', "_").to_uppercase());
        let (old, new) = (variable(former), variable(name));
        assert_eq!(
            mistakes(&[], "", &[(&old, value), (&new, value)]),
            [format!("{old}: already set as {new}")]
        );
        assert_eq!(
            mistakes(&[], &format!("{former} = {value:?}\n{name} = {value:?}"), &[]),
            [format!("anyport.toml:2:1: {name}: already set in line 1 as {former}")]
        );
        // On the command line it is an option that is repeated.
        let twice =
            mistakes(&[&format!("--{former}"), value, &format!("--{name}"), value], "", &[]);
        assert!(twice[0].contains(&format!("'--{name} <")), "{twice:?}");
        assert!(twice[0].ends_with("cannot be used multiple times"), "{twice:?}");
    }
}

#[test]
fn a_higher_layer_can_unset_a_switch() {
    let open = |arguments: &[&str], file: &str, variables: &[(&str, &str)]| {
        serve(arguments, file, variables).listening.open
    };
    assert!(open(&[], "open = true", &[]));
    assert!(!open(&[], "open = true", &[("ANYPORT_OPEN", "off")]));
    assert!(!open(&["--no-open"], "open = true", &[("ANYPORT_OPEN", "1")]));
    assert!(open(&["--open"], "open = false", &[("ANYPORT_OPEN", "no")]));
    assert!(open(&["--no-open", "--open"], "", &[]));
    // The opposite of what begins with no.
    assert!(serve(&[], "no-detect = true", &[]).detection.no_detect);
    assert!(!serve(&["--detect"], "no-detect = true", &[]).detection.no_detect);
    // And one that counts.
    let verbose = |arguments: &[&str], file| {
        layers(&[&["serve"], arguments].concat(), file, &[]).unwrap().flags.verbose
    };
    assert_eq!(verbose(&[], "verbose = 2"), 2);
    assert_eq!(verbose(&["-v"], "verbose = 2"), 1);
}

#[test]
fn a_list_is_replaced_and_not_continued() {
    let only = |arguments: &[&str], file: &str, variables: &[(&str, &str)]| {
        let names = serve(arguments, file, variables).detection.only;
        names.iter().map(|name| format!("{name:?}").to_lowercase()).collect::<Vec<_>>()
    };
    assert_eq!(only(&[], r#"only = ["raw", "http"]"#, &[]), ["raw", "http"]);
    assert_eq!(only(&[], r#"only = "raw,http""#, &[]), ["raw", "http"]);
    assert_eq!(only(&[], r#"only = ["raw"]"#, &[("ANYPORT_ONLY", "ws,http")]), ["ws", "http"]);
    assert_eq!(only(&["--only", "tls"], r#"only = ["raw"]"#, &[]), ["tls"]);
    assert!(only(&[], "only = []", &[]).is_empty());
    let addresses = [("ANYPORT_BIND", "127.0.0.1:1  [::1]:2")];
    assert_eq!(serve(&[], "", &addresses).listening.bind, ["127.0.0.1:1", "[::1]:2"]);
    let listen = [("ANYPORT_LISTEN", "any://127.0.0.1:1?only=raw,http echo://127.0.0.1:2")];
    assert_eq!(serve(&[], "", &listen).listening.listen.len(), 2);
}

#[test]
fn a_setting_that_conflicts_with_a_higher_layer_is_ignored() {
    let both = serve(&["--no-detect"], r#"only = ["raw"]"#, &[]);
    assert!(both.detection.no_detect && both.detection.only.is_empty());
    let both = serve(&[], "no-detect = true", &[("ANYPORT_ONLY", "raw")]);
    assert!(!both.detection.no_detect && both.detection.only.len() == 1);
    // A disabled switch conflicts with nothing.
    for (typed, variables) in [(&["--detect"][..], &[][..]), (&[], &[("ANYPORT_NO_DETECT", "no")])]
    {
        let file = "no-detect = true\nonly = [\"raw\"]";
        let one = serve(typed, file, variables);
        assert!(
            !one.detection.no_detect && one.detection.only.len() == 1,
            "{typed:?} {variables:?}"
        );
    }
    let line = ["ls", "tls://localhost/", "--no-insecure"];
    let pin = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
    let pinned = layers(&line, "", &[("ANYPORT_PIN", pin)]).unwrap();
    let Subcommand::Ls(ls) = pinned.flags.command else { panic!() };
    let tls = ls.connection.connect.tls;
    assert!(!tls.insecure && tls.pin.len() == 1, "a pin is not forgotten");
    // Within one layer it is a mistake, and both are found.
    let found = mistakes(&[], "no-detect = true\nonly = [\"raw\"]", &[]);
    assert_eq!(found.len(), 1);
    for words in ["cannot be used with", "--no-detect from /", "anyport.toml:1:13", ":2:8"] {
        assert!(found[0].contains(words), "no {words:?} in {found:?}");
    }
}

#[test]
fn the_directory_is_a_setting_too() {
    let directory = |arguments: &[&str], file: &str, variables: &[(&str, &str)]| {
        serve(arguments, file, variables).directory
    };
    assert_eq!(directory(&[], "directory = \"-in\"", &[]), PathBuf::from("-in"));
    assert_eq!(directory(&["out"], "directory = \"in\"", &[]), PathBuf::from("out"));
    assert_eq!(directory(&["--"], "directory = \"in\"\nopen = true", &[]), PathBuf::from("in"));
    assert_eq!(directory(&["--", "-x"], "open = true", &[]), PathBuf::from("-x"));
    assert_eq!(directory(&[], "", &[("ANYPORT_DIRECTORY", "in")]), PathBuf::from("in"));
}

#[test]
fn all_errors_of_a_file_are_reported_with_their_positions() {
    let file = "max-con = 5\nmax-conns = \"many\"\n\nopen = 1\n  idle-timeout = \
        3\nsink = 1.5\nMax = [1]\n";
    assert_eq!(
        mistakes(&[], file, &[]),
        [
            r#"anyport.toml:1:1: unknown key "max-con"; did you mean max-conns?"#,
            "anyport.toml:4:1: open: expected true or false, not a number",
            "anyport.toml:6:1: sink: expected a string or a number, not a number with a fraction",
            r#"anyport.toml:7:1: unknown key "Max"; anyport config example lists all keys"#,
            "anyport.toml:2:13: max-conns: invalid value 'many' for '--max-conns <COUNT>': \
            expected a whole number",
            "anyport.toml:5:18: idle-timeout: invalid value '3' for '--idle-timeout <DURATION>': \
            missing unit (ms, s, m, h or d): write 3s for seconds",
        ]
    );
    let twice = mistakes(&[], "max-conns = 1\nmax_conns = 2", &[]);
    assert_eq!(twice, ["anyport.toml:2:1: max_conns: already set in line 1 as max-conns"]);
    let twice = mistakes(&[], "open = true\nopen = true", &[]);
    assert!(twice[0].starts_with("anyport.toml:2:1: duplicate key"), "{twice:?}");
    let table = mistakes(&[], "[serve]\nopen = true", &[]);
    assert_eq!(table, ["anyport.toml:1:2: unknown table serve; all keys are at the top level"]);
    let two = mistakes(&[], "open = yes\nsink = \"unended\n", &[]);
    assert!(two.len() == 2 && two[0].starts_with("anyport.toml:1:8: "), "{two:?}");
    assert!(two[1].starts_with("anyport.toml:2:"), "{two:?}");
    let itself = mistakes(&[], "config = \"other.toml\"", &[]);
    assert!(itself[0].contains("config cannot be set in the file itself"), "{itself:?}");
    let many = mistakes(&[], "sink = [\"file\"]", &[]);
    assert_eq!(many, ["anyport.toml:1:1: sink: expected a string or a number, not a list"]);
    // Also if a flag overrides it: the file is checked.
    assert_eq!(mistakes(&["--max-conns", "1"], "max-conns = \"many\"", &[]).len(), 1);
}

#[test]
fn mistakes_of_the_environment_name_the_variable() {
    let wrong = [("ANYPORT_MAX_CONNS", "many"), ("ANYPORT_OPEN", "perhaps")];
    assert_eq!(
        mistakes(&[], "", &wrong),
        [
            "ANYPORT_OPEN: expected true or false",
            "ANYPORT_MAX_CONNS: invalid value 'many' for '--max-conns <COUNT>': \
            expected a whole number",
        ]
    );
}

#[test]
fn every_flag_of_serve_is_a_key_and_a_variable_and_the_reverse() {
    let program = program();
    let serve = program.find_subcommand("serve").unwrap();
    let own = serve.get_arguments().filter(|argument| !argument.is_hide_set());
    let global = program.get_arguments().filter(|argument| argument.is_global_set());
    let flags: Vec<String> = own.chain(global).map(key).collect();
    let keys: Vec<String> = keys(&program, "serve").into_iter().map(key).collect();
    assert!(keys.len() > 40);
    for flag in &flags {
        assert!(keys.contains(flag) || flag == "config", "{flag} is no key");
    }
    for key in &keys {
        assert!(flags.contains(key), "{key} is no flag");
    }
    // There is one reader of the environment.
    let mut arguments = program.get_subcommands().flat_map(Command::get_arguments);
    assert!(arguments.all(|argument| argument.get_env().is_none()));
}

#[test]
fn each_key_can_be_set_in_each_layer() {
    let program = program();
    for argument in keys(&program, "serve") {
        let (key, name) = (key(argument), env_name(argument));
        let default = argument.get_default_values().first().map(|value| value.to_string_lossy());
        let text = match key.as_str() {
            "bind" => "127.0.0.1:1",
            "listen" => "any://127.0.0.1:1",
            "allow-origin" => "http://example.org",
            "base-path" => "/share",
            "allow" => "delete,admin",
            "proxy-protocol-from" | "trusted-proxy" => "192.0.2.1",
            "only" => "raw",
            "on-exists" => "rename",
            "greeting" => "hello",
            _ if flag::is_switch(argument) => "true",
            _ => default.as_deref().unwrap_or("7"),
        };
        let file = match text {
            "true" => format!("{key} = true"),
            number if number.parse::<u8>().is_ok() => format!("{key} = {number}"),
            text => format!("{key} = {text:?}"),
        };
        let source = |file: &str, variables: &[(&str, &str)]| {
            let line: &[&str] = match key.as_str() {
                // It goes with another one.
                "tls-key" => &["serve", "--tls-cert", "chain.pem"],
                _ => &["serve"],
            };
            let parsed = layers(line, file, variables);
            let parsed = parsed.unwrap_or_else(|refusal| panic!("{key}: {refusal:?}"));
            let setting = parsed.settings.into_iter().find(|setting| setting.key == key).unwrap();
            assert_eq!(setting.values, [text], "{key}");
            setting.source
        };
        assert!(matches!(source(&file, &[]), Source::File(Position { line: 1, .. })), "{key}");
        assert_eq!(source("", &[(&name, text)]), Source::Environment(name.clone()), "{key}");
    }
}

#[test]
fn clients_read_the_environment_and_no_file() {
    let line = ["send", "a", "tcp://h/"];
    let send = |arguments: &[&str], variables: &[(&str, &str)]| {
        let parsed = layers(&[&line, arguments].concat(), "nonsense", variables).unwrap();
        let Subcommand::Send(send) = parsed.flags.command else { panic!() };
        send
    };
    assert_eq!(send(&[], &[("ANYPORT_RETRY", "3")]).retry, 3);
    assert_eq!(send(&["--retry", "4"], &[("ANYPORT_RETRY", "3")]).retry, 4);
    assert!(send(&[], &[("ANYPORT_QUIET", "yes")]).quiet);
    assert!(!send(&["--no-quiet"], &[("ANYPORT_QUIET", "yes")]).quiet);
    // Flags about one call are only on the command line.
    assert!(send(&[], &[("ANYPORT_PIPE", "key")]).pipe.is_none());
    let wrong = layers(&line, "", &[("ANYPORT_TIMEOUT", "soon")]).unwrap_err().lines();
    assert!(wrong[0].starts_with("ANYPORT_TIMEOUT: invalid value 'soon'"), "{wrong:?}");
}

#[test]
fn a_wrong_command_line_is_reported_before_a_wrong_file() {
    let refusal = layers(&["serve", "--max-con", "5"], "nonsense", &[]).unwrap_err();
    assert!(matches!(refusal, ParseError::Usage(_)), "{refusal:?}");
    let help = layers(&["serve", "--help"], "nonsense", &[]).unwrap_err();
    assert!(matches!(help, ParseError::Usage(error) if error.kind() == ErrorKind::DisplayHelp));
}

#[test]
fn a_secret_is_in_no_message() {
    let parser = clap::value_parser!(u8);
    let secret = Arg::new("token").long("token").hide_env_values(true).value_parser(parser);
    let program = Command::new("anyport").subcommand(Command::new("serve").arg(secret));
    let layered = Layered::of(&program, "serve");
    let values = vec!["sesame".into()];
    let source = Source::Environment("ANYPORT_TOKEN".to_owned());
    let given = Assignment { id: "token".to_owned(), values, source };
    let mistake = layered.mistake(&program, &given);
    assert_eq!(mistake.as_deref(), Some("ANYPORT_TOKEN: invalid value"));
}
