//! The lines as documented, and properties of all lines.

use proptest::prelude::*;

use super::*;
use crate::rooms::join::tests::any_join;
use crate::transfer::digest::{Algorithm, Digest};
use crate::transfer::download::tests::{any_entry, any_get, any_head, any_list};
use crate::transfer::download::{Entry, EntryKind, FileHead, LeftOut, LeftOutReason, ListEnd};
use crate::transfer::file_path::FilePath;
use crate::transfer::file_time::FileTime;
use crate::transfer::offer::tests::any_offer;
use crate::transfer::offer::{End, OnExists, Token};
use crate::transfer::receipt::tests::any_receipt;
use crate::transfer::receipt::{EndKind, Engine, Protocol, Receipt};
use crate::transfer::refusal::{Refusal, RefusalCode};
use crate::transfer::tcp_seen::TcpSeen;

fn refused(line: &str) -> String {
    parse_request(line.as_bytes()).unwrap_err().to_string()
}

fn put(line: &str) -> Offer {
    match parse_request(line.as_bytes()) {
        Ok(Request::Put(offer)) => offer,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_preface_begins_with_its_version() {
    assert_eq!(PREFACE, format!("{VERSION} ").as_bytes());
}

#[test]
fn a_put_line_has_a_name_and_any_of_its_keys() {
    let offer =
        put("ANYPORT/1 PUT a%20b%2fc.txt name_raw=a%20b/c.txt%20 size=5 digest=sha256 mtime=-3 \
        mode=0600 id=x_1 resume exists=overwrite token=a%25");
    assert_eq!(
        offer,
        Offer {
            name: Some("a b/c.txt".to_owned()),
            name_raw: Some("a%20b/c.txt%20".to_owned()),
            size: Some(5),
            digest: Some(Algorithm::Sha256),
            mtime: Some(FileTime::seconds(-3)),
            mode: Some(0o600),
            id: Some("x_1".to_owned()),
            resume: true,
            exists: Some(OnExists::Overwrite),
            token: Some(Token::new("a%")),
        }
    );
}

#[test]
fn lines_typed_by_a_person_are_accepted() {
    let offer = Offer { name: Some("größe=1".to_owned()), size: Some(5), ..Offer::default() };
    assert_eq!(put("ANYPORT/1  PUT\tgröße=1   size=5 "), offer);
    assert_eq!(put("ANYPORT/1 PUT resume").name.as_deref(), Some("resume"));
}

#[test]
fn a_join_line_has_a_room_and_options() {
    let line = "ANYPORT/1 JOIN größe  as %D0%B6 json self since=k3f9c2-41 history=10 ";
    let join = Join {
        room: "größe".parse().unwrap(),
        nick: Some("ж".parse().unwrap()),
        json: true,
        own: true,
        since: Some("k3f9c2-41".parse().unwrap()),
        history: Some(10),
    };
    assert_eq!(parse_request(line.as_bytes()), Ok(Request::Join(join)));
    // The first word is always the room.
    let plain = Join::new("json".parse().unwrap());
    assert_eq!(parse_request(b"ANYPORT/1 JOIN json"), Ok(Request::Join(plain)));
    assert_eq!(parse_request(b"ANYPORT/1 ECHO "), Ok(Request::Echo));
}

#[test]
fn the_error_of_a_join_line_names_the_word() {
    for (line, message) in [
        ("ANYPORT/1 JOIN", "JOIN needs a room; expected ANYPORT/1 JOIN lobby as alice"),
        ("ANYPORT/1 JOIN -x", r#"the room "-x" must begin with a letter or digit"#),
        (
            "ANYPORT/1 JOIN a%zz",
            r#"bad value "a%zz" for room in the JOIN line; expected percent-encoded UTF-8"#,
        ),
        (
            "ANYPORT/1 JOIN a as",
            "a nickname is missing after as; expected ANYPORT/1 JOIN lobby as alice",
        ),
        (
            "ANYPORT/1 JOIN a as b:c",
            r#"':' is not allowed in the nickname "b:c"; allowed are letters, digits and - _ ."#,
        ),
        ("ANYPORT/1 JOIN a as b as c", "key as is given twice in the JOIN line"),
        ("ANYPORT/1 JOIN a json json", "key json is given twice in the JOIN line"),
        (
            "ANYPORT/1 JOIN a bob",
            r#"unknown word "bob" in the JOIN line; expected one of as NICK, json, self, since=, history="#,
        ),
        (
            "ANYPORT/1 JOIN a json=1",
            r#"unknown word "json=1" in the JOIN line; expected one of as NICK, json, self, since=, history="#,
        ),
        (
            "ANYPORT/1 JOIN a since=41",
            r#"bad value "41" for since in the JOIN line; expected an id such as k3f9c2-41"#,
        ),
        (
            "ANYPORT/1 JOIN a history",
            "key history in the JOIN line needs a value: history= and a number of events",
        ),
        (
            "ANYPORT/1 JOIN a history=4294967296",
            r#"bad value "4294967296" for history in the JOIN line; expected a number of events"#,
        ),
        (
            "ANYPORT/1 ECHO hello",
            r#"unexpected word "hello" in the ECHO line; the data to echo starts on the next line"#,
        ),
    ] {
        assert_eq!(refused(line), message, "{line}");
    }
}

#[test]
fn the_first_event_names_room_and_nickname() {
    let line = "ANYPORT/1 JOINED room=lobby as=%D0%B6 members=3 last=k3f9c2-41";
    let joined = Reply::Joined {
        room: "lobby".parse().unwrap(),
        nick: "ж".parse().unwrap(),
        members: 3,
        last: Some("k3f9c2-41".parse().unwrap()),
    };
    assert_eq!(Reply::parse(line.as_bytes()), Ok(joined.clone()));
    assert_eq!(joined.to_line(), format!("{line}\n"));
    let first = "ANYPORT/1 JOINED room=lobby as=a members=1\n";
    assert_eq!(Reply::parse(first.trim_end().as_bytes()).unwrap().to_line(), first);
}

#[test]
fn other_verbs_are_known_without_their_arguments() {
    assert_eq!(syn_line(), "ANYPORT/1 SYN\n");
    let reply = Reply::Syn(":RQA=:".to_owned());
    assert_eq!(Reply::parse(reply.to_line().trim_end().as_bytes()), Ok(reply));
    for (line, verb) in [
        ("ANYPORT/1 TIME", Verb::Time),
        ("ANYPORT/1 GREET", Verb::Greet),
        ("ANYPORT/1 HELP", Verb::Help),
        ("ANYPORT/1 SYN", Verb::Syn),
    ] {
        assert_eq!(parse_request(line.as_bytes()), Ok(Request::Other(verb)));
    }
    for (line, words) in
        [("TIME now", r#""now" in the TIME line"#), ("GREET\tme", r#""me" in the GREET"#)]
    {
        let error = parse_request(format!("ANYPORT/1 {line}").as_bytes()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(
        KNOWN_VERBS,
        format!("PUT, GET, LIST, ECHO, JOIN, PIPE, TAKE, {}", Verb::WORDS.join(", "))
    );
}

#[test]
fn the_error_of_a_request_names_the_word() {
    for (line, message) in [
        ("HELLO PUT x", "expected a line that begins with ANYPORT/1"),
        ("", "expected a line that begins with ANYPORT/1"),
        ("ANYPORT/2 PUT x", r#"unsupported version "ANYPORT/2"; expected ANYPORT/1"#),
        (
            "ANYPORT/1 put x",
            r#"unknown verb "put" in the preface; expected one of PUT, GET, LIST, ECHO, JOIN, PIPE, TAKE, TIME, GREET, HELP, SYN"#,
        ),
        (
            "ANYPORT/1 ",
            r#"unknown verb "" in the preface; expected one of PUT, GET, LIST, ECHO, JOIN, PIPE, TAKE, TIME, GREET, HELP, SYN"#,
        ),
        ("ANYPORT/1 PUT", "PUT needs a name; expected ANYPORT/1 PUT photo.jpg size=1024"),
        ("ANYPORT/1 PUT size=5", "PUT needs a name; expected ANYPORT/1 PUT photo.jpg size=1024"),
        (
            "ANYPORT/1 PUT x sise=5",
            r#"unknown key "sise" in the preface; expected one of size, digest, mtime, mtime_ns, mode, id, resume, exists, token, name_raw"#,
        ),
        (
            "ANYPORT/1 PUT my file.txt",
            r#"unexpected word "file.txt" in the preface; write a space in a name as %20, or one of the keys size, digest, mtime, mtime_ns, mode, id, resume, exists, token, name_raw"#,
        ),
        ("ANYPORT/1 PUT x size=1 size=1", "key size is given twice in the preface"),
        ("ANYPORT/1 PUT x resume resume", "key resume is given twice in the preface"),
        (
            "ANYPORT/1 PUT x size",
            "key size in the preface needs a value: size= and a number of bytes",
        ),
        (
            "ANYPORT/1 PUT x size=+5",
            r#"bad value "+5" for size in the preface; expected a number of bytes"#,
        ),
        (
            "ANYPORT/1 PUT x size=",
            r#"bad value "" for size in the preface; expected a number of bytes"#,
        ),
        (
            "ANYPORT/1 PUT x size=18446744073709551616",
            r#"bad value "18446744073709551616" for size in the preface; expected a number of bytes"#,
        ),
        (
            "ANYPORT/1 PUT x digest=md5",
            r#"bad value "md5" for digest in the preface; expected blake3, sha256 or none"#,
        ),
        (
            "ANYPORT/1 PUT x mtime=+1",
            r#"bad value "+1" for mtime in the preface; expected whole seconds since 1970"#,
        ),
        (
            "ANYPORT/1 PUT x mode=rw",
            r#"bad value "rw" for mode in the preface; expected permission bits in octal, such as 644"#,
        ),
        (
            "ANYPORT/1 PUT x id=a/b",
            r#"bad value "a/b" for id in the preface; expected 1 to 64 of A-Z a-z 0-9 _ -"#,
        ),
        (
            "ANYPORT/1 PUT x resume=1",
            r#"bad value "1" for resume in the preface; expected the word alone"#,
        ),
        (
            "ANYPORT/1 PUT 100%",
            r#"bad value "100%" for name in the preface; expected percent-encoded UTF-8, a percent sign itself as %25"#,
        ),
    ] {
        assert_eq!(refused(line), message);
    }
    assert_eq!(parse_request(b"ANYPORT/1 PUT \xff"), Err(PrefaceError::NotUtf8));
}

#[test]
fn words_of_an_invalid_line_are_not_repeated_to_strangers() {
    for (line, reported) in [
        ("ANYPORT/1 s3cret", "word 2 of the line is invalid"),
        ("ANYPORT/1 TAKE  k s3cret", "word 4 of the line is invalid"),
        ("ANYPORT/1 PUT x s3cret", "word 4 of the line is invalid"),
        ("ANYPORT/1 PUT x s3cret=1", "word 4 of the line is invalid"),
        ("ANYPORT/1 PUT x size=s3cret", "word 4 of the line is invalid"),
        ("ANYPORT/1 ECHO s3cret", "word 3 of the line is invalid"),
        ("ANYPORT/1 TIME s3cret", "word 3 of the line is invalid"),
        ("ANYPORT/1 JOIN s3cret!", "word 3 of the line is invalid"),
        ("ANYPORT/1 PIPE s3cret%21", "a word of the line is invalid"),
        ("ANYPORT/2 s3cret", "word 1 of the line is invalid"),
        ("ANYPORT/1 GET", "GET needs a name; expected ANYPORT/1 GET photos/a.jpg"),
    ] {
        let error = parse_request(line.as_bytes()).unwrap_err();
        let said = error.without_words(line.as_bytes());
        assert!(!said.contains("s3cret"), "{said}");
        assert_eq!(said, reported, "{line}");
    }
    // A misplaced token is not shown to others either, if the word itself reveals it.
    for line in ["ANYPORT/1 token=s3cret LIST", "ANYPORT/1 TAKE k Token=s3cret"] {
        let said = refused(line);
        assert!(said.contains("\"token=…\"") && !said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_token_is_never_shown() {
    for line in ["ANYPORT/1 PUT x token=s3cret%zz", "ANYPORT/1 PUT x token="] {
        let message = "bad value for token in the preface; expected a non-empty text";
        assert_eq!(refused(line), message);
    }
    let message = refused("ANYPORT/1 PUT x token=s3cret token=s3cret");
    assert_eq!(message, "key token is given twice in the preface");
}

#[test]
fn a_file_without_a_name_is_offered_as_a_dash() {
    for name in [None, Some(String::new())] {
        let line = put_line(&Offer { name, size: Some(1), ..Offer::default() });
        assert_eq!(line, "ANYPORT/1 PUT - size=1\n");
        let offer = Offer { size: Some(1), ..Offer::default() };
        assert_eq!(parse_request(line.trim_end().as_bytes()), Ok(Request::Put(offer)));
    }
    let dash = Offer { name: Some("-".to_owned()), ..Offer::default() };
    assert_eq!(put_line(&dash), "ANYPORT/1 PUT %2D\n");
    assert_eq!(parse_request(b"ANYPORT/1 PUT %2D"), Ok(Request::Put(dash)));
}

#[test]
fn a_put_without_a_name_is_refused() {
    assert_eq!(parse_request(b"ANYPORT/1 PUT"), Err(PrefaceError::MissingName));
}

fn get(line: &str) -> Get {
    match parse_request(line.as_bytes()) {
        Ok(Request::Get(get)) => get,
        other => panic!("{line}: {other:?}"),
    }
}

fn list(line: &str) -> List {
    match parse_request(line.as_bytes()) {
        Ok(Request::List(list)) => list,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_get_line_has_a_name_and_any_of_its_keys() {
    let name = "a b/größe".to_owned();
    let (digest, token) = (Some(Algorithm::None), Some(Token::new("x y")));
    let full = Get { name, name_raw: None, offset: 7, digest, token };
    assert_eq!(get("ANYPORT/1 GET a%20b/größe offset=7 digest=none token=x%20y"), full);
    assert_eq!(
        get_line(&full),
        "ANYPORT/1 GET a%20b%2Fgr%C3%B6%C3%9Fe offset=7 digest=none token=x%20y\n"
    );
    // An invalid path is refused by the service.
    assert_eq!(get("ANYPORT/1 GET ../%2Fx").name, "..//x");
    let raw = get("ANYPORT/1 GET caf%E9");
    assert_eq!((raw.name.as_str(), raw.name_raw.as_deref()), ("caf\u{fffd}", Some("caf%E9")));
    assert_eq!(get_line(&raw), "ANYPORT/1 GET caf%E9\n");
}

#[test]
fn a_list_line_may_be_short() {
    let of = |path: &str| List { path: Some(path.to_owned()), ..List::default() };
    assert_eq!(list("ANYPORT/1 LIST"), List::default());
    assert_eq!(list("ANYPORT/1 LIST /"), List::default());
    assert_eq!(list("ANYPORT/1 LIST photos/"), of("photos"));
    let recursive = |list| List { recursive: true, ..list };
    assert_eq!(list("ANYPORT/1 LIST recursive"), recursive(List::default()));
    assert_eq!(list("ANYPORT/1 LIST a recursive"), recursive(of("a")));
    let line = list_line(&recursive(of("recursive")));
    assert_eq!(line, "ANYPORT/1 LIST %72ecursive recursive\n");
    assert_eq!(list(line.trim_end()), recursive(of("recursive")));
    let line = list_line(&List { left_out: true, ..of("left_out") });
    assert_eq!(line, "ANYPORT/1 LIST %6Ceft_out left_out\n");
    assert_eq!(list(line.trim_end()), List { left_out: true, ..of("left_out") });
}

#[test]
fn the_error_of_a_download_line_names_the_word() {
    for (line, message) in [
        ("ANYPORT/1 GET", "GET needs a name; expected ANYPORT/1 GET photos/a.jpg"),
        ("ANYPORT/1 GET offset=5", "GET needs a name; expected ANYPORT/1 GET photos/a.jpg"),
        (
            "ANYPORT/1 GET x offset=-1",
            r#"bad value "-1" for offset in the GET line; expected a number of bytes"#,
        ),
        (
            "ANYPORT/1 GET my file",
            r#"unknown word "file (a space in a name is written %20)" in the GET line; expected one of offset, digest, token"#,
        ),
        (
            "ANYPORT/1 GET x size=1",
            r#"unknown word "size" in the GET line; expected one of offset, digest, token"#,
        ),
        ("ANYPORT/1 GET x offset=1 offset=1", "key offset is given twice in the GET line"),
        ("ANYPORT/1 GET x token=", "bad value for token in the preface; expected a non-empty text"),
        (
            "ANYPORT/1 GET %zz",
            r#"bad value "%zz" for name in the GET line; expected a percent-encoded path, a percent sign itself as %25"#,
        ),
        ("ANYPORT/1 LIST x recursive recursive", "key recursive is given twice in the LIST line"),
        (
            "ANYPORT/1 LIST x recursive=1",
            r#"unknown word "recursive" in the LIST line; expected one of recursive, left_out, token"#,
        ),
    ] {
        assert_eq!(refused(line), message);
    }
}

#[test]
fn replies_to_downloads_are_lines_as_documented() {
    let name = FilePath::parse("a b/x").unwrap();
    let head = FileHead {
        name: name.clone(),
        size: 9,
        offset: 5,
        mtime: FileTime::exact(-1, 5),
        mode: 0o644,
    };
    let entry =
        Entry { name, kind: EntryKind::Directory, size: None, mtime: 3.into(), mode: 0o755 };
    let raw = entry.clone();
    for (reply, line) in [
        (
            Reply::File(head),
            "ANYPORT/1 FILE name=a%20b/x size=9 offset=5 mtime=-1 mtime_ns=5 mode=644\n",
        ),
        (Reply::Entry(entry), "ANYPORT/1 ENTRY name=a%20b/x kind=directory mtime=3 mode=755\n"),
        (
            Reply::LeftOut(LeftOut::new(b"d/a\n", LeftOutReason::Name)),
            "ANYPORT/1 LEFT-OUT name_raw=d/a%0A reason=name\n",
        ),
        (Reply::ListEnd(ListEnd { entries: 2, ..ListEnd::default() }), "ANYPORT/1 END entries=2\n"),
        (
            Reply::ListEnd(ListEnd { entries: 2, left_out: Some(1), links: Some(3) }),
            "ANYPORT/1 END entries=2 left_out=1 links=3\n",
        ),
        (
            Reply::Entry(Entry { name: FilePath::exact(b"a\xe9 ").unwrap(), ..raw }),
            "ANYPORT/1 ENTRY name=a%EF%BF%BD name_raw=a%E9%20 kind=directory mtime=3 mode=755\n",
        ),
    ] {
        assert_eq!(reply.to_line(), line);
        assert_eq!(Reply::parse(line.trim_end().as_bytes()), Ok(reply));
    }
    for name in ["../x", "/etc/passwd", "%2e%2e/x", ".anyport-1.part", ""] {
        let line = format!("ANYPORT/1 FILE name={name} size=1 offset=0 mtime=0 mode=644");
        let error = Reply::parse(line.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("expected a path below the served directory"), "{error}");
    }
}

#[test]
fn an_end_may_have_a_digest() {
    let digest = Digest::blake3([7; 32]);
    assert_eq!(end_line(None), "END\n");
    assert_eq!(end_line(Some(&digest)), format!("END {digest}\n"));
    assert_eq!(parse_end(b"END"), Ok(End::default()));
    let end = End { bytes: None, digest: Some(digest) };
    assert_eq!(parse_end(format!("END {digest}").as_bytes()), Ok(end));
}

#[test]
fn the_error_of_an_end_line_names_the_word() {
    for (line, message) in [
        ("ENDE", r#"expected END after the content, not "ENDE""#),
        ("\0\0", r#"expected END after the content, not "\0\0""#),
        (
            "END blake3:00",
            r#"bad value "blake3:00" for digest in the END line; expected blake3: or sha256: and 64 hexadecimal digits"#,
        ),
        ("END a b", r#"unexpected word "b" in the END line; expected END, or END and one digest"#),
    ] {
        assert_eq!(parse_end(line.as_bytes()).unwrap_err().to_string(), message);
    }
    assert_eq!(parse_end(b"END \xff"), Err(PrefaceError::NotUtf8));
}

fn receipt() -> Receipt {
    Receipt {
        protocol: Protocol::Raw,
        engine: Engine::Own,
        peer: "127.0.0.1:5".parse().unwrap(),
        bytes: 1000,
        resumed: 600,
        seconds: 0.000_001,
        durable_seconds: Some(2.5),
        hashing_seconds: Some(0.25),
        storing_seconds: Some(0.5),
        digest: Some(Digest::sha256([1; 32])),
        end: EndKind::Fin,
        confirmed: false,
        name: Some("a b".to_owned()),
        path: Some("/srv/größe 100%".to_owned()),
        path_raw: None,
        congestion: Some("reno".to_owned()),
        tcp: TcpSeen { rtt_us: Some(35), cwnd: Some(10), ..TcpSeen::default() },
    }
}

#[test]
fn replies_are_lines_as_documented() {
    let refusal = Refusal::new(RefusalCode::Exists, "a.txt\nexists (here)\u{1b}");
    let hinted = Refusal::new(RefusalCode::Busy, "8 are running").with_hint("try\nlater");
    let hex = "01".repeat(32);
    for (reply, line) in [
        (Reply::Go { offset: 64 }, "ANYPORT/1 GO offset=64\n".to_owned()),
        (
            Reply::Receipt(receipt()),
            format!(
                "ANYPORT/1 RECEIPT protocol=raw engine=own peer=127.0.0.1:5 bytes=1000 resumed=600 \
                seconds=0.000001 durable_seconds=2.5 hashing_seconds=0.25 storing_seconds=0.5 \
                rate=400000000 digest=sha256:{hex} end=fin confirmed=false \
                name=a%20b path=/srv/gr%C3%B6%C3%9Fe%20100%25 congestion=reno rtt_us=35 cwnd=10\n"
            ),
        ),
        (Reply::Error(refusal), "ANYPORT/1 ERROR exists a.txt␊exists (here)␛\n".to_owned()),
        (Reply::Error(hinted), "ANYPORT/1 ERROR busy 8 are running (hint: try later)\n".to_owned()),
    ] {
        assert_eq!(reply.to_line(), line);
    }
}

#[test]
fn a_receipt_line_has_only_the_keys_that_are_present() {
    let bare = Receipt {
        resumed: 0,
        seconds: 0.0,
        durable_seconds: None,
        hashing_seconds: None,
        storing_seconds: None,
        digest: None,
        name: None,
        path: None,
        congestion: None,
        tcp: TcpSeen::default(),
        ..receipt()
    };
    assert_eq!(
        Reply::Receipt(bare).to_line(),
        "ANYPORT/1 RECEIPT protocol=raw engine=own peer=127.0.0.1:5 bytes=1000 seconds=0 \
        end=fin confirmed=false\n"
    );
}

#[test]
fn keys_of_a_later_version_in_a_reply_are_ignored() {
    let line = b"ANYPORT/1 GO colour=red offset=3 loud";
    assert_eq!(Reply::parse(line), Ok(Reply::Go { offset: 3 }));
}

#[test]
fn the_error_of_a_reply_names_the_word() {
    for (line, message) in [
        ("ANYPORT/2 GO", r#"unsupported version "ANYPORT/2"; expected ANYPORT/1"#),
        (
            "ANYPORT/1 WENT",
            r#"unknown reply "WENT"; expected one of GO, RECEIPT, ERROR, FILE, ENTRY, LEFT-OUT, END, JOINED, PIPED, CONTENT"#,
        ),
        ("ANYPORT/1 GO", "key offset is missing in the GO line; expected a number of bytes"),
        ("ANYPORT/1 GO offset=1 offset=2", "key offset is given twice in the GO line"),
        (
            "ANYPORT/1 GO offset=x",
            r#"bad value "x" for offset in the GO line; expected a number of bytes"#,
        ),
        (
            "ANYPORT/1 RECEIPT protocol=tcp",
            r#"bad value "tcp" for protocol in the RECEIPT line; expected raw, ws, frames or http"#,
        ),
        (
            "ANYPORT/1 RECEIPT protocol=ws engine=own peer=[::1]:1 bytes=1 seconds=nan",
            r#"bad value "nan" for seconds in the RECEIPT line; expected a number of seconds"#,
        ),
        (
            "ANYPORT/1 ERROR quota disk quota used up",
            r#"refused with the unknown code "quota": "disk quota used up""#,
        ),
    ] {
        assert_eq!(Reply::parse(line.as_bytes()).unwrap_err().to_string(), message);
    }
}

proptest! {
    #[test]
    fn a_join_line_is_read_as_it_is_written(join in any_join()) {
        let line = join_line(&join);
        prop_assert!(line.len() <= crate::limits::Limits::default().preface_line);
        let line = line.strip_suffix('\n').unwrap();
        prop_assert_eq!(parse_request(line.as_bytes()), Ok(Request::Join(join)));
    }

    #[test]
    fn an_offer_survives_being_written_and_read(offer in any_offer()) {
        let line = put_line(&offer);
        let text = line.strip_suffix('\n').unwrap();
        prop_assert!(text.is_ascii() && !text.contains('\n'), "{}", text);
        prop_assert!(text.as_bytes().starts_with(PREFACE));
        prop_assert_eq!(parse_request(text.as_bytes()), Ok(Request::Put(offer)));
    }

    #[test]
    fn a_download_line_survives_being_written_and_read(get in any_get(), list in any_list()) {
        // A person writes a directory with a slash at its end.
        prop_assume!(!list.path.as_ref().is_some_and(|path| path.ends_with('/')));
        for (line, request) in
            [
            (get_line(&get), Request::Get(get.clone())),
            (list_line(&list), Request::List(list.clone())),
        ]
        {
            let text = line.strip_suffix('\n').unwrap();
            prop_assert!(text.is_ascii() && !text.contains('\n'), "{}", text);
            prop_assert!(text.as_bytes().starts_with(PREFACE));
            prop_assert_eq!(parse_request(text.as_bytes()), Ok(request));
        }
    }

    #[test]
    fn an_answer_survives_being_written_and_read(
        head in any_head(),
        entry in any_entry(),
        name: Vec<u8>,
        (entries, left_out, links) in any::<(u64, Option<u64>, Option<u64>)>(),
        digest in prop::option::of(any::<[u8; 32]>().prop_map(Digest::blake3)),
    ) {
        let end = End { bytes: None, digest };
        prop_assert_eq!(parse_end(end_line(digest.as_ref()).trim_end().as_bytes()), Ok(end));
        let left_out_entry = LeftOut::new(&name, LeftOutReason::Depth);
        let end = ListEnd { entries, left_out, links };
        for reply in [
            Reply::File(head),
            Reply::Entry(entry),
            Reply::LeftOut(left_out_entry),
            Reply::ListEnd(end),
        ] {
            let line = reply.to_line();
            let text = line.strip_suffix('\n').unwrap();
            prop_assert!(text.is_ascii() && !text.contains('\n'), "{}", text);
            prop_assert_eq!(Reply::parse(text.as_bytes()), Ok(reply));
        }
    }

    #[test]
    fn a_receipt_survives_being_written_and_read(receipt in any_receipt()) {
        let line = Reply::Receipt(receipt.clone()).to_line();
        let text = line.strip_suffix('\n').unwrap();
        prop_assert!(text.is_ascii() && !text.contains('\n'), "{}", text);
        prop_assert_eq!(Reply::parse(text.as_bytes()), Ok(Reply::Receipt(receipt)));
    }

    #[test]
    fn a_refusal_survives_being_written_and_read(
        message in "[^\\pC\\p{Zl}\\p{Zp}(]*",
        hint in prop::option::of("[^\\pC\\p{Zl}\\p{Zp}(]*"),
        code in prop::sample::select(RefusalCode::WORDS),
    ) {
        let code = code.parse().unwrap();
        let reply = Reply::Error(Refusal { code, message, hint });
        let line = reply.to_line();
        prop_assert_eq!(Reply::parse(line.strip_suffix('\n').unwrap().as_bytes()), Ok(reply));
    }

    #[test]
    fn an_error_is_always_one_line(message: String, hint: Option<String>) {
        let line = Reply::Error(Refusal { code: RefusalCode::Storage, message, hint }).to_line();
        prop_assert_eq!(line.find(char::is_control), Some(line.len() - 1));
    }

    #[test]
    fn no_bytes_panic_the_parsers(
        head in prop::sample::select(vec![
            "", "ANYPORT/1 PUT ", "ANYPORT/1 ", "END ", "ANYPORT/1 RECEIPT ",
            "ANYPORT/1 GET ", "ANYPORT/1 LIST ", "ANYPORT/1 FILE ", "ANYPORT/1 ENTRY ",
        ]),
        tail: Vec<u8>,
    ) {
        let line = [head.as_bytes(), &tail].concat();
        let _ = parse_request(&line);
        let _ = parse_end(&line);
        let _ = Reply::parse(&line);
    }
}

#[test]
fn the_time_and_a_greeting_are_one_line_each() {
    for (reply, line) in [
        (Reply::Time("Local time is: 2026".to_owned()), "ANYPORT/1 TIME Local time is: 2026\n"),
        (Reply::Greeting("a\nb".to_owned()), "ANYPORT/1 GREETING a b\n"),
    ] {
        assert_eq!(reply.to_line(), line);
        let read = Reply::parse(line.trim_end().as_bytes()).unwrap();
        assert_eq!(read.to_line(), line);
    }
}

#[test]
fn any_line_carries_a_token_and_none_shows_it() {
    let carried = |line: &str| {
        let (request, token) = parse_line(line.as_bytes()).unwrap();
        (request, token.map(|token| token.expose().to_owned()))
    };
    for line in [
        "ANYPORT/1 PUT x size=1",
        "ANYPORT/1 GET x",
        "ANYPORT/1 LIST",
        "ANYPORT/1 ECHO",
        "ANYPORT/1 JOIN lobby as alice",
        "ANYPORT/1 PIPE key n=2",
        "ANYPORT/1 TAKE key head",
        "ANYPORT/1 TIME",
        "ANYPORT/1 GREET",
    ] {
        let (bare, none) = carried(line);
        assert_eq!(none, None, "{line}");
        let token = Token::new("s3 cret%");
        let with = with_token(format!("{line}\n"), Some(&token));
        assert_eq!(with, format!("{line} token=s3%20cret%25\n"));
        let (request, carried) = carried(with.trim_end());
        assert_eq!(carried.as_deref(), Some("s3 cret%"), "{line}");
        if !matches!(bare, Request::Put(_) | Request::Get(_) | Request::List(_)) {
            assert_eq!(request, bare, "{line}");
        }
        assert_eq!(refused(&format!("{line} token=s3cret token=s3cret")), {
            let named = match line.split(' ').nth(1).unwrap() {
                verb @ ("GET" | "LIST") => format!("{verb} line"),
                _ => "preface".to_owned(),
            };
            format!("key token is given twice in the {named}")
        });
        assert!(!refused(&format!("{line} token=s3cret%zz")).contains("s3cret"), "{line}");
    }
    assert_eq!(with_token("ANYPORT/1 LIST\n".to_owned(), None), "ANYPORT/1 LIST\n");
}

#[test]
fn a_line_after_miscounted_content_shows_no_token() {
    let error = parse_end(b"ANYPORT/1 PUT x token=s3cret").unwrap_err();
    assert!(!error.to_string().contains("s3cret") && !format!("{error:?}").contains("s3cret"));
}
