use proptest::prelude::*;

use super::*;
use crate::http1::{HeadReader, Pushed};
use crate::limits::Limits;

fn head(request: &str) -> RequestHead {
    let wire = format!("{}\r\nHost: a\r\n\r\n", request.replace('\n', "\r\n"));
    match HeadReader::new().push(wire.as_bytes(), &Limits::default()) {
        Ok(Pushed::Done { head, .. }) => head,
        other => panic!("{request}: {other:?}"),
    }
}

fn line(method: &str, fields: &str) -> RequestHead {
    head(&format!("{method} /x HTTP/1.1\n{fields}"))
}

type Created = Option<(Dialect, Creation)>;

fn created(fields: &str, framing: Framing) -> Result<Created, ResumableError> {
    creation(&line("POST", fields), framing)
}

fn used(method: &str, fields: &str) -> Result<(Dialect, Operation), ResumableError> {
    on_resource(&line(method, fields), Framing::Length(10))
}

/// The request, and the interop version (0: tus).
fn versioned<T>((dialect, asked): (Dialect, T)) -> (T, u8) {
    let version = match dialect {
        Dialect::Tus => 0,
        Dialect::Ietf(version) => version.number.unwrap(),
    };
    (asked, version)
}

fn creation_of(length: Option<u64>, completes: bool) -> Creation {
    Creation { name: None, metadata: None, length, completes, checksum: None }
}

fn append_of(offset: u64, length: Option<u64>, completes: bool) -> Operation {
    Operation::Append(Append { offset, length, completes, checksum: None })
}

#[test]
fn each_interop_version_has_its_own_field_of_completeness() {
    let (whole, part) = (Framing::Length(10), Framing::Length(4));
    for (version, fields, framing, length, completes) in [
        (3, "Upload-Incomplete: ?0", whole, Some(10), true),
        (3, "Upload-Incomplete: ?1", part, None, false),
        (3, "Upload-Incomplete: ?1\nUpload-Length: 10", part, None, false),
        (6, "Upload-Complete: ?1", whole, Some(10), true),
        (6, "Upload-Complete: ?0", part, None, false),
        (6, "Upload-Complete: ?0\nUpload-Length: 10", part, Some(10), false),
        (8, "Upload-Complete: ?1;a=b", Framing::Chunked, None, true),
        (8, "Upload-Complete: ?0\nUpload-Length: 10", Framing::Length(0), Some(10), false),
        (8, "Upload-Complete: ?1", Framing::None, Some(0), true),
    ] {
        let fields = format!("Upload-Draft-Interop-Version: {version}\n{fields}");
        let asked = created(&fields, framing).unwrap().unwrap();
        assert_eq!(versioned(asked), (creation_of(length, completes), version), "{fields}");
    }
}

#[test]
fn an_upload_that_needs_no_resource_is_an_ordinary_one() {
    for fields in [
        "A: b",
        "Upload-Complete: ?1",
        "Upload-Incomplete: ?0",
        "Upload-Complete: ?1\nUpload-Draft-Interop-Version: 7",
        "Upload-Complete: ?1\nUpload-Draft-Interop-Version: 3",
        "Upload-Draft-Interop-Version: 8",
        "Upload-Length: 5",
    ] {
        assert_eq!(created(fields, Framing::Length(5)), Ok(None), "{fields}");
    }
    let put = line("PUT", "Tus-Resumable: 1.0.0");
    assert_eq!(creation(&put, Framing::Length(5)), Ok(None));
}

