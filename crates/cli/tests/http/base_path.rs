//! A server behind a proxy that forwards only a subtree of its own paths.

use anyport_testkit::harness::http::{Response, curl_says, request};
use anyport_testkit::harness::proxies::Proxy;
use anyport_testkit::harness::tokens::{ALICE, guarded};
use anyport_testkit::harness::wire::{connect, read_head, upgrade};
use anyport_testkit::harness::{Running, Sample, Server, anyport, anyport_command, peer};

const BROWSER: &str = "Accept: text/html\n";

/// Starts nginx before a server: one that forwards paths as they are, or removes its prefix.
fn behind(removes: bool) -> Option<(Proxy, Server)> {
    let server = Server::start(&["--base-path", "/share/x"]);
    let (port, slash) = (server.port(), if removes { "/" } else { "" });
    let proxy = Proxy::nginx_with(|address| {
        format!(
            "server {{ listen {address}; location /share/x/ {{
               proxy_pass http://127.0.0.1:{port}{slash}; proxy_http_version 1.1;
               proxy_set_header Host $http_host; proxy_set_header Upgrade $http_upgrade;
               proxy_set_header Connection $http_connection; }} }}"
        )
    })?;
    Some((proxy, server))
}

/// Returns the links of a page, resolved as a browser does (RFC 3986 §5.2.4).
fn links(page: &str, path: &str) -> Vec<String> {
    let links = page.split("<a href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let resolved = |link: &str| {
        assert!(!link.starts_with('/') && !link.contains(':'), "{link}");
        let mut parts: Vec<&str> = path.split('/').collect();
        parts.pop();
        for part in link.split('/') {
            match part {
                "." => {}
                ".." => assert!(parts.pop().is_some_and(|part| !part.is_empty()), "{link}"),
                part => parts.push(part),
            }
        }
        parts.join("/")
    };
    links.map(resolved).collect()
}

#[test]
fn all_links_and_locations_stay_below_the_base_path() {
    for removes in [false, true] {
        let Some((proxy, server)) = behind(removes) else { return };
        let port = proxy.address.port();
        std::fs::create_dir_all(server.dir().join("d/e f")).unwrap();
        for name in ["d/e f/x?.txt", "help", "top"] {
            std::fs::write(server.dir().join(name), name).unwrap();
        }
        let ask = |line: &str, fields: &str, content: &[u8]| request(port, line, fields, content);
        let (mut open, mut seen) = (vec!["/share/x/".to_owned()], Vec::new());
        while let Some(path) = open.pop() {
            let answer = ask(&format!("GET {path}"), BROWSER, b"");
            assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
            if answer.field("Content-Type").starts_with("text/html") {
                let found = links(&answer.text(), &path);
                let new = |link: &String| !seen.contains(link) && !open.contains(link);
                let new: Vec<String> = found.into_iter().filter(new).collect();
                open.extend(new);
            }
            assert!(path.starts_with("/share/x/"), "{path}");
            seen.push(path);
        }
        for path in ["files/d/e%20f/x%3F.txt", "files/help", "help", "files/top", ""] {
            assert!(seen.contains(&format!("/share/x/{path}")), "{path} in {seen:?}");
        }
        let missing = ask("GET /share/x/a/b/none", BROWSER, b"");
        assert_eq!(missing.status(), 404);
        assert_eq!(links(&missing.text(), "/share/x/a/b/none"), ["/share/x/"]);
        let page = ask("GET /share/x/files/d/", BROWSER, b"").text();
        assert!(page.contains("action=\"./\""), "{page}");
        let empty = ask("PUT /share/x/new/", "", b"");
        assert_eq!(empty.status(), 201, "{}", empty.text());
        let page = ask("GET /share/x/new/", BROWSER, b"").text();
        assert!(page.contains("curl -T FILE http://a/share/x/files/new/"), "{page}");
        let moved = ask("GET /share/x/d", "", b"");
        assert_eq!((moved.status(), moved.field("Location")), (302, "/share/x/files/d/"));
        let stored = ask("PUT /share/x/n%20m", "", b"content");
        assert_eq!((stored.status(), stored.field("Location")), (201, "/share/x/files/n%20m"));
        let help = ask("GET /share/x/help", "", b"").text();
        assert!(help.contains("curl -T FILE http://a/share/x/\n"), "{help}");
        assert!(!help.contains("http://a/files"), "{help}");

        let tus = "Tus-Resumable: 1.0.0\n";
        let fields = format!("{tus}Upload-Length: 5\nUpload-Metadata: filename dHVzLnR4dA==\n");
        let created = ask("POST /share/x/files/", &fields, b"");
        let location = created.field("Location");
        assert!(location.starts_with("/share/x/.anyport/uploads/"), "{}", created.head);
        let fields =
            format!("{tus}Upload-Offset: 0\nContent-Type: application/offset+octet-stream\n");
        let appended = ask(&format!("PATCH {location}"), &fields, b"hello");
        assert_eq!(appended.status(), 204, "{}", appended.text());
        assert_eq!(appended.field("Content-Location"), "/share/x/files/tus.txt");
        assert_eq!(std::fs::read(server.dir().join("tus.txt")).unwrap(), b"hello");

        let mut stream = connect(port);
        std::io::Write::write_all(&mut stream, upgrade("/share/x/echo", "").as_bytes()).unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
    }
}

