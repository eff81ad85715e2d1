//! Deletes, renames and creates entries for clients.

use anyport_proto::setting::ON_EXISTS;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_store::{Attributes, Kind, Renaming, Unchanged};

use super::{Files, Source, full_refusal, storage_refusal};
use crate::access::Operation;
use crate::config::SinkKind;
use crate::events::{Change, Changed};

/// The reason why nothing was changed, and the refusal with it, which was reported.
#[derive(Debug)]
pub(crate) struct NotChanged {
    pub(crate) why: Obstacle,
    pub(crate) refusal: Refusal,
}

/// What is in the way of a change, as far as answers differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Another entry has the new name.
    InUse,
    /// The directory of the new name does not exist.
    NoParent,
    /// It is not the file that was expected.
    Changed,
    /// Anything else.
    Other,
}

impl Files {
    /// Deletes a file or an empty directory; with `is_directory` only a directory, with `expected`
    /// only that file.
    ///
    /// # Errors
    /// The reason why it is still there.
    pub(crate) fn delete(
        &self,
        source: &Source,
        path: &FilePath,
        is_directory: bool,
        expected: Option<&Attributes>,
    ) -> Result<(), NotChanged> {
        let deleted = self.change(source, "cannot delete", path, || {
            source.grant.check(Operation::Delete, Some(path))?;
            self.check_changes()?;
            if is_directory && !self.is_directory(path) {
                return Ok(Err(Unchanged::NotFound));
            }
            Ok(self.store.now().remove(path, expected).map(drop))
        });
        deleted.inspect(|()| self.changed(source, path, Change::Deleted))
    }

    /// Renames the entry `from` to `to`; with `is_directory` only a directory; with `replaces` in
    /// place of another file, if this server lets clients replace files; with `expected` only that
    /// file. Returns whether it replaced one.
    ///
    /// # Errors
    /// The reason why both are as before.
    pub(crate) fn rename(
        &self,
        source: &Source,
        from: &FilePath,
        to: &FilePath,
        is_directory: bool,
        replaces: bool,
        expected: Option<Attributes>,
    ) -> Result<bool, NotChanged> {
        let may_replace = self.on_exists == Some(OnExists::Overwrite);
        // A link in a directory that moves may mean another entry, outside of the scope.
        let keeps_directories = source.grant.scope().is_some();
        let conditions =
            Renaming { replaces: replaces && may_replace, keeps_directories, expected };
        let renamed = self.change(source, &format!("cannot rename {from} to"), to, || {
            source.grant.check(Operation::Rename, Some(from))?;
            source.grant.check(Operation::Rename, Some(to))?;
            self.check_changes()?;
            if is_directory && !self.is_directory(from) {
                let message = format!("no such directory: {from}");
                return Err(Refusal::new(RefusalCode::NotFound, message));
            }
            match self.store.now().rename_entry(from, to, &conditions) {
                Err(Unchanged::NotFound) => Err(not_found(from)),
                renamed => Ok(renamed),
            }
        });
        let renamed = renamed.inspect(|_| self.changed(source, from, Change::Renamed(to.clone())));
        renamed.map_err(|mut error| {
            if error.why == Obstacle::InUse && replaces && !may_replace {
                let hint = format!(
                    "only the server's owner can allow it (anyport serve {ON_EXISTS} overwrite); \
                     choose another name"
                );
                let message = format!("cannot overwrite {to}: this server does not allow it");
                let refusal = Refusal::new(RefusalCode::NotSupported, message).with_hint(hint);
                error = NotChanged { why: Obstacle::Other, refusal };
            }
            error
        })
    }

    /// Creates a directory in one that exists.
    ///
    /// # Errors
    /// The reason why it was not created.
    pub(crate) fn create_directory(
        &self,
        source: &Source,
        path: &FilePath,
    ) -> Result<(), NotChanged> {
        let created = self.change(source, "cannot create the directory", path, || {
            source.grant.check(Operation::CreateDirectory, Some(path))?;
            self.check_changes()?;
            if !source.grant.may_read() {
                // As by PUT: any other answer would reveal what is stored.
                let is_new = !self.is_directory(path);
                return self.make(path, self.check_target(path)?.missing).map(|()| Ok(is_new));
            }
            Ok(self.store.now().make_directory(path).map(|()| true))
        })?;
        if created {
            self.changed(source, path, Change::Created);
        }
        Ok(())
    }

