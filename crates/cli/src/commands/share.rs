//! `anyport share`.

use std::slice;

use anyhow::{Context, anyhow};
use anyport_client::{Error, Scheme, Scope, Shares, Target};
use anyport_console::{Exit, Failure, to_stderr, write_stdout};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::units::format_bytes;
use anyport_proto::visible::{escape_json, make_visible};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::{access, flags};

pub(crate) fn run(flags: &flags::Share) -> Result<Exit, Failure> {
    let hint = "use a URL such as http://HOST:PORT/FILE";
    let target = flags.connection.credential.target(&flags.url, hint)?;
    access::scope(&target)?;
    // The port detects HTTP whatever the scheme; TLS stays as it is.
    let target = Target { scheme: Scheme::Http, ..target };
    let options = super::receiving(&flags.connection, slice::from_ref(&target))?;
    let failed = |error: Error| {
        let (exit, hint) = (Exit::from(error.origin()), error.hint());
        Failure { hint, ..Failure::new(exit, error) }.at(&target, &options)
    };
    let mut shares = Shares::open(&target, &options).map_err(failed)?;
    if let Some(name) = &flags.revoke {
        shares.revoke(name).map_err(failed)?;
        return print(flags, &json!({ "event": "revoked", "name": name }), || {
            format!("{name} revoked")
        });
    }
    if flags.list {
        let listed = parse(&shares.list().map_err(failed)?)?;
        for share in listed["shares"].as_array().into_iter().flatten() {
            print(flags, &event("share", share), || line(share))?;
        }
        return Ok(Exit::Done);
    }
    let wanted = wanted(flags, &shares.scope().map_err(failed)?)?;
    let created = parse(&shares.create(wanted.to_string()).map_err(failed)?)?;
    let mut share = created["share"].clone();
    let link = shares.url(share["url"].as_str().unwrap_or_default());
    share["url"] = link.clone().into();
    let exit = print(flags, &event("shared", &share), || link)?;
    if !flags.json {
        let (name, expires) = (text(&share["name"]), local(&share["expires"]));
        let url = shares.root();
        to_stderr(&format!("ends {expires}, or with: anyport share --revoke {name} {url}"));
    }
    Ok(exit)
}

/// Describes the share that the flags ask for.
fn wanted(flags: &flags::Share, scope: &Scope) -> Result<Value, Failure> {
    let path = match scope {
        Scope::Top => None,
        Scope::Directory(path) | Scope::File(path) => Some(path),
    };
    if path.is_none() && !flags.drop {
        let error = anyhow!("{} names no file", flags.url);
        let failure = Failure::new(Exit::Usage, error);
        return Err(
            failure.with_hint("append the path of the file, or make a drop box with --drop")
        );
    }
    Ok(json!({
        "kind": if flags.drop { "drop" } else { "file" },
        "path": path.map(FilePath::text),
        "path_raw": path.and_then(FilePath::raw),
        "name": flags.name,
        "expires": flags.expires.as_secs().max(1),
        "max_bytes": flags.max_bytes,
        "max_files": flags.max_files,
        "max_uploads": flags.max_uploads,
    }))
}

fn print(
    flags: &flags::Share,
    event: &Value,
    human: impl FnOnce() -> String,
) -> Result<Exit, Failure> {
    let line = match flags.json {
        true => escape_json(&event.to_string()).into_owned(),
        false => make_visible(&human()).into_owned(),
    };
    write_stdout(&format!("{line}\n")).context("cannot write to stdout")?;
    Ok(Exit::Done)
}

/// Returns the description of a share as an event.
fn event(name: &str, share: &Value) -> Value {
    let mut event = json!({ "event": name });
    for (key, value) in share.as_object().into_iter().flatten() {
        event[key] = value.clone();
    }
    event
}

/// Returns name, kind, end and path of a share, and what a drop box has received.
fn line(share: &Value) -> String {
    let (name, kind, path) = (text(&share["name"]), text(&share["kind"]), text(&share["path"]));
    let expires = local(&share["expires"]);
    let size = |key: &str| format_bytes(share[key].as_u64().unwrap_or_default());
    let used = share["used_files"].as_u64().map(|files| {
        let unfinished = match share["unfinished_files"].as_u64().unwrap_or_default() {
            0 => String::new(),
            more => format!(", {more} unfinished, {}", size("unfinished_bytes")),
        };
        format!("  {files} files, {}{unfinished}", size("used_bytes"))
    });
    format!("{name:20}  {kind:4}  {expires}  {path}{}", used.unwrap_or_default())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}

/// Returns a time of the server in the zone of this machine.
fn local(time: &Value) -> String {
    let time = time.as_str().and_then(|time| time.parse::<Timestamp>().ok());
    time.map_or_else(
        || "?".to_owned(),
        |time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
    )
}

fn parse(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|_| {
        let error = anyhow!("the server sent no description of its shares");
        Failure::new(Exit::Failed, error).with_hint("is it an anyport server that has shares?")
    })
}