#[test]
fn an_incomplete_upload_of_an_unknown_version_is_refused_with_the_known_ones() {
    for (fields, message) in [
        (
            "Upload-Complete: ?0\nUpload-Draft-Interop-Version: 7",
            "upload draft interop version \"7\" is not supported; supported: 3, 6, 8",
        ),
        (
            "Upload-Incomplete: ?1\nUpload-Draft-Interop-Version: x",
            "upload draft interop version \"x\" is not supported; supported: 3, 6, 8",
        ),
        (
            "Upload-Complete: ?0\nUpload-Draft-Interop-Version: 8\n\
             Upload-Draft-Interop-Version: 8",
            "upload draft interop version \"8\" is not supported; supported: 3, 6, 8",
        ),
        ("Upload-Complete: ?0", "an incomplete upload needs Upload-Draft-Interop-Version: 3, 6, 8"),
        ("Upload-Complete: ?0\nUpload-Draft-Interop-Version: 3", "Upload-Incomplete is missing"),
        ("Upload-Incomplete: ?1\nUpload-Draft-Interop-Version: 6", "Upload-Complete is missing"),
        (
            "Upload-Complete: true\nUpload-Draft-Interop-Version: 8",
            "upload-complete is not valid; expected ?0 or ?1",
        ),
        (
            "Upload-Complete: ?1\nUpload-Complete: ?0",
            "upload-complete is not valid; expected ?0 or ?1",
        ),
        (
            "Upload-Complete: ?0\nUpload-Draft-Interop-Version: 8\nUpload-Offset: 0",
            "upload-offset is not allowed with a new upload",
        ),
        (
            "Upload-Complete: ?1\nUpload-Draft-Interop-Version: 8\nUpload-Length: 6",
            "the content ends at byte 5, but Upload-Length is 6",
        ),
        (
            "Upload-Complete: ?0\nUpload-Draft-Interop-Version: 8\nUpload-Length: +6",
            "upload-length is not valid; expected a number of bytes",
        ),
        (
            "Upload-Complete: ?0\nUpload-Draft-Interop-Version: 8\n\
             Upload-Length: 9223372036854775808",
            "upload-length is not valid; expected a number of bytes",
        ),
    ] {
        let error = created(fields, Framing::Length(5)).unwrap_err();
        assert_eq!(error.to_string(), message, "{fields}");
        assert_eq!(error.status(), StatusCode::BAD_REQUEST, "{fields}");
    }
}

#[test]
fn the_rfc_is_present_and_off() {
    let named = "Upload-Offset: 0\nContent-Type: application/partial-upload";
    assert_eq!(used("PATCH", named), Err(ResumableError::NoDialect));
}

#[test]
fn a_request_to_an_upload_resource_is_an_versioned() {
    let partial = "Content-Type: application/partial-upload";
    for (method, version, fields, expected) in [
        ("HEAD", 3, "A: b", Operation::Offset),
        ("HEAD", 8, "Upload-Complete: ?0", Operation::Offset),
        ("DELETE", 6, "A: b", Operation::Cancel),
        ("PATCH", 3, "Upload-Offset: 5", append_of(5, Some(15), true)),
        ("PATCH", 3, "Upload-Offset: 5\nUpload-Incomplete: ?1", append_of(5, None, false)),
        ("PATCH", 6, &format!("Upload-Offset: 5\n{partial}"), append_of(5, None, false)),
        (
            "PATCH",
            8,
            &format!("Upload-Offset: 5\nUpload-Complete: ?1\n{partial}"),
            append_of(5, Some(15), true),
        ),
        (
            "PATCH",
            8,
            &format!("Upload-Offset: 5\nUpload-Complete: ?0\nUpload-Length: 99\n{partial}"),
            append_of(5, Some(99), false),
        ),
    ] {
        let fields = format!("Upload-Draft-Interop-Version: {version}\n{fields}");
        let asked = used(method, &fields).unwrap_or_else(|error| panic!("{fields}: {error}"));
        assert_eq!(versioned(asked), (expected, version), "{method} {fields}");
    }
    let tus = "Tus-Resumable: 1.0.0\nContent-Type: application/offset+octet-stream";
    for (method, fields, expected) in [
        ("HEAD", "A: b", Operation::Offset),
        ("HEAD", tus, Operation::Offset),
        ("DELETE", "A: b", Operation::Cancel),
        ("PATCH", &format!("{tus}\nUpload-Offset: 5"), append_of(5, None, false)),
        (
            "POST",
            &format!("{tus}\nUpload-Offset: 5\nUpload-Length: 9\nX-HTTP-Method-Override: PATCH"),
            append_of(5, Some(9), false),
        ),
        ("POST", "X-HTTP-Method-Override: DELETE", Operation::Cancel),
    ] {
        assert_eq!(versioned(used(method, fields).unwrap()), (expected, 0), "{method} {fields}");
    }
}

#[test]
fn a_bad_request_to_an_upload_resource_is_refused_with_the_rule() {
    let (draft, tus) = ("Upload-Draft-Interop-Version", "Tus-Resumable: 1.0.0");
    let partial = "Content-Type: application/partial-upload";
    for (method, fields, status, message) in [
        ("HEAD", format!("{draft}: 4"), 400, "upload draft interop version \"4\" is not"),
        ("HEAD", format!("{draft}: 3\nUpload-Incomplete: ?1"), 400, "upload-incomplete is not all"),
        ("DELETE", format!("{draft}: 6\nUpload-Offset: 1"), 400, "upload-offset is not allowed"),
        ("HEAD", "Tus-Resumable: 0.2.2".to_owned(), 412, "tus version \"0.2.2\" is not supported"),
        ("PATCH", "Upload-Offset: 1".to_owned(), 400, "PATCH needs Tus-Resumable: 1.0.0 or Upload"),
        ("PATCH", format!("{draft}: 6\nUpload-Offset: 1"), 415, "Content-Type \"\" is not"),
        ("PATCH", format!("{draft}: 8\n{partial}"), 400, "Upload-Offset is missing"),
        ("PATCH", format!("{draft}: 8\n{partial}\nUpload-Offset: -1"), 400, "upload-offset is not"),
        ("PATCH", format!("{tus}\nUpload-Offset: 1\n{partial}"), 415, "Content-Type \"applicati"),
        ("POST", tus.to_owned(), 405, "POST is not a method of upload resources"),
        ("POST", format!("{tus}\nX-HTTP-Method-Override: PUT"), 400, "x-http-method-override"),
    ] {
        let error = used(method, &fields).unwrap_err();
        assert!(error.to_string().starts_with(message), "{fields}: {error}");
        assert_eq!(error.status().as_u16(), status, "{fields}");
    }
}

