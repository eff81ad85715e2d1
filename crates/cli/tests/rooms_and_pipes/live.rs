//! Live connections: listings, changes, running uploads and a room over one WebSocket, as far as
//! the rights of the client go.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;

use serde_json::{Value, json};

use anyport_testkit::harness::http::{curl_says, request};
use anyport_testkit::harness::rooms::{LineClient, join};
use anyport_testkit::harness::tokens::{ALICE, BOB, token_file};
use anyport_testkit::harness::waiting::wait_until;
use anyport_testkit::harness::wire::{
    BINARY, PING, PONG, TEXT, close_frame, connect, fragment, frame, read_close, read_frame,
    read_head, read_line, upgrade, websocket, websocket_with,
};
use anyport_testkit::harness::{Running, Server, engines, peer, python_with};

const PATH: &str = "/.anyport/live";

struct Live(TcpStream);

impl Live {
    fn open(server: &Server) -> Self {
        Self(websocket(server.port(), PATH))
    }

    fn with_token(server: &Server, token: &str) -> Self {
        let fields = format!("Authorization: Bearer {token}\r\n");
        Self(websocket_with(server.port(), PATH, &fields))
    }

    fn says(&mut self, message: &Value) {
        self.0.write_all(&frame(TEXT, message.to_string().as_bytes())).unwrap();
    }

