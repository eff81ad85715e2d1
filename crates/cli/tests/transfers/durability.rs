//! A receipt means that the file is on the disk, and faults of disk and network affect only one
//! transfer.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use anyport_testkit::noise;
use serde_json::Value;

use anyport_testkit::harness::wire::reset;
use anyport_testkit::harness::wire::{connect, converse, frame, read_line, websocket};
use anyport_testkit::harness::{
    Sample, Server, SmallDisk, anyport, assert_same_bytes, blake3, peer, skip, wait_until,
};

const SIZE: usize = 300_000;

/// What the kernel was asked for, in order, by a server that takes a file.
struct Traced {
    strace: Child,
    output: tempfile::NamedTempFile,
}

impl Traced {
    /// `None` and a word where this process may not trace.
    fn attach(server: &Server) -> Option<Self> {
        let output = tempfile::NamedTempFile::new().unwrap();
        let mut strace = peer("strace")?;
        let calls =
            "trace=pwrite64,fchmod,utimensat,fsync,fdatasync,renameat2,renameat,write,sendto";
        strace.args(["-f", "-s", "64", "-e", calls, "-o"]).arg(output.path());
        strace.args(["-p", &server.pid().to_string()]).stderr(Stdio::piped());
        let mut strace = strace.spawn().unwrap();
        let mut said = [0; 64];
        // It says that it is attached, or why it is not.
        let count = strace.stderr.as_mut().unwrap().read(&mut said).unwrap();
        if !String::from_utf8_lossy(&said[..count]).contains("attached") {
            let _ = strace.wait();
            skip("strace may not attach");
            return None;
        }
        Some(Self { strace, output })
    }

