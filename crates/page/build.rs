//! Makes the assets from the files below `web/`, so that a new file is served without being named
//! anywhere: text without indentation and comments, all compressed, and the version of all.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::{env, fs, io};

#[path = "src/strip.rs"]
mod strip;

fn main() -> io::Result<()> {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    for file in ["web", "build.rs", "src/strip.rs"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let out = env::var_os("OUT_DIR").unwrap_or_default();
    let out = Path::new(&out);
    let mut names = Vec::new();
    for entry in fs::read_dir(&web)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // Declarations are for the type checker.
        if !name.starts_with('.') && !name.ends_with(".d.ts") {
            names.push(name);
        }
    }
    names.sort();
    let mut rows = String::new();
    // It identifies a build, and no adversary chooses it.
    let mut version = DefaultHasher::new();
    for name in &names {
        let mut content = fs::read(web.join(name))?;
        if name.ends_with(".js") || name.ends_with(".css") {
            content = strip::strip(&String::from_utf8_lossy(&content)).into_bytes();
        }
        (name, &content).hash(&mut version);
        let mut gzip = Vec::new();
        zopfli::compress(zopfli::Options::default(), zopfli::Format::Gzip, &*content, &mut gzip)?;
        fs::write(out.join(name), content)?;
        fs::write(out.join(format!("{name}.gz")), gzip)?;
        let embedded = |name: &str| format!("include_bytes!({:?})", out.join(name));
        rows += &format!(
            "Asset {{ name: {name:?}, media: media({name:?}), content: {}, gzip: {} }},\n",
            embedded(name),
            embedded(&format!("{name}.gz")),
        );
    }
    fs::write(out.join("assets.rs"), format!("&[\n{rows}]"))?;
    println!("cargo::rustc-env=ANYPORT_PAGE_VERSION={:016x}", version.finish());
    Ok(())
}
