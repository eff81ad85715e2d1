//! Lists the assets below `web/`, so that a new file is served without being named anywhere.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    println!("cargo::rerun-if-changed={}", web.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&web)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // Types and settings of the type checker are not for browsers.
        if !name.starts_with('.') && !name.ends_with(".d.ts") && !name.ends_with(".json") {
            names.push(name);
        }
    }
    names.sort();
    let rows: String = names
        .iter()
        .map(|name| format!("Asset::new({name:?}, include_bytes!({:?})),\n", web.join(name)))
        .collect();
    let out = env::var_os("OUT_DIR").unwrap_or_default();
    fs::write(Path::new(&out).join("assets.rs"), format!("[\n{rows}]"))
}
