//! The scripts and the style sheet of pages, and the policy under which browsers use them.

use anyport_testkit::harness::http::{Response, curl_says, request};
use anyport_testkit::harness::tokens::guarded;
use anyport_testkit::harness::{Running, Server, node_with, peer};

const BROWSER: &str = "Accept: text/html\n";

/// Returns the URLs that a page loads, relative as they are.
fn loaded(page: &str) -> Vec<&str> {
    let of =
        |before: &str| page.split_once(before).map(|(_, rest)| rest.split_once('"').unwrap().0);
    ["<link rel=\"stylesheet\" href=\"", "<script type=\"module\" src=\""]
        .iter()
        .filter_map(|before| of(before))
        .collect()
}

fn get(server: &Server, path: &str, fields: &str) -> Response {
    request(server.port(), &format!("GET {path}"), fields, b"")
}

#[test]
fn pages_load_their_assets_by_relative_urls_of_this_version() {
    let server = Server::start(&[]);
    std::fs::create_dir_all(server.dir().join("a/b")).unwrap();
    let page = get(&server, "/", BROWSER).text();
    let [style, script] = loaded(&page)[..] else { panic!("{page}") };
    let directory = style.strip_suffix("page.css").unwrap();
    assert_eq!(script, format!("{directory}app.js"));
    assert!(directory.starts_with("./.anyport/page/"), "{directory}");
    let below = get(&server, "/files/a/b/", BROWSER).text();
    assert_eq!(loaded(&below), [style, script].map(|url| url.replacen("./", "../../../", 1)));
    // An error is read, and needs no script.
    let error = get(&server, "/files/none", BROWSER).text();
    assert_eq!(loaded(&error), [style.replacen("./", "../", 1)]);
    // The script shows a directory that does not exist, with links to the others.
    let error = get(&server, "/files/none/", BROWSER).text();
    assert_eq!(loaded(&error), [style, script].map(|url| url.replacen("./", "../../", 1)));
    assert!(!page.contains("<style"), "{page}");
}

#[test]
fn assets_are_immutable_compressed_where_accepted_and_have_the_policy_of_pages() {
    let (server, _tokens) = guarded(&[]);
    let page = get(&server, "/files/none", BROWSER);
    let policy = page.field("Content-Security-Policy");
    let text = page.text();
    let style = loaded(&text)[0].strip_prefix("..").unwrap();
    for (path, media) in [
        (style.to_owned(), "text/css; charset=utf-8"),
        (style.replace("page.css", "app.js"), "text/javascript; charset=utf-8"),
    ] {
        let plain = get(&server, &path, "");
        assert_eq!((plain.status(), plain.field("Content-Type")), (200, media), "{}", plain.head);
        for (name, value) in [
            ("Cache-Control", "public, max-age=31536000, immutable"),
            ("Vary", "Accept-Encoding"),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Security-Policy", policy),
            ("Content-Encoding", ""),
        ] {
            assert_eq!(plain.field(name), value, "{path}: {name}");
        }
        let coded = get(&server, &path, "Accept-Encoding: br, gzip\n");
        assert_eq!(coded.field("Content-Encoding"), "gzip", "{}", coded.head);
        assert!(coded.content.starts_with(&[0x1f, 0x8b]), "{}", coded.head);
        let head = request(server.port(), &format!("HEAD {path}"), "", b"");
        assert_eq!(head.field("Content-Length"), plain.content.len().to_string());
        assert!(head.content.is_empty() && head.status() == 200);
        let url = server.url("http", &path[1..]);
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let Some((text, status)) = curl_says(&[version, "--compressed", &url]) else { return };
            assert_eq!((text.as_bytes(), status), (&*plain.content, 200), "{version}");
        }
    }
    // Those of another version are gone, and those that the browser has are still right.
    let other = format!("/.anyport/page/0123456789abcdef/{}", style.rsplit_once('/').unwrap().1);
    let version = style.rsplit_once('/').unwrap().0;
    for path in [&other, &format!("{version}/none.js"), &format!("{version}/../app.js"), version] {
        let answer = get(&server, path, "");
        let found = (answer.status(), answer.field("Cache-Control"));
        assert_eq!(found, (404, "no-store"), "{path}: {}", answer.text());
    }
    assert_eq!(request(server.port(), &format!("POST {style}"), "", b"x").status(), 405);
    // What is stored under the name of the assets is no asset.
    assert_eq!(get(&server, "/.anyport/x", "").status(), 401);
}

#[test]
fn the_policy_names_the_assets_of_the_host_that_the_browser_uses() {
    let server = Server::start(&["--base-path", "/share", "--trusted-proxy", "127.0.0.1"]);
    for (fields, source) in [
        ("", "a/share/.anyport/page/"),
        ("X-Forwarded-Host: files.example:8443\n", "files.example:8443/share/.anyport/page/"),
    ] {
        let fields = format!("{BROWSER}{fields}X-Forwarded-For: 127.0.0.2\n");
        for path in ["/share/", "/share/none"] {
            let answer = get(&server, path, &fields);
            let expected = format!(
                "default-src 'none'; script-src {source} 'wasm-unsafe-eval'; \
                 style-src {source}; worker-src {source}; connect-src 'self'; \
                 img-src 'self' data:; form-action 'self'; base-uri 'none'; \
                 frame-ancestors 'none'; require-trusted-types-for 'script'; \
                 trusted-types anyport"
            );
            assert_eq!(answer.field("Content-Security-Policy"), expected, "{}", answer.head);
        }
    }
}

