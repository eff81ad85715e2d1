//! TLS without a socket: ciphertext in, plaintext out, and back.
//!
//! rustls decrypts records in place. One copy gathers the plaintext of all records of a read, so
//! that a session handles one event a read, as without TLS. An incomplete record is buffered until
//! the next read.

use std::ops::DerefMut;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, UnbufferedConnectionCommon, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{ClientConfig, ProtocolVersion, ServerConfig, SupportedCipherSuite};
use std::sync::Arc;

use crate::TlsError;

/// One end of a connection: server or client.
pub trait Side: DerefMut<Target = UnbufferedConnectionCommon<Self::Data>> + Send + 'static {
    /// The data of rustls for this end.
    type Data;

    /// Processes the records in `wire`.
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

/// The server's end.
pub type ServerMachine = Machine<UnbufferedServerConnection>;
/// The client's end.
pub type ClientMachine = Machine<UnbufferedClientConnection>;

/// One end of a TLS connection.
#[derive(Debug)]
pub struct Machine<S> {
    side: S,
    /// The beginning of an incomplete record or handshake message.
    begun: Vec<u8>,
    /// Whether close_notify arrived, so that the peer's data is complete.
    ended: bool,
    close_sent: bool,
    /// Whether the connection failed, and can neither decrypt nor encrypt.
    failed: bool,
}

impl ServerMachine {
    /// Returns the end of a server, which waits for a ClientHello.
    ///
    /// # Errors
    /// rustls rejects the configuration.
    pub fn server(config: &Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self::new(UnbufferedServerConnection::new(config.clone())?))
    }
}

impl ClientMachine {
    /// Returns the end of a client. [`Machine::open`] without input produces its ClientHello.
    ///
    /// # Errors
    /// rustls rejects the configuration.
    pub fn client(config: &Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, TlsError> {
        Ok(Self::new(UnbufferedClientConnection::new(config.clone(), name)?))
    }
}

impl<S: Side> Machine<S> {
    const fn new(side: S) -> Self {
        Self { side, begun: Vec::new(), ended: false, close_sent: false, failed: false }
    }

    /// Decrypts all of `wire`.
    ///
    /// Appends plaintext to `plain`, at most as much as `wire` has; appends TLS's own messages for
    /// the peer to `out`, also in case of an error.
    ///
    /// # Errors
    /// The peer violates the protocol, is not trusted, or sent an alert. Send `out`, then close the
    /// connection.
    pub fn open(
        &mut self,
        mut wire: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        if self.failed {
            return Err(TlsError::Closed);
        }
        // Data after close_notify is ignored (RFC 8446 §6.1).
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
            // Released while the connection is idle.
            if !begun.is_empty() {
                self.begun = begun;
            }
        }
        let used = self.records(wire, plain, out)?;
        if self.ended {
            return Ok(());
        }
        // The rest is less than a record, except within a handshake message of several records.
        if wire.len() - used > MAX_BEGUN {
            return self.too_long();
        }
        self.begun.extend_from_slice(&wire[used..]);
        Ok(())
    }

    /// rustls bounds a handshake message; this bounds the records that carry it, which may be
    /// nearly empty.
    fn too_long(&mut self) -> Result<(), TlsError> {
        self.failed = true;
        Err(TlsError::TooLong { limit: MAX_BEGUN })
    }

