//! HTTP/1.1 and HTTP/2: the server, and `anyport send` and `get` over them.
//!
//! - `archives` directories as zip and tar
//! - `assets` scripts and the style sheet of pages, and the policy of both
//! - `base_path` a server behind a proxy that forwards a subtree
//! - `changes` deleting, renaming and creating by DELETE, MOVE and MKCOL
//! - `cors` pages of other origins that the owner allows
//! - `forms` files that forms send
//! - `http` requests one after the other, their framing and limits
//! - `http2` the same requests in frames, and many at once
//! - `http2_flow` flow control and concurrent streams
//! - `http2_tokens` each of them with a token, or without
//! - `http2_wire` what frames may not do
//! - `http_client` our own client over `http://` and `https://`
//! - `http_client_faults` HTTP servers that fail while our client sends to them
//! - `http_downloads` files and listings by GET, whole, in part, on conditions
//! - `http_resumable` our client with upload resources of other servers
//! - `http_third_party` the same against servers of others, and servers that mean no good
//! - `http_uploads` files by PUT and POST
//! - `resumable_ietf`, `resumable_tus` uploads that several requests continue, in each dialect
//! - `resumable_pairs` uploads that one protocol begins and another continues
//! - `origin` pages of others, and names that lead here
//! - `pages` listings and errors for browsers and wget
//! - `upload_clients` tus and IETF clients of others

#![expect(clippy::unwrap_used, reason = "tests")]

mod archives;
mod assets;
mod base_path;
mod changes;
mod cors;
mod forms;
mod http;
mod http2;
mod http2_flow;
mod http2_tokens;
mod http2_wire;
mod http_client;
mod http_client_faults;
mod http_downloads;
mod http_resumable;
mod http_third_party;
mod http_uploads;
mod origin;
mod pages;
mod resumable_ietf;
mod resumable_pairs;
mod resumable_tus;
mod upload_clients;
