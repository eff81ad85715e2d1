use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyport_proto::transfer::file_name::SHARES;
use anyport_proto::transfer::refusal::RefusalCode;
use anyport_store::{Settings, TransferKey};

use super::*;

fn shares(path: &Path) -> Arc<Shares> {
    let store = Arc::new(Store::open(path, Settings::default()).unwrap());
    Arc::new(Shares::open(store, &crate::Config::new(path).startup))
}

fn drop_box(limits: Limits) -> Kind {
    Kind::Drop(limits)
}

fn new(kind: Kind, expires: i64) -> NewShare {
    let maker = Some(Maker { user: "alice".into(), mark: TokenMark(7) });
    NewShare { kind, maker, expires }
}

fn create(shares: &Shares, kind: Kind, expires: i64) -> Result<(Arc<Share>, String), ShareError> {
    let name = FileName::sanitize("a\"b.txt").unwrap();
    let make = |name: &FileName| Ok::<_, ShareError>(Some(name.clone().into()));
    let (share, id) = shares.create(new(kind, expires), &name, 0, make)?;
    let path = id.path();
    let id = path.trim_end_matches('/').rsplit('/').next().unwrap();
    Ok((share, id.to_owned()))
}

fn file() -> Kind {
    Kind::File { tag: "\"1-2\"".into(), digest: Some("blake3:00".into()) }
}

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number).into()
}

#[test]
fn a_share_survives_a_restart_and_its_id_is_stored_as_a_hash_only() {
    let scratch = tempfile::tempdir().unwrap();
    let before = shares(scratch.path());
    let (first, id) = create(&before, file(), 100).unwrap();
    let (second, other) = create(&before, drop_box(Limits::default()), 200).unwrap();
    assert_eq!((first.name.text(), second.name.text()), ("a\"b.txt".into(), "a\"b-1.txt".into()));
    assert_eq!(id.len(), 43, "256 bits");
    let at = scratch.path().join(SHARES);
    let content = std::fs::read_to_string(&at).unwrap();
    assert!(!content.contains(&id) && !content.contains(&other), "{content}");
    assert_eq!(std::fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1, "no temporary file");
    for (shown, name) in [(format!("{first:?}"), "Share"), (format!("{before:?}"), "Shares(2)")] {
        assert!(shown.contains(name) && !shown.contains(&id), "{shown}");
    }
    drop(before);
    let after = shares(scratch.path());
    let found = after.find(&id, 0).unwrap();
    assert_eq!((&found.name, &found.path), (&first.name, &first.path));
    assert_eq!((&found.kind, &found.maker, found.expires), (&first.kind, &first.maker, 100));
    for wrong in ["", "x", &other[1..], &format!("{id}A"), &"A".repeat(43)] {
        assert!(after.find(wrong, 0).is_none(), "{wrong}");
    }
}

#[test]
fn a_share_ends_at_its_time_or_when_it_is_revoked_and_stays_ended() {
    let scratch = tempfile::tempdir().unwrap();
    let server = shares(scratch.path());
    let (_, expiring) = create(&server, file(), 100).unwrap();
    let (revoked, id) = create(&server, file(), 200).unwrap();
    assert!(!server.find(&expiring, 99).unwrap().has_ended());
    assert!(server.find(&expiring, 100).unwrap().has_ended());
    server.revoke(&revoked).unwrap();
    let check = |server: &Shares| {
        assert!(server.find(&id, 0).unwrap().has_ended());
        assert!(server.find(&expiring, 100).unwrap().has_ended());
        assert!(server.all(100).is_empty());
    };
    check(&server);
    drop(server);
    check(&shares(scratch.path()));
}

