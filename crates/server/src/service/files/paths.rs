//! The paths at which uploads are stored, and what senders to a drop box may know of theirs.

use anyport_proto::transfer::file_name::FileName;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::offer::Offer;
use anyport_proto::transfer::receipt::{Protocol, Receipt};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};

use super::{Files, Source, Upload, owner_of};

impl Files {
    /// Counts an upload for the drop box that it is for.
    pub(super) fn take_slot(upload: &mut Upload) -> Result<(), Refusal> {
        let Some(link) = upload.source.grant.link() else { return Ok(()) };
        let bytes = upload.offer.size.unwrap_or(upload.bytes);
        let address = owner_of(&upload.source);
        upload.slot = link.begin(upload.key.as_ref(), bytes, address)?;
        Ok(())
    }
}

impl Source {
    /// Returns a receipt with the name that a sender to a drop box chose: the one under which the
    /// file is stored tells what others have sent.
    pub(super) fn without_stored_name(&self, receipt: Receipt, offer: &Offer) -> Receipt {
        if self.grant.drop_box().is_none() {
            return receipt;
        }
        let asked = asked_path(offer).ok().and_then(|(path, _)| path);
        let path = asked.or_else(|| receipt.stored().map(|path| path.file_name().into()));
        let path_raw = path.as_ref().and_then(FilePath::raw);
        Receipt { name: None, path_raw, path: path.as_ref().map(FilePath::text), ..receipt }
    }

    /// Returns a refusal without the directory of a drop box, which its senders do not know.
    pub(super) fn without_directory(&self, mut refusal: Refusal) -> Refusal {
        if let Some(directory) = self.grant.drop_box() {
            refusal.message = refusal.message.replace(&format!("{directory}/"), "");
        }
        refusal
    }

    /// Returns a refusal for lack of space without the server's numbers, for a sender to a drop
    /// box.
    pub(super) fn without_numbers(&self, refusal: Refusal) -> Refusal {
        if refusal.code != RefusalCode::NoSpace || self.grant.drop_box().is_none() {
            return refusal;
        }
        let refusal = Refusal::new(RefusalCode::NoSpace, "the server has no space for this file");
        refusal.with_hint("tell the person who sent you the link")
    }
}

/// Returns the path at which the offered file is stored, and whether its name is changed for that;
/// no path if the server chooses the name.
pub(super) fn path_of(source: &Source, offer: &Offer) -> Result<(Option<FilePath>, bool), Refusal> {
    match source.grant.drop_box() {
        Some(directory) => {
            let name = name_in_box(source, offer)?;
            let path = directory.join(&name);
            let path = path.map_err(|error| Refusal::new(RefusalCode::BadName, error.to_string()));
            // Its files have all kinds of names, and never replace each other.
            Ok((Some(path?), false))
        }
        None => asked_path(offer),
    }
}

/// Returns the name of a file in a drop box, which has no directories: in others' directories a
/// name that is in use would be noticed.
fn name_in_box(source: &Source, offer: &Offer) -> Result<FileName, Refusal> {
    let Some(path) = asked_path(offer)?.0 else { return Ok(unnamed(source.protocol)) };
    if is_directory(offer) {
        let message = "a drop box has no directories";
        return Err(Refusal::new(RefusalCode::BadName, message).with_hint("send the files alone"));
    }
    let name = path.components().collect::<Vec<_>>().join(&b'-');
    FileName::exact(&name)
        .or_else(|_| FileName::sanitize(&String::from_utf8_lossy(&name)))
        .map_err(|error| Refusal::new(RefusalCode::BadName, error.to_string()))
}

/// Returns the path at which the offered file is stored, and whether its name is changed for that;
/// no path if the server chooses the name.
fn asked_path(offer: &Offer) -> Result<(Option<FilePath>, bool), Refusal> {
    let Some(asked) = &offer.name else { return Ok((None, false)) };
    let is_directory = is_directory(offer);
    let raw = offer.name_raw.as_deref().map(|raw| without_slash(raw, is_directory));
    let stored = FilePath::to_store(without_slash(asked, is_directory), raw);
    let (path, is_changed) = stored.map_err(|error| {
        Refusal::new(RefusalCode::BadName, format!("cannot store {asked:?}: {error}"))
    })?;
    Ok((Some(path), is_changed))
}

/// Returns whether an offer is for a directory.
pub(super) fn is_directory(offer: &Offer) -> bool {
    offer.size == Some(0) && offer.name.as_ref().is_some_and(|name| name.ends_with('/'))
}

/// Returns the name of a directory without its slash.
fn without_slash(name: &str, is_directory: bool) -> &str {
    if is_directory { name.trim_end_matches('/') } else { name }
}

/// `<UTC yyyymmdd-hhmmss>Z-<protocol>-<4 characters>.bin`
pub(super) fn unnamed(protocol: Protocol) -> FileName {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0; 4];
    // Without randomness names may repeat; then a number is appended, as for all names.
    let _ = getrandom::fill(&mut random);
    let tail: String =
        random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%SZ").to_string();
    let name = format!("{now}-{protocol}-{tail}.bin");
    FileName::sanitize(&name).expect("digits, letters, dashes and a dot are a safe name")
}