#[test]
fn a_tus_creation_has_a_name_and_a_length_or_none_yet() {
    let tus = "Tus-Resumable: 1.0.0";
    // base64 of "näh.txt" and of "b"
    for (fields, name, length) in [
        ("Upload-Length: 5", None, Some(5)),
        ("Upload-Defer-Length: 1", None, None),
        (
            "Upload-Length: 5\nUpload-Metadata: filename bsOkaC50eHQ=,is_secret",
            "näh.txt".into(),
            Some(5),
        ),
        (
            "Upload-Length: 5\nUpload-Metadata: name Yg==, filename bsOkaC50eHQ=",
            "näh.txt".into(),
            Some(5),
        ),
        ("Upload-Length: 5\nUpload-Metadata: name Yg==", "b".into(), Some(5)),
        ("Upload-Length: 5\nUpload-Metadata: filename", None, Some(5)),
        ("Upload-Length: 5\nUpload-Metadata: ", None, Some(5)),
    ] {
        let asked = created(&format!("{tus}\n{fields}"), Framing::None).unwrap().unwrap();
        let name: Option<&str> = name;
        let name = name.map(str::to_owned);
        let metadata = fields.split_once("Upload-Metadata: ").map(|(_, value)| value.to_owned());
        let metadata = metadata.filter(|value| !value.is_empty());
        let creation = Creation { name, metadata, length, completes: false, checksum: None };
        assert_eq!(versioned(asked), (creation, 0), "{fields}");
    }
}

