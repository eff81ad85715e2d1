//! Rooms, pipes, echo, time and other services, and `chat` and `cat`.
//!
//! - `cat` standard input and output over each protocol
//! - `chat` `anyport chat` in a terminal and in scripts
//! - `datagrams` what is answered over UDP, and what is not
//! - `greeting` who is greeted, when, and what becomes of the answer
//! - `live` listings, changes, running uploads and a room over one WebSocket
//! - `pipe` content that goes from one client to others, and is stored nowhere
//! - `pipe_deaths` clients that die in the middle of a pipe
//! - `raw_echo` echo over TCP
//! - `rooms` clients that talk to each other
//! - `services` every service over every protocol that carries it
//! - `time` what time it is, to browsers and by old protocols

#![expect(clippy::unwrap_used, reason = "tests")]

mod cat;
mod chat;
mod datagrams;
mod greeting;
mod live;
mod pipe;
mod pipe_deaths;
mod raw_echo;
mod rooms;
mod services;
mod time;
