//! Echo and time over UDP (RFC 862, 867, 868): one task a socket, a reply to each datagram, no
//! state.
//!
//! The source of a datagram can be forged, so replies must be useless for an attack:
//! - a reply is never longer than its request, so there is no amplification;
//! - no reply goes to a port that would reply again (CVE-1999-0103): the server's own and those of
//!   other small services; nor to a broadcast or multicast address;
//! - the number of replies to one address in a second is bounded, which limits a loop with another
//!   service.

mod rate;

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rate::Rate;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::config::Service;
use crate::events::{Counters, Dropped};
use crate::service::time;

/// A socket and its service.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UdpSocket,
    port: u16,
    service: Service,
    counters: Arc<Counters>,
}

impl Datagrams {
    /// # Errors
    /// The socket cannot be registered with the runtime.
    pub(crate) fn new(
        socket: std::net::UdpSocket,
        service: Service,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let port = socket.local_addr()?.port();
        Ok(Self { socket: UdpSocket::from_std(socket)?, port, service, counters })
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Replies until draining. `ours` are the ports of all datagram sockets of the server.
    pub(crate) async fn run(self, ours: Arc<[u16]>, draining: CancellationToken) {
        let mut buffer = vec![0; LONGEST + 1];
        let mut rate = Rate::new(Instant::now());
        loop {
            let received = tokio::select! {
                biased;
                () = draining.cancelled() => return,
                received = self.socket.recv_from(&mut buffer) => received,
            };
            match received {
                Ok((count, peer)) => {
                    self.counters.moved(count as u64, 0);
                    let done =
                        answer(self.service, &buffer[..count], peer, &ours).and_then(|reply| {
                            match rate.admits(peer.ip(), Instant::now()) {
                                true => self.send(&reply, peer),
                                false => Err(Dropped::TooMany),
                            }
                        });
                    match done {
                        Ok(()) => self.counters.answered(self.service),
                        Err(why) => {
                            let service = self.service.as_str();
                            let reason = why.as_str();
                            tracing::debug!(
                                %peer, service, bytes = count, why = reason, "datagram dropped"
                            );
                            self.counters.dropped(why);
                        }
                    }
                }
                Err(error) => {
                    let service = self.service.as_str();
                    tracing::warn!(%error, service, "cannot receive datagrams");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Sends immediately or not at all: a flood would fill a queue.
    fn send(&self, reply: &[u8], peer: SocketAddr) -> Result<(), Dropped> {
        match self.socket.try_send_to(reply, peer) {
            Ok(count) => {
                self.counters.moved(0, count as u64);
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "cannot answer a datagram");
                Err(Dropped::Unsent)
            }
        }
    }
}

/// Returns the reply to a datagram, if it gets one.
fn answer<'a>(
    service: Service,
    datagram: &'a [u8],
    peer: SocketAddr,
    ours: &[u16],
) -> Result<Cow<'a, [u8]>, Dropped> {
    let port = peer.port();
    if port == 0 || ANSWERING.contains(&port) || ours.contains(&port) || !is_one(peer.ip()) {
        return Err(Dropped::Source);
    }
    if datagram.len() > LONGEST {
        return Err(Dropped::TooLong);
    }
    let reply: Cow<'a, [u8]> = match service {
        Service::Rfc868 => time::rfc868().to_vec().into(),
        Service::Daytime => time::daytime().into_bytes().into(),
        Service::Any | Service::Echo | Service::Greet | Service::Time => datagram.into(),
    };
    if reply.len() > datagram.len() { Err(Dropped::TooShort) } else { Ok(reply) }
}

/// Returns whether an address belongs to one host.
fn is_one(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}

/// Ports that reply: echo, daytime, quote of the day, character generator, time.
const ANSWERING: [u16; 5] = [7, 13, 17, 19, 37];

/// Size of the longest datagram over IPv4 (RFC 768, RFC 791 §3.1). IPv6 permits 20 more bytes,
/// which are dropped.
const LONGEST: usize = 65_507;

/// Pause after a receive error, most likely lack of memory.
const PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(service: Service, datagram: &[u8], peer: &str) -> Result<usize, Dropped> {
        answer(service, datagram, peer.parse().unwrap(), &[9000]).map(|reply| reply.len())
    }

    #[test]
    fn an_answer_is_never_longer_than_its_question() {
        for length in 0..100 {
            let datagram = vec![b'x'; length];
            for (service, shortest) in
                [(Service::Echo, 0), (Service::Rfc868, 4), (Service::Daytime, 30)]
            {
                match ask(service, &datagram, "192.0.2.1:5000") {
                    Ok(reply) => assert!(reply <= length && length >= shortest, "{service:?}"),
                    Err(why) => assert_eq!(why, Dropped::TooShort, "{service:?} {length}"),
                }
            }
            assert_eq!(ask(Service::Rfc868, &datagram, "192.0.2.1:5000").is_ok(), length >= 4);
        }
        assert!(ask(Service::Daytime, &[b'x'; 64], "192.0.2.1:5000").is_ok());
    }

    #[test]
    fn nothing_is_sent_where_it_would_be_answered_or_to_many() {
        for peer in [
            "192.0.2.1:0",
            "192.0.2.1:7",
            "192.0.2.1:13",
            "192.0.2.1:17",
            "192.0.2.1:19",
            "[2001:db8::1]:37",
            "192.0.2.1:9000",
            "[::ffff:192.0.2.1]:9000",
            "0.0.0.0:5000",
            "255.255.255.255:5000",
            "224.0.0.1:5000",
            "[ff02::1]:5000",
            "[::]:5000",
        ] {
            assert_eq!(ask(Service::Echo, b"x", peer), Err(Dropped::Source), "{peer}");
        }
        assert_eq!(ask(Service::Echo, b"x", "192.0.2.1:9001"), Ok(1));
        assert_eq!(ask(Service::Echo, b"", "[2001:db8::1]:9001"), Ok(0));
    }

    #[test]
    fn the_longest_datagram_comes_back_and_a_longer_one_does_not() {
        let longest = vec![0; LONGEST];
        assert_eq!(ask(Service::Echo, &longest, "[2001:db8::1]:9001"), Ok(LONGEST));
        let longer = vec![0; LONGEST + 1];
        assert_eq!(ask(Service::Echo, &longer, "[2001:db8::1]:9001"), Err(Dropped::TooLong));
    }
}