#[test]
fn wget_and_anyport_use_a_server_below_a_base_path() {
    for removes in [false, true] {
        let Some((proxy, server)) = behind(removes) else { return };
        std::fs::create_dir_all(server.dir().join("d/e f")).unwrap();
        std::fs::write(server.dir().join("d/e f/x y.txt"), "content").unwrap();
        let url = proxy.url("share/x/");
        let here = tempfile::tempdir().unwrap();
        if let Some(mut wget) = peer("wget") {
            wget.args(["-q", "-r", "-np", "-nH", "--no-proxy"]).arg(format!("{url}files/"));
            wget.current_dir(here.path());
            Running::start(wget, None).outcome().succeeds();
            let path = here.path().join("share/x/files/d/e f/x y.txt");
            assert_eq!(std::fs::read_to_string(path).unwrap(), "content");
        }
        let sample = Sample::new("sent", b"sent");
        anyport(&["send", sample.path(), &url]).succeeds();
        assert_eq!(std::fs::read(server.dir().join("sent")).unwrap(), b"sent");
        let got = here.path().join("got");
        let got = got.to_str().unwrap();
        anyport(&["get", &format!("{url}files/sent"), "-o", got]).succeeds();
        assert_eq!(std::fs::read(got).unwrap(), b"sent");
        let listed = |path: &str| anyport(&["ls", &format!("{url}{path}")]).succeeds().stdout;
        for path in ["", "sent"] {
            let said = listed(path);
            assert!(said.contains("  share/x/sent\n"), "{path}: {said}");
        }
        for (path, name) in [("d/", "d/"), ("d", "d/"), ("files/d/", "files/d/")] {
            let said = listed(path);
            assert!(said.ends_with(&format!("  share/x/{name}e f/\n")), "{path}: {said}");
        }
        let tree = here.path().join("tree");
        for path in ["", "d/", "files/d/"] {
            let into = format!("{}/", tree.display());
            anyport(&["get", &format!("{url}{path}"), "-o", &into]).succeeds();
        }
        // A directory keeps the name that it has in the URL.
        for path in ["x/d/e f/x y.txt", "x/sent", "d/e f/x y.txt"] {
            assert!(tree.join(path).is_file(), "{path}");
        }
    }
}

/// The health check, which says that tokens are needed, is below the base path too.
#[test]
fn a_token_reaches_a_server_below_a_base_path() {
    let (server, _tokens) = guarded(&["--base-path", "/share"]);
    let port = server.port();
    let proxy = Proxy::nginx_with(|address| {
        format!(
            "server {{ listen {address};
               location /share/ {{ proxy_pass http://127.0.0.1:{port}; }} }}"
        )
    });
    let Some(proxy) = proxy else { return };
    for path in ["share/", "share/d/"] {
        let sample = Sample::new("sent", b"sent");
        let mut send = anyport_command(&["send", sample.path(), &proxy.url(path)]);
        send.env("ANYPORT_TOKEN", ALICE);
        Running::start(send, None).outcome().succeeds();
    }
    assert_eq!(std::fs::read(server.dir().join("d/sent")).unwrap(), b"sent");
}

/// A proxy may remove the path, and a monitor comes past the proxy.
#[test]
fn requests_are_served_with_the_base_path_and_without() {
    let server = Server::start(&["--base-path", "/share/x/"]);
    std::fs::write(server.dir().join("a"), "content").unwrap();
    let get = |path: &str| request(server.port(), &format!("GET {path}"), "", b"");
    for path in ["/a", "/files/a", "/share/x/a", "/share/x/files/a", "http://a/share/x/a"] {
        assert_eq!(get(path).text(), "content", "{path}");
    }
    for path in ["/share/xa", "/share/x/share/x/a", "/share/%78/a"] {
        assert_eq!(get(path).status(), 404, "{path}");
    }
    for path in ["/share/x", "/share/x?a"] {
        let moved: Response = get(path);
        assert_eq!((moved.status(), moved.field("Location")), (302, "/share/x/"), "{path}");
    }
    // An interim response has the location too.
    let fields = "Upload-Draft-Interop-Version: 6\nUpload-Complete: ?0\n";
    let answer = request(server.port(), "PUT /share/x/b", fields, b"begin").head;
    assert!(answer.contains("\r\nLocation: /share/x/.anyport/uploads/"), "{answer}");
    let url = server.url("http", "share/x/a");
    if let Some(said) = curl_says(&["--http2-prior-knowledge", &url]) {
        assert_eq!(said, ("content".to_owned(), 200));
    }
}

#[test]
fn a_base_path_is_a_path_of_plain_names() {
    for wrong in ["share", "", "/", "/a b", "/a//b", "/../b", "http://a/b"] {
        anyport(&["serve", "--base-path", wrong]).exits(2).says("expected /NAME");
    }
}