/// A browser that shows the page of before an upgrade asks for this one when it loads it again.
#[test]
fn a_page_is_never_used_from_a_cache_unasked() {
    let server = Server::start(&[]);
    std::fs::create_dir(server.dir().join("d")).unwrap();
    for path in ["/", "/files/d/"] {
        let page = get(&server, path, BROWSER);
        assert_eq!(page.field("Cache-Control"), "no-cache", "{}", page.head);
        assert_eq!((page.field("ETag"), page.field("Last-Modified")), ("", ""), "{}", page.head);
    }
}

/// The content of the test vectors of BLAKE3, in pieces of each size and in random ones.
#[test]
fn the_digest_of_a_browser_is_that_of_the_server() {
    let Some(mut node) = peer("node") else { return };
    let server = Server::start(&[]);
    let page = get(&server, "/", BROWSER).text();
    let wasm = loaded(&page)[1].replace("./", "/").replace("app.js", "blake3.wasm");
    let compiled = get(&server, &wasm, "");
    assert_eq!((compiled.status(), compiled.field("Content-Type")), (200, "application/wasm"));
    let sizes =
        [0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 4097, 65_536, 262_144, 262_145, 1 << 20];
    let content: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
    let url = server.url("http", &wasm[1..]);
    let sizes_text = sizes.map(|size| size.to_string()).join(" ");
    node.args(["--input-type=module", "-e", DIGESTS, &url, &sizes_text]);
    let said = Running::start(node, None).outcome().succeeds().stdout;
    let digests: Vec<&str> = said.lines().collect();
    assert_eq!(digests.len(), sizes.len());
    for (size, digest) in sizes.into_iter().zip(digests) {
        assert_eq!(digest, blake3::hash(&content[..size]).to_hex().as_str(), "{size} bytes");
    }
}

/// Each digest is computed by one instance after the other, and repeated in random pieces.
const DIGESTS: &str = r#"
    const [url, sizes] = process.argv.slice(1);
    const module = await WebAssembly.compile(await (await fetch(url)).arrayBuffer());
    const digest = (size, piece) => {
        const { exports } = new WebAssembly.Instance(module);
        const input = new Uint8Array(exports.memory.buffer, exports.input(), exports.capacity());
        exports.init();
        for (let at = 0; at < size;) {
            const length = Math.min(size - at, piece());
            for (let i = 0; i < length; i++) input[i] = (at + i) % 251;
            exports.update(length);
            at += length;
        }
        exports.finish();
        return Buffer.from(input.subarray(0, 32)).toString('hex');
    };
    let seed = 1;
    const random = () => 1 + (seed = seed * 48271 % 2147483647) % [3000, 70000][seed % 2];
    for (const size of sizes.split(' ').map(Number)) {
        const [whole, pieces] = [digest(size, () => 262144), digest(size, random)];
        console.log(whole === pieces ? whole : `${size}: ${whole} in whole, ${pieces} in pieces`);
    }
"#;

/// jsQR draws the path of the image and reads the code, as a phone does.
#[test]
fn a_qr_code_is_the_address_that_the_client_used() {
    let server = Server::start(&["--base-path", "/share"]);
    let long = format!("/files/{}", "x".repeat(430));
    for (query, address) in [
        ("", "http://a/share/".to_owned()),
        ("?path=%2Ffiles%2Fa%2520b%2F%ED%8C%8C", "http://a/share/files/a%20b/%ED%8C%8C".to_owned()),
        (&format!("?path={long}"), format!("http://a/share{long}")),
    ] {
        let answer = get(&server, &format!("/share/.anyport/qr.svg{query}"), "");
        let fields = ["Content-Type", "Cache-Control", "X-Content-Type-Options"];
        assert_eq!(fields.map(|name| answer.field(name)), ["image/svg+xml", "no-store", "nosniff"]);
        assert_eq!(answer.field("Content-Security-Policy"), "sandbox; default-src 'none'");
        let Some(mut node) = node_with("jsqr") else { return };
        node.arg(READ_QR).arg(answer.text());
        assert_eq!(Running::start(node, None).outcome().succeeds().stdout, address, "{query}");
    }
    let forwarded = ["?path=files", "?path=http://other.example/", "?x=1"];
    let long = format!("?path=/{}", "x".repeat(500));
    for query in forwarded.into_iter().chain([&*long]) {
        let answer = get(&server, &format!("/share/.anyport/qr.svg{query}"), "");
        assert_eq!(answer.status(), 400, "{query}: {}", answer.text());
    }
}

const READ_QR: &str = r#"
    import jsQR from 'jsqr';
    const svg = process.argv[1], scale = 4, side = scale * svg.match(/viewBox="0 0 (\d+)/)[1];
    const pixels = new Uint8ClampedArray(side * side * 4).fill(255);
    const [, white, dark] = svg.match(/ d="([^"]*)"[^]* d="([^"]*)"/);
    if (white !== `M0 0h${side / scale}v${side / scale}h-${side / scale}z`) throw new Error(white);
    for (const [, x, y, width] of dark.matchAll(/M(\d+) (\d+)[.]5h(\d+)/g))
      for (let row = y * scale; row < (+y + 1) * scale; row++)
        for (let at = x * scale; at < (+x + +width) * scale; at++)
          pixels.fill(0, 4 * (row * side + at), 4 * (row * side + at) + 3);
    process.stdout.write(jsQR.default?.(pixels, side, side)?.data ?? jsQR(pixels, side, side).data);
"#;
