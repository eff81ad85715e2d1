//! Uploads that several requests continue, by an id.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyport_net::copy::Gate;
use anyport_proto::access::Rights;
use anyport_proto::setting::{MAX_SIZE, SINK};
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::offer::Offer;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_store::{Announced, SavedUpload, Sink, TransferKey};
use data_encoding::HEXLOWER;

use super::parts::Checked;
use super::waiting::{Identity, Stopped};
use super::{Begun, Complete, Files, Source, Upload, Waiting, path_of, storage_refusal};
use crate::access::{Grant, Operation};
use crate::config::SinkKind;

/// The id of an upload: random, and known to its client only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadId(String);

impl UploadId {
    fn random() -> Result<Self, getrandom::Error> {
        let mut id = [0; ID_BYTES];
        getrandom::fill(&mut id)?;
        Ok(Self(HEXLOWER.encode(&id)))
    }

    /// Parses an id; `None` if it cannot be one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_id = text.len() == 2 * ID_BYTES && text.bytes().all(is_digit);
        is_id.then(|| Self(text.to_owned()))
    }

    /// Returns the key of the upload of this client: with the id of another one's upload, the
    /// holder of a link finds nothing, and the other way round.
    fn key(&self, grant: &Grant) -> TransferKey {
        match grant.link() {
            Some(link) => TransferKey::of_upload(&format!("{} {}", link.identity(), self.0)),
            None => TransferKey::of_upload(&self.0),
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An upload that was created.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) id: UploadId,
    /// The offset at which it could continue: that of an earlier attempt to send the same file, or
    /// the size of a file that is stored already.
    pub(crate) found: u64,
}

/// The result of a request to continue an upload.
pub(crate) enum Continued {
    Upload(Box<Upload>),
    /// For [`Files::retry_continued`], when no other connection writes to it.
    Waiting(Box<Waiting>),
    Complete(Complete),
}

impl From<Begun> for Continued {
    fn from(begun: Begun) -> Self {
        match begun {
            Begun::Upload(upload) => Self::Upload(upload),
            Begun::Waiting(waiting) => Self::Waiting(waiting),
        }
    }
}

impl Continued {
    fn of(begun: Result<Begun, Stopped>) -> Result<Self, Refusal> {
        match begun {
            Ok(begun) => Ok(begun.into()),
            Err(Stopped::Complete(complete)) => Ok(Self::Complete(complete)),
            Err(Stopped::Refused(refusal)) => Err(refusal),
        }
    }
}

impl Files {
    /// Returns whether uploads can be continued by an id.
    pub(crate) fn has_uploads(&self) -> bool {
        self.sink == SinkKind::File && !self.withheld.contains(Rights::WRITE)
    }

    /// Returns how long an upload is kept after its last request.
    pub(crate) fn keeps_uploads(&self) -> Duration {
        self.keep_partial
    }

    /// Returns the maximum size of a file, in bytes.
    pub(crate) const fn max_size(&self) -> u64 {
        self.max_size
    }

