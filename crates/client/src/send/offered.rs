//! The names that files are offered under: exact if they can be stored so, and different for each
//! file.

use std::collections::{HashMap, HashSet};

use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::transfer::receipt::{EndKind, Receipt};

use super::{Failed, Observer, Options, Sent};
use crate::content::Source;
use crate::error::{Error, ErrorKind, ErrorOrigin};
use crate::target::Scope;

/// A file and the name that it is offered under.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) source: &'a Source,
    /// `None` lets the receiver choose a name.
    pub(super) path: Option<FilePath>,
}

impl Item<'_> {
    /// Returns whether it is an empty directory.
    fn is_directory(&self) -> bool {
        self.source.name().is_some_and(|name| name.as_encoded_bytes().ends_with(b"/"))
    }

    /// Returns the text of the name.
    pub(super) fn name(&self) -> Option<String> {
        let slash = if self.is_directory() { "/" } else { "" };
        self.path.as_ref().map(|path| format!("{}{slash}", path.text()))
    }

    /// Returns the bytes of the name, percent-encoded, if the text is not exactly the name.
    pub(super) fn name_raw(&self) -> Option<String> {
        let slash = if self.is_directory() { "/" } else { "" };
        self.path.as_ref()?.raw().map(|raw| format!("{raw}{slash}"))
    }
}

/// Returns the name of each source at `place`. One of several sources that cannot have its name is
/// reported and left out.
///
/// # Errors
/// Two files would be stored under one name, or the name of a single one cannot be stored.
pub(super) fn items<'a>(
    sources: &'a [Source],
    scope: &Scope,
    options: &Options,
    observer: &dyn Observer,
    failed: &mut Failed,
) -> Result<Vec<Item<'a>>, Error> {
    let mut items: Vec<Item<'a>> = Vec::with_capacity(sources.len());
    for source in sources {
        let path = scope.name(source.name()).filter(|_| !options.plain);
        match path.map(|path| FilePath::exact(&path)).transpose() {
            Ok(path) => items.push(Item { source, path }),
            Err(error) => {
                let error = Error::from(ErrorKind::Name(source.path().to_owned(), error));
                if sources.len() == 1 {
                    return Err(error);
                }
                failed.add(ErrorOrigin::Local);
                observer.failed(source, &error);
            }
        }
    }
    // The receiver adds numbers to the names, and reports that.
    if options.on_exists != Some(OnExists::Rename) {
        apart(&items)?;
    }
    Ok(items)
}

/// Checks that no two files have one name. Two empty directories may.
fn apart(items: &[Item<'_>]) -> Result<(), Error> {
    let mut names: HashMap<&FilePath, &Item<'_>> = HashMap::with_capacity(items.len());
    for item in items {
        let Some(path) = &item.path else { continue };
        if let Some(first) = names.insert(path, item)
            && !(first.is_directory() && item.is_directory())
        {
            let (first, second) = (first.source.path().to_owned(), item.source.path().to_owned());
            return Err(ErrorKind::SameName { name: path.to_string(), first, second }.into());
        }
    }
    Ok(())
}

/// Names that the server changed.
#[derive(Debug, Default)]
pub(super) struct Changed(HashSet<FilePath>);

impl Changed {
    /// Checks the name in a receipt, and records a change in `sent`.
    ///
    /// # Errors
    /// The receiver has the file already, under a name that is not the file's own.
    pub(super) fn check(&mut self, item: &Item<'_>, sent: &mut Sent) -> Result<(), Error> {
        let stored = sent.receipt.as_ref().and_then(Receipt::stored);
        let (Some(offered), Some(stored)) = (&item.path, stored) else { return Ok(()) };
        let is_changed = stored != *offered;
        let is_present = sent.receipt.as_ref().is_some_and(|r| r.end == EndKind::AlreadyHere);
        if is_present && (is_changed || self.0.contains(&stored)) {
            let (peer, name, stored) = (sent.peer, offered.to_string(), stored.to_string());
            return Err(Error::at(peer, ErrorKind::NotApart { name, stored }));
        }
        if is_changed {
            sent.changed_from = Some(offered.to_string());
            self.0.insert(stored);
        }
        Ok(())
    }
}
