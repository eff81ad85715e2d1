//! A client under TLS whose records a test can see, for what no tool holds open by the hundred.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use super::wire::connect;

/// A connection after its handshake, with any certificate of the server.
#[derive(Debug)]
pub struct TlsPeer {
    /// The socket, which carries records.
    pub stream: TcpStream,
    connection: ClientConnection,
    plain: Vec<u8>,
}

impl TlsPeer {
    /// Connects, and completes the handshake.
    pub fn connect(port: u16) -> Self {
        Self::over(connect(port))
    }

    /// Completes the handshake over an open connection.
    pub fn over(mut stream: TcpStream) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        connection.set_buffer_limit(None);
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).unwrap();
        }
        Self { stream, connection, plain: Vec::new() }
    }

    /// Appends the records of `plain` to `records`, without sending them.
    pub fn seal(&mut self, plain: &[u8], records: &mut Vec<u8>) {
        self.connection.writer().write_all(plain).unwrap();
        while self.connection.wants_write() {
            self.connection.write_tls(records).unwrap();
        }
    }

    /// Appends a close_notify to `records`, without sending it.
    pub fn seal_close(&mut self, records: &mut Vec<u8>) {
        self.connection.send_close_notify();
        self.seal(b"", records);
    }

    /// Sends bytes.
    pub fn write(&mut self, plain: &[u8]) {
        let mut records = Vec::new();
        self.seal(plain, &mut records);
        self.stream.write_all(&records).unwrap();
    }

    /// Reads until the received text contains `expected`, and discards it.
    pub fn receives(&mut self, expected: &str) {
        while !String::from_utf8_lossy(&self.plain).contains(expected) {
            assert!(self.connection.read_tls(&mut self.stream).unwrap() > 0, "the server closed");
            let received = self.connection.process_new_packets().unwrap().plaintext_bytes_to_read();
            let at = self.plain.len();
            self.plain.resize(at + received, 0);
            self.connection.reader().read_exact(&mut self.plain[at..]).unwrap();
        }
        self.plain.clear();
    }
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