    /// Creates an upload, whose content follows by [`Self::continued`]; without a size in the offer
    /// it is set later.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(crate) fn create(
        self: &Arc<Self>,
        source: &Source,
        offer: Offer,
        announced: &Announced,
    ) -> Result<Created, Refusal> {
        let refuse = |refusal| {
            self.refused(source, &refusal);
            Err(refusal)
        };
        if self.sink != SinkKind::File {
            let message =
                format!("this server keeps no uploads that later requests continue ({SINK})");
            return refuse(Refusal::new(RefusalCode::NotSupported, message));
        }
        let id = match UploadId::random() {
            Ok(id) => id,
            Err(error) => return refuse(storage_refusal("cannot create an upload", &error.into())),
        };
        let key = id.key(&source.grant);
        let identity = Identity::New(key.clone());
        match self.attempt(source.clone(), offer, identity, None) {
            Ok(Begun::Upload(mut upload)) => {
                if *announced != Announced::default()
                    && let Some(Sink::File(partial)) = &mut upload.sink
                    && let Err(error) = partial.record_announced(announced)
                {
                    upload.cancel();
                    return refuse(storage_refusal("cannot record an upload", &error));
                }
                let found = match upload.is_here() {
                    true => upload.offset(),
                    false => self.adoptable(upload.checked(), &key),
                };
                upload.pause()?;
                Ok(Created { id, found })
            }
            // A new upload has no other writer.
            Ok(Begun::Waiting(_)) => {
                Err(Refusal::new(RefusalCode::Busy, "the upload is already being sent"))
            }
            Err(stopped) => {
                self.store.now().remove_upload(&key);
                Err(stopped.into())
            }
        }
    }

    /// Makes `source` the only client that continues the upload `id`: another one that sends its
    /// content is ended. `from` is the offset that the client states; without one, content of
    /// another attempt to send the same file is continued, if there is none of this upload.
    ///
    /// # Errors
    /// There is no such upload, or as [`Self::begin`].
    pub(crate) fn continued(
        self: &Arc<Self>,
        source: Source,
        id: &UploadId,
        from: Option<u64>,
    ) -> Result<Continued, Refusal> {
        let key = id.key(&source.grant);
        if let Err(refusal) = source.grant.check_right(Operation::Upload, None) {
            self.refused(&source, &refusal);
            return Err(refusal);
        }
        // An upload outside the scope of a client does not exist for it.
        let may = |path: Option<&FilePath>| source.grant.check(Operation::Upload, path).is_ok();
        let is_inside = |saved: &SavedUpload| {
            path_of(&source, &saved.offer).is_ok_and(|(path, _)| may(path.as_ref()))
                && saved.stored.iter().flat_map(|(path, _)| path).all(|path| may(Some(path)))
        };
        let Some(saved) = self.store.now().upload(&key).filter(is_inside) else {
            let message = "this upload does not exist, or has expired";
            let refusal = Refusal::new(RefusalCode::NotFound, message).with_hint("create it again");
            self.refused(&source, &refusal);
            return Err(refusal);
        };
        if let Some((path, bytes)) = saved.stored {
            let path = path.filter(|_| source.grant.drop_box().is_none());
            return Ok(Continued::Complete(Complete { bytes, path }));
        }
        Continued::of(self.attempt(source, saved.offer, Identity::Upload(key, from), None))
    }

    /// Tries again what waited.
    ///
    /// # Errors
    /// As [`Self::continued`].
    pub(crate) fn retry_continued(
        self: &Arc<Self>,
        waiting: Box<Waiting>,
    ) -> Result<Continued, Refusal> {
        Continued::of(self.again(waiting))
    }

    /// Removes the record of a completed upload.
    pub(crate) fn forget(&self, grant: &Grant, id: &UploadId) {
        self.store.now().remove_upload(&id.key(grant));
    }
}