    /// Appends `plain` to `out`, encrypted.
    ///
    /// # Errors
    /// The handshake is not complete, or the connection was closed.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        if plain.is_empty() {
            return Ok(());
        }
        if self.failed {
            return Err(TlsError::Closed);
        }
        self.say(out, |mut traffic, out| {
            // One record at a time, so that its buffer is still in the CPU cache.
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

    /// Ends this direction, once: appends close_notify to `out`.
    ///
    /// The other direction stays open.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if self.failed || std::mem::replace(&mut self.close_sent, true) {
            return;
        }
        // During the handshake there is nothing to close.
        let _ = self.say(out, |mut traffic, out| {
            let at = out.len();
            out.resize(at + RECORD_OVERHEAD + ALERT, 0);
            let said = traffic.queue_close_notify(&mut out[at..]).unwrap_or(0);
            out.truncate(at + said);
            Ok(())
        });
    }

    /// Calls `say` to append to `out`, after TLS's own pending messages, such as a new key.
    fn say(
        &mut self,
        out: &mut Vec<u8>,
        say: impl FnOnce(WriteTraffic<'_, S::Data>, &mut Vec<u8>) -> Result<(), TlsError>,
    ) -> Result<(), TlsError> {
        loop {
            // Together with the incomplete record, as rustls keeps a position in it; nothing of it
            // is consumed.
            match self.side.process(&mut self.begun).state? {
                ConnectionState::WriteTraffic(traffic) => return say(traffic, out),
                ConnectionState::EncodeTlsData(data) => encode(data, out),
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(TlsError::Closed),
            }
        }
    }

    /// Returns whether the handshake is still in progress.
    pub fn is_handshaking(&self) -> bool {
        self.side.is_handshaking()
    }

    /// Returns whether close_notify arrived, so that the peer's data is complete.
    pub const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Returns the negotiated application protocol (RFC 7301).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.side.alpn_protocol()
    }

    /// Returns `TLS 1.3` and the cipher suite, once they are negotiated.
    pub fn agreed(&self) -> Option<(&'static str, SupportedCipherSuite)> {
        let version = match self.side.protocol_version()? {
            ProtocolVersion::TLSv1_2 => "TLS 1.2",
            ProtocolVersion::TLSv1_3 => "TLS 1.3",
            _ => return None,
        };
        Some((version, self.side.negotiated_cipher_suite()?))
    }

    /// Returns the name of the key exchange group, once it is negotiated.
    pub fn group(&self) -> Option<String> {
        Some(format!("{:?}", self.side.negotiated_key_exchange_group()?.name()))
    }

    /// Returns the certificate of the peer, once it was received.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.side.peer_certificates()?.first()
    }

    /// Processes complete records, and returns their total size.
    fn records(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<usize, TlsError> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.side.process(&mut wire[used..]);
            let continues = match state {
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
                    self.push_alert(out);
                    return Err(error.into());
                }
            };
            used += discard;
            if !continues {
                return Ok(used);
            }
        }
    }

    /// Appends the alert for the peer. Called only as long as there is one: rustls would otherwise
    /// continue with messages after the one that failed.
    fn push_alert(&mut self, out: &mut Vec<u8>) {
        self.failed = true;
        while self.side.wants_write() {
            match self.side.process(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out),
                _ => return,
            }
        }
    }
}

/// Appends TLS's own messages.
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

/// Returns the number of bytes that complete the last record of `begun`, or its header.
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
            // Complete records of a handshake message that continues in the next one.
            return HEADER;
        }
    }
}

/// Maximum size of an incomplete handshake message: the longest that rustls accepts, in records of
/// a usual size.
const MAX_BEGUN: usize = 80 * 1024;

/// Size of a record header: type, version, length (RFC 8446 §5.1).
const HEADER: usize = 5;

/// Maximum plaintext of one record (RFC 8446 §5.1).
const MAX_PLAIN: usize = 16 * 1024;

/// Maximum overhead of a record: header, explicit nonce of TLS 1.2, type, tag.
const RECORD_OVERHEAD: usize = HEADER + 8 + 1 + 16;

/// Size of an alert.
const ALERT: usize = 2;

/// Size of most flights of a handshake; the buffer grows for longer ones.
const FLIGHT: usize = 2 * 1024;

#[cfg(test)]
pub(crate) mod tests {
    use anyport_testkit::noise;

    use super::*;
    use crate::client::{Client, NewServer, Trust};
    use crate::identity::Identity;
    use crate::server::Server;

    /// Passes the output of one machine to the other, and returns the reply.
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

    /// Returns two machines after their handshake.
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
    fn plaintext_is_the_same_for_every_segmentation() {
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
        // Data after it is ignored.
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
    fn an_untrusted_server_gets_an_alert_and_the_connection_ends() {
        // No CA of this system signed it, and there is no file of known hosts.
        let (mut client, mut server) = (client(Trust::default()), server());
        let mut plain = Vec::new();
        let mut wire = pass(&mut client, &mut Vec::new(), &mut plain);
        let mut wire = pass(&mut server, &mut wire, &mut plain);
        let mut out = Vec::new();
        let refused = client.open(&mut wire, &mut plain, &mut out).unwrap_err();
        assert!(matches!(refused, TlsError::Untrusted(_)), "{refused:?}");
        assert_eq!(client.open(&mut [], &mut plain, &mut Vec::new()), Err(TlsError::Closed));
        assert_eq!(client.seal(b"x", &mut Vec::new()), Err(TlsError::Closed));
        let error = server.open(&mut out, &mut plain, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("alert"), "{error}");
    }

    #[test]
    fn a_client_without_a_certificate_gets_the_reason() {
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
        let error = client.open(&mut out, &mut plain, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("CertificateRequired"), "{error}");
    }

    /// A handshake message without end, in records of one byte.
    #[test]
    fn a_message_in_too_many_records_is_refused_and_an_incomplete_one_disturbs_nothing() {
        let mut server = server();
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let mut sent = 0;
        let refused = loop {
            // The first record announces a ClientHello of 65,535 bytes.
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

        // After the handshake: the beginning of a message in a complete record.
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

    /// Returns a handshake record of a client without its last bytes.
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
            // Half of the input as handshake records, half within an established connection.
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
