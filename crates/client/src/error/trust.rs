//! What the user can do about a failure of TLS.

use std::borrow::Cow;

use anyport_proto::setting::{CACERT, PIN};
use anyport_tls::{TlsError, Untrusted};

pub(super) fn hint_of(error: &TlsError) -> Option<Cow<'static, str>> {
    let hint = match error {
        TlsError::Untrusted(untrusted) => of_untrusted(untrusted),
        _ if error.suggests_no_tls() => {
            return Some("the server may have TLS disabled: try tcp:// (or http://)".into());
        }
        _ => return None,
    };
    Some(hint.into())
}

fn of_untrusted(untrusted: &Untrusted) -> String {
    match untrusted {
        Untrusted::NotPinned { got } | Untrusted::MaySign { got } => {
            format!("if this is the right server, use {PIN} {got}")
        }
        Untrusted::Changed { place, file: Some(file), .. } => format!(
            "ask the server's operator; if the change is intended, remove the line of {place} \
             from {}",
            file.display()
        ),
        Untrusted::Changed { .. } => "ask the server's operator".to_owned(),
        Untrusted::SelfSigned { got } => format!(
            "compare it with the fingerprint that the server printed at its start, then use \
             {PIN} {got}"
        ),
        Untrusted::NotOfFile { got, .. } => format!("use {PIN} {got}, or leave out {CACERT}"),
        Untrusted::UnknownAuthority { .. } => format!("trust that CA with {CACERT} FILE"),
        Untrusted::Expired { .. } | Untrusted::NotYetValid { .. } => {
            "check the clock of this machine; if it is right, the server needs a new certificate"
                .to_owned()
        }
        Untrusted::WrongName { presented, .. } if !presented.is_empty() => format!(
            "use one of these names, or {PIN} FINGERPRINT, which the server printed at its start"
        ),
        // The certificate itself is good for nothing but its fingerprint.
        _ => format!("use {PIN} FINGERPRINT to check the certificate alone"),
    }
}