impl Upload {
    fn checked(&self) -> Checked<'_> {
        Checked {
            source: &self.source,
            path: self.path.as_ref(),
            offer: &self.offer,
            algorithm: self.hasher.algorithm(),
        }
    }

    /// Returns the number of bytes that are stored.
    pub(crate) const fn stored(&self) -> u64 {
        self.bytes
    }

    /// Returns the properties of the file that its creation stated.
    pub(crate) fn metadata(&self) -> Option<&str> {
        match &self.sink {
            Some(Sink::File(partial)) => partial.announced().metadata.as_deref(),
            _ => None,
        }
    }

    /// Returns the algorithm of its digest.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.hasher.algorithm()
    }

    /// Returns the gate that opens when another request continues this upload.
    pub(crate) fn evicted(&self) -> Option<Arc<Gate>> {
        self.held.as_ref().map(super::parts::Writing::evicted)
    }

    /// Records that the client appends from the first byte on: from now on the upload continues no
    /// other attempt, whose content may be that of another version of the file.
    ///
    /// # Errors
    /// The error of the store.
    pub(crate) fn begin_anew(&mut self) -> Result<(), Refusal> {
        let Some(Sink::File(partial)) = &mut self.sink else { return Ok(()) };
        partial.begin().map_err(|error| storage_refusal("cannot record an append", &error))
    }

    /// Records that the client stated the offset, so that no digest must verify what is before it.
    pub(crate) const fn confirm_offset(&mut self) {
        self.begun_by_others = false;
    }

    /// Sets the size of the whole file, where none was announced before.
    ///
    /// # Errors
    /// Another size was announced, it is less than what was stored, or it is too large.
    pub(crate) fn set_size(&mut self, size: u64) -> Result<(), Refusal> {
        match self.offer.size {
            Some(known) if known == size => return Ok(()),
            Some(known) => {
                let message = format!("the upload has {known} bytes, not {size}");
                return Err(Refusal::new(RefusalCode::BadRequest, message));
            }
            None => {}
        }
        if size < self.bytes {
            let stored = self.bytes;
            let message = format!("{stored} bytes are stored, more than the announced {size}");
            return Err(Refusal::new(RefusalCode::BadRequest, message));
        }
        if size > self.files.max_size {
            let limit = self.files.max_size;
            let message = format!(
                "a file of {size} bytes exceeds the server's limit of {limit} bytes ({MAX_SIZE})"
            );
            return Err(Refusal::new(RefusalCode::TooLarge, message));
        }
        if let Some(slot) = &mut self.slot {
            slot.grow_to(size)?;
        }
        if let Some(Sink::File(partial)) = &mut self.sink {
            let recorded = partial.set_size(size);
            recorded.map_err(|error| storage_refusal("cannot record the size", &error))?;
        }
        self.offer.size = Some(size);
        Ok(())
    }

    /// Ends a request that does not complete the file: the next one continues there.
    ///
    /// # Errors
    /// The content cannot be made durable: the offset must not be reported.
    pub(crate) fn pause(mut self: Box<Self>) -> Result<(), Refusal> {
        // Before another request can open the partial file.
        self.slot = None;
        let paused = self.sink.take().map_or(Ok(()), Sink::pause);
        paused.map_err(|error| storage_refusal("cannot sync the content of an upload", &error))
    }

    /// Ends the upload and removes its content.
    pub(crate) fn cancel(mut self: Box<Self>) {
        if let (Some(link), Some(key)) = (self.source.grant.link(), &self.key) {
            link.forget(key);
        }
        match self.sink.take() {
            Some(Sink::File(partial)) => partial.cancel(),
            // The file was stored by another upload; only the record of this one is removed.
            _ => {
                if let Some(key) = &self.key {
                    self.files.store.now().remove_upload(key);
                }
            }
        }
    }

    /// Marks the content that follows as not verified: unless [`Self::verified`] is called it is
    /// removed, also after a crash.
    ///
    /// # Errors
    /// The error of the store.
    pub(crate) fn begin_unverified(&mut self) -> Result<(), Refusal> {
        let Some(Sink::File(partial)) = &mut self.sink else { return Ok(()) };
        let marked = partial.begin_unverified();
        marked.map_err(|error| storage_refusal("cannot mark content as not verified", &error))
    }

    /// Marks all content as verified.
    ///
    /// # Errors
    /// The error of the store.
    pub(crate) fn verified(&mut self) -> Result<(), Refusal> {
        let Some(Sink::File(partial)) = &mut self.sink else { return Ok(()) };
        let marked = partial.verified();
        marked.map_err(|error| storage_refusal("cannot mark content as verified", &error))
    }
}

