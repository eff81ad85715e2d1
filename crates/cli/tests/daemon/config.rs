//! Settings from a file and from the environment, and what tells of them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::Value;
use tempfile::TempDir;

use anyport_testkit::harness::{Outcome, Running, Server, anyport, anyport_command};

/// A directory with a file of settings.
struct Settings {
    scratch: TempDir,
}

impl Settings {
    fn new(text: &str) -> Self {
        Self::of_bytes(text.as_bytes())
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let settings = Self { scratch: tempfile::tempdir().unwrap() };
        std::fs::write(settings.path(), bytes).unwrap();
        settings
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("anyport.toml")
    }

    fn flags(&self) -> [String; 2] {
        ["--config".to_owned(), self.path().display().to_string()]
    }
}

/// Runs `anyport` with these variables beside.
fn with_variables(arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let mut command = anyport_command(arguments);
    command.envs(variables.iter().copied());
    Running::start(command, None).outcome()
}

fn check(path: &Path) -> Outcome {
    anyport(&["config", "check", path.to_str().unwrap()])
}

/// What `config show` says of one setting.
fn shown(arguments: &[&str], variables: &[(&str, &str)], key: &str) -> Value {
    let line = [&["config", "show", "--json"], arguments].concat();
    let outcome = with_variables(&line, variables).succeeds();
    outcome.json()[0][key].clone()
}

#[test]
fn config_show_prints_json_wherever_the_flag_stands() {
    let settings = Settings::new("max-size = \"10B\"\n");
    let [flag, path] = &settings.flags();
    let show = |arguments: &[&str]| {
        let outcome = anyport(&[&["config", "show"], arguments].concat()).succeeds();
        outcome.json()[0].clone()
    };
    let first = show(&["--json", flag, path, "--open"]);
    assert_eq!(first["max-size"]["value"], "10B", "{first}");
    assert_eq!(first["json"]["from"], "default", "{first}");
    assert_eq!(show(&[flag, path, "--json", "--open"]), first);
    assert_eq!(show(&[flag, path, "--open", "--json"]), first);
}

#[test]
fn a_server_uses_the_settings_of_its_file() {
    let settings = Settings::new("max-size = \"10B\"\nbind = [\"127.0.0.1:0\"]\n");
    let [flag, path] = settings.flags();
    // The address on the command line takes the place of the file's.
    let server = Server::start(&[&flag, &path]);
    let mut stream = anyport_testkit::harness::wire::connect(server.port());
    let answer =
        anyport_testkit::harness::wire::converse(&mut stream, b"ANYPORT/1 PUT long size=11\n");
    assert!(answer.contains("exceeds the server's limit of 10 bytes"), "{answer:?}");
    assert!(server.next_refused()["reason"].as_str().unwrap().contains("--max-size"));
}

#[test]
fn flags_beat_variables_and_these_beat_the_file() {
    let settings = Settings::new("# mine\nmax-conns = 2\n");
    let [flag, path] = settings.flags();
    let file = [flag.as_str(), path.as_str()];
    let variable = [("ANYPORT_MAX_CONNS", "3")];
    let found = shown(&[], &[], "max-conns");
    assert_eq!((&found["value"], &found["from"]), (&1024.into(), &"default".into()));
    let found = shown(&file, &[], "max-conns");
    assert_eq!((&found["value"], &found["from"]), (&2.into(), &"file".into()));
    assert_eq!((&found["line"], &found["file"]), (&2.into(), &path.clone().into()));
    let found = shown(&file, &variable, "max-conns");
    assert_eq!((&found["value"], &found["variable"]), (&3.into(), &"ANYPORT_MAX_CONNS".into()));
    let typed = [&file[..], &["--max-conns", "4"]].concat();
    let found = shown(&typed, &variable, "max-conns");
    assert_eq!((&found["value"], &found["from"]), (&4.into(), &"flag".into()));
    // The file may be named by a variable too.
    let found = shown(&[], &[("ANYPORT_CONFIG", &path)], "max-conns");
    assert_eq!(found["value"], 2);
}

#[test]
fn shown_settings_can_be_used_as_a_file() {
    let text = r#"only = ["raw", "http"]
greeting = "\"Grüße\", \\o/"
open = true
directory = "/tmp"
max-size = "1GB"
verbose = 1
"#;
    let settings = Settings::new(text);
    let [flag, path] = settings.flags();
    let first = anyport(&["config", "show", &flag, &path]).succeeds().stdout;
    assert!(first.contains("\nopen = true # "), "{first}");
    assert!(first.contains("anyport.toml:3:8\n"), "{first}");
    assert!(first.contains("\n#quota = # not set\n"), "{first}");
    let again = Settings::new(&first);
    let [flag, path] = again.flags();
    let second = anyport(&["config", "show", &flag, &path]).succeeds().stdout;
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&first), values(&second));
    check(&again.path()).succeeds();
}