    fn calls(mut self, until: &str) -> Vec<String> {
        let text = wait_until("the traced answer", || {
            let text = std::fs::read_to_string(self.output.path()).unwrap();
            text.contains(until).then_some(text)
        });
        self.strace.kill().unwrap();
        self.strace.wait().unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// Part file, its permissions and time, fsync, rename, fsync of the directory, and only then the
/// receipt.
#[test]
fn a_receipt_follows_the_fsync_of_file_and_directory() {
    for (fsync, syncs) in [("file", 2), ("none", 0)] {
        let server = Server::start(&["--fsync", fsync]);
        let Some(traced) = Traced::attach(&server) else { return };
        let content = noise(SIZE, 1);
        let put = format!("ANYPORT/1 PUT film size={SIZE} mtime=1 mode=400\n");
        let mut stream = connect(server.port());
        stream.write_all(&[put.as_bytes(), &content, b"END\n"].concat()).unwrap();
        assert!(read_line(&mut stream).starts_with("ANYPORT/1 RECEIPT "));
        let calls = traced.calls("ANYPORT/1 RECEIPT");
        let last = |what: &str| calls.iter().rposition(|call| call.contains(what));
        let stored = last("pwrite64(").unwrap();
        let renamed = last(r#""film""#).unwrap();
        let reported = calls.iter().position(|call| call.contains("ANYPORT/1 RECEIPT")).unwrap();
        let synced: Vec<usize> = (0..calls.len())
            .filter(|at| calls[*at].contains("fsync(") || calls[*at].contains("fdatasync("))
            .collect();
        assert!(stored < renamed && renamed < reported, "{calls:#?}");
        assert_eq!(synced.len(), syncs, "{calls:#?}");
        if let [file, directory] = synced[..] {
            assert!(stored < file && file < renamed, "{calls:#?}");
            let set = [last("fchmod(").unwrap(), last("utimensat(").unwrap()];
            assert!(set.iter().all(|set| stored < *set && *set < file), "{calls:#?}");
            assert!(renamed < directory && directory < reported, "{calls:#?}");
        }
    }
}

/// docs/examples/put.py was written from docs/transfer.md alone.
#[test]
fn a_third_party_program_uses_the_documented_preface() {
    let Some(mut python) = peer("python3") else { return };
    let server = Server::start(&[]);
    let content = noise(3_000_000, 2);
    let sample = Sample::new("film.mkv", &content);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/put.py");
    python.args([script, sample.path(), "127.0.0.1", &server.port().to_string()]);
    let run = |python: &mut Command| {
        let output = python.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // Its own break: a third of the file and no more.
    let mtime = std::fs::metadata(sample.path()).unwrap().modified().unwrap();
    let mtime = mtime.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let identity = {
        use sha2::Digest as _;
        let path = std::fs::canonicalize(sample.path()).unwrap();
        let text = format!("{} {} {mtime}", path.display(), content.len());
        let hex: String =
            sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        hex[..32].to_owned()
    };
    let size = content.len();
    let offer = format!(
        "ANYPORT/1 PUT film.mkv size={size} digest=sha256 mtime={mtime} id={identity} resume\n"
    );
    let mut stream = connect(server.port());
    stream.write_all(offer.as_bytes()).unwrap();
    assert_eq!(read_line(&mut stream).trim(), "ANYPORT/1 GO offset=0");
    stream.write_all(&content[..1_000_000]).unwrap();
    drop(stream);
    server.next_interrupted();

    let receipt = run(&mut python);
    assert!(receipt.contains(" resumed=1000000 "), "{receipt}");
    assert_same_bytes(&server.stored(&server.next_receipt()), &content);
    assert!(run(&mut python).contains(" end=already-here "));
}

fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

/// RELIABILITY row 4.
#[test]
fn a_storm_of_resets_leaves_nothing_behind() {
    let server = Server::start(&[]);
    server.takes_a_good_file();
    let before = descriptors(&server);
    for i in 0..500_usize {
        let mut stream = connect(server.port());
        let put = format!("ANYPORT/1 PUT storm-{i} size=100000 resume\n");
        stream.write_all(&[put.as_bytes(), &noise(1000 + i, i as u64)].concat()).unwrap();
        reset(stream);
    }
    for _ in 0..500 {
        let event = server.next_event();
        assert!(event["event"] == "interrupted", "{event}");
    }
    wait_until("descriptors to be closed", || (descriptors(&server) <= before + 1).then_some(()));
    assert_eq!(server.published(), Vec::<String>::new());
    server.takes_a_good_file();
}

/// RELIABILITY row 7: said once at the start, and to the sender where it comes later.
#[test]
fn a_directory_that_cannot_be_written_is_reported_at_the_start() {
    let Some(disk) = SmallDisk::mount() else { return };
    let remount = |how: &str| {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]).arg(disk.path());
        assert!(mount.status().unwrap().success());
    };
    let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &[]);
    server.takes_a_good_file();
    remount("ro");
    let mut stream = connect(server.port());
    let answer = converse(&mut stream, b"ANYPORT/1 PUT late size=4\nlateEND\n");
    assert!(answer.starts_with("ANYPORT/1 ERROR storage "), "{answer:?}");
    assert!(answer.contains("Read-only file system"), "{answer:?}");
    server.next_refused();
    let path = disk.path().to_str().unwrap();
    anyport(&["serve", "--bind", "127.0.0.1:0", path]).exits(1).says("Read-only file system");
    // The echo of others notices nothing.
    let mut echo = websocket(server.port(), "/echo");
    echo.write_all(&frame(1, b"alive?")).unwrap();
    assert_eq!(anyport_testkit::harness::wire::read_frame(&mut echo), (1, b"alive?".to_vec()));
    remount("rw");
    server.takes_a_good_file();
}

/// RELIABILITY row 7.
#[test]
fn a_disk_without_inodes_is_reported_and_service_continues() {
    let Some(disk) = SmallDisk::mount_with_few_inodes() else { return };
    let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &[]);
    let mut made = 0;
    while std::fs::File::create(disk.path().join(format!("i{made}"))).is_ok() {
        made += 1;
    }
    let mut stream = connect(server.port());
    let answer = converse(&mut stream, b"ANYPORT/1 PUT x size=4\nfullEND\n");
    assert!(answer.starts_with("ANYPORT/1 ERROR no-space "), "{answer:?}");
    server.next_refused();
    assert!(made > 10);
    for i in 0..made {
        std::fs::remove_file(disk.path().join(format!("i{i}"))).unwrap();
    }
    server.takes_a_good_file();
}

