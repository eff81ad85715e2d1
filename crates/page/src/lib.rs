//! The page that the server shows in a browser, as data: scripts and style sheet.
//!
//! Everything below `web/` is an asset: ES modules that import each other by `./name.js`, and what
//! they load. There is no build step: the files are served as they are. All URLs of assets contain
//! [`VERSION`], so browsers may keep them for ever and an upgrade still replaces all of them.

use std::io::Write;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;

/// A file of the page.
#[derive(Debug)]
pub struct Asset {
    /// Its name, without a directory.
    pub name: &'static str,
    /// Its media type.
    pub media: &'static str,
    /// Its content.
    pub content: &'static [u8],
    gzip: LazyLock<Vec<u8>, Box<dyn FnOnce() -> Vec<u8> + Send>>,
}

impl Asset {
    fn new(name: &'static str, content: &'static [u8]) -> Self {
        let gzip = LazyLock::new(Box::new(|| gzip(content)) as Box<_>);
        Self { name, media: media(name), content, gzip }
    }

    /// Returns its content in the gzip format; it is compressed once.
    pub fn gzip(&self) -> &[u8] {
        &self.gzip
    }
}

/// All assets, by name.
pub static ASSETS: LazyLock<Vec<Asset>> =
    LazyLock::new(|| include!(concat!(env!("OUT_DIR"), "/assets.rs")).into());

/// The version of all assets together, for their URLs: 16 hexadecimal digits of a hash.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = blake3::Hasher::new();
    for asset in ASSETS.iter() {
        for part in [asset.name.as_bytes(), asset.content] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }
    hasher.finalize().to_hex().as_str()[..16].to_owned()
});

/// Returns the asset of that name.
pub fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

/// The style sheet, which every page links.
pub const STYLE: &str = include_str!("../web/page.css");

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // A vector accepts every write.
    let _ = encoder.write_all(content);
    encoder.finish().unwrap_or_default()
}

/// Returns the media type of an asset. Browsers run a script and apply a style sheet by its type
/// only.
fn media(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "wasm" => "application/wasm",
        _ => UNKNOWN,
    }
}

const UNKNOWN: &str = "application/octet-stream";

#[cfg(test)]
mod tests;
