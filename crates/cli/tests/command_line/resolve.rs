//! `anyport resolve`: what a name stands for.

use serde_json::{Value, json};

use anyport_testkit::harness::{Running, anyport, peer};

fn addresses(event: &Value) -> Vec<String> {
    let lines = event["addresses"].as_array().unwrap_or_else(|| panic!("{event}"));
    lines.iter().map(|line| line["address"].as_str().unwrap().to_owned()).collect()
}

/// The order is getaddrinfo's, as another program of this machine gets it.
#[test]
fn names_have_the_addresses_that_others_get_in_the_same_order() {
    let Some(mut python) = peer("python3") else { return };
    python.args(["-c", PYTHON]);
    let expected = Running::start(python, None).outcome().succeeds().stdout;
    let found = anyport(&["resolve", "localhost", "--json"]).succeeds();
    let [event] = &found.json()[..] else { panic!("{found:?}") };
    assert_eq!(json!(addresses(event)).to_string(), expected.trim().replace(", ", ","));
    assert_eq!(event["name"], "localhost");
    assert!(event["canonical"].is_string(), "{event}");
}

const PYTHON: &str = "
import json, socket
found = socket.getaddrinfo('localhost', None, type=socket.SOCK_STREAM)
print(json.dumps(list(dict.fromkeys(sockaddr[0] for *_, sockaddr in found))))
";

#[test]
fn addresses_have_a_line_each_for_people() {
    let said = anyport(&["resolve", "127.0.0.1", "[::1]:http"]).succeeds().stdout;
    assert_eq!(said, "127.0.0.1:\n  IPv4  127.0.0.1\n[::1]:http:\n  IPv6  [::1]:80\n");
}

#[test]
fn services_are_named_by_the_name_or_for_all() {
    let flags = ["resolve", "--json", "--service", "https", "127.0.0.1", "127.0.0.1:http", "::1"];
    let found = anyport(&flags).succeeds();
    let ports: Vec<Value> =
        found.json().iter().map(|event| event["addresses"][0]["port"].clone()).collect();
    assert_eq!(ports, [443, 80, 443]);
}

#[test]
fn one_family_alone_can_be_asked_for() {
    let v4 = anyport(&["resolve", "-4", "--json", "localhost"]).succeeds();
    assert_eq!(addresses(&v4.json()[0]), ["127.0.0.1"]);
    let v6 = anyport(&["resolve", "-6", "--json", "::1"]).succeeds();
    assert_eq!(v6.json()[0]["addresses"], json!([{ "family": "IPv6", "address": "::1" }]));
    anyport(&["resolve", "-6", "127.0.0.1"])
        .exits(3)
        .says("cannot resolve 127.0.0.1")
        .says("(EAI_");
    anyport(&["resolve", "-4", "-6", "localhost"]).exits(2);
}

#[test]
fn addresses_have_names_too() {
    let found = anyport(&["resolve", "--reverse", "--json", "127.0.0.1"]).succeeds();
    let name = found.json()[0]["addresses"][0]["reverse"].clone();
    assert!(name.as_str().is_some_and(|name| name.starts_with("localhost")), "{name}");
    let said = anyport(&["resolve", "--reverse", "127.0.0.1"]).succeeds().stdout;
    assert!(said.contains(&format!("  {}\n", name.as_str().unwrap())), "{said}");
}

#[test]
fn a_name_that_does_not_resolve_is_exit_3_and_stops_no_other() {
    let found = anyport(&["resolve", "no such name", "127.0.0.1"])
        .exits(3)
        .says("error: cannot resolve no such name: name or service not known (EAI_NONAME)")
        .says("hint: check the spelling");
    assert_eq!(found.stdout, "127.0.0.1:\n  IPv4  127.0.0.1\n");
    let found = anyport(&["resolve", "--json", "no such name", "127.0.0.1"]).exits(3);
    let [wrong, right] = &found.json()[..] else { panic!("{found:?}") };
    assert_eq!(wrong["error"]["code"], "EAI_NONAME");
    assert_eq!(addresses(right), ["127.0.0.1"]);
    assert!(found.stderr.is_empty(), "{found:?}");
    anyport(&["resolve", "127.0.0.1:65536"]).exits(3).says("port 65536 exceeds 65535");
    anyport(&["resolve", "127.0.0.1:no-such-service"]).exits(3).says("(EAI_SERVICE)");
    anyport(&["resolve"]).exits(2);
}

/// Servers and clients report unresolvable names alike.
#[test]
fn listeners_and_clients_tell_the_same() {
    for command in [
        &["serve", "--bind", "no such name:0"][..],
        &["send", "/dev/null", "tcp://no-such-name.invalid:1/"],
        &["get", "tcp://no-such-name.invalid:1/x"],
    ] {
        let outcome = anyport(command);
        assert!(outcome.stderr.contains("cannot resolve no"), "{outcome:?}");
        assert!(outcome.stderr.contains("(EAI_"), "{outcome:?}");
        assert_eq!(outcome.code, Some(if command[0] == "serve" { 1 } else { 3 }));
    }
}
