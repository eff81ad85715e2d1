//! Server certificates that may sign others, such as those of `openssl req -x509` by default.
//!
//! webpki rejects them as server certificates, so dates, name and signature are checked here. Such
//! a certificate is recognized by its fingerprint, like other self-signed ones, and signs no other
//! certificate here.

use std::net::IpAddr;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::Fingerprint;
use crate::untrusted::Untrusted;

/// Returns whether a certificate may sign others (RFC 5280 §4.2.1.9).
pub(crate) fn may_sign(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_some_and(|parsed| parsed.is_ca())
}

/// Checks that a CA certificate is self-signed, valid now, and for `name`.
pub(crate) fn check_self_signed(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Untrusted> {
    let got = Fingerprint::of(certificate);
    let parsed = parse(certificate).ok_or(Untrusted::MaySign { got })?;
    is_for_parsed(certificate, &parsed, name)?;
    is_in_date(&parsed, now)?;
    let is_its_own = parsed.issuer() == parsed.subject() && parsed.verify_signature(None).is_ok();
    if is_its_own { Ok(()) } else { Err(Untrusted::MaySign { got }) }
}

/// Checks that a certificate is valid now, according to its dates.
pub(crate) fn in_date(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Untrusted> {
    let unreadable = || Untrusted::Other("not an X.509 certificate".to_owned());
    is_in_date(&parse(certificate).ok_or_else(unreadable)?, now)
}

fn is_in_date(parsed: &X509Certificate<'_>, now: UnixTime) -> Result<(), Untrusted> {
    let seconds = |timestamp: i64| u64::try_from(timestamp).unwrap_or(0);
    let from = seconds(parsed.validity().not_before.timestamp());
    let until = seconds(parsed.validity().not_after.timestamp());
    match now.as_secs() {
        now if now < from => Err(Untrusted::NotYetValid { from: Some(from) }),
        now if now > until => Err(Untrusted::Expired { on: Some(until) }),
        _ => Ok(()),
    }
}

/// Checks that a certificate is for `name`.
pub(crate) fn is_for(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
) -> Result<(), Untrusted> {
    let unreadable = || Untrusted::Other("not an X.509 certificate".to_owned());
    is_for_parsed(certificate, &parse(certificate).ok_or_else(unreadable)?, name)
}

/// Without a list of names, the common name of the subject counts: openssl adds no list by default.
fn is_for_parsed(
    certificate: &CertificateDer<'_>,
    parsed: &X509Certificate<'_>,
    name: &ServerName<'_>,
) -> Result<(), Untrusted> {
    let got = Fingerprint::of(certificate);
    let listed = ParsedCertificate::try_from(certificate)
        .and_then(|certificate| verify_server_name(&certificate, name));
    let Err(error) = listed else { return Ok(()) };
    let lists_none = matches!(
        &error,
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })
            if presented.is_empty()
    );
    if !lists_none {
        return Err(Untrusted::of(error, got));
    }
    let common = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let presented: Vec<String> = common.map(str::to_owned).collect();
    let name = name.to_str().into_owned();
    match presented.iter().any(|presented| presented.eq_ignore_ascii_case(&name)) {
        true => Ok(()),
        false => Err(Untrusted::WrongName { name, presented }),
    }
}

/// Returns the names that a certificate is valid for: its list, or else the common name.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Some(parsed) = parse(certificate) else { return Vec::new() };
    let listed = parsed.subject_alternative_name().ok().flatten();
    let listed = listed.into_iter().flat_map(|list| &list.value.general_names);
    let listed: Vec<String> = listed.filter_map(name).collect();
    if !listed.is_empty() {
        return listed;
    }
    let common = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    common.map(str::to_owned).collect()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    }
}

/// The content of a certificate, in text of its issuer: make it visible before it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Described {
    /// The subject, such as `CN=files.example`.
    pub subject: String,
    /// The issuer.
    pub issuer: String,
    /// The names that it is valid for, at most [`Described::MAX_NAMES`].
    pub names: Vec<String>,
    /// Number of further names.
    pub more_names: usize,
    /// Beginning of its validity, in seconds since 1970.
    pub not_before: i64,
    /// End of its validity, in seconds since 1970.
    pub not_after: i64,
}

