//! What a client may do, decided in one place: [`Grant::check`].
//!
//! The services check a grant themselves, so no protocol can forget it: those of files get it with
//! each [`Source`](crate::service::files::Source), rooms and pipes as a [`Participant`].

use std::sync::Arc;

use anyport_proto::access::Rights;
use anyport_proto::peer::Peer;
use anyport_proto::setting::{ALLOW, READ_ONLY, UPLOAD_ONLY};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};

use crate::config::Config;
use crate::share::{Kind, Maker, Share, ShareLink};
use crate::tokens::{Owner, TokenMark, User};

/// The rights of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    client: Client,
    rights: Rights,
    /// The rights that the server gives to no client.
    withheld: Rights,
    /// The file or directory that the rights on files are for; `None` for all.
    scope: Option<Arc<FilePath>>,
}

/// Who a client is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Client {
    #[default]
    Unknown,
    /// The owner of a token.
    Owner(User, TokenMark),
    /// The holder of the link of a share.
    Guest(Arc<ShareLink>),
}

/// An operation of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    List,
    Download,
    Upload,
    CreateDirectory,
    Delete,
    Rename,
    Talk,
    Metrics,
    Share,
}

impl Operation {
    /// Returns the rights that it needs.
    const fn needs(self) -> Rights {
        match self {
            Self::List | Self::Download => Rights::READ,
            Self::Upload | Self::CreateDirectory => Rights::WRITE,
            Self::Delete => Rights::DELETE,
            Self::Rename => Rights::DELETE.with(Rights::WRITE),
            Self::Talk => Rights::TALK,
            Self::Metrics => Rights::ADMIN,
            Self::Share => Rights::SHARE,
        }
    }

    fn words(self, object: Option<&str>) -> String {
        let object = |other: &str| object.map_or_else(|| other.to_owned(), str::to_owned);
        match self {
            Self::List | Self::Download => "cannot list or send files".to_owned(),
            Self::Upload => format!("cannot store {}", object("a file")),
            Self::CreateDirectory => format!("cannot create {}", object("a directory")),
            Self::Delete => format!("cannot delete {}", object("a file")),
            Self::Rename => format!("cannot rename {}", object("a file")),
            Self::Talk => "cannot use rooms and pipes".to_owned(),
            Self::Metrics => "cannot read the metrics".to_owned(),
            Self::Share => format!("cannot share {}", object("files")),
        }
    }
}

/// A client that may use rooms and pipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Participant(Peer);

impl Participant {
    /// Returns the address that limits count.
    pub(crate) const fn peer(self) -> Peer {
        self.0
    }
}

impl Grant {
    /// Returns the grant of the holder of a token, before [`Self::at`].
    pub(crate) fn of_token(owner: Owner) -> Self {
        let Owner { user, mark, rights, scope } = owner;
        Self { client: Client::Owner(user, mark), rights, scope, ..Self::default() }
    }

    /// Returns the grant of the holder of a link, before [`Self::at`].
    pub(crate) fn of_link(link: ShareLink) -> Self {
        let share = link.share();
        let rights = match share.kind {
            Kind::File { .. } => Rights::READ,
            Kind::Drop(_) => Rights::WRITE,
        };
        let scope = Some(share.path.clone());
        Self { client: Client::Guest(Arc::new(link)), rights, scope, ..Self::default() }
    }

    /// Returns the grant of a client that has sent no token: none if one is required.
    pub(crate) fn without_token(config: &Config) -> Self {
        let rights = if config.tokens.is_some() { Rights::NONE } else { config.open_rights };
        Self { rights, ..Self::default() }.at(config)
    }

    /// Returns the grant without the rights that this server gives to no client.
    pub(crate) fn at(self, config: &Config) -> Self {
        let withheld = config.startup.withheld;
        Self { rights: self.rights.without(withheld), withheld, ..self }
    }

    /// Returns the owner of the token.
    pub(crate) const fn user(&self) -> Option<&User> {
        match &self.client {
            Client::Owner(user, _) => Some(user),
            Client::Unknown | Client::Guest(_) => None,
        }
    }

    /// Returns the share whose link the client used.
    pub(crate) fn link(&self) -> Option<&ShareLink> {
        match &self.client {
            Client::Guest(link) => Some(link),
            Client::Unknown | Client::Owner(..) => None,
        }
    }

    /// Returns the directory of the drop box that the client may upload to, and nothing else.
    pub(crate) fn drop_box(&self) -> Option<&FilePath> {
        let limits = self.link().and_then(ShareLink::limits);
        limits.and_then(|_| self.scope())
    }