    /// The next message; pings are answered.
    #[track_caller]
    fn next(&mut self) -> Value {
        loop {
            match read_frame(&mut self.0) {
                (TEXT, payload) => return serde_json::from_slice(&payload).unwrap(),
                (PING, payload) => self.0.write_all(&frame(PONG, &payload)).unwrap(),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next message of a kind; others are skipped.
    #[track_caller]
    fn until(&mut self, kind: &str) -> Value {
        loop {
            let mut message = self.next();
            if let Some(value) = message.get_mut(kind) {
                return value.take();
            }
        }
    }

    /// Lists a directory: the names in each message, and the last message.
    #[track_caller]
    fn list_in_parts(&mut self, path: &str) -> (Vec<Vec<String>>, Value) {
        self.says(&json!({"list": {"path": path, "id": 7}}));
        let mut parts = Vec::new();
        loop {
            let part = self.until("list");
            assert_eq!((&part["path"], &part["id"]), (&json!(path), &json!(7)));
            let names = part["entries"].as_array().unwrap().iter();
            parts.push(names.map(|entry| entry["name"].as_str().unwrap().to_owned()).collect());
            if part["more"] == false {
                return (parts, part);
            }
        }
    }

    #[track_caller]
    fn list(&mut self, path: &str) -> Vec<String> {
        self.list_in_parts(path).0.concat()
    }

    /// Waits for a change, after which the directory has these names.
    #[track_caller]
    fn sees(&mut self, path: &str, names: &[&str]) {
        // A change may be seen twice: by this server, and by the time of the directory.
        loop {
            assert_eq!(self.until("changed"), json!({"path": path}));
            if self.list(path) == names {
                return;
            }
        }
    }

    /// Waits until an upload has this many bytes, of which the client is notified.
    #[track_caller]
    fn sees_upload(&mut self, path: &str, name: &str, bytes: u64, size: Value) {
        let expected = json!([{"name": name, "bytes": bytes, "size": size}]);
        loop {
            let transfers = self.until("transfers");
            assert_eq!(transfers["path"], path);
            if transfers["transfers"] == expected {
                return;
            }
        }
    }

    #[track_caller]
    fn sees_no_upload(&mut self) {
        while self.until("transfers")["transfers"] != json!([]) {}
    }

    #[track_caller]
    fn refusal_of(&mut self, message: &Value) -> Value {
        self.says(message);
        self.until("error")
    }
}

fn http(server: &Server, line: &str, fields: &str) -> u16 {
    request(server.port(), line, fields, b"").status()
}

#[test]
fn a_directory_is_listed_in_messages_of_at_most_500_entries() {
    let server = Server::start(&[]);
    std::fs::create_dir_all(server.dir().join("a/empty")).unwrap();
    std::fs::create_dir(server.dir().join("many")).unwrap();
    for number in 0..1200 {
        std::fs::write(server.dir().join(format!("many/{number:04}")), b"").unwrap();
    }
    let odd = std::ffi::OsStr::from_bytes(b"a/\xff\"\\ \xea\xb0\x80");
    std::fs::write(server.dir().join(odd), b"12345").unwrap();
    std::fs::write(server.dir().join("a/line\nend"), b"").unwrap();
    std::os::unix::fs::symlink("/etc", server.dir().join("a/link")).unwrap();
    let mut live = Live::open(&server);
    assert_eq!(live.list_in_parts("a/empty").0, [[""; 0]]);
    let (parts, _) = live.list_in_parts("many");
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [500, 500, 200]);
    assert!(parts.concat().is_sorted());
    for path in ["", "a", "many"] {
        let (_, last) = live.list_in_parts(path);
        let url = server.url("http", &format!("files/{path}"));
        let Some((listing, 200)) = curl_says(&["-LH", "Accept: application/json", &url]) else {
            return;
        };
        let listing: Value = serde_json::from_str(&listing).unwrap();
        let all = listing["entries"].as_array().unwrap();
        let entries = last["entries"].as_array().unwrap();
        assert_eq!(entries[..], all[all.len() - entries.len()..], "{path}");
        let end = &listing["end"];
        assert_eq!((&last["left_out"], &last["links"]), (&end["left_out"], &end["links"]));
    }
    let (_, last) = live.list_in_parts("a");
    assert_eq!((&last["left_out"], &last["links"]), (&json!(1), &json!(1)));
    // By its bytes, as an entry names them.
    let raw = "a/%FF%22%5C%20%EA%B0%80";
    for list in [json!({"path_raw": raw}), json!({"path": "a/?", "path_raw": raw})] {
        live.says(&json!({"list": list}));
        assert_eq!(live.until("list")["entries"][0]["size"], 5);
    }
    for (path, code) in [("b", "not-found"), ("../a", "bad-name"), ("a/../a", "bad-name")] {
        let error = live.refusal_of(&json!({"list": {"path": path, "id": 9}}));
        let found = (&error["code"], &error["of"], &error["id"]);
        assert_eq!(found, (&json!(code), &json!("list"), &json!(9)), "{path}: {error}");
    }
}

#[test]
fn a_newer_request_to_list_replaces_an_unfinished_one() {
    let server = Server::start(&[]);
    std::fs::create_dir(server.dir().join("many")).unwrap();
    for number in 0..5000 {
        std::fs::write(server.dir().join(format!("many/{number:0100}")), b"").unwrap();
    }
    let mut live = Live::open(&server);
    let list = |path: &str, id| {
        frame(TEXT, json!({"list": {"path": path, "id": id}}).to_string().as_bytes())
    };
    // In one write, so that no answer is on its way when the last one arrives.
    let requests = [list("many", 1), list("many", 2), list("", 3)].concat();
    live.0.write_all(&requests).unwrap();
    let mut ids = Vec::new();
    while ids.last() != Some(&json!(3)) {
        ids.push(live.until("list")["id"].take());
    }
    assert!(ids.len() < 20, "the first two listings have 20 messages: {ids:?}");
    std::fs::write(server.dir().join("new"), b"").unwrap();
    live.sees("", &["many", "new"]);
}

#[test]
fn a_client_is_notified_of_each_kind_of_change_in_its_directory() {
    let server = Server::start(&["--allow", "read,write,delete,talk"]);
    std::fs::create_dir(server.dir().join("d")).unwrap();
    std::fs::create_dir(server.dir().join("other")).unwrap();
    let port = server.port();
    let (mut live, mut elsewhere) = (Live::open(&server), Live::open(&server));
    assert_eq!(live.list("d"), [""; 0]);
    assert_eq!(elsewhere.list("other"), [""; 0]);

    let mut nc = connect(port);
    nc.write_all(b"ANYPORT/1 PUT d/nc size=2\nncEND\n").unwrap();
    assert!(read_line(&mut nc).starts_with("ANYPORT/1 RECEIPT "));
    live.sees("d", &["d/nc"]);
    let response = request(port, "PUT /d/curl", "", b"curl");
    assert_eq!(response.status(), 201);
    live.sees("d", &["d/curl", "d/nc"]);
    let fields = "Tus-Resumable: 1.0.0\nUpload-Length: 3\nUpload-Metadata: filename ZC90dXM=\n\
                  Content-Type: application/offset+octet-stream\n";
    assert_eq!(request(port, "POST /files/", fields, b"tus").status(), 201);
    live.sees("d", &["d/curl", "d/nc", "d/tus"]);
    assert_eq!(http(&server, "DELETE /d/tus", ""), 204);
    live.sees("d", &["d/curl", "d/nc"]);
    let to = "Destination: /d/moved\n";
    assert_eq!(http(&server, "MOVE /d/nc", to), 201);
    live.sees("d", &["d/curl", "d/moved"]);
    assert_eq!(http(&server, "MKCOL /d/directory", ""), 201);
    live.sees("d", &["d/curl", "d/directory", "d/moved"]);
    // By other programs, and a change in a directory of the listing.
    std::fs::create_dir(server.dir().join("d/outside")).unwrap();
    live.sees("d", &["d/curl", "d/directory", "d/moved", "d/outside"]);
    std::fs::rename(server.dir().join("d/moved"), server.dir().join("d/renamed")).unwrap();
    live.sees("d", &["d/curl", "d/directory", "d/outside", "d/renamed"]);
    // The directory itself.
    let to = "Destination: /e\n";
    assert_eq!(http(&server, "MOVE /d", to), 201);
    assert_eq!(live.until("changed"), json!({"path": "d"}));
    let error = live.refusal_of(&json!({"list": {"path": "d"}}));
    assert_eq!(error["code"], "not-found");

    // All that time nothing happened in the other directory, which was new when it was listed.
    elsewhere.says(&json!({"connection": {}}));
    let first = elsewhere.next();
    let next = if first.get("changed").is_some() { elsewhere.next() } else { first };
    assert!(next.get("connection").is_some(), "{next}");
}

#[test]
fn many_changes_are_few_notifications() {
    let server = Server::start(&[]);
    let mut live = Live::open(&server);
    assert_eq!(live.list(""), [""; 0]);
    let began = std::time::Instant::now();
    let mut notified = 0;
    std::thread::scope(|scope| {
        let port = server.port();
        scope.spawn(move || {
            for number in 0..200 {
                assert_eq!(request(port, &format!("PUT /{number}"), "", b"").status(), 201);
            }
        });
        // Listing again does not make the next notification come sooner.
        loop {
            live.until("changed");
            notified += 1;
            if live.list("").len() == 200 {
                break;
            }
        }
    });
    // One immediately, and at most one in each second.
    assert!(notified <= 2 + began.elapsed().as_secs(), "{notified}");
}

#[test]
fn the_progress_of_uploads_is_shown_whatever_carries_them() {
    let server = Server::start(&[]);
    let port = server.port();
    let mut live = Live::open(&server);
    live.list("");
    let half = vec![7; 50_000];

    let mut preface = connect(port);
    preface.write_all(b"ANYPORT/1 PUT preface size=100000\n").unwrap();
    preface.write_all(&half).unwrap();
    live.sees_upload("", "preface", 50_000, json!(100_000));
    preface.write_all(&half).unwrap();
    preface.write_all(b"END\n").unwrap();
    live.sees_no_upload();

    let mut put = connect(port);
    put.write_all(b"PUT /put HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n")
        .unwrap();
    put.write_all(&half).unwrap();
    live.sees_upload("", "put", 50_000, json!(100_000));
    put.write_all(&half).unwrap();
    live.sees_no_upload();

    let mut chunked = connect(port);
    chunked
        .write_all(
            b"PUT /chunked HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .unwrap();
    chunked.write_all(b"5\r\nhello\r\n").unwrap();
    live.sees_upload("", "chunked", 5, Value::Null);
    chunked.write_all(b"0\r\n\r\n").unwrap();
    live.sees_no_upload();

    let fields = "Tus-Resumable: 1.0.0\nUpload-Length: 100000\nUpload-Metadata: filename dHVz\n";
    let created = request(port, "POST /files/", fields, b"");
    assert_eq!(created.status(), 201, "{}", created.head);
    let location = created.field("location").to_owned();
    let path =
        location.split_once("//").map_or(&*location, |(_, rest)| &rest[rest.find('/').unwrap()..]);
    let mut tus = connect(port);
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: 100000\r\n\r\n"
    );
    tus.write_all(head.as_bytes()).unwrap();
    tus.write_all(&half).unwrap();
    live.sees_upload("", "tus", 50_000, json!(100_000));
    // An upload that ends early is shown no longer either.
    drop(tus);
    live.sees_no_upload();

    // In another directory it is not shown.
    std::fs::create_dir(server.dir().join("d")).unwrap();
    let mut other = connect(port);
    other.write_all(b"ANYPORT/1 PUT d/preface size=100000\n").unwrap();
    other.write_all(&half).unwrap();
    let mut elsewhere = Live::open(&server);
    elsewhere.list("d");
    elsewhere.sees_upload("d", "preface", 50_000, json!(100_000));
    live.says(&json!({"connection": {}}));
    loop {
        let next = live.next();
        assert!(next.get("transfers").is_none(), "{next}");
        if next.get("connection").is_some() {
            break;
        }
    }
}

#[test]
fn a_client_sees_only_what_its_rights_and_its_scope_permit() {
    const CAROL: &str = "carols-token-0123456789";
    let tokens = token_file(&format!(
        "alice {ALICE} read,write,talk /a/b\nbob {BOB} write\ncarol {CAROL} read,write,talk\n"
    ));
    let server = Server::start(&["--token-file", tokens.path()]);
    std::fs::create_dir_all(server.dir().join("a/b")).unwrap();
    let [mut alice, mut bob, mut carol] =
        [ALICE, BOB, CAROL].map(|token| Live::with_token(&server, token));
    // A guest sees nothing.
    for (message, of) in
        [(json!({"list": {"path": ""}}), "list"), (json!({"join": {"room": "r"}}), "join")]
    {
        let error = bob.refusal_of(&message);
        assert_eq!(
            (&error["code"], &error["of"]),
            (&json!("not-supported"), &json!(of)),
            "{error}"
        );
    }
    // A scope: the way to it, and nothing that happens beside it.
    assert_eq!(alice.list("a"), ["a/b"]);
    assert_eq!(carol.list("a"), ["a/b"]);
    let error = alice.refusal_of(&json!({"list": {"path": "x"}}));
    assert_eq!(error["code"], "not-supported", "{error}");
    let mut upload = connect(server.port());
    let head = format!(
        "PUT /a/secret HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {BOB}\r\n\
         Content-Length: 10\r\n\r\n"
    );
    upload.write_all(head.as_bytes()).unwrap();
    upload.write_all(b"12345").unwrap();
    carol.sees_upload("a", "secret", 5, json!(10));
    upload.write_all(b"67890").unwrap();
    carol.sees("a", &["a/b", "a/secret"]);
    assert_eq!(alice.list("a"), ["a/b"]);
    alice.says(&json!({"connection": {}}));
    let next = alice.next();
    assert!(next.get("connection").is_some(), "{next}");
    // Inside of it.
    assert_eq!(alice.list("a/b"), [""; 0]);
    let fields = format!("Authorization: Bearer {BOB}\n");
    assert_eq!(http(&server, "PUT /a/b/new", &fields), 201);
    alice.sees("a/b", &["a/b/new"]);
}

#[test]
fn rights_end_with_their_token_also_on_an_open_connection() {
    let tokens = token_file(&format!("alice {ALICE} read,talk\nbob {BOB} read,talk\n"));
    let server = Server::start(&["--token-file", tokens.path()]);
    let [mut alice, mut bob] = [ALICE, BOB].map(|token| Live::with_token(&server, token));
    bob.list("");
    bob.says(&json!({"join": {"room": "lobby"}}));
    bob.until("joined");
    std::fs::write(tokens.path(), format!("bob {BOB} write\n")).unwrap();
    server.signal("HUP");
    let (code, reason) = read_close(&mut alice.0);
    assert_eq!(code, Some(1008), "{reason}");
    let ended = [bob.until("error")["of"].take(), bob.until("error")["of"].take()];
    assert_eq!(ended, [json!("list"), json!("join")]);
    // It receives nothing more, but may still ask.
    std::fs::write(server.dir().join("new"), b"").unwrap();
    let error = bob.refusal_of(&json!({"say": {"text": "hello", "key": "1"}}));
    assert_eq!((&error["of"], &error["key"]), (&json!("say"), &json!("1")));
}

#[test]
fn a_room_is_shared_with_clients_of_any_kind() {
    let server = Server::start(&[]);
    let Some(mut nc) = peer("nc") else { return };
    nc.args(["127.0.0.1", &server.port().to_string()]);
    let mut nc = LineClient::start(nc);
    nc.say("ANYPORT/1 JOIN lobby as nc");
    nc.receives("* you are nc in lobby; here: no other members");
    let mut live = Live::open(&server);
    live.list("");
    live.says(&json!({"join": {"room": "lobby", "as": "page"}}));
    let joined = live.until("joined");
    assert_eq!((&joined["as"], &joined["members"]), (&json!("page"), &json!(["nc"])));
    nc.receives("* page joined");
    nc.say("hello from nc");
    let message = loop {
        let message = live.until("message");
        if message["from"] == "nc" {
            break message;
        }
    };
    assert_eq!(message["text"], "hello from nc");
    live.says(&json!({"say": {"text": "hello from a page", "key": "1"}}));
    nc.receives("page: hello from a page");
    let own = live.until("message");
    assert_eq!((&own["from"], &own["key"]), (&json!("page"), &json!("1")), "its own come back");
    let url = format!("{}?as=curl", server.url("http", "rooms/lobby"));
    let Some((_, 200)) = curl_says(&["-d", "hello from curl", &url]) else { return };
    assert_eq!(live.until("message")["text"], "hello from curl");
    nc.receives("curl: hello from curl");
    let chat = LineClient::start(anyport_testkit::harness::anyport_command(&[
        "chat",
        &server.url("ws", "rooms/lobby"),
        "--as",
        "chat",
        "--json",
    ]));
    assert_eq!(live.until("join")["nick"], "chat");
    live.says(&json!({"say": {"text": "hello, chat"}}));
    while chat.next_json("message")["text"] != "hello, chat" {}
    live.says(&json!({"who": {}}));
    assert_eq!(live.until("members")["members"], json!(["nc", "page", "chat"]));
    drop(chat);
    assert_eq!(live.until("leave")["nick"], "chat");

    // Joined again: with its nickname, and from an event on.
    live.says(&json!({"join": {"room": "lobby", "as": "page", "since": message["id"]}}));
    nc.receives("* chat joined");
    let joined = live.until("joined");
    assert_eq!(joined["as"], "page");
    assert_eq!(live.until("message")["text"], "hello from a page", "the first one after it");
    live.says(&json!({"leave": {}}));
    wait_until("an empty room", || {
        let said =
            curl_says(&["-H", "Accept: application/json", &server.url("http", "rooms/lobby")]);
        let members: Value = serde_json::from_str(&said?.0).unwrap();
        (members["members"] == json!(["nc"])).then_some(())
    });
    let error = live.refusal_of(&json!({"say": {"text": "hello", "key": "9"}}));
    assert_eq!((&error["of"], &error["key"]), (&json!("say"), &json!("9")));
}

#[test]
fn a_listener_of_a_room_is_counted_and_not_announced() {
    let server = Server::start(&[]);
    let mut member = join(&server, "lobby as member json");
    let mut live = Live::open(&server);
    live.says(&json!({"join": {"room": "lobby", "listen": true, "history": 0}}));
    let joined = live.until("joined");
    assert_eq!(joined.get("as"), None, "{joined}");
    assert_eq!((&joined["members"], &joined["listeners"]), (&json!(["member"]), &json!(1)));
    assert!(joined["last"].is_string(), "{joined}");
    let error = live.refusal_of(&json!({"say": {"text": "hello"}}));
    assert_eq!(error["of"], "say");
    writeln!(member, "{}", json!({"say": {"text": "hello"}})).unwrap();
    assert_eq!(live.until("message")["text"], "hello");
    // A second join replaces the first one.
    live.says(&json!({"join": {"room": "lobby", "as": "page", "history": 0}}));
    let joined = live.until("joined");
    assert_eq!((&joined["as"], &joined["listeners"]), (&json!("page"), &json!(0)));
    let seen: Value = serde_json::from_str(&read_line(&mut member)).unwrap();
    assert_eq!(seen["join"]["nick"], "page", "the first event that the member sees: {seen}");
}

#[test]
fn a_client_that_reads_nothing_misses_events_and_holds_no_memory() {
    let server = Server::start(&["--room-rate", "0", "--room-queue", "64KiB"]);
    std::fs::create_dir(server.dir().join("many")).unwrap();
    for number in 0..20_000 {
        std::fs::write(server.dir().join(format!("many/{number:0200}")), b"").unwrap();
    }
    let mut live = Live::open(&server);
    live.says(&json!({"join": {"room": "lobby"}}));
    live.until("joined");
    let mut member = join(&server, "lobby as member");
    let before = server.memory();
    // Answers for 100 requests to list would be 600 MB, and messages of the room 64 MB more.
    for _ in 0..100 {
        live.says(&json!({"list": {"path": "many"}}));
    }
    let line = "x".repeat(64_000);
    for number in 0..1000 {
        writeln!(member, "{number} {line}").unwrap();
    }
    writeln!(member, "/who").unwrap();
    while !read_line(&mut member).starts_with("* here: ") {}
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
    assert!(live.until("lost")["count"].as_u64().unwrap() > 0);
    // It may be lost too, as long as earlier events are on their way.
    writeln!(member, "again").unwrap();
    loop {
        let next = live.next();
        if next["message"]["text"] == "again" {
            return;
        }
        if next.get("lost").is_some() {
            writeln!(member, "again").unwrap();
        }
    }
}

#[test]
fn many_requests_of_one_connection_need_no_memory() {
    let server = Server::start(&["--room-rate", "0"]);
    let mut live = Live::open(&server);
    let message =
        frame(TEXT, format!("{:60000}", json!({"connection": {}}).to_string()).as_bytes());
    let mut before = 0;
    for number in 0..1000 {
        live.0.write_all(&message).unwrap();
        live.until("connection");
        if number == 10 {
            before = server.memory();
        }
    }
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes after 60 MB of requests");
}

#[test]
fn what_breaks_the_protocol_ends_the_connection_and_other_faults_are_answered() {
    let server = Server::start(&["--room-message", "1KiB"]);
    for (bytes, code) in [
        (frame(BINARY, b"{}"), 1003),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, &vec![b' '; 10_000]), 1009),
        (b"\x81\x02{}".to_vec(), 1002),
        (close_frame(1000, "bye"), 1000),
    ] {
        let mut live = Live::open(&server);
        live.0.write_all(&bytes).unwrap();
        let (found, reason) = read_close(&mut live.0);
        assert_eq!(found, Some(code), "{reason}");
        assert_eq!(live.0.read(&mut [0]).unwrap(), 0);
    }
    let mut live = Live::open(&server);
    for (text, message) in [
        ("list", "message is not JSON: expected value at line 1 column 1"),
        (
            "{}",
            "message must be a JSON object with one key; expected one of list, join, leave, say, \
             who, connection",
        ),
        (r#"{"list":[]}"#, r#""list" must hold a JSON object, not […]"#),
        (
            r#"{"join":{"room":"a b"}}"#,
            r#"bad value "a b" for "room" in "join"; expected the name of a room"#,
        ),
        (r#"{"who":{}}"#, "this connection is in no room"),
    ] {
        live.0.write_all(&frame(TEXT, text.as_bytes())).unwrap();
        assert_eq!(live.until("error")["message"], message, "{text}");
    }
    live.0.write_all(&frame(PING, b"ping")).unwrap();
    assert_eq!(read_frame(&mut live.0), (PONG, b"ping".to_vec()));
}

#[test]
fn a_message_that_is_never_complete_is_closed_with_1008() {
    let server = Server::start(&["--message-timeout", "300ms"]);
    for begun in [fragment(TEXT, b"{"), frame(TEXT, b"{}")[..3].to_vec()] {
        let mut live = Live::open(&server);
        live.0.write_all(&begun).unwrap();
        let (code, reason) = read_close(&mut live.0);
        assert_eq!((code, &*reason), (Some(1008), "a message was not complete within 300ms"));
    }
}

#[test]
fn requests_are_handled_at_the_rate_of_rooms() {
    let server = Server::start(&["--room-rate", "20"]);
    let mut live = Live::open(&server);
    let began = std::time::Instant::now();
    for _ in 0..50 {
        live.says(&json!({"connection": {}}));
    }
    for _ in 0..50 {
        live.until("connection");
    }
    assert!(began.elapsed() > std::time::Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn live_connections_take_at_most_half_of_all_connections() {
    let server = Server::start(&["--max-conns", "5", "--max-conns-per-ip", "5"]);
    let open: Vec<_> = (0..3).map(|_| Live::open(&server)).collect();
    let mut refused = connect(server.port());
    refused.write_all(upgrade(PATH, "").as_bytes()).unwrap();
    assert!(read_head(&mut refused).starts_with("HTTP/1.1 503 "));
    drop(open);
    wait_until("a free place", || {
        let mut stream = connect(server.port());
        stream.write_all(upgrade(PATH, "").as_bytes()).unwrap();
        read_head(&mut stream).starts_with("HTTP/1.1 101 ").then_some(())
    });
}

#[test]
fn pages_of_other_origins_and_other_requests_are_refused() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    stream.write_all(upgrade(PATH, "Origin: http://evil.example\r\n").as_bytes()).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 403 "));
    let response = request(server.port(), "GET /.anyport/live", "", b"");
    assert_eq!((response.status(), response.field("upgrade")), (426, "websocket"));
    let tokens = token_file(&format!("alice {ALICE}\n"));
    let server = Server::start(&["--token-file", tokens.path()]);
    let mut stream = connect(server.port());
    stream.write_all(upgrade(PATH, "").as_bytes()).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 401 "));
}

#[test]
fn a_server_that_stops_says_so() {
    let server = Server::start(&[]);
    let mut live = Live::open(&server);
    live.list("");
    server.signal("TERM");
    let (code, reason) = read_close(&mut live.0);
    assert_eq!((code, &*reason), (Some(1001), "the server is stopping"));
}

#[test]
fn a_silent_client_gets_a_ping_and_a_dead_one_is_closed() {
    let server = Server::start(&["--idle-timeout", "500ms"]);
    let mut alive = Live::open(&server);
    for _ in 0..5 {
        assert_eq!(read_frame(&mut alive.0), (PING, Vec::new()));
        alive.0.write_all(&frame(PONG, b"")).unwrap();
    }
    assert_eq!(read_frame(&mut alive.0), (PING, Vec::new()));
    assert_eq!(read_close(&mut alive.0).0, Some(1008));
}

#[test]
fn every_engine_and_base_path_serves_live_connections() {
    for engine in engines() {
        let server = Server::start(&["--engine", engine, "--base-path", "/files-of/us"]);
        let mut live = Live(websocket(server.port(), "/files-of/us/.anyport/live"));
        assert_eq!(live.list(""), [""; 0], "{engine}");
        live.says(&json!({"connection": {}}));
        let connection = live.until("connection");
        assert_eq!(
            (&connection["protocol"], &connection["encrypted"]),
            (&json!("http/1.1"), &json!(false))
        );
        assert_eq!(connection["tls"], Value::Null);
        assert!(connection["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{connection}");
        assert!(connection["rtt_ms"].as_f64().unwrap() > 0.0, "{connection}");
    }
}

#[test]
fn a_third_party_client_shares_files_and_a_room_under_tls() {
    let server = Server::start(&[]);
    let Some(mut python) = python_with("websockets.sync.client") else { return };
    let script = format!(
        r#"
import json, ssl, sys
from websockets.sync.client import connect
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with connect('{}', ssl=context) as socket:
    def until(kind):
        while True:
            message = json.loads(socket.recv())
            if kind in message:
                return message[kind]
    socket.send('{{"connection":{{}}}}')
    connection = until('connection')
    print(connection['encrypted'], connection['tls'][:7])
    socket.send('{{"list":{{"path":"","id":1}}}}')
    print(until('list')['entries'])
    socket.send('{{"join":{{"room":"lobby","as":"python"}}}}')
    until('joined')
    print('ready', flush=True)
    print(until('message')['text'])
    until('changed')
    socket.send('{{"list":{{"path":"","id":2}}}}')
    print([entry['name'] for entry in until('list')['entries']])
"#,
        server.url("wss", ".anyport/live")
    );
    python.args(["-c", &script]);
    let running = Running::start(python, None);
    let url = server.url("http", "rooms/lobby");
    wait_until("a member", || {
        let (said, _) = curl_says(&["-H", "Accept: application/json", &url])?;
        said.contains("python").then_some(())
    });
    assert_eq!(request(server.port(), "POST /rooms/lobby", "", b"hello").status(), 200);
    assert_eq!(http(&server, "PUT /new", ""), 201);
    let outcome = running.outcome().succeeds();
    assert_eq!(outcome.stdout, "True TLS 1.3\n[]\nready\nhello\n['new']\n");
}

#[test]
fn four_pages_see_uploads_that_run_at_the_same_time() {
    let server = Server::start(&[]);
    let mut pages: Vec<_> = (0..4).map(|_| Live::open(&server)).collect();
    for page in &mut pages {
        page.list("");
    }
    let mut uploads: Vec<_> = (0..6)
        .map(|number| {
            let mut upload = connect(server.port());
            let head = format!(
                "PUT /f{number} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 200000\r\n\r\n"
            );
            upload.write_all(head.as_bytes()).unwrap();
            upload.write_all(&[7; 100_000]).unwrap();
            upload
        })
        .collect();
    for page in &mut pages {
        loop {
            let transfers = page.until("transfers");
            let all = transfers["transfers"].as_array().unwrap();
            if all.len() == 6 && all.iter().all(|one| one["bytes"] == 100_000) {
                break;
            }
        }
    }
    for upload in &mut uploads {
        upload.write_all(&[7; 100_000]).unwrap();
        assert!(read_head(upload).starts_with("HTTP/1.1 201 "));
    }
    for page in &mut pages {
        // Also by a page that lists again whenever something changed.
        loop {
            let next = page.next();
            if next.get("changed").is_some() {
                page.says(&json!({"list": {"path": "", "id": 7}}));
            }
            if next["transfers"]["transfers"] == json!([]) {
                break;
            }
        }
        wait_until("all files", || (page.list("").len() == 6).then_some(()));
    }
}
