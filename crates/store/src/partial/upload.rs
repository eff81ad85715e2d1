//! Uploads that several requests continue by an id, and content that moves between attempts.

use std::io;
use std::sync::Arc;

use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::offer::Offer;
use rustix::fs::renameat;
use serde_json::json;

use super::PartialFile;
use crate::directory::Directory;
use crate::hidden::Hidden;
use crate::key::{SourceKey, TransferKey, boot_id};
use crate::state::{Announced, Lengths, Saved, StateFile};

impl Directory {
    /// Creates an upload that requests continue by its id, without content.
    ///
    /// Its offer is stored, so that it survives the end of the server.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn create_upload(
        self: &Arc<Self>,
        key: &TransferKey,
        path: Option<&FilePath>,
        offer: &Offer,
        source: Option<&SourceKey>,
    ) -> io::Result<PartialFile> {
        let mut state = StateFile::new(key);
        state.describe(path, offer, source, true);
        state.create(self.handle())?;
        match self.open_partial(key, true, offer.mode)? {
            Some(partial) if partial.has_id() => Ok(partial.uncounted()),
            _ => Err(io::Error::other("the state of an upload cannot be read back")),
        }
    }
}

impl PartialFile {
    /// Returns the path, if it was recorded, and the size of the file that this upload has become.
    pub fn completed(&self) -> Option<(Option<FilePath>, u64)> {
        let Saved { stored, publishing, .. } = &*self.saved;
        let stored = stored.as_ref().map(|(path, bytes)| (Some(path.clone()), *bytes));
        // The file was renamed, and another one created in its place. After a crash of the machine
        // it may only be shorter.
        let is_replaced = |bytes: &u64| self.saved.is_same_boot && self.hidden.length < *bytes;
        let publishing = publishing.filter(is_replaced);
        stored.or_else(|| publishing.map(|bytes| (None, bytes)))
    }

    /// Returns the length of the content that [`Self::distrust`] leaves.
    pub fn trusted_length(&self) -> u64 {
        match self.saved.is_same_boot {
            true => self.hidden.length,
            false => self.saved.synced.min(self.hidden.length),
        }
    }

    /// Removes content that may not have reached the disk before the machine crashed, for an upload
    /// at whose end no digest of the whole is compared.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn distrust(&mut self) -> io::Result<()> {
        if self.saved.is_same_boot || self.hidden.length == 0 {
            return Ok(());
        }
        let has_state = self.saved.source.is_some() || self.saved.offer.is_some();
        let trusted = self.trusted_length();
        self.hidden.truncate(trusted)?;
        self.saved.is_same_boot = true;
        match &mut self.state {
            // Its first line is not written yet.
            Some(_) if !has_state => Ok(()),
            Some(state) => {
                let line = json!({ "boot": boot_id(), "publishing": null });
                state.record(self.directory.handle(), &line)
            }
            None => Ok(()),
        }
    }

    /// Marks the content that is written from here on as not verified: it is removed by the next
    /// attempt, unless [`Self::verified`] is called.
    ///
    /// # Errors
    /// The kernel's error, or it has no id.
    pub fn begin_unverified(&mut self) -> io::Result<()> {
        self.saved.checkpoints.clear();
        self.saved.verified = Some(self.hidden.length);
        self.save_lengths()
    }

    /// Marks all content as verified.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn verified(&mut self) -> io::Result<()> {
        self.saved.verified = None;
        let checkpoints = std::mem::take(&mut self.saved.checkpoints);
        self.save(&checkpoints);
        self.save_lengths()
    }

    pub(super) fn save_lengths(&self) -> io::Result<()> {
        let Saved { synced, verified, .. } = *self.saved;
        let lengths = Lengths { synced, verified };
        let state = self.state.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        state.set_lengths(self.directory.handle(), lengths)
    }

    /// Records that a client sends the upload from its first byte on, so that it continues no other
    /// attempt.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn begin(&mut self) -> io::Result<()> {
        match &mut self.state {
            Some(state) if !self.saved.is_begun && self.hidden.length == 0 => {
                self.saved.is_begun = true;
                state.record(self.directory.handle(), &json!({ "begun": true }))
            }
            _ => Ok(()),
        }
    }

    /// Returns whether [`Self::begin`] was called.
    pub const fn is_begun(&self) -> bool {
        self.saved.is_begun
    }

    /// Sets the size that was not known when the upload was created.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn set_size(&mut self, size: u64) -> io::Result<()> {
        let Some(state) = &mut self.state else { return Ok(()) };
        state.record(self.directory.handle(), &json!({ "size": size }))
    }

    /// Records the statements of the request that creates the upload.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn record_announced(&mut self, announced: &Announced) -> io::Result<()> {
        let Some(state) = &mut self.state else { return Ok(()) };
        let Announced { digest, metadata } = announced;
        state
            .record(self.directory.handle(), &json!({ "digest": digest, "metadata": metadata }))?;
        self.saved.announced = announced.clone();
        Ok(())
    }

    /// Returns the statements of the request that created the upload.
    pub fn announced(&self) -> &Announced {
        &self.saved.announced
    }

    /// Moves the content of `other`, an attempt over another protocol or with another id, here.
    ///
    /// The file must be empty.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn adopt(mut self, mut other: Self) -> io::Result<Self> {
        let handle = self.directory.handle();
        let (Some(name), Some(old)) = (self.hidden.name.take(), other.hidden.name.take()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if let Some(state) = &mut self.state {
            state.append(handle, &other.saved.checkpoints);
        }
        if let Err(error) = renameat(handle, old.as_str(), handle, name.as_str()) {
            (self.hidden.name, other.hidden.name) = (Some(name), Some(old));
            drop(other.keep_hidden());
            return Err(error.into());
        }
        (self.saved.synced, self.is_untouched) = (other.saved.synced, other.is_untouched);
        self.save_lengths()?;
        match &mut other.state {
            // Its client may come back: it finds the content here.
            Some(state) if other.has_id => {
                state.restart(handle, None)?;
                drop(Hidden::open(self.directory.shared_handle(), old.clone(), None)?);
                self.directory.add_partial(&old, other.owner, 0);
            }
            _ => {
                self.directory.forget(&old);
                other.remove_state();
            }
        }
        let Hidden { directory, file, length, .. } = &other.hidden;
        let (directory, file, length) = (directory.clone(), file.clone(), *length);
        self.hidden = Hidden { directory, file, name: Some(name), length };
        self.saved.checkpoints = std::mem::take(&mut other.saved.checkpoints);
        Ok(self)
    }

    /// Removes an upload that was cancelled.
    pub fn cancel(mut self) {
        (self.has_id, self.is_untouched) = (false, false);
    }

    /// Keeps it between two requests of an upload that has an id, and makes its content durable:
    /// the sender may forget it.
    ///
    /// # Errors
    /// The content cannot be made durable: it is removed, as the kernel may have dropped some of
    /// it.
    pub fn pause(mut self) -> io::Result<()> {
        if !self.has_id {
            self.put_back();
            return Ok(());
        }
        if let Some(verified) = self.saved.verified {
            self.hidden.truncate(verified)?;
            self.saved.verified = None;
        }
        if self.saved.synced != self.hidden.length {
            match self.sync() {
                Ok(true) => self.saved.synced = self.hidden.length,
                Ok(false) => {}
                Err(error) => {
                    self.cancel();
                    return Err(error);
                }
            }
        }
        self.save_lengths()?;
        // It is kept from the last request on.
        drop(self.hidden.file.set_modified(std::time::SystemTime::now()));
        self.keep_hidden();
        Ok(())
    }
}