    /// Returns the client as the maker of a share; `None` if no token is required.
    pub(crate) fn maker(&self) -> Option<Maker> {
        match &self.client {
            Client::Owner(user, mark) => Some(Maker { user: user.clone(), mark: *mark }),
            Client::Unknown | Client::Guest(_) => None,
        }
    }

    /// Checks that the client may make a share of this kind for `path`.
    ///
    /// # Errors
    /// It lacks the right to share, or could itself not do what the link permits.
    pub(crate) fn check_share(&self, kind: &Kind, path: &FilePath) -> Result<(), Refusal> {
        self.check(Operation::Share, Some(path))?;
        let permitted = match kind {
            Kind::File { .. } => Operation::Download,
            Kind::Drop(_) => Operation::CreateDirectory,
        };
        self.check(permitted, Some(path))
    }

    /// Returns whether the client may see and revoke a share: its own, and with the right `admin`
    /// all.
    pub(crate) fn manages(&self, share: &Share) -> bool {
        self.rights.contains(Rights::ADMIN)
            || (self.maker() == share.maker && self.check_share(&share.kind, &share.path).is_ok())
    }

    /// Returns the rights.
    pub(crate) const fn rights(&self) -> Rights {
        self.rights
    }

    /// Returns whether the client may list and download files, so that an answer may depend on
    /// what is stored.
    pub(crate) const fn may_read(&self) -> bool {
        self.rights.contains(Rights::READ)
    }

    /// Returns the file or directory that the rights on files are for; `None` for all.
    pub(crate) fn scope(&self) -> Option<&FilePath> {
        self.scope.as_deref()
    }

    /// Checks an operation on `path`, for which `None` is the top, or a name that the server
    /// chooses there.
    ///
    /// A directory above the scope can be listed: its listing shows the way to the scope alone.
    ///
    /// # Errors
    /// The client lacks the right, or the path is outside its scope. Neither depends on what is
    /// stored.
    pub(crate) fn check(
        &self,
        operation: Operation,
        path: Option<&FilePath>,
    ) -> Result<(), Refusal> {
        self.check_named(operation, path, path.map(ToString::to_string).as_deref())
    }

    /// Checks the same; a refusal calls the object `name`.
    ///
    /// # Errors
    /// Those of [`Self::check`].
    pub(crate) fn check_named(
        &self,
        operation: Operation,
        path: Option<&FilePath>,
        name: Option<&str>,
    ) -> Result<(), Refusal> {
        self.check_right(operation, name)?;
        let Some(scope) = self.scope() else { return Ok(()) };
        let is_inside = match operation {
            Operation::Talk | Operation::Metrics => true,
            Operation::List => self.shows(path),
            _ => path.is_some_and(|path| is_within(path, scope)),
        };
        if is_inside {
            return Ok(());
        }
        let (what, whose) = (operation.words(name), self.whose());
        let refusal = Refusal::new(
            RefusalCode::NotSupported,
            format!("{what}: {whose} is for /{scope} only"),
        );
        Err(refusal.with_hint(format!("use a path below /{scope}/")))
    }

    /// Checks that the client has the right for an operation, wherever the object is.
    ///
    /// # Errors
    /// It has not.
    pub(crate) fn check_right(
        &self,
        operation: Operation,
        name: Option<&str>,
    ) -> Result<(), Refusal> {
        let missing = operation.needs().without(self.rights);
        if missing.is_empty() {
            return Ok(());
        }
        let what = operation.words(name);
        let refuse =
            |why: String| Refusal::new(RefusalCode::NotSupported, format!("{what}: {why}"));
        Err(if self.withheld.within(missing).is_empty() {
            let refusal = refuse(format!("{} lacks the right {missing}", self.whose()));
            refusal.with_hint(match self.client {
                Client::Owner(..) => {
                    "only the server's owner can change its rights, in the token file".into()
                }
                Client::Guest(_) => "ask the person who sent you the link for another one".into(),
                Client::Unknown => {
                    format!("only the server's owner can allow it ({ALLOW} {missing})")
                }
            })
        } else if self.withheld.contains(Rights::WRITE) {
            refuse(format!("this server is read-only ({READ_ONLY})"))
        } else {
            refuse(format!("this server accepts uploads only ({UPLOAD_ONLY})"))
        })
    }

