//! The limits of a drop box, and what its uploads use.

use std::collections::HashMap;
use std::net::IpAddr;

use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_store::{Directory, TransferKey};

use super::{Kind, ShareLink};

/// The limits of a drop box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Maximum size of all its files together, in bytes.
    pub(crate) bytes: u64,
    /// Maximum number of its files.
    pub(crate) files: u64,
    /// Maximum number of concurrent uploads.
    pub(crate) at_once: u32,
}

/// A gigabyte or a hundred photos, as of one guest of a wedding; more is asked for.
impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 30, files: 100, at_once: 4 }
    }
}

/// What a drop box has received, and what its unfinished uploads have claimed.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Bytes and number of files that were stored.
    pub(super) bytes: u64,
    pub(super) files: u64,
    /// Running uploads of each address.
    running: HashMap<IpAddr, u32>,
    /// One file each, and its bytes.
    claims: HashMap<Claimant, Claim>,
    requests: u64,
}

/// An unfinished upload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Claimant {
    /// One that further requests continue, so it keeps its claim between them.
    Upload(TransferKey),
    /// One that ends with its request.
    Request(u64),
}

#[derive(Debug, Default)]
struct Claim {
    bytes: u64,
    /// Requests that send it: more than one while a later one takes its place.
    requests: u32,
}

impl Usage {
    pub(super) fn of(bytes: u64, files: u64) -> Self {
        Self { bytes, files, ..Self::default() }
    }

    /// Returns the bytes and the number of files that unfinished uploads claim.
    pub(super) fn claimed(&self) -> (u64, u64) {
        let bytes = self.claims.values().map(|claim| claim.bytes);
        (bytes.fold(0, u64::saturating_add), self.claims.len() as u64)
    }

    /// Returns the limit that one more upload from `address` would exceed.
    fn lacks_slot(&self, limits: &Limits, address: IpAddr) -> Option<Refusal> {
        let busy = |message: String| {
            Some(Refusal::new(RefusalCode::Busy, message).with_hint("try again later"))
        };
        let running: u32 = self.running.values().sum();
        let of_address = self.running.get(&address).copied().unwrap_or_default();
        if running >= limits.at_once {
            let at_once = limits.at_once;
            return busy(format!("{at_once} uploads to this link are running, the limit"));
        }
        let most = limits.of_address();
        (of_address >= most)
            .then(|| busy(format!("{most} uploads of this address are running, the limit")))
            .flatten()
    }

    /// Returns the limit that `files` more, and `more` bytes, would exceed.
    fn lacks_room(&self, limits: &Limits, files: u64, more: u64) -> Option<Refusal> {
        let full = |message: String| {
            let refusal = Refusal::new(RefusalCode::NoSpace, message);
            Some(refusal.with_hint("ask the person who sent you the link for another one"))
        };
        let (claimed, unfinished) = self.claimed();
        if self.files + unfinished + files > limits.files {
            return full(format!("this link accepts {} files, the limit is reached", limits.files));
        }
        let used = self.bytes.saturating_add(claimed);
        let is_full = files > 0 && used >= limits.bytes;
        if is_full || used.saturating_add(more) > limits.bytes {
            // Without what is left, which is what others have sent.
            let limit = limits.bytes;
            return full(format!(
                "this link accepts {limit} bytes in total, and this file is more"
            ));
        }
        None
    }

    /// Makes room for `files` more, and `more` bytes: uploads without content that no request
    /// sends now, other than `own`, are removed with their claims, as a creation costs its sender
    /// nothing.
    ///
    /// # Errors
    /// The limit that they would exceed.
    fn make_room(
        &mut self,
        limits: &Limits,
        (files, more): (u64, u64),
        own: Option<&Claimant>,
        directory: &Directory,
    ) -> Result<(), Refusal> {
        if self.lacks_room(limits, files, more).is_none() {
            return Ok(());
        }
        self.claims.retain(|claimant, claim| match claimant {
            Claimant::Upload(key) if claim.requests == 0 && own != Some(claimant) => {
                directory.keeps_upload(key)
            }
            _ => true,
        });
        self.lacks_room(limits, files, more).map_or(Ok(()), Err)
    }
}