/// RELIABILITY row 9, with names that differ in nothing.
#[test]
fn a_hundred_uploads_of_one_name_are_a_hundred_files() {
    let server = Server::start(&[]);
    let port = server.port();
    let contents: Vec<Vec<u8>> = (0..100_usize).map(|i| noise(2000 + i, i as u64)).collect();
    let paths: Vec<String> = std::thread::scope(|scope| {
        let send = |content: &Vec<u8>| {
            let put = format!("ANYPORT/1 PUT same size={} exists=rename\n", content.len());
            let wire = [put.as_bytes(), content, b"END\n"].concat();
            let answer = converse(&mut connect(port), &wire);
            let path = answer.split(" path=").nth(1).unwrap_or_else(|| panic!("{answer:?}"));
            path.split_whitespace().next().unwrap().to_owned()
        };
        let threads: Vec<_> =
            contents.iter().map(|content| scope.spawn(move || send(content))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (path, content) in paths.iter().zip(&contents) {
        assert_same_bytes(&std::fs::read(server.dir().join(path)).unwrap(), content);
    }
    assert_eq!(server.published().len(), 100);
}

/// Of two concurrent attempts at one name only one may win: the other is refused, and its content
/// is not lost silently.
#[test]
fn of_two_files_that_want_one_name_without_renaming_one_is_refused() {
    let server = Server::start(&[]);
    let put = |content: &[u8]| {
        format!("ANYPORT/1 PUT one size={} mtime=1 exists=error\n", content.len()).into_bytes()
    };
    let (first, second) = (noise(1000, 1), noise(1000, 2));
    let (mut a, mut b) = (connect(server.port()), connect(server.port()));
    a.write_all(&[&put(&first)[..], &first[..500]].concat()).unwrap();
    b.write_all(&[&put(&second)[..], &second[..500]].concat()).unwrap();
    wait_until("two parts", || {
        (server.names().iter().filter(|name| name.ends_with(".part")).count() == 2).then_some(())
    });
    a.write_all(&[&first[500..], b"END\n"].concat()).unwrap();
    assert!(read_line(&mut a).starts_with("ANYPORT/1 RECEIPT "));
    b.write_all(&[&second[500..], b"END\n"].concat()).unwrap();
    assert!(read_line(&mut b).starts_with("ANYPORT/1 ERROR exists "));
    assert_eq!(std::fs::read(server.dir().join("one")).unwrap(), first);
    let reported: Value = server.next_receipt();
    assert_eq!(reported["digest"], blake3(&first));
}

/// A name of a directory that leads out of the served one by a link is not followed.
#[test]
fn an_upload_follows_no_link_out_of_the_directory() {
    let server = Server::start(&[]);
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), server.dir().join("link")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("x"), server.dir().join("file")).unwrap();
    std::fs::write(outside.path().join("secret"), "of so many bytes").unwrap();
    for name in ["link/x", "link/deep/x", "file", "link/secret"] {
        let wire = format!("ANYPORT/1 PUT {name} size=4 exists=error\nevilEND\n");
        let answer = converse(&mut connect(server.port()), wire.as_bytes());
        assert!(answer.starts_with("ANYPORT/1 ERROR "), "{name}: {answer:?}");
        // Not even how large a file out there is.
        assert!(!answer.contains("16 bytes"), "{name}: {answer:?}");
    }
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    let mode = std::fs::metadata(server.dir()).unwrap().permissions().mode();
    assert_ne!(mode & 0o200, 0);
}