#[test]
fn a_server_does_not_start_with_a_file_that_has_mistakes() {
    let settings = Settings::new("max-con = 5\nidle-timeout = 3\n");
    let [flag, path] = settings.flags();
    for arguments in [vec!["serve", &flag, &path], vec!["config", "check", &path]] {
        let outcome = anyport(&arguments).exits(2);
        let outcome = outcome.says(":1:1: unknown key \"max-con\"; did you mean max-conns?");
        let outcome = outcome.says(":2:16: idle-timeout: invalid value '3' for '--idle-timeout");
        let outcome = outcome.says("missing unit (ms, s, m, h or d): write 3s for seconds");
        let errors = outcome.stderr.lines().filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 2, "{outcome:?}");
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn a_path_that_is_no_file_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    check(&scratch.path().join("missing.toml")).exits(2).says("missing.toml: No such file");
    check(scratch.path()).exits(2).says("is a directory");
    let latin = Settings::of_bytes(b"open = true\ngreeting = \"Gr\xfc\xdfe\"\n");
    check(&latin.path()).exits(2).says("anyport.toml:2:15: not UTF-8");
    let comment = vec![b'#'; (1 << 20) + 1];
    check(&Settings::of_bytes(&comment).path()).exits(2).says("larger than 1048576 bytes");
    check(&Settings::of_bytes(&comment[1..]).path()).succeeds();
    let wrong = [("ANYPORT_CONFIG", "/nowhere.toml")];
    with_variables(&["serve"], &wrong).exits(2).says("cannot read /nowhere.toml");
}

#[test]
fn a_check_finds_what_a_start_would_find() {
    let served = tempfile::tempdir().unwrap();
    let directory = format!("directory = {:?}\n", served.path());
    let check = |text: &str| check(&Settings::new(&format!("{directory}{text}")).path());
    check("").succeeds();
    check("deflate = true\nengine = \"library\"\n")
        .exits(2)
        .says("not supported by --engine library");
    check("only = [\"raw\"]\nno-detect = true\n").exits(2).says("--no-detect from ");
    check("bind = [\"0.0.0.0:1\"]\n").exits(2).says("add --open");
    check("bind = [\"0.0.0.0:1\"]\nopen = true\n").succeeds();
    check("bind = [\"no.such.host.invalid:1\"]\n").exits(2).says("no.such.host.invalid");
    check("bind = [\"127.0.0.1:1\"]\nlisten = [\"echo://127.0.0.1:1\"]\n")
        .exits(2)
        .says("given twice");
    check("congestion = \"none-such\"\n").exits(2).says("cannot use congestion control none-such");
    let missing = Settings::new("directory = \"/no/such/directory\"\n");
    self::check(&missing.path()).exits(2).says("cannot serve /no/such/directory");
    // Without a file it is about the environment.
    with_variables(&["config", "check"], &[("ANYPORT_QUOTA", "much")])
        .exits(2)
        .says("ANYPORT_QUOTA: invalid value 'much'");
}

/// A key and a certificate that it signs, valid in these years.
fn pem(from: i32, until: i32) -> (String, String) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    let key = KeyPair::generate().unwrap();
    (key.serialize_pem(), params.self_signed(&key).unwrap().pem())
}

#[test]
fn a_check_looks_into_keys_and_certificates() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let write = |name: &str, text: &str, mode: u32| {
        std::fs::write(path(name), text).unwrap();
        std::fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
    };
    let check = |settings: String| {
        check(&Settings::new(&format!("directory = {:?}\n{settings}", scratch.path())).path())
    };
    let named = || check(format!("tls-cert = {:?}\ntls-key = {:?}\n", path("chain"), path("key")));
    let ((key, chain), (other, old)) = (pem(2020, 2120), pem(2020, 2021));
    write("chain", &chain, 0o644);
    named().exits(2).says("key: No such file");
    write("key", &key, 0o640);
    named().exits(2).says("key: other users may read").says("chmod 600");
    write("key", &other, 0o600);
    named().exits(2).says("key: cannot use the key");
    write("chain", &old, 0o644);
    let said = "certificate expired on 2021-01-01 00:00:00 UTC; clients that have not";
    named().succeeds().says("warning: ").says("chain: ").says(said);
    write("key", &key, 0o600);
    write("chain", &chain, 0o644);
    assert_eq!(named().succeeds().stderr, "");

    // What an earlier start has kept.
    let kept_in = |name: &str| check(format!("tls-dir = {:?}\n", path(name)));
    kept_in("none").succeeds();
    assert!(!path("none").exists(), "a check makes nothing");
    kept_in("key").exits(2).says("key/tls-identity.pem: Not a directory");
    std::fs::create_dir(path("kept")).unwrap();
    kept_in("kept").succeeds();
    for (text, mode, said) in [
        ("nonsense".to_owned(), 0o600, "kept/tls-identity.pem: no certificate"),
        (format!("{key}{chain}"), 0o644, "kept/tls-identity.pem: other users may read"),
        (format!("{other}{chain}"), 0o600, "tls-identity.pem: cannot use the key"),
    ] {
        write("kept/tls-identity.pem", &text, mode);
        kept_in("kept").exits(2).says(said);
    }
    write("kept/tls-identity.pem", &format!("{other}{old}"), 0o600);
    kept_in("kept").succeeds().says("tls-identity.pem: ").says(said);
    // A start says so too, and serves.
    let server = Server::start(&["--tls-dir", path("kept").to_str().unwrap()]);
    server.says(said);
    server.takes_a_good_file();
    write("kept/tls-identity.pem", &format!("{key}{chain}"), 0o600);
    assert_eq!(kept_in("kept").succeeds().stderr, "");
}

