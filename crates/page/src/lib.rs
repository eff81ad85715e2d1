//! The page that the server shows in a browser, as data: scripts and style sheet.
//!
//! Everything below `web/` is an asset: ES modules that import each other by `./name.js`, and what
//! they load. Building this crate removes indentation and comments, and compresses each file; no
//! other tool is needed. All URLs of assets contain [`VERSION`], so browsers may keep them for ever
//! and an upgrade still replaces all of them.

#[cfg(test)]
mod strip;

/// A file of the page.
#[derive(Debug)]
pub struct Asset {
    /// Its name, without a directory.
    pub name: &'static str,
    /// Its media type.
    pub media: &'static str,
    /// Its content.
    pub content: &'static [u8],
    /// Its content in the gzip format.
    pub gzip: &'static [u8],
}

/// All assets, by name.
pub static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The version of all assets together, for their URLs: 16 hexadecimal digits of a hash.
pub const VERSION: &str = env!("ANYPORT_PAGE_VERSION");

/// The style sheet, which every page links.
pub const STYLE: &str = include_str!(concat!(env!("OUT_DIR"), "/page.css"));

/// Returns the beginning of the style sheet, up to the rules of the page's own elements: colours,
/// fonts and the body, for other pages of anyport.
pub fn base_style() -> &'static str {
    STYLE.split_once("\nmain{").map_or(STYLE, |(base, _)| base)
}

/// Returns the asset of that name.
pub fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

/// Returns the media type of an asset. Browsers run a script and apply a style sheet by its type
/// only.
const fn media(name: &str) -> &'static str {
    match name.as_bytes() {
        [.., b'.', b'c', b's', b's'] => "text/css; charset=utf-8",
        [.., b'.', b'j', b's'] => "text/javascript; charset=utf-8",
        [.., b'.', b's', b'v', b'g'] => "image/svg+xml",
        [.., b'.', b'w', b'a', b's', b'm'] => "application/wasm",
        _ => UNKNOWN,
    }
}

const UNKNOWN: &str = "application/octet-stream";

#[cfg(test)]
mod tests;
