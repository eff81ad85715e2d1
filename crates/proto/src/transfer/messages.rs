//! Messages of the WebSocket subprotocol `anyport.file.1`.
//!
//! ```text
//!   sender    {"offer":{"name":"photo.jpg","size":5}}   binary messages   {"end":{"bytes":5,…}}
//!   receiver  {"go":{"offset":0}} or {"error":{…}}                        {"receipt":{…}}
//! ```

use serde::Serialize;
use serde_json::Value;

use super::codec::json::{MessageError, Object, parse_kind};
use super::codec::kind::{Bytes, Entries};
use super::codec::{Reader, Record};
use super::download::{Entry, FileEnd, FileHead, Get, LeftOut, List, ListEnd};
use super::offer::{End, Offer};
use super::receipt::Receipt;
use super::refusal::Refusal;
use crate::visible::escape_json;

/// Name of the subprotocol in the opening handshake.
pub const FILE_SUBPROTOCOL: &str = "anyport.file.1";

/// A text message of the sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileMessage {
    /// Before the content.
    Offer(Offer),
    /// After the content.
    End(End),
    /// Requests a file.
    Get(Get),
    /// Requests a listing.
    List(List),
}

impl FileMessage {
    /// Returns the message as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("keys are strings")
    }

    /// Parses a message of the sender.
    pub fn from_json(text: &str) -> Result<Self, MessageError> {
        let known = &["offer", "end", "get", "list"];
        let (kind, value) = parse_kind(text, known)?;
        match kind.as_str() {
            "offer" => read_object("offer", value).map(Self::Offer),
            "end" => read_object("end", value).map(Self::End),
            "get" => read_object("get", value).map(Self::Get),
            "list" => read_object("list", value).map(Self::List),
            _ => Err(MessageError::UnknownKind { kind, known }),
        }
    }
}

/// A text message of the receiver.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum FileReply {
    /// The file is stored completely.
    Receipt(Receipt),
    /// The sender may send from an offset.
    Go {
        /// Bytes that the receiver already has.
        offset: u64,
    },
    /// The request is refused.
    Error(Refusal),
    /// Head of a requested file; its content follows.
    File(FileHead),
    /// End of the content.
    #[serde(rename = "end")]
    FileEnd(FileEnd),
    /// Entries of a listing.
    Entries(Vec<Entry>),
    /// Entries that a listing left out.
    #[serde(rename = "left_out")]
    LeftOut(Vec<LeftOut>),
    /// End of a listing.
    #[serde(rename = "end")]
    ListEnd(ListEnd),
}

impl FileReply {
    /// Returns the message as JSON.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string(self);
        // The requested name comes from a peer, and the reply may be printed on a terminal.
        escape_json(&json.expect("keys are strings and seconds are finite once rounded"))
            .into_owned()
    }

    /// Parses a message of the receiver.
    pub fn from_json(text: &str) -> Result<Self, MessageError> {
        let known = &["receipt", "go", "error", "file", "entries", "left_out", "end"];
        let (kind, value) = parse_kind(text, known)?;
        match kind.as_str() {
            "receipt" => serde_json::from_value(value)
                .map(Self::Receipt)
                .map_err(|error| MessageError::BadReceipt { reason: error.to_string() }),
            "go" => {
                let object = Object::new("go", value)?;
                Ok(Self::Go { offset: object.required_value::<Bytes>("offset")? })
            }
            "error" => read_object("error", value).map(Self::Error),
            "file" => read_object("file", value).map(Self::File),
            "entries" => read_list("entries", value).map(Self::Entries),
            "left_out" => read_list("left_out", value).map(Self::LeftOut),
            "end" => {
                let object = Object::new("end", value)?;
                match object.optional_value::<Entries>("entries")? {
                    Some(_) => ListEnd::read(&object).map(Self::ListEnd),
                    None => FileEnd::read(&object).map(Self::FileEnd),
                }
            }
            _ => Err(MessageError::UnknownKind { kind, known }),
        }
    }
}

