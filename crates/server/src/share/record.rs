//! The state file of the shares: one JSON object, with hashes in place of ids.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use anyport_proto::transfer::file_name::FileName;
use anyport_proto::transfer::file_path::FilePath;
use serde_json::{Value, json};

use super::drop_box::{Limits, Usage};
use super::{Kind, MOST, Maker, Share};
use crate::tokens::TokenMark;

/// Returns the content of the file.
pub(super) fn written(shares: &[Arc<Share>]) -> String {
    let shares: Vec<Value> = shares.iter().map(|share| share.to_json()).collect();
    format!("{}\n", json!({ "version": VERSION, "shares": shares }))
}

/// Parses the content of the file; an error names the share and what is wrong with it.
pub(super) fn read(content: &[u8]) -> Result<Vec<Arc<Share>>, String> {
    let json: Value = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    if json["version"] != VERSION {
        return Err(format!("version {} is not {VERSION}", json["version"]));
    }
    let shares = json["shares"].as_array().ok_or("the list of shares is missing")?;
    if shares.len() > MOST {
        return Err(format!("more than {MOST} shares"));
    }
    let parse = |(at, share): (usize, &Value)| {
        let wrong = |key| format!("share {}: {key} is missing or invalid", at + 1);
        Share::parse(share).map(Arc::new).map_err(wrong)
    };
    shares.iter().enumerate().map(parse).collect()
}

impl Share {
    fn to_json(&self) -> Value {
        let mut json = json!({
            "hash": self.hash.to_hex().as_str(),
            "name": self.name.percent_encoded(),
            "path": self.path.percent_encoded(),
            "expires": self.expires,
            "ended": self.has_ended(),
        });
        if let Some(Maker { user, mark }) = &self.maker {
            json["user"] = json!({ "name": &**user, "mark": mark.0 });
        }
        match &self.kind {
            Kind::File { tag, digest } => json["file"] = json!({ "tag": tag, "digest": digest }),
            Kind::Drop(Limits { bytes, files, at_once }) => {
                let (used_bytes, used_files) = self.used();
                json["drop"] = json!({
                    "bytes": bytes, "files": files, "at_once": at_once,
                    "used_bytes": used_bytes, "used_files": used_files,
                });
            }
        }
        json
    }

    /// Parses a share, or returns the key that is wrong.
    fn parse(json: &Value) -> Result<Self, &'static str> {
        let text = |json: &Value| json.as_str().map(str::to_owned);
        let number = |json: &Value| json.as_u64();
        let hash = json["hash"].as_str().and_then(|hash| blake3::Hash::from_hex(hash).ok());
        let name = json["name"].as_str().map(FileName::from_percent_encoded);
        let path = json["path"].as_str().map(FilePath::parse_percent_encoded);
        let maker = match &json["user"] {
            Value::Null => None,
            user => {
                let mark = number(&user["mark"]).and_then(|mark| u32::try_from(mark).ok());
                let user = text(&user["name"]).ok_or("user")?;
                Some(Maker { user: user.into(), mark: TokenMark(mark.ok_or("user")?) })
            }
        };
        let (file, of_box) = (&json["file"], &json["drop"]);
        let (kind, usage) = match (file, of_box) {
            (file, Value::Null) if file.is_object() => {
                let tag = text(&file["tag"]).ok_or("tag")?;
                (Kind::File { tag, digest: text(&file["digest"]) }, Usage::default())
            }
            (Value::Null, of_box) => {
                let value = |key| number(&of_box[key]).ok_or("drop");
                let at_once = u32::try_from(value("at_once")?).map_err(|_| "drop")?;
                let (bytes, files) = (value("bytes")?, value("files")?);
                let usage = Usage::of(value("used_bytes")?, value("used_files")?);
                (Kind::Drop(Limits { bytes, files, at_once }), usage)
            }
            _ => return Err("file"),
        };
        Ok(Self {
            hash: hash.ok_or("hash")?,
            name: name.and_then(Result::ok).ok_or("name")?,
            path: Arc::new(path.and_then(Result::ok).ok_or("path")?),
            kind,
            maker,
            expires: json["expires"].as_i64().ok_or("expires")?,
            ended: AtomicBool::new(json["ended"].as_bool().ok_or("ended")?),
            usage: Mutex::new(usage),
        })
    }
}

/// The version of the format; a file of another one is not read.
const VERSION: u64 = 1;