#[test]
fn a_tus_creation_that_is_not_valid_is_refused_with_the_rule() {
    let many: Vec<String> = (0..=tus::MAX_METADATA).map(|n| format!("k{n}")).collect();
    let many = format!("Upload-Length: 5\nUpload-Metadata: {}", many.join(","));
    for (fields, message) in [
        ("A: b", "Upload-Length or Upload-Defer-Length: 1 is missing"),
        ("Upload-Length: 5\nUpload-Defer-Length: 1", "Upload-Length and Upload-Defer-Length"),
        ("Upload-Defer-Length: 2", "upload-defer-length is not valid; expected 1"),
        ("Upload-Length: -5", "upload-length is not valid"),
        ("Upload-Length: 5\nUpload-Concat: partial", "Upload-Concat (tus extension concatenation)"),
        ("Upload-Length: 5\nUpload-Metadata: a !", "upload-metadata is not valid"),
        ("Upload-Length: 5\nUpload-Metadata: a Yg==,a Yg==", "upload-metadata is not valid"),
        ("Upload-Length: 5\nUpload-Metadata: a,,b", "upload-metadata is not valid"),
        ("Upload-Length: 5\nUpload-Metadata: filename /w==", "upload-metadata is not valid"),
        (&many, "upload-metadata is not valid"),
        (
            "Upload-Length: 5\nUpload-Checksum: md5 AA==",
            "checksum algorithm \"md5\" is not supported; supported: sha1,sha256",
        ),
        ("Upload-Length: 5\nUpload-Checksum: sha1 AA==", "upload-checksum is not valid"),
        ("Upload-Length: 5\nUpload-Checksum: sha1", "upload-checksum is not valid"),
        (
            "Upload-Length: 5\nTrailer: Upload-Checksum",
            "Trailer: Upload-Checksum (tus extension checksum-trailer)",
        ),
    ] {
        let error = created(&format!("Tus-Resumable: 1.0.0\n{fields}"), Framing::None).unwrap_err();
        assert!(error.to_string().starts_with(message), "{fields}: {error}");
    }
    let fields = "Tus-Resumable: 1.0.0\nUpload-Length: 5\nContent-Type: text/plain";
    let error = created(fields, Framing::Length(5)).unwrap_err();
    assert_eq!(error.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{error}");
}

#[test]
fn a_checksum_is_that_of_the_content() {
    // printf hello | sha1sum and sha256sum, in base64
    for (checksum, matches) in [
        ("sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=", true),
        ("sha256 LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=", true),
        ("sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=", false),
    ] {
        let fields = format!("Tus-Resumable: 1.0.0\nUpload-Length: 5\nUpload-Checksum: {checksum}");
        let asked = created(&fields, Framing::None).unwrap().unwrap();
        let mut checking = asked.1.checksum.unwrap().begin();
        checking.update(b"hel");
        checking.update(b"lo");
        assert_eq!(checking.matches(), matches, "{checksum}");
    }
}

#[test]
fn the_name_of_an_ietf_upload_is_in_its_content_disposition() {
    for (value, name) in [
        ("inline; filename=\"a b.txt\"", Some("a b.txt")),
        ("inline; filename=a.txt; x=y", Some("a.txt")),
        ("attachment; FileName=\"a\\\"b;c\" ; filename*=UTF-8'de'n%C3%A4h.txt", Some("näh.txt")),
        ("inline; filename*=ISO-8859-1''n%E4h", None),
        ("inline; filename*=UTF-8''%FF; filename=a", Some("a")),
        ("inline; filename=\"a", None),
        ("inline; filename=\"\"", None),
        ("inline; filename=\"a\" b", None),
        ("inline", None),
        ("inline; ", None),
    ] {
        let fields = format!(
            "Upload-Draft-Interop-Version: 8\nUpload-Complete: ?0\nContent-Disposition: {value}"
        );
        let asked = created(&fields, Framing::Length(0)).unwrap().unwrap();
        assert_eq!(asked.1.name.as_deref(), name, "{value}");
    }
}

#[test]
fn fields_of_a_response_are_those_of_the_version() {
    let version = |number: u8| {
        let fields = format!("Upload-Draft-Interop-Version: {number}");
        ietf::version_of(&line("HEAD", &fields)).unwrap().unwrap()
    };
    let text = |fields: ietf::Fields| {
        let lines = fields.iter().map(|(name, value)| format!("{name}: {value}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    for (number, complete, incomplete, limits) in [
        (3, "upload-incomplete: ?0", "upload-incomplete: ?1", None),
        (6, "upload-complete: ?1", "upload-complete: ?0", Some("max-size=9, expires=5")),
        (8, "upload-complete: ?1", "upload-complete: ?0", Some("max-size=9, max-age=5")),
    ] {
        let version = version(number);
        assert_eq!(text(version.state(7, true)), format!("upload-offset: 7\n{complete}"));
        assert_eq!(text(version.state(7, false)), format!("upload-offset: 7\n{incomplete}"));
        let found = version.limits(9, Some(5));
        assert_eq!(found.as_ref().map(|(_, value)| value.as_str()), limits);
        let limits = limits.map(|limits| format!("\nupload-limit: {limits}")).unwrap_or_default();
        let interim = format!("upload-draft-interop-version: {number}\nlocation: /u{limits}");
        assert_eq!(text(version.interim("/u", found)), interim);
    }
    assert_eq!(ietf::limits(u64::MAX, None), "min-size=0");
    assert_eq!(ietf::limits(u64::MAX, Some(("max-age", 1))), "max-age=1");
}

proptest! {
    #[test]
    fn no_request_panics_the_parser(
        method in prop::sample::select(vec!["POST", "PUT", "PATCH", "HEAD", "DELETE"]),
        fields in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "Tus-Resumable",
                    "Upload-Draft-Interop-Version",
                    "Upload-Offset",
                    "Upload-Length",
                    "Upload-Defer-Length",
                    "Upload-Complete",
                    "Upload-Incomplete",
                    "Upload-Metadata",
                    "Upload-Checksum",
                    "Content-Disposition",
                    "Content-Type",
                    "X-HTTP-Method-Override",
                ]),
                prop_oneof![
                    Just("1.0.0".to_owned()),
                    Just("8".to_owned()),
                    Just("?0".to_owned()),
                    Just(u64::MAX.to_string()),
                    "[!-~]{1,20}([ ,;=\"'*?%:][!-~]{0,10}){0,3}",
                ],
            ),
            0..8,
        ),
        length in any::<u64>(),
    ) {
        let fields = fields.iter().map(|(name, value)| format!("{name}: {value}"));
        let head = line(method, &fields.chain(["A: b".to_owned()]).collect::<Vec<_>>().join("\n"));
        for framing in [Framing::None, Framing::Length(length), Framing::Chunked] {
            let _ = creation(&head, framing);
            let _ = on_resource(&head, framing);
        }
    }
}
