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
    for server in [server, shares(scratch.path())] {
        assert!(server.find(&id, 0).unwrap().has_ended());
        assert!(server.find(&expiring, 100).unwrap().has_ended());
        assert!(server.all(100).is_empty());
    }
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
    let link = ShareLink::new(server.clone(), share);
    let begin = |key: Option<&TransferKey>, bytes, exists: bool| {
        link.begin(key, bytes, address(1), |_| exists).map(Option::unwrap)
    };
    let code = |refused: Result<Slot, anyport_proto::transfer::refusal::Refusal>| {
        refused.map(drop).unwrap_err().code
    };
    assert_eq!(code(begin(None, 101, true)), RefusalCode::NoSpace);
    begin(None, 60, true).unwrap().stored(60);
    let mut growing = begin(None, 0, true).unwrap();
    growing.grow_to(30).unwrap();
    assert_eq!(growing.grow_to(41).unwrap_err().code, RefusalCode::NoSpace);
    assert_eq!(code(begin(None, 11, true)), RefusalCode::NoSpace);
    drop(growing);
    // An upload that requests continue keeps its claim between them, and once only.
    let (key, other) = (TransferKey::of_upload("a"), TransferKey::of_upload("b"));
    drop(begin(Some(&key), 40, true).unwrap());
    assert_eq!(code(begin(None, 1, true)), RefusalCode::NoSpace);
    let (first, second) = (begin(Some(&key), 40, true), begin(Some(&key), 40, true));
    drop(first.unwrap());
    drop(second.unwrap());
    link.forget(&key);
    drop(begin(Some(&key), 40, true).unwrap());
    // Until it was removed, because no client continued it.
    begin(Some(&other), 40, false).unwrap().stored(40);
    assert_eq!(link.share().used(), (100, 2));
    let after = shares(scratch.path()).find(&id, 0).unwrap();
    assert_eq!((after.used(), &after.kind), ((100, 2), &drop_box(limits)));
    let full = link.check(address(1)).unwrap_err();
    assert_eq!(full.message, "this link accepts 100 bytes in total, and this file is more");
}

#[test]
fn concurrent_uploads_are_limited_for_the_drop_box_and_for_one_address() {
    let scratch = tempfile::tempdir().unwrap();
    let server = shares(scratch.path());
    let (share, _) = create(&server, drop_box(Limits::default()), 100).unwrap();
    let link = ShareLink::new(server, share);
    let begin = |number| link.begin(None, 1, address(number), |_| true).map(Option::unwrap);
    let mut running: Vec<_> = (0..3).map(|_| begin(1).unwrap()).collect();
    assert_eq!(begin(1).map(drop).unwrap_err().code, RefusalCode::Busy);
    running.push(begin(2).unwrap());
    assert_eq!(begin(3).map(drop).unwrap_err().code, RefusalCode::Busy);
    assert_eq!(link.check(address(3)).unwrap_err().code, RefusalCode::Busy);
    running.clear();
    begin(3).unwrap();
}