    /// Returns whether listings show an entry: it is in the scope, or above it.
    pub(crate) fn shows(&self, path: Option<&FilePath>) -> bool {
        let (Some(scope), Some(path)) = (self.scope(), path) else { return true };
        is_within(path, scope) || is_within(scope, path)
    }

    /// Returns the client at `peer` as one that may use rooms and pipes.
    ///
    /// # Errors
    /// It lacks the right.
    pub(crate) fn participant(&self, peer: Peer) -> Result<Participant, Refusal> {
        self.check(Operation::Talk, None).map(|()| Participant(peer))
    }

    fn whose(&self) -> String {
        match &self.client {
            Client::Owner(user, _) => format!("the token of {user}"),
            Client::Guest(_) => "this link".to_owned(),
            Client::Unknown => "a client without a token".to_owned(),
        }
    }
}

/// Returns whether a path is `directory`, or below it.
fn is_within(path: &FilePath, directory: &FilePath) -> bool {
    path == directory || path.is_below(directory)
}

#[cfg(test)]
pub(crate) mod tests {
    use anyport_proto::access::{Named, Token};

    use super::*;

    /// Returns a client of the address with this number that may use rooms and pipes.
    pub(crate) fn participant(address: u8) -> Participant {
        Participant(crate::budget::tests::peer(address))
    }

    fn path(text: &str) -> FilePath {
        FilePath::parse(text).unwrap()
    }

    fn grant(rights: &str, scope: Option<&str>) -> Grant {
        let mut named = Named::new("alice".to_owned(), Token::new("0123456789abcdef"));
        (named.rights, named.scope) = (rights.parse().unwrap(), scope.map(path));
        Grant::of_token(Owner::of(named))
    }

    const ALL: [Operation; 9] = [
        Operation::List,
        Operation::Download,
        Operation::Upload,
        Operation::CreateDirectory,
        Operation::Delete,
        Operation::Rename,
        Operation::Talk,
        Operation::Metrics,
        Operation::Share,
    ];

    #[test]
    fn each_operation_needs_its_rights() {
        for (rights, allowed) in [
            ("read", "List Download"),
            ("write", "Upload CreateDirectory"),
            ("delete", "Delete"),
            ("write,delete", "Upload CreateDirectory Delete Rename"),
            ("talk", "Talk"),
            ("share", "Share"),
            ("admin", "Metrics"),
        ] {
            let grant = grant(rights, None);
            let may = |operation: &Operation| grant.check(*operation, Some(&path("a"))).is_ok();
            let found: Vec<_> = ALL.into_iter().filter(may).map(|it| format!("{it:?}")).collect();
            assert_eq!(found.join(" "), allowed, "{rights}");
        }
    }

    #[test]
    fn a_scope_holds_for_files_and_shows_the_way_to_it() {
        let grant = grant("read,write,delete,talk,share,admin", Some("a/b"));
        for inside in ["a/b", "a/b/c", "a/b/c/d"] {
            let inside = path(inside);
            assert!(ALL.iter().all(|operation| grant.check(*operation, Some(&inside)).is_ok()));
        }
        for outside in [None, Some("a"), Some("a/bc"), Some("a/c"), Some("x"), Some("a/B")] {
            let outside = outside.map(path);
            for operation in ALL {
                let expected = match operation {
                    Operation::Talk | Operation::Metrics => true,
                    Operation::List => outside.as_ref().is_none_or(|it| *it == path("a")),
                    _ => false,
                };
                let checked = grant.check(operation, outside.as_ref());
                assert_eq!(checked.is_ok(), expected, "{operation:?} {outside:?}");
            }
        }
        let refusal = grant.check(Operation::Delete, Some(&path("x"))).unwrap_err();
        assert_eq!(refusal.message, "cannot delete x: the token of alice is for /a/b only");
    }

    #[test]
    fn a_server_withholds_rights_from_every_client() {
        let mut config = Config::new(".");
        config.startup.withheld = Rights::WRITE.with(Rights::DELETE);
        let grant = grant("read,write,delete", None).at(&config);
        assert_eq!(grant.rights(), Rights::READ);
        let refusal = grant.check(Operation::Rename, Some(&path("x"))).unwrap_err();
        assert!(refusal.message.contains("this server is read-only"), "{refusal}");
        assert_eq!(Grant::without_token(&config).rights(), Rights::READ.with(Rights::TALK));
        config.tokens = Some(crate::tokens::Tokens::new(Vec::new()));
        assert_eq!(Grant::without_token(&config).rights(), Rights::NONE);
    }
}