#[test]
fn only_one_server_at_a_time_has_the_links_of_a_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let [first, second] = [(); 2].map(|()| shares(scratch.path()));
    let (revoked, id) = create(&first, file(), 100).unwrap();
    let (_, kept) = create(&first, file(), 100).unwrap();
    let third = shares(scratch.path());
    for other in [&second, &third] {
        assert!(matches!(create(other, file(), 100), Err(ShareError::Busy)));
        assert!(other.find(&id, 1).is_none() && other.all(1).is_empty());
    }
    first.revoke(&revoked).unwrap();
    drop(first);
    assert!(third.find(&id, 2).unwrap().has_ended());
    assert!(!third.find(&kept, 2).unwrap().has_ended());
    assert!(matches!(create(&second, file(), 100), Err(ShareError::Busy)));
    drop(third);
    create(&second, file(), 100).unwrap();
    assert_eq!(second.all(2).len(), 2, "that of the first server and its own");
}

#[test]
fn links_are_found_while_the_disk_works_for_another_one() {
    let scratch = tempfile::tempdir().unwrap();
    let server = shares(scratch.path());
    let (_, id) = create(&server, file(), 100).unwrap();
    let name = FileName::sanitize("slow").unwrap();
    let make = |name: &FileName| {
        let (sender, found) = std::sync::mpsc::channel();
        let (server, id) = (server.clone(), id.clone());
        std::thread::spawn(move || sender.send(server.find(&id, 0).is_some()));
        assert_eq!(found.recv_timeout(std::time::Duration::from_secs(10)), Ok(true));
        Ok::<_, ShareError>(Some(name.clone().into()))
    };
    server.create(new(file(), 100), &name, 0, make).unwrap();
}

#[test]
fn a_state_file_that_cannot_be_read_is_kept_and_there_are_no_shares() {
    for content in ["{", "{}", r#"{"version":9,"shares":[]}"#, r#"{"version":1,"shares":[{}]}"#] {
        let scratch = tempfile::tempdir().unwrap();
        let at = scratch.path().join(SHARES);
        std::fs::write(&at, content).unwrap();
        let server = shares(scratch.path());
        let error = create(&server, file(), 100).unwrap_err().to_string();
        assert!(error.contains("cannot read its shares"), "{error}");
        assert_eq!(std::fs::read_to_string(&at).unwrap(), content);
    }
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join(SHARES), vec![b' '; LONGEST + 1]).unwrap();
    assert!(create(&shares(scratch.path()), file(), 100).is_err());
}

#[test]
fn the_number_of_shares_is_bounded_and_one_that_has_ended_gives_its_place() {
    let scratch = tempfile::tempdir().unwrap();
    let server = shares(scratch.path());
    let (first, _) = create(&server, file(), 100).unwrap();
    {
        let mut state = server.lock();
        let more: Vec<_> = (1..MOST).map(|_| first.clone()).collect();
        state.shares.extend(more);
    }
    assert!(matches!(create(&server, file(), 100), Err(ShareError::TooMany)));
    let name = FileName::sanitize("x").unwrap();
    let make = |name: &FileName| Ok::<_, ShareError>(Some(name.clone().into()));
    server.create(new(file(), 300), &name, 200, make).unwrap();
    assert_eq!(server.lock().shares.len(), MOST);
}

