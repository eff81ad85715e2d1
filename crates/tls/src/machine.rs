//! TLS without a socket: bytes of the wire in, plain text out, and back.
//!
//! rustls decrypts records where they lie. The one copy of ours gathers the plain text of all
//! records of a read, so that a session is told once a read, as it is without TLS. A record that a
//! read has cut waits here for its rest.

use std::ops::DerefMut;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, UnbufferedConnectionCommon, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{ClientConfig, ProtocolVersion, ServerConfig, SupportedCipherSuite};
use std::sync::Arc;

use crate::TlsError;

/// Which end of a connection this is.
pub trait Side: DerefMut<Target = UnbufferedConnectionCommon<Self::Data>> + Send + 'static {
    /// What rustls knows of this end.
    type Data;

    /// Goes on with what came.
    fn process<'c, 'i>(&'c mut self, wire: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Side for UnbufferedServerConnection {
    type Data = rustls::server::ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, wire: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(wire)
    }
}

impl Side for UnbufferedClientConnection {
    type Data = rustls::client::ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, wire: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(wire)
    }
}

/// A server's end.
pub type ServerMachine = Machine<UnbufferedServerConnection>;
/// A client's end.
pub type ClientMachine = Machine<UnbufferedClientConnection>;

/// One end of a TLS connection.
#[derive(Debug)]
pub struct Machine<S> {
    side: S,
    /// The beginning of a record, or of a handshake message, whose rest has not come.
    begun: Vec<u8>,
    /// close_notify came: what the peer had to say is complete.
    ended: bool,
    close_sent: bool,
    /// Nothing more can be opened or sealed.
    failed: bool,
}

impl ServerMachine {
    /// Waits for a ClientHello.
    ///
    /// # Errors
    /// A configuration that rustls does not take.
    pub fn server(config: &Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self::new(UnbufferedServerConnection::new(config.clone())?))
    }
}

impl ClientMachine {
    /// Has a ClientHello to send: [`Machine::open`] with nothing gives it.
    ///
    /// # Errors
    /// A configuration that rustls does not take.
    pub fn client(config: &Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, TlsError> {
        Ok(Self::new(UnbufferedClientConnection::new(config.clone(), name)?))
    }
}

impl<S: Side> Machine<S> {
    const fn new(side: S) -> Self {
        Self { side, begun: Vec::new(), ended: false, close_sent: false, failed: false }
    }

    /// Takes what came from the wire, all of it. Plain text is appended to `plain`, at most as much
    /// as came; what TLS itself has to tell the peer is appended to `out`, also where there is an
    /// error.
    ///
    /// # Errors
    /// The peer breaks a rule, is not trusted, or gave up. The connection must then be closed,
    /// after `out` is sent.
    pub fn open(
        &mut self,
        mut wire: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        if self.failed {
            return Err(TlsError::Closed);
        }
        // Nothing counts behind close_notify (RFC 8446 §6.1).
        if self.ended {
            return Ok(());
        }
        while !self.begun.is_empty() {
            if wire.is_empty() {
                return Ok(());
            }
            let (rest_of_record, behind) = wire.split_at_mut(missing(&self.begun).min(wire.len()));
            self.begun.extend_from_slice(rest_of_record);
            wire = behind;
            let mut begun = std::mem::take(&mut self.begun);
            let used = self.records(&mut begun, plain, out)?;
            begun.drain(..used);
            if begun.len() > MAX_BEGUN {
                return self.too_long();
            }
            // An empty one takes no memory while the connection is idle.
            if !begun.is_empty() {
                self.begun = begun;
            }
        }
        let used = self.records(wire, plain, out)?;
        if self.ended {
            return Ok(());
        }
        // What is left is less than a record, but for a handshake message that goes on.
        if wire.len() - used > MAX_BEGUN {
            return self.too_long();
        }
        self.begun.extend_from_slice(&wire[used..]);
        Ok(())
    }

    /// Records that say next to nothing may make one message: rustls bounds the message, and we
    /// what carries it.
    fn too_long(&mut self) -> Result<(), TlsError> {
        self.failed = true;
        Err(TlsError::TooLong { limit: MAX_BEGUN })
    }