    /// Creates the directory of a drop box, and those above it; returns `false` if the name is in
    /// use.
    ///
    /// # Errors
    /// The reason why it cannot be created.
    pub(crate) fn create_drop_box(
        &self,
        source: &Source,
        path: &FilePath,
    ) -> Result<bool, Refusal> {
        self.check_changes()?;
        if let Some(above) = path.parent() {
            self.make(&above, self.check_target(path)?.missing)?;
        }
        match self.store.now().make_directory(path) {
            Ok(()) => {
                self.changed(source, path, Change::Created);
                Ok(true)
            }
            Err(Unchanged::Exists(_) | Unchanged::StoredAs(_)) => Ok(false),
            Err(unchanged) => Err(not_changed("cannot create", path, unchanged).refusal),
        }
    }

    fn changed(&self, source: &Source, name: &FilePath, change: Change) {
        let (protocol, peer, name) = (source.protocol, source.peer, name.clone());
        self.events.changed(&Changed { protocol, peer, name, change });
    }

    /// Makes a change, and reports the result; `what` and `path` are in a refusal.
    fn change<T>(
        &self,
        source: &Source,
        what: &str,
        path: &FilePath,
        change: impl FnOnce() -> Result<Result<T, Unchanged>, Refusal>,
    ) -> Result<T, NotChanged> {
        let changed = match change() {
            Ok(Ok(changed)) => Ok(changed),
            Ok(Err(unchanged)) => Err(not_changed(what, path, unchanged)),
            Err(refusal) => Err(NotChanged { why: Obstacle::Other, refusal }),
        };
        changed.inspect_err(|error| self.refused(source, &error.refusal))
    }

    fn check_changes(&self) -> Result<(), Refusal> {
        if self.sink != SinkKind::File {
            let message = "this server stores no files, so none are deleted, renamed or created";
            return Err(Refusal::new(RefusalCode::NotSupported, message));
        }
        self.check_directory()
    }

    fn is_directory(&self, path: &FilePath) -> bool {
        matches!(self.store.now().present(path), Ok(Some(Kind::Directory(_))))
    }
}

fn not_found(path: &FilePath) -> Refusal {
    let message = format!("no such file or directory: {path}");
    Refusal::new(RefusalCode::NotFound, message)
}

fn not_changed(what: &str, path: &FilePath, unchanged: Unchanged) -> NotChanged {
    let refuse = |why, code, reason: &str| {
        let refusal = Refusal::new(code, format!("{what} {path}: {reason}"));
        NotChanged { why, refusal }
    };
    let exists = |why, reason: &str| refuse(why, RefusalCode::Exists, reason);
    match unchanged {
        Unchanged::NotFound => NotChanged { why: Obstacle::Other, refusal: not_found(path) },
        Unchanged::NoParent => exists(Obstacle::NoParent, "the directory above it does not exist"),
        Unchanged::NotEmpty => {
            let mut refused = exists(Obstacle::Other, "the directory is not empty");
            refused.refusal = refused.refusal.with_hint("delete the files in it first");
            refused
        }
        Unchanged::Exists(Kind::File(_)) => exists(Obstacle::InUse, "a file has this name"),
        Unchanged::Exists(Kind::Directory(_)) => {
            exists(Obstacle::InUse, "a directory has this name")
        }
        Unchanged::Exists(Kind::Link | Kind::Special) => {
            exists(Obstacle::InUse, "the name is in use by what is not a regular file")
        }
        Unchanged::StoredAs(reason) => exists(Obstacle::InUse, &reason),
        Unchanged::IntoItself => {
            refuse(Obstacle::Other, RefusalCode::NotSupported, "it is the same, or inside of it")
        }
        Unchanged::Link => refuse(Obstacle::Other, RefusalCode::NotSupported, "it is a link"),
        Unchanged::Directory => refuse(
            Obstacle::Other,
            RefusalCode::NotSupported,
            "with a token for one path, directories stay in their directory",
        ),
        Unchanged::Changed => exists(Obstacle::Changed, "it was replaced meanwhile"),
        Unchanged::Elsewhere => {
            refuse(Obstacle::Other, RefusalCode::NotSupported, "it is on another file system")
        }
        Unchanged::Full(full) => {
            let refusal = full_refusal(&format!("{what} {path}"), full);
            NotChanged { why: Obstacle::Other, refusal }
        }
        Unchanged::Error(error) => {
            let refusal = storage_refusal(&format!("{what} {path}"), &error);
            NotChanged { why: Obstacle::Other, refusal }
        }
    }
}