#[test]
fn a_drop_box_bounds_bytes_and_files_of_all_uploads_together() {
    let scratch = tempfile::tempdir().unwrap();
    let server = shares(scratch.path());
    let limits = Limits { bytes: 100, files: 3, at_once: 9 };
    let (share, id) = create(&server, drop_box(limits), 100).unwrap();
    let link = ShareLink::new(server.clone(), share.clone());
    let begin =
        |key: Option<&TransferKey>, bytes| link.begin(key, bytes, address(1)).map(Option::unwrap);
    let code = |refused: Result<Slot, anyport_proto::transfer::refusal::Refusal>| {
        refused.map(drop).unwrap_err().code
    };
    assert_eq!(code(begin(None, 101)), RefusalCode::NoSpace);
    begin(None, 60).unwrap().stored(60);
    let mut growing = begin(None, 0).unwrap();
    growing.grow_to(30).unwrap();
    assert_eq!(growing.grow_to(41).unwrap_err().code, RefusalCode::NoSpace);
    assert_eq!(code(begin(None, 11)), RefusalCode::NoSpace);
    drop(growing);
    // An upload that requests continue keeps its claim between them, and once only.
    let (key, other) = (TransferKey::of_upload("a"), TransferKey::of_upload("b"));
    upload(&server, &key, b"x");
    drop(begin(Some(&key), 40).unwrap());
    assert_eq!(code(begin(None, 1)), RefusalCode::NoSpace);
    assert_eq!((share.used(), share.unfinished()), ((60, 1), (40, 1)));
    let (first, second) = (begin(Some(&key), 40), begin(Some(&key), 40));
    drop(first.unwrap());
    drop(second.unwrap());
    link.forget(&key);
    // Until it was removed, because no client continued it.
    drop(begin(Some(&other), 40).unwrap());
    begin(None, 40).unwrap().stored(40);
    let full = link.check(address(1)).unwrap_err();
    assert_eq!(full.message, "this link accepts 100 bytes in total, and this file is more");
    drop((link, share, server));
    let after = shares(scratch.path()).find(&id, 0).unwrap();
    assert_eq!((after.used(), &after.kind), ((100, 2), &drop_box(limits)));
}

#[test]
fn an_upload_without_content_gives_its_space_to_another_one() {
    const SIZE: u64 = 600_000_000;
    let scratch = tempfile::tempdir().unwrap();
    let server = shares(scratch.path());
    let (share, _) = create(&server, drop_box(Limits::default()), 100).unwrap();
    let link = ShareLink::new(server.clone(), share.clone());
    let keys = ["a", "b", "c", "d"].map(TransferKey::of_upload);
    let create = |key, content: &[u8]| {
        upload(&server, key, content);
        link.begin(Some(key), SIZE, address(1)).map(Option::unwrap)
    };
    let is_there = |key| server.store.now().upload(key).is_some();
    drop(create(&keys[0], b"").unwrap());
    drop(create(&keys[1], b"").unwrap());
    let running = create(&keys[2], b"").unwrap();
    assert_eq!((is_there(&keys[0]), is_there(&keys[1])), (false, false));
    assert_eq!(share.unfinished(), (SIZE, 1));
    // Not while a request sends it, and not once it has content.
    assert!(create(&keys[3], b"").is_err());
    drop(running);
    drop(create(&keys[3], b"content").unwrap());
    assert!(create(&keys[0], b"").is_err());
    assert!(is_there(&keys[3]));
}

/// Creates an upload with content, which no request sends now.
fn upload(server: &Shares, key: &TransferKey, content: &[u8]) {
    let offer = anyport_proto::transfer::offer::Offer::default();
    let partial = server.store.now().create_upload(key, None, &offer, None).unwrap();
    let mut sink = anyport_store::Sink::File(partial);
    sink.write(content).unwrap();
    sink.pause().unwrap();
}

#[test]
fn concurrent_uploads_are_limited_for_the_drop_box_and_for_one_address() {
    let scratch = tempfile::tempdir().unwrap();
    let server = shares(scratch.path());
    let (share, _) = create(&server, drop_box(Limits::default()), 100).unwrap();
    let link = ShareLink::new(server, share);
    let begin = |number| link.begin(None, 1, address(number)).map(Option::unwrap);
    let mut running: Vec<_> = (0..3).map(|_| begin(1).unwrap()).collect();
    assert_eq!(begin(1).map(drop).unwrap_err().code, RefusalCode::Busy);
    running.push(begin(2).unwrap());
    assert_eq!(begin(3).map(drop).unwrap_err().code, RefusalCode::Busy);
    assert_eq!(link.check(address(3)).unwrap_err().code, RefusalCode::Busy);
    running.clear();
    begin(3).unwrap();
}