    /// Appends `plain` to `out`, encrypted.
    ///
    /// # Errors
    /// The handshake is not over, or the connection was closed.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        if plain.is_empty() {
            return Ok(());
        }
        if self.failed {
            return Err(TlsError::Closed);
        }
        self.say(out, |mut traffic, out| {
            // Record by record, so that the room for one is still near the processor when it is
            // filled.
            for record in plain.chunks(MAX_PLAIN) {
                let at = out.len();
                out.resize(at + record.len() + RECORD_OVERHEAD, 0);
                let sealed = traffic.encrypt(record, &mut out[at..]);
                out.truncate(at + sealed.as_ref().copied().unwrap_or(0));
                sealed.map_err(|_| TlsError::Closed)?;
            }
            Ok(())
        })
    }

    /// Says that nothing more comes from here, once: appends close_notify to `out`. The other
    /// direction stays open.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if self.failed || std::mem::replace(&mut self.close_sent, true) {
            return;
        }
        // In the midst of a handshake there is nothing to close.
        let _ = self.say(out, |mut traffic, out| {
            let at = out.len();
            out.resize(at + RECORD_OVERHEAD + ALERT, 0);
            let said = traffic.queue_close_notify(&mut out[at..]).unwrap_or(0);
            out.truncate(at + said);
            Ok(())
        });
    }

    /// Once what TLS itself has to tell is told, such as a new key, has `say` append to `out`.
    fn say(
        &mut self,
        out: &mut Vec<u8>,
        say: impl FnOnce(WriteTraffic<'_, S::Data>, &mut Vec<u8>) -> Result<(), TlsError>,
    ) -> Result<(), TlsError> {
        loop {
            // With what has begun, as rustls has its place in it in mind. None of it is whole, so
            // nothing of it is taken.
            match self.side.process(&mut self.begun).state? {
                ConnectionState::WriteTraffic(traffic) => return say(traffic, out),
                ConnectionState::EncodeTlsData(data) => encode(data, out),
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(TlsError::Closed),
            }
        }
    }

    /// Whether nothing can be said yet.
    pub fn is_handshaking(&self) -> bool {
        self.side.is_handshaking()
    }

    /// Whether close_notify came, so that the peer has said all that it had to say.
    pub const fn is_ended(&self) -> bool {
        self.ended
    }

    /// The protocol that both agreed on (RFC 7301).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.side.alpn_protocol()
    }

    /// `TLS 1.3`, and the name of the cipher suite, when they are known.
    pub fn agreed(&self) -> Option<(&'static str, SupportedCipherSuite)> {
        let version = match self.side.protocol_version()? {
            ProtocolVersion::TLSv1_2 => "TLS 1.2",
            ProtocolVersion::TLSv1_3 => "TLS 1.3",
            _ => return None,
        };
        Some((version, self.side.negotiated_cipher_suite()?))
    }

    /// Goes through whole records, and says how many bytes they took.
    fn records(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<usize, TlsError> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.side.process(&mut wire[used..]);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, out);
                    true
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.ended = true;
                    true
                }
                Ok(_) => false,
                Err(error) => {
                    self.last_words(out);
                    return Err(error.into());
                }
            };
            used += discard;
            if !goes_on {
                return Ok(used);
            }
        }
    }

    /// The alert that tells the peer what it did. Asked for as long as there is one, and no longer:
    /// rustls would go on with messages behind the one that failed.
    fn last_words(&mut self, out: &mut Vec<u8>) {
        self.failed = true;
        while self.side.wants_write() {
            match self.side.process(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out),
                _ => return,
            }
        }
    }
}

/// Appends what TLS itself has to tell.
fn encode<D>(mut data: EncodeTlsData<'_, D>, out: &mut Vec<u8>) {
    let at = out.len();
    out.resize(at + FLIGHT, 0);
    let mut encoded = data.encode(&mut out[at..]);
    if let Err(EncodeError::InsufficientSize(size)) = encoded {
        out.resize(at + size.required_size, 0);
        encoded = data.encode(&mut out[at..]);
    }
    out.truncate(at + encoded.unwrap_or(0));
}

/// Bytes that complete the last record of `begun`, or its header.
fn missing(begun: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let left = begun.len() - at;
        let Some(length) = begun.get(at + 3..at + HEADER) else { return HEADER - left };
        let whole = HEADER + usize::from(u16::from_be_bytes([length[0], length[1]]));
        if whole > left {
            return whole - left;
        }
        at += whole;
        if at == begun.len() {
            // Whole records of a handshake message that goes on in the next one.
            return HEADER;
        }
    }
}

