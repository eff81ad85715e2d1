//! Sockets: listen, dial, options, and the one loop that moves bytes. Knows descriptors and bytes, no protocol.
//!
//! - [`listen`]: names → listening sockets, dual-stack, one port, for datagrams too
//! - [`resolve`]: names → addresses and back, as the system resolves them
//! - [`dial`]: names → a connected socket, over whichever address answers first
//! - [`blocking`]: a bounded pool for work that may wait for a disk
//! - [`congestion`]: which congestion control a socket uses
//! - [`copy`]: read → step → write, blocking and async, the same step for both
//! - [`keepalive`]: finding out that a silent peer is gone
//! - [`linger`]: close so that the peer reads our last words
//! - [`pace`]: keeping to a rate
//! - [`reactor`]: conversations, which wait more than they say, by the thousand on one thread
//! - [`shared`]: one socket for several owners
//! - [`tcp_info`]: what the kernel knows of a connection
//! - [`waiting`]: standard input and output, also where another process made them non-blocking
//! - [`prefixed`]: bytes already read, then the socket
//!
//! The only crate of the workspace in which `unsafe` may stand: one call, in [`tcp_info`].

pub mod blocking;
pub mod congestion;
pub mod copy;
pub mod dial;
pub mod keepalive;
pub mod linger;
pub mod listen;
pub mod pace;
pub mod prefixed;
pub mod reactor;
pub mod resolve;
pub mod shared;
pub mod tcp_info;
pub mod waiting;