impl Limits {
    /// Returns the maximum number of concurrent uploads of one address: a browser sends three, and
    /// one slot stays for others.
    fn of_address(&self) -> u32 {
        (self.at_once.saturating_sub(1)).clamp(1, MOST_OF_ADDRESS)
    }
}

impl ShareLink {
    /// Returns the limits, if it is that of a drop box.
    pub(crate) fn limits(&self) -> Option<&Limits> {
        match &self.share.kind {
            Kind::Drop(limits) => Some(limits),
            Kind::File { .. } => None,
        }
    }

    /// Checks that one more upload from `address` could begin now.
    ///
    /// # Errors
    /// The limit that it would exceed.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        let Some(limits) = self.limits() else { return Ok(()) };
        let mut usage = self.share.usage();
        if let Some(refusal) = usage.lacks_slot(limits, address) {
            return Err(refusal);
        }
        usage.make_room(limits, (1, 0), None, &self.shares.store.now())
    }

    /// Removes the claim of an upload that was removed.
    pub(crate) fn forget(&self, key: &TransferKey) {
        self.share.usage().claims.remove(&Claimant::Upload(key.clone()));
    }

    /// Begins an upload of `bytes`, as far as they are known, that requests continue as `key`.
    ///
    /// # Errors
    /// The limit that it would exceed.
    pub(crate) fn begin(
        &self,
        key: Option<&TransferKey>,
        bytes: u64,
        address: IpAddr,
    ) -> Result<Option<Slot>, Refusal> {
        let Some(limits) = self.limits() else { return Ok(None) };
        let mut usage = self.share.usage();
        if let Some(refusal) = usage.lacks_slot(limits, address) {
            return Err(refusal);
        }
        usage.requests += 1;
        let claimant = match key {
            Some(key) => Claimant::Upload(key.clone()),
            None => Claimant::Request(usage.requests),
        };
        let known = usage.claims.get(&claimant).map(|claim| claim.bytes);
        let more = bytes.saturating_sub(known.unwrap_or_default());
        let files = u64::from(known.is_none());
        let directory = self.shares.store.now();
        usage.make_room(limits, (files, more), Some(&claimant), &directory)?;
        *usage.running.entry(address).or_default() += 1;
        let claim = usage.claims.entry(claimant.clone()).or_default();
        claim.bytes += more;
        claim.requests += 1;
        let claimed = claim.bytes;
        drop(usage);
        Ok(Some(Slot { link: self.clone(), address, claimant, claimed }))
    }
}

/// A running upload to a drop box, and the bytes that it has claimed.
#[derive(Debug)]
pub(crate) struct Slot {
    link: ShareLink,
    address: IpAddr,
    claimant: Claimant,
    claimed: u64,
}

impl Slot {
    /// Claims that the upload has `bytes` in total.
    ///
    /// # Errors
    /// They are too many.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(self.claimed);
        if more == 0 {
            return Ok(());
        }
        let Some(limits) = self.link.limits() else { return Ok(()) };
        let mut usage = self.link.share.usage();
        usage.make_room(limits, (0, more), None, &self.link.shares.store.now())?;
        if let Some(claim) = usage.claims.get_mut(&self.claimant) {
            claim.bytes += more;
        }
        self.claimed += more;
        Ok(())
    }

    /// Returns how many more bytes than `bytes` the upload may have without another claim.
    pub(crate) const fn left(&self, bytes: u64) -> u64 {
        self.claimed.saturating_sub(bytes)
    }

    /// Ends an upload whose file of `bytes` is stored.
    pub(crate) fn stored(self, bytes: u64) {
        let mut usage = self.link.share.usage();
        usage.claims.remove(&self.claimant);
        usage.files += 1;
        usage.bytes = usage.bytes.saturating_add(bytes);
        drop(usage);
        self.link.shares.save_usage();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut usage = self.link.share.usage();
        if let Some(claim) = usage.claims.get_mut(&self.claimant) {
            claim.requests -= 1;
            if claim.requests == 0 && matches!(self.claimant, Claimant::Request(_)) {
                usage.claims.remove(&self.claimant);
            }
        }
        if let Some(running) = usage.running.get_mut(&self.address) {
            *running -= 1;
            if *running == 0 {
                usage.running.remove(&self.address);
            }
        }
    }
}

/// Maximum number of concurrent uploads of one address to one drop box, as many as a browser
/// sends.
const MOST_OF_ADDRESS: u32 = 3;