/// What may wait for the rest of a handshake message: the longest that rustls takes, in records of
/// a usual size.
const MAX_BEGUN: usize = 80 * 1024;

/// Of a record: type, version, length (RFC 8446 §5.1).
const HEADER: usize = 5;

/// Plain text of one record (RFC 8446 §5.1).
const MAX_PLAIN: usize = 16 * 1024;

/// What a record adds at most: header, explicit nonce of TLS 1.2, type, tag.
const RECORD_OVERHEAD: usize = HEADER + 8 + 1 + 16;

/// Bytes of an alert.
const ALERT: usize = 2;

/// As long as most flights of a handshake; longer ones get the room they need.
const FLIGHT: usize = 2 * 1024;

#[cfg(test)]
pub(crate) mod tests {
    use anyport_testkit::noise;

    use super::*;
    use crate::client::{Client, NewServer, Trust};
    use crate::identity::Identity;
    use crate::server::Server;

    /// What a machine said to the other one, and what that made of it.
    fn pass<S: Side>(to: &mut Machine<S>, wire: &mut Vec<u8>, plain: &mut Vec<u8>) -> Vec<u8> {
        let mut out = Vec::new();
        to.open(wire, plain, &mut out).unwrap();
        wire.clear();
        out
    }

    fn client(trust: Trust) -> ClientMachine {
        Client::new(trust).unwrap().connect("localhost", 1, &[], NewServer::AnyName).unwrap().0
    }

    fn server() -> ServerMachine {
        let identity = Identity::in_memory().unwrap();
        ServerMachine::server(Server::new(&identity, None, false).unwrap().config()).unwrap()
    }

    /// Two that have shaken hands.
    pub(crate) fn pair() -> (ClientMachine, ServerMachine) {
        let insecure = Trust { insecure: true, ..Trust::default() };
        let (mut client, mut server) = (client(insecure), server());
        let mut plain = Vec::new();
        let mut wire = pass(&mut client, &mut Vec::new(), &mut plain);
        while client.is_handshaking() || server.is_handshaking() || !wire.is_empty() {
            wire = pass(&mut server, &mut wire, &mut plain);
            wire = pass(&mut client, &mut wire, &mut plain);
        }
        assert!(plain.is_empty());
        (client, server)
    }

    #[test]
    fn plain_text_comes_out_whatever_the_cuts_of_the_wire() {
        for step in [1, 2, 4, 5, 6, 21, 22, 100, 16_406, 16_407, 1_000_000] {
            let (mut client, mut server) = pair();
            let sent = noise(if step < 100 { 5_000 } else { 100_000 }, 1);
            let mut wire = Vec::new();
            for part in sent.chunks(33_333) {
                client.seal(part, &mut wire).unwrap();
            }
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            for piece in wire.chunks_mut(step) {
                server.open(piece, &mut plain, &mut out).unwrap();
                assert!(server.begun.len() <= HEADER + MAX_PLAIN + RECORD_OVERHEAD);
            }
            assert!(plain == sent, "{step}");
            assert!(server.begun.is_empty() && out.is_empty());
            assert_eq!(server.begun.capacity(), 0, "an idle machine keeps no buffer");
        }
    }

    #[test]
    fn the_end_is_close_notify_and_the_other_direction_stays_open() {
        let (mut client, mut server) = pair();
        let (mut wire, mut plain) = (Vec::new(), Vec::new());
        client.seal(b"all of it", &mut wire).unwrap();
        client.close(&mut wire);
        let length = wire.len();
        client.close(&mut wire);
        assert_eq!(wire.len(), length, "it is said once");
        // What stands behind it is nothing.
        wire.extend_from_slice(b"whatever");
        assert!(!server.is_ended());
        pass(&mut server, &mut wire, &mut plain);
        assert_eq!(plain, b"all of it");
        assert!(server.is_ended());
        server.seal(b"an answer", &mut wire).unwrap();
        server.close(&mut wire);
        plain.clear();
        pass(&mut client, &mut wire, &mut plain);
        assert_eq!(plain, b"an answer");
        assert!(client.is_ended());
    }

