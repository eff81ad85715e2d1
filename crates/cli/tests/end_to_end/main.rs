//! The program as a user meets it: real processes, real sockets, real files.
//!
//! - `access_modes` servers that only send files, and servers that only accept them
//! - `addresses` hosts, ports and paths as people type them
//! - `banner` what `serve` prints at its start, run as it is printed
//! - `bench` the comparison, its outputs, and what it does when a part of it fails
//! - `harness` starts servers and senders, waits for events, compares what arrived
//! - `bursts` input beyond a limit that delays it, then silence
//! - `fair_shares` totals that one address cannot use up
//! - `folding` names that a file system does not distinguish
//! - `folding_disk` such a file system, over FUSE
//! - `config` settings from a file and the environment, and what tells of them
//! - `manuals` manual pages and completions, as man and shells take them
//! - `reload` new settings for a server that runs
//! - `wire` writes frames and prefaces by hand, for peers that know nothing of this workspace
//! - `matrix` each of our clients against each engine
//! - `doc_examples` the commands of docs/, and the output that its pages show
//! - `readme` the commands of README.md, as a newcomer types them
//! - `real_clients` tools that know nothing of anyport
//! - `lookalikes` files that begin like something else, and bare frames that are some
//! - `crowds` many who say nothing, and what is counted
//! - `listeners` what is set for one listener alone
//! - `daemon` a server in the background: its log, its pid file, and how it is asked and told
//! - `datagrams` what is answered over UDP, and what is not
//! - `drain` what becomes of everybody when the server stops
//! - `durability` what a receipt promises, and faults of disks
//! - `faults` one fault on every protocol, with one outcome
//! - `for_people` receipts, listings, the progress bar, and Ctrl-C
//! - `greeting` who is greeted, when, and what becomes of the answer
//! - `http` requests one after the other, their framing and limits
//! - `http2` the same requests in frames, and many at once
//! - `http2_tokens` each of them with a token, or without
//! - `http2_wire` what frames may not do
//! - `http_client` our own client over `http://` and `https://`
//! - `http_foreign` the same against servers of others, and servers that mean no good
//! - `http_downloads` files and listings by GET, whole, in part, on conditions
//! - `http_uploads` files by PUT and POST
//! - `interruptions` transfers that break off; nothing is published
//! - `closing` how a connection ends, and what is answered until then
//! - `compression` permessage-deflate, both roles
//! - `downloads` files that leave the server, and what must not
//! - `memory` what no peer can make the server hold
//! - `logs` what is said of each connection at its end
//! - `metrics` what is counted, as Prometheus reads it
//! - `names` what files are called, and what is said of those that have no way over
//! - `origin` pages of others, and names that lead here
//! - `pipe` content that goes from one client to others, and is stored nowhere
//! - `pipe_deaths` who dies in the middle of a pipe, and what nobody takes for its end
//! - `policies` what an operator allows one peer, and all of them together
//! - `proxy_header` the PROXY protocol, which the server does not accept
//! - `raw_echo` echo over TCP
//! - `refusals` mistakes of peers and users, and what they are told
//! - `resolve` what names stand for
//! - `resuming` transfers that break off go on where they stopped
//! - `rooms` clients that talk to each other
//! - `slowness` what trickles, and what may take its time
//! - `standard_streams` what a process inherits: streams, ignored signals, an environment
//! - `systemd` what a service manager is told, and sockets that it opens
//! - `time` what time it is, to browsers and by old protocols
//! - `tls` the same under TLS, and whom clients trust
//! - `tls_silence` what comes under TLS and says nothing
//! - `tokens` who comes in where tokens are asked for
//! - `under_load` crowds, storms and shortages
//! - `unseen` files that the kernel stores, because no digest is wanted
//! - `same_file` files that are there already, and sources that change while they are read
//! - `services` every service over every protocol that carries it
//! - `serving` one process for many clients, starting and stopping

#![expect(clippy::unwrap_used, reason = "tests")]

mod access_modes;
mod addresses;
mod banner;
mod bench;
mod bench_rooms;
mod bursts;
mod cat;
mod chat;
mod closing;
mod compression;
mod config;
mod crowds;
mod daemon;
mod datagrams;
mod doc_examples;
mod downloads;
mod drain;
mod durability;
mod fair_shares;
mod faults;
mod folding;
mod folding_disk;
mod for_people;
mod greeting;
mod harness;
mod http;
mod http2;
mod http2_flow;
mod http2_tokens;
mod http2_wire;
mod http_client;
mod http_client_faults;
mod http_downloads;
mod http_foreign;
mod http_uploads;
mod injection;
mod interruptions;
mod limits;
mod listeners;
mod logs;
mod lookalikes;
mod manuals;
mod matrix;
mod memory;
mod metrics;
mod names;
mod origin;
mod pipe;
mod pipe_deaths;
mod policies;
mod proxies;
mod proxy_header;
mod raw_echo;
mod readme;
mod real_clients;
mod refusals;
mod reload;
mod resolve;
mod resuming;
mod rooms;
mod same_file;
mod screen;
mod services;
mod serving;
mod slowness;
mod standard_streams;
mod storage;
mod systemd;
mod time;
mod tls;
mod tls_silence;
mod tokens;
mod under_load;
mod unseen;
mod wire;
mod wrong_inputs;