#[test]
fn the_example_names_every_key_at_its_default() {
    let example = anyport(&["config", "example"]).succeeds().stdout;
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/anyport.toml");
    assert!(
        example == std::fs::read_to_string(kept).unwrap(),
        "packaging/anyport.toml is another one: anyport config example > packaging/anyport.toml"
    );
    check(&Settings::new(&example).path()).succeeds();
    // Everything that has a default, said: nothing is refused, and nothing changes.
    let said: String = example
        .lines()
        .filter(|line| !line.ends_with("# not set") && !line.ends_with("# if not set"))
        .map(|line| match line.strip_prefix('#') {
            Some(entry) if entry.starts_with(|c: char| c.is_ascii_lowercase()) => {
                format!("{entry}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let settings = Settings::new(&said);
    let [flag, path] = settings.flags();
    let values = |arguments: &[&str]| -> Vec<(String, Value)> {
        let line = [&["config", "show", "--json"], arguments].concat();
        let shown = anyport(&line).succeeds().json().remove(0);
        let members = shown.as_object().unwrap().clone();
        members.into_iter().map(|(key, member)| (key, member["value"].clone())).collect()
    };
    assert_eq!(values(&[&flag, &path]), values(&[]));
    // Every key stands in it.
    for (key, _) in values(&[]) {
        assert!(example.contains(&format!("\n#{key} = ")), "{key} is missing");
    }
}

#[test]
fn former_names_of_options_work_and_are_not_shown() {
    let renamed = [
        ("max-undecided", "max-unclassified", "4"),
        ("conversation-threads", "reactor-threads", "1"),
        ("keep-parts", "keep-partial", "3h"),
    ];
    let texts = [
        anyport(&["serve", "--help"]),
        anyport(&["man", "serve"]),
        anyport(&["completions", "bash"]),
        anyport(&["config", "example"]),
        anyport(&["config", "show"]),
    ];
    // In a page hyphens are escaped.
    let texts = texts.map(|outcome| outcome.succeeds().stdout.replace("\\-", "-"));
    let flags = renamed.map(|(former, _, value)| format!("--{former}={value}"));
    let flags = flags.each_ref().map(String::as_str);
    for (former, name, value) in renamed {
        for text in &texts {
            assert!(!text.contains(former) && text.contains(name), "{former}: {text}");
        }
        let settings = Settings::new(&format!("{former} = {value:?}\n"));
        let variable = format!("ANYPORT_{}", former.replace('-', "_").to_uppercase());
        let [config, path] = &settings.flags();
        let shown_value = |shown: &Value| {
            let value = &shown["value"];
            value.as_str().map_or_else(|| value.to_string(), str::to_owned)
        };
        let from_file = shown(&[config, path], &[], name);
        assert_eq!((shown_value(&from_file).as_str(), &from_file["line"]), (value, &1.into()));
        let from_variable = shown(&[], &[(&variable, value)], name);
        assert_eq!(shown_value(&from_variable), value);
        assert_eq!(from_variable["variable"], variable);
        let both = Settings::new(&format!("{name} = {value:?}\n{former} = {value:?}\n"));
        check(&both.path())
            .exits(2)
            .says(&format!(":2:1: {former}: already set in line 1 as {name}"));
    }
    let server = Server::start(&flags);
    server.takes_a_good_file();
    for (former, name, value) in renamed {
        let from_flag = shown(&[&format!("--{former}={value}")], &[], name);
        assert_eq!(from_flag["from"], "flag", "{former}");
    }
}

#[test]
fn clients_read_the_environment() {
    let wrong = [("ANYPORT_TIMEOUT", "soon")];
    with_variables(&["ls", "tcp://127.0.0.1:1/"], &wrong)
        .exits(2)
        .says("ANYPORT_TIMEOUT: invalid value 'soon' for '--timeout <DURATION>'");
    let server = Server::start(&[]);
    std::fs::write(server.dir().join("here"), b"1234").unwrap();
    let url = server.url("tcp", "");
    let listed = with_variables(&["ls", &url], &[("ANYPORT_JSON", "true")]).succeeds();
    assert_eq!(listed.json()[0]["size"], 4);
    let plain = with_variables(&["ls", &url, "--no-json"], &[("ANYPORT_JSON", "true")]).succeeds();
    assert!(!plain.stdout.starts_with('{'), "{plain:?}");
}

#[test]
fn a_check_looks_where_files_are_to_be_made() {
    for key in ["pid-file", "log-file", "control"] {
        let settings = Settings::new(&format!("{key} = \"/nonexistent/file\"\n"));
        let refused = check(&settings.path()).exits(2);
        refused.says(&format!("--{key} /nonexistent/file: No such file or directory"));
    }
    let settings = Settings::new("control = \"none\"\npid-file = \"pid\"\n");
    check(&settings.path()).succeeds();
}