impl Described {
    /// Maximum number of names that are kept; certificates of content delivery networks list
    /// hundreds.
    pub const MAX_NAMES: usize = 20;
}

/// Returns the content of a certificate; `None` if it is no X.509 certificate.
pub(crate) fn describe(certificate: &CertificateDer<'_>) -> Option<Described> {
    let parsed = parse(certificate)?;
    let mut names = names(certificate);
    let more_names = names.len().saturating_sub(Described::MAX_NAMES);
    names.truncate(Described::MAX_NAMES);
    Some(Described {
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        names,
        more_names,
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
    })
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    x509_parser::parse_x509_certificate(certificate).ok().map(|(_, parsed)| parsed)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
    };

    use super::*;

    /// Returns the parameters of a CA certificate that is valid in these years.
    fn params(names: &[&str], common: &str, from: i32, until: i32) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, common);
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params
    }

    fn signed_by_itself(params: CertificateParams) -> CertificateDer<'static> {
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn judge(certificate: &CertificateDer<'_>, name: &str) -> Result<(), Untrusted> {
        assert!(may_sign(certificate));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        check_self_signed(certificate, &name, UnixTime::now())
    }

    #[test]
    fn names_and_dates_count() {
        let listed = signed_by_itself(params(&["a.example", "192.0.2.1"], "b.example", 2020, 2120));
        assert_eq!(judge(&listed, "a.example"), Ok(()));
        assert_eq!(judge(&listed, "192.0.2.1"), Ok(()));
        // With a list of names, only the list counts.
        assert!(matches!(judge(&listed, "b.example"), Err(Untrusted::WrongName { .. })));
        let unlisted = signed_by_itself(params(&[], "b.example", 2020, 2120));
        assert_eq!(judge(&unlisted, "B.example"), Ok(()));
        let wrong = judge(&unlisted, "192.0.2.1").unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "certificate is not valid for 192.0.2.1; it is valid for b.example"
        );
        for (from, until) in [(2020, 2021), (2110, 2120)] {
            let dated = judge(&signed_by_itself(params(&["a"], "", from, until)), "a").unwrap_err();
            let said = if from == 2020 { "expired on 2021-01-01" } else { "not valid before 2110" };
            assert!(dated.to_string().contains(said), "{dated}");
        }
    }

    #[test]
    fn a_description_lists_names_and_dates_and_bounds_the_names() {
        let names: Vec<String> = (0..30).map(|n| format!("h{n}.example")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).chain(["::1"]).collect();
        let certificate = signed_by_itself(params(&names, "h", 2020, 2120));
        let described = describe(&certificate).unwrap();
        assert_eq!((described.names.len(), described.more_names), (Described::MAX_NAMES, 11));
        assert_eq!(described.names[0], "h0.example");
        assert!(described.subject.contains("CN=h"), "{described:?}");
        assert_eq!(described.not_before, 1_577_836_800);
        let short = describe(&signed_by_itself(params(&["::1", "127.0.0.1"], "h", 2020, 2120)));
        assert_eq!(short.unwrap().names, ["::1", "127.0.0.1"]);
        assert_eq!(describe(&CertificateDer::from(b"noise".to_vec())), None);
    }

    #[test]
    fn a_signature_that_is_not_its_own_does_not_count() {
        let issuer = params(&[], "an authority", 2020, 2120);
        let issuer = CertifiedIssuer::self_signed(issuer, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        // Also with the same name: then the signature is wrong.
        for common in ["another", "an authority"] {
            let beneath = params(&["a"], common, 2020, 2120).signed_by(&key, &issuer).unwrap();
            let refused = judge(beneath.der(), "a").unwrap_err();
            assert!(matches!(refused, Untrusted::MaySign { .. }), "{refused}");
        }
    }

    #[test]
    fn a_server_s_own_certificate_may_not_sign() {
        let mut plain = params(&["a"], "a", 2020, 2120);
        plain.is_ca = IsCa::NoCa;
        assert!(!may_sign(&signed_by_itself(plain)));
        assert!(!may_sign(&CertificateDer::from(b"noise".to_vec())));
    }
}