/// Bytes of an id: enough that none can be guessed.
const ID_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;
    use std::time::Instant;

    use anyport_proto::access::{Named, Token};
    use anyport_proto::transfer::offer::{End, OnExists};
    use anyport_proto::transfer::receipt::{EndKind, Engine, Protocol, Receipt};

    use super::*;
    use crate::access::Grant;
    use crate::config::Config;
    use crate::events::{Events, Interrupted, Observer, Record, Refused};
    use crate::link::Link;
    use crate::tokens::Owner;

    struct Silent;

    impl Observer for Silent {
        fn receipt(&self, _: &Receipt) {}
        fn interrupted(&self, _: &Interrupted) {}
        fn refused(&self, _: &Refused) {}
    }

    /// The files service of a server that starts.
    fn files(directory: &Path) -> Arc<Files> {
        let config = Config::new(directory);
        Arc::new(Files::open(&config, Events::new(Silent)).unwrap())
    }

    /// Returns the directory as another server finds it after this one was killed.
    fn killed(directory: &Path) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        copy
    }

    fn source(address: u8) -> Source {
        let peer = SocketAddr::from(([192, 0, 2, address], 1)).into();
        let record = Record::begin(peer, Arc::default());
        let (protocol, engine) = (Protocol::Http, Engine::Own);
        let grant = Grant::without_token(&Config::new("."));
        Source { protocol, engine, peer, grant, link: Link::new(), record }
    }

    #[test]
    fn the_owner_is_the_token_of_the_request_and_not_of_the_last_one_on_its_connection() {
        let named = Named::new("alice".to_owned(), Token::new("0123456789abcdef"));
        let alice = Source { grant: Grant::of_token(Owner::of(named)), ..source(1) };
        alice.record.is_of("bob".into());
        assert_eq!(alice.owner(), "token alice");
    }

    fn offer(size: Option<u64>) -> Offer {
        Offer { name: Some("d/x".to_owned()), size, ..Offer::default() }
    }

    fn upload(continued: Result<Continued, Refusal>) -> Box<Upload> {
        match continued.unwrap() {
            Continued::Upload(upload) => upload,
            _ => panic!("not an upload"),
        }
    }

    fn write(upload: &mut Upload, content: &[u8]) {
        upload.write(content, Instant::now()).unwrap();
    }

    fn finish(upload: Upload) -> Result<Receipt, Refusal> {
        upload.finish(EndKind::Size, &End::default())
    }

    #[test]
    fn an_upload_is_continued_after_the_end_of_the_server_and_is_remembered() {
        let scratch = tempfile::tempdir().unwrap();
        let created = files(scratch.path())
            .create(&source(1), offer(Some(9)), &Announced::default())
            .unwrap();
        assert_eq!(created.found, 0);
        for (at, piece) in [(0, "abc"), (3, "def")] {
            // From any address: the id is enough.
            let mut upload =
                upload(files(scratch.path()).continued(source(2), &created.id, Some(at)));
            assert_eq!((upload.offset(), upload.size()), (at, Some(9)));
            write(&mut upload, piece.as_bytes());
            upload.pause().unwrap();
        }
        let server = files(scratch.path());
        let mut last = upload(server.continued(source(1), &created.id, None));
        write(&mut last, b"ghi");
        assert!(last.write(b"j", Instant::now()).is_err());
        let receipt = finish(*last).unwrap();
        assert_eq!((receipt.bytes, receipt.resumed), (9, 6));
        assert_eq!(std::fs::read(scratch.path().join("d/x")).unwrap(), b"abcdefghi");
        for server in [server, files(scratch.path())] {
            let Ok(Continued::Complete(complete)) = server.continued(source(1), &created.id, None)
            else {
                panic!("not complete")
            };
            assert_eq!(complete.bytes, 9);
            assert_eq!(complete.path.unwrap().text(), "d/x");
        }
    }

    #[test]
    fn content_of_another_attempt_is_continued_by_its_owner_only() {
        let scratch = tempfile::tempdir().unwrap();
        let size = 1 << 20;
        let mut begun = files(scratch.path()).begin(source(1), offer(Some(size))).unwrap();
        write(&mut begun, b"abc");
        let scratch = killed(scratch.path());
        let server = files(scratch.path());
        let other = server.create(&source(2), offer(Some(size)), &Announced::default()).unwrap();
        assert_eq!(other.found, 0);
        let other = upload(server.continued(source(2), &other.id, None));
        assert_eq!(other.offset(), 0);
        other.cancel();
        let same = server.create(&source(1), offer(Some(size)), &Announced::default()).unwrap();
        assert_eq!(same.found, 3);
        // A client that begins with the first byte does not expect another answer.
        let mut from_start = upload(server.continued(source(1), &same.id, Some(0)));
        assert_eq!(from_start.offset(), 0);
        from_start.begin_anew().unwrap();
        from_start.pause().unwrap();
        let wrong = upload(server.continued(source(1), &same.id, Some(2)));
        assert_eq!(wrong.offset(), 0);
        wrong.pause().unwrap();
        // Nor later: its file may be another version than that of the earlier attempt.
        let asked = upload(server.continued(source(1), &same.id, None));
        assert_eq!(asked.offset(), 0);
        asked.cancel();
        let same = server.create(&source(1), offer(Some(size)), &Announced::default()).unwrap();
        let adopted = upload(server.continued(source(1), &same.id, None));
        assert_eq!(adopted.offset(), 3);
        adopted.pause().unwrap();
        // Two uploads of one file take the content from each other, and both stay.
        let again = server.create(&source(1), offer(Some(size)), &Announced::default()).unwrap();
        for id in [&again.id, &same.id, &again.id, &same.id] {
            let adopted = upload(server.continued(source(1), id, None));
            assert_eq!(adopted.offset(), 3);
            adopted.pause().unwrap();
        }
        // Also back, by a client that states the offset, and by one that sends another size.
        let Begun::Upload(put) = server.offered_from(source(1), offer(Some(size)), 3).unwrap()
        else {
            panic!("another writer")
        };
        assert_eq!(put.offset(), 3);
        put.pause().unwrap();
        let Begun::Upload(put) = server.offered_from(source(1), offer(Some(size + 1)), 3).unwrap()
        else {
            panic!("another writer")
        };
        assert_eq!(put.offset(), 0);
    }

    #[test]
    fn an_upload_is_completed_however_long_partial_files_are_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let mut config = Config::new(scratch.path());
        config.keep_partial = Duration::MAX;
        let server = Arc::new(Files::open(&config, Events::new(Silent)).unwrap());
        let id = server.create(&source(1), offer(Some(3)), &Announced::default()).unwrap().id;
        let mut whole = upload(server.continued(source(1), &id, Some(0)));
        write(&mut whole, b"abc");
        assert_eq!(finish(*whole).unwrap().bytes, 3);
        let complete = server.continued(source(1), &id, None);
        assert!(matches!(complete, Ok(Continued::Complete(Complete { bytes: 3, .. }))));
    }

    #[test]
    fn an_upload_that_another_protocol_completes_is_complete() {
        let scratch = tempfile::tempdir().unwrap();
        let server = files(scratch.path());
        let id = server.create(&source(1), offer(Some(5)), &Announced::default()).unwrap().id;
        let mut first = upload(server.continued(source(1), &id, Some(0)));
        write(&mut first, b"abc");
        first.pause().unwrap();
        let Begun::Upload(mut put) = server.offered_from(source(1), offer(Some(5)), 3).unwrap()
        else {
            panic!("another writer")
        };
        assert_eq!(put.offset(), 3);
        put.confirm_offset();
        write(&mut put, b"de");
        assert_eq!(finish(*put).unwrap().resumed, 3);
        let complete = server.continued(source(1), &id, None);
        assert!(matches!(complete, Ok(Continued::Complete(Complete { bytes: 5, .. }))));
    }

    #[test]
    fn content_that_is_not_verified_does_not_count() {
        let scratch = tempfile::tempdir().unwrap();
        let server = files(scratch.path());
        let id = server.create(&source(1), offer(None), &Announced::default()).unwrap().id;
        let mut first = upload(server.continued(source(1), &id, Some(0)));
        first.begin_unverified().unwrap();
        write(&mut first, b"abc");
        first.verified().unwrap();
        first.begin_unverified().unwrap();
        write(&mut first, b"damaged");
        let scratch = killed(scratch.path());
        let server = files(scratch.path());
        let mut second = upload(server.continued(source(1), &id, None));
        assert_eq!(second.offset(), 3);
        second.begin_unverified().unwrap();
        write(&mut second, b"damaged");
        second.pause().unwrap();
        let mut third = upload(server.continued(source(1), &id, None));
        assert_eq!(third.offset(), 3);
        assert!(third.set_size(2).is_err());
        third.set_size(5).unwrap();
        assert!(third.set_size(6).is_err());
        third.pause().unwrap();
        let mut last = upload(files(scratch.path()).continued(source(1), &id, None));
        assert_eq!(last.size(), Some(5));
        write(&mut last, b"de");
        assert_eq!(finish(*last).unwrap().bytes, 5);
        assert_eq!(std::fs::read(scratch.path().join("d/x")).unwrap(), b"abcde");
    }

    #[test]
    fn an_upload_is_looked_at_and_cancelled_without_space() {
        let scratch = tempfile::tempdir().unwrap();
        let mut config = Config::new(scratch.path());
        config.quota = Some(1 << 20);
        let server = Arc::new(Files::open(&config, Events::new(Silent)).unwrap());
        let id = server.create(&source(1), offer(Some(900_000)), &Announced::default()).unwrap().id;
        let mut other = server.begin(source(1), Offer { size: Some(900_000), ..Offer::default() });
        write(other.as_mut().unwrap(), &[0; 900_000]);
        finish(other.unwrap()).unwrap();
        assert!(server.continued(source(1), &id, Some(0)).is_err());
        let looked_at = upload(server.continued(source(1), &id, None));
        assert_eq!(looked_at.offset(), 0);
        looked_at.pause().unwrap();
        upload(server.continued(source(1), &id, None)).cancel();
        assert!(server.continued(source(1), &id, None).is_err());
    }

    #[test]
    fn a_request_waits_for_one_that_looks_at_the_upload() {
        let scratch = tempfile::tempdir().unwrap();
        let server = files(scratch.path());
        let id = server.create(&source(1), offer(Some(9)), &Announced::default()).unwrap().id;
        let partial = server
            .store
            .now()
            .open_partial(&id.key(&Grant::default()), true, None)
            .unwrap()
            .unwrap();
        let Ok(Continued::Waiting(waiting)) = server.continued(source(1), &id, Some(0)) else {
            panic!("did not wait")
        };
        assert!(waiting.wait().unwrap().until.unwrap() < Instant::now() + Duration::from_secs(1));
        partial.put_back();
        assert!(matches!(server.retry_continued(waiting), Ok(Continued::Upload(_))));
    }

    #[test]
    fn a_client_waits_for_the_end_of_its_lost_connection_without_a_token_too() {
        let scratch = tempfile::tempdir().unwrap();
        let server = files(scratch.path());
        let offer = offer(Some(1 << 20));
        let mut lost = server.begin(source(1), offer.clone()).unwrap();
        write(&mut lost, b"abc");
        let Ok(Begun::Waiting(waiting)) = server.offered_from(source(1), offer.clone(), 3) else {
            panic!("did not wait")
        };
        lost.interrupt("lost");
        let Ok(Begun::Upload(back)) = server.retry(waiting) else { panic!("waits on") };
        assert_eq!(back.offset(), 3);
        // One that still sends may be another client's: after a while this attempt begins anew.
        let mut begun = server.offered_from(source(1), offer, 3);
        let other = loop {
            match begun.unwrap() {
                Begun::Waiting(waiting) => begun = server.retry(waiting),
                Begun::Upload(other) => break other,
            }
        };
        assert_eq!(other.offset(), 0);
    }

    #[test]
    fn a_client_that_asks_for_the_offset_does_not_become_the_owner() {
        let scratch = tempfile::tempdir().unwrap();
        let server = files(scratch.path());
        let id = server.create(&source(1), offer(Some(9)), &Announced::default()).unwrap().id;
        let mut first = upload(server.continued(source(1), &id, Some(0)));
        write(&mut first, b"abc");
        first.pause().unwrap();
        upload(server.continued(source(2), &id, None)).pause().unwrap();
        assert_eq!(
            server.create(&source(2), offer(Some(9)), &Announced::default()).unwrap().found,
            0
        );
        assert_eq!(
            server.create(&source(1), offer(Some(9)), &Announced::default()).unwrap().found,
            3
        );
    }

    #[test]
    fn an_attempt_that_is_only_looked_at_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let server = files(scratch.path());
        let offer = offer(Some(1 << 20));
        let mut put = server.begin(source(1), offer.clone()).unwrap();
        write(&mut put, b"abc");
        put.interrupt("lost");
        // Another attempt to send the same file is running, with an id.
        let id = server.create(&source(1), offer.clone(), &Announced::default()).unwrap().id;
        let mut running = upload(server.continued(source(1), &id, Some(0)));
        write(&mut running, b"a");
        let Ok(Begun::Waiting(waiting)) = server.offered_from(source(1), offer.clone(), 2) else {
            panic!("did not wait for the running one")
        };
        drop(waiting);
        running.pause().unwrap();
        let Ok(Begun::Upload(back)) = server.offered_from(source(1), offer, 3) else {
            panic!("waits on")
        };
        assert_eq!(back.offset(), 3);
    }

    #[test]
    fn a_refusal_leaves_the_upload_and_cancelling_removes_it() {
        let scratch = tempfile::tempdir().unwrap();
        let server = files(scratch.path());
        std::fs::create_dir(scratch.path().join("d")).unwrap();
        std::fs::write(scratch.path().join("d/x"), b"other").unwrap();
        let offer = Offer { exists: Some(OnExists::Error), ..offer(Some(5)) };
        let id = server.create(&source(1), offer, &Announced::default()).unwrap().id;
        let mut first = upload(server.continued(source(1), &id, Some(0)));
        write(&mut first, b"abc");
        let refusal = first.write(b"defg", Instant::now()).unwrap_err();
        first.abandon(refusal);
        let mut second = upload(server.continued(source(1), &id, Some(3)));
        assert_eq!(second.offset(), 3);
        write(&mut second, b"de");
        assert_eq!(finish(*second).unwrap_err().code, RefusalCode::Exists);
        let third = upload(server.continued(source(1), &id, None));
        assert_eq!(third.offset(), 5);
        third.cancel();
        let gone = server.continued(source(1), &id, None).map(|_| ()).unwrap_err();
        assert_eq!(gone.code, RefusalCode::NotFound);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
        let unknown = UploadId::parse("0123456789abcdef0123456789abcdef").unwrap();
        assert!(server.continued(source(1), &unknown, None).is_err());
        for wrong in
            ["", "0", "0123456789ABCDEF0123456789ABCDEF", "../456789abcdef0123456789abcdef"]
        {
            assert_eq!(UploadId::parse(wrong), None);
        }
    }

    #[test]
    fn an_upload_below_the_minimum_rate_is_interrupted_after_a_while() {
        let scratch = tempfile::tempdir().unwrap();
        let mut config = Config::new(scratch.path());
        config.min_upload_rate = Some(10);
        let server = Arc::new(Files::open(&config, Events::new(Silent)).unwrap());
        let mut upload = server.begin(source(1), offer(None)).unwrap();
        let began = Instant::now();
        let mut write =
            |bytes, seconds| upload.write(&vec![0; bytes], began + Duration::from_secs(seconds));
        write(1, 9).unwrap();
        write(200, 9).unwrap();
        write(1, 20).unwrap();
        let refusal = write(1, 21).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Interrupted);
        assert_eq!(
            refusal.message,
            "202 bytes in 21 s are less than the server's minimum of 10 bytes per second \
             (min-upload-rate)"
        );
    }

    #[test]
    fn a_file_that_is_stored_already_needs_no_content() {
        let scratch = tempfile::tempdir().unwrap();
        let server = files(scratch.path());
        let mtime = anyport_proto::transfer::file_time::FileTime::exact(1_000_000, 7);
        let offer = Offer { mtime: Some(mtime), ..offer(Some(3)) };
        let mut first = server.begin(source(1), offer.clone()).unwrap();
        write(&mut first, b"abc");
        finish(first).unwrap();
        let created = server.create(&source(1), offer, &Announced::default()).unwrap();
        assert_eq!(created.found, 3);
        let again = upload(server.continued(source(1), &created.id, Some(3)));
        assert_eq!(again.offset(), 3);
        assert_eq!(finish(*again).unwrap().end, EndKind::AlreadyHere);
        let complete = server.continued(source(1), &created.id, None);
        assert!(matches!(complete, Ok(Continued::Complete(Complete { bytes: 3, .. }))));
    }
}