    #[test]
    fn who_is_not_trusted_is_told_and_nothing_more_can_be_said() {
        // Nobody of this system vouches for it, and it cannot be remembered.
        let (mut client, mut server) = (client(Trust::default()), server());
        let mut plain = Vec::new();
        let mut wire = pass(&mut client, &mut Vec::new(), &mut plain);
        let mut wire = pass(&mut server, &mut wire, &mut plain);
        let mut out = Vec::new();
        let refused = client.open(&mut wire, &mut plain, &mut out).unwrap_err();
        assert!(matches!(refused, TlsError::Untrusted(_)), "{refused:?}");
        assert_eq!(client.open(&mut [], &mut plain, &mut Vec::new()), Err(TlsError::Closed));
        assert_eq!(client.seal(b"x", &mut Vec::new()), Err(TlsError::Closed));
        let told = server.open(&mut out, &mut plain, &mut Vec::new()).unwrap_err();
        assert!(told.to_string().contains("alert"), "{told}");
    }

    #[test]
    fn a_client_without_a_certificate_is_told_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let (identity, _) = Identity::kept_in(directory.path()).unwrap();
        let authority = directory.path().join(crate::identity::KEPT);
        let asking = Server::new(&identity, Some(&authority), false).unwrap();
        let mut server = ServerMachine::server(asking.config()).unwrap();
        let mut client = client(Trust { insecure: true, ..Trust::default() });
        let mut plain = Vec::new();
        let mut wire = pass(&mut client, &mut Vec::new(), &mut plain);
        let mut wire = pass(&mut server, &mut wire, &mut plain);
        let mut wire = pass(&mut client, &mut wire, &mut plain);
        assert!(!client.is_handshaking(), "TLS 1.3 has a client believe so");
        let mut out = Vec::new();
        server.open(&mut wire, &mut plain, &mut out).unwrap_err();
        let told = client.open(&mut out, &mut plain, &mut Vec::new()).unwrap_err();
        assert!(told.to_string().contains("CertificateRequired"), "{told}");
    }

    /// A handshake message that never ends, in records of a byte each.
    #[test]
    fn a_message_in_ever_more_records_is_refused_and_one_that_has_begun_disturbs_nothing() {
        let mut server = server();
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let mut sent = 0;
        let refused = loop {
            // The first says ClientHello, of 65,535 bytes.
            let bytes = if sent == 0 { &[1, 0, 0xff, 0xff][..] } else { &[0] };
            let mut record = vec![0x16, 3, 1, 0, bytes.len() as u8];
            record.extend_from_slice(bytes);
            sent += record.len();
            if let Err(error) = server.open(&mut record, &mut plain, &mut out) {
                break error;
            }
            assert!(server.begun.len() <= MAX_BEGUN && sent < 2 * MAX_BEGUN);
        };
        assert_eq!(refused, TlsError::TooLong { limit: MAX_BEGUN });

        // Within a connection: the beginning of a message in a record that is whole.
        let (mut client, mut server) = pair();
        let mut wire = sealed_handshake(&mut client);
        server.open(&mut wire, &mut plain, &mut out).unwrap();
        let mut answer = Vec::new();
        server.seal(b"an answer", &mut answer).unwrap();
        server.close(&mut answer);
        client.open(&mut answer, &mut plain, &mut out).unwrap();
        assert_eq!(plain, b"an answer");
        assert!(client.is_ended());
    }

    /// A record of a client that is cut in the middle: all of it but its last bytes.
    fn sealed_handshake(client: &mut ClientMachine) -> Vec<u8> {
        let mut wire = Vec::new();
        client.seal(b"half of a record", &mut wire).unwrap();
        wire.truncate(wire.len() - 3);
        wire
    }

    #[test]
    fn noise_is_an_error_and_an_alert() {
        for seed in 0..200 {
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            let mut wire = noise(64 + seed as usize * 7, seed);
            // Some of it as a handshake record, and some in an established connection.
            if seed % 2 == 0 {
                wire[..3].copy_from_slice(&[0x16, 3, 1]);
                let _ = server().open(&mut wire, &mut plain, &mut out);
                continue;
            }
            let (_, mut server) = pair();
            wire[..5].copy_from_slice(&[0x17, 3, 3, 0, 40]);
            let error = server.open(&mut wire, &mut plain, &mut out).unwrap_err();
            assert!(matches!(error, TlsError::Protocol(_)), "{error:?}");
            assert!(!out.is_empty() && plain.is_empty());
        }
    }
}