fn read_object<R: Record>(kind: &'static str, value: Value) -> Result<R, MessageError> {
    R::read(&Object::new(kind, value)?)
}

fn read_list<R: Record>(kind: &'static str, value: Value) -> Result<Vec<R>, MessageError> {
    let Value::Array(values) = value else { return Err(MessageError::NotAList { kind }) };
    values.into_iter().map(|value| read_object(kind, value)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transfer::digest::{Algorithm, Digest};
    use crate::transfer::file_time::FileTime;
    use crate::transfer::offer::tests::any_offer;
    use crate::transfer::offer::{OnExists, Token};
    use crate::transfer::receipt::tests::any_receipt;
    use crate::transfer::refusal::RefusalCode;

    fn full() -> Offer {
        Offer {
            name: Some("a b.txt".to_owned()),
            name_raw: Some("a%20b.txt%20".to_owned()),
            size: Some(u64::MAX),
            digest: Some(Algorithm::None),
            mtime: Some(FileTime::exact(-1, 7)),
            mode: Some(0o644),
            id: Some("Az_-09".to_owned()),
            resume: true,
            exists: Some(OnExists::Rename),
            token: Some(Token::new("s3cret")),
        }
    }

    fn refused(text: &str) -> String {
        FileMessage::from_json(text).unwrap_err().to_string()
    }

    #[test]
    fn an_offer_is_written_with_the_keys_it_has() {
        assert_eq!(
            FileMessage::Offer(full()).to_json(),
            r#"{"offer":{"name":"a b.txt","name_raw":"a%20b.txt%20","size":18446744073709551615,"digest":"none","mtime":-1,"mtime_ns":7,"mode":"644","id":"Az_-09","resume":true,"exists":"rename","token":"s3cret"}}"#
        );
        assert_eq!(FileMessage::Offer(Offer::default()).to_json(), r#"{"offer":{}}"#);
    }

    #[test]
    fn an_end_is_written_with_the_keys_it_has() {
        let end = End { bytes: Some(3), digest: Some(Digest::blake3([0; 32])) };
        let json = FileMessage::End(end.clone()).to_json();
        assert_eq!(
            json,
            format!(r#"{{"end":{{"bytes":3,"digest":"blake3:{}"}}}}"#, "0".repeat(64))
        );
        assert_eq!(FileMessage::from_json(&json), Ok(FileMessage::End(end)));
        assert_eq!(FileMessage::from_json(r#"{"end":{}}"#), Ok(FileMessage::End(End::default())));
    }

    #[test]
    fn keys_of_a_later_version_and_nulls_are_ignored() {
        let text = r#"{"offer":{"colour":["red"],"size":null,"name":"x"}}"#;
        let offer = Offer { name: Some("x".to_owned()), ..Offer::default() };
        assert_eq!(FileMessage::from_json(text), Ok(FileMessage::Offer(offer)));
    }

    #[test]
    fn the_error_of_a_value_names_its_key() {
        for (text, message) in [
            (
                r#"{"offer":{"size":"12"}}"#,
                r#"bad value "12" for "size" in "offer"; expected a number of bytes"#,
            ),
            (
                r#"{"offer":{"size":-1}}"#,
                r#"bad value -1 for "size" in "offer"; expected a number of bytes"#,
            ),
            (
                r#"{"offer":{"size":18446744073709551616}}"#,
                r#"bad value 1.8446744073709552e+19 for "size" in "offer"; expected a number of bytes"#,
            ),
            (
                r#"{"offer":{"name":["x"]}}"#,
                r#"bad value […] for "name" in "offer"; expected a text"#,
            ),
            (
                r#"{"offer":{"digest":"md5"}}"#,
                r#"bad value "md5" for "digest" in "offer"; expected blake3, sha256 or none"#,
            ),
            (
                r#"{"offer":{"mtime":1.5}}"#,
                r#"bad value 1.5 for "mtime" in "offer"; expected whole seconds since 1970"#,
            ),
            (
                r#"{"offer":{"mode":"689"}}"#,
                r#"bad value "689" for "mode" in "offer"; expected permission bits in octal, such as 644"#,
            ),
            (
                r#"{"offer":{"id":"../x"}}"#,
                r#"bad value "../x" for "id" in "offer"; expected 1 to 64 of A-Z a-z 0-9 _ -"#,
            ),
            (
                r#"{"offer":{"resume":1}}"#,
                r#"bad value 1 for "resume" in "offer"; expected true or false"#,
            ),
            (
                r#"{"end":{"digest":"blake3:00"}}"#,
                r#"bad value "blake3:00" for "digest" in "end"; expected blake3: or sha256: and 64 hexadecimal digits"#,
            ),
        ] {
            assert_eq!(refused(text), message);
        }
    }

    #[test]
    fn the_error_of_an_unknown_message_names_the_known_ones() {
        for (text, message) in [
            (r#"{"offr":{}}"#, r#"unknown message "offr"; expected one of offer, end, get, list"#),
            (
                "[]",
                "message must be a JSON object with one key; expected one of offer, end, get, list",
            ),
            (
                "{}",
                "message must be a JSON object with one key; expected one of offer, end, get, list",
            ),
            (
                r#"{"offer":{},"end":{}}"#,
                "message must be a JSON object with one key; expected one of offer, end, get, list",
            ),
            (r#"{"offer":5}"#, r#""offer" must hold a JSON object, not 5"#),
            ("hello", "message is not JSON: expected value at line 1 column 1"),
        ] {
            assert_eq!(refused(text), message);
        }
    }

    #[test]
    fn a_token_in_a_message_is_never_shown() {
        assert_eq!(format!("{:?}", Token::new("s3cret")), "Token(…)");
        assert!(!format!("{:?}", full()).contains("s3cret"));
        for text in [r#"{"offer":{"token":[12345]}}"#, r#"{"offer":{"token":""}}"#] {
            let message = r#"bad value for "token" in "offer"; expected a non-empty text"#;
            assert_eq!(refused(text), message);
        }
    }

    #[test]
    fn replies_are_written_as_documented() {
        let refusal = Refusal::new(RefusalCode::NoSpace, "no room").with_hint("free some");
        for (reply, json) in [
            (FileReply::Go { offset: 7 }, r#"{"go":{"offset":7}}"#),
            (
                FileReply::Error(refusal),
                r#"{"error":{"code":"no-space","message":"no room","hint":"free some"}}"#,
            ),
        ] {
            assert_eq!(reply.to_json(), json);
            assert_eq!(FileReply::from_json(json), Ok(reply));
        }
    }

    #[test]
    fn the_error_of_a_reply_message_names_its_key() {
        for (text, message) in [
            (
                r#"{"went":{}}"#,
                r#"unknown message "went"; expected one of receipt, go, error, file, entries, left_out, end"#,
            ),
            (r#"{"go":{}}"#, r#""offset" is missing in "go"; expected a number of bytes"#),
            (
                r#"{"error":{"code":"x","message":"y"}}"#,
                r#"bad value "x" for "code" in "error"; expected a refusal code of this version"#,
            ),
            (r#"{"receipt":{}}"#, "bad receipt: missing field `protocol`"),
        ] {
            assert_eq!(FileReply::from_json(text).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn an_offer_survives_being_written_and_read(offer in any_offer()) {
            let message = FileMessage::Offer(offer);
            prop_assert_eq!(FileMessage::from_json(&message.to_json()), Ok(message));
        }

        #[test]
        fn a_receipt_survives_being_replied(receipt in any_receipt()) {
            let reply = FileReply::Receipt(receipt);
            prop_assert_eq!(FileReply::from_json(&reply.to_json()), Ok(reply));
        }

        #[test]
        fn no_text_panics_the_parsers(text in r#"(\{"(offer|end|go|error|receipt|get|list|file|entries)":)?.*"#) {
            let _ = FileMessage::from_json(&text);
            let _ = FileReply::from_json(&text);
        }
    }
}
