use anyport_testkit::every_cut;
use proptest::prelude::*;

use super::*;

/// The parts of a form as a test compares them: name, file name, content, and whether it is whole.
type Read = Vec<(String, Option<String>, Vec<u8>, bool)>;

fn read(boundary: &str, pieces: &[&[u8]]) -> (Read, Result<(), FormError>) {
    let media = format!("multipart/form-data; boundary={boundary}");
    let mut reader = FormReader::new(media.as_bytes(), &Limits::default()).unwrap();
    let mut parts = Read::new();
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let (used, event) = match reader.read(rest) {
                Ok(read) => read,
                Err(error) => return (parts, Err(error)),
            };
            rest = &rest[used..];
            match event {
                None => break,
                Some(Event::Part(part)) => {
                    let file = part.file_name.map(|name| String::from_utf8(name).unwrap());
                    parts.push((part.name, file, Vec::new(), false));
                }
                Some(Event::Content(content)) => {
                    parts.last_mut().unwrap().2.extend_from_slice(content);
                }
                Some(Event::PartEnd) => parts.last_mut().unwrap().3 = true,
            }
        }
        assert!(rest.is_empty());
    }
    (parts, reader.finish())
}

fn file(name: &str, content: &[u8]) -> (String, Option<String>, Vec<u8>, bool) {
    ("file".to_owned(), Some(name.to_owned()), content.to_vec(), true)
}

/// A part with this file name, which is not escaped.
fn part(file_name: &str, content: &str) -> String {
    format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{file_name}\"\r\n\
         Content-Type: text/plain\r\n\r\n{content}\r\n"
    )
}

#[test]
fn files_are_the_same_in_every_segmentation() {
    let wire = format!("{}{}--b--\r\n", part("a", "one\r\n--c\r\n-"), part("b", ""));
    every_cut(wire.as_bytes(), |pieces| {
        let (parts, end) = read("b", pieces);
        assert_eq!(parts, [file("a", b"one\r\n--c\r\n-"), file("b", b"")]);
        assert_eq!(end, Ok(()));
    });
}

#[test]
fn content_may_begin_like_a_delimiter() {
    for content in ["\r", "\r\n", "\r\n-", "\r\n--", "\r\n\r\n--", "\r\r\n--a", "--b", "\n--b", ""]
    {
        let wire = format!("{}--b--", part("a", content));
        every_cut(wire.as_bytes(), |pieces| {
            let (parts, end) = read("b", pieces);
            assert_eq!((parts, end), (vec![file("a", content.as_bytes())], Ok(())), "{content:?}");
        });
    }
}

#[test]
fn a_form_may_have_text_around_it_and_blanks_behind_a_boundary() {
    let wire = part("a", "one").replacen("--b\r\n", "--b \t\r\n", 1);
    let wire = format!("not a part\r\n{wire}--b--\r\nnor this");
    every_cut(wire.as_bytes(), |pieces| {
        assert_eq!(read("b", pieces), (vec![file("a", b"one")], Ok(())));
    });
}

#[test]
fn file_names_are_read_as_clients_write_them() {
    for (written, name) in [
        ("filename=\"a b.txt\"", Some("a b.txt")),
        // Chromium, Firefox and curl since 7.81.
        ("filename=\"a%22b.txt\"", Some("a\"b.txt")),
        ("filename=\"a\\b.txt\"", Some("a\\b.txt")),
        ("filename=\"100%.txt\"", Some("100%.txt")),
        // Older versions of curl.
        ("filename=\"a\\\"b\\\\c\"", Some("a\"b\\c")),
        ("filename=\"d/ü.txt\"", Some("d/ü.txt")),
        ("filename=a.txt", Some("a.txt")),
        // Older versions of Python's requests.
        ("filename*=utf-8''%C3%BC.txt", Some("ü.txt")),
        ("filename=\"u\"; filename*=UTF-8''%C3%BC", Some("ü")),
        ("filename=\"\"", Some("")),
        ("x=y", None),
    ] {
        let wire = format!(
            "--b\r\ncontent-disposition: form-data; name=\"n\"; {written}\r\n\r\nx\r\n--b--\r\n"
        );
        let (parts, end) = read("b", &[wire.as_bytes()]);
        assert_eq!((parts[0].1.as_deref(), end), (name, Ok(())), "{written}");
    }
}

#[test]
fn a_malformed_form_is_refused_with_the_rule() {
    let complete = part("a", "one");
    for (wire, error) in [
        (String::new(), FormError::Incomplete),
        ("--b".to_owned(), FormError::Incomplete),
        (complete.clone(), FormError::Incomplete),
        (format!("{complete}--b"), FormError::Incomplete),
        (format!("{complete}--bc\r\n\r\n"), FormError::Delimiter),
        (format!("{complete}--b-x"), FormError::Delimiter),
        (format!("{complete}--b \rx"), FormError::Delimiter),
        (format!("{complete}--b --"), FormError::Delimiter),
        ("--b\r\nX: y\r\n\r\none\r\n--b--".to_owned(), FormError::Head(1)),
        ("--b\r\n\r\none\r\n--b--".to_owned(), FormError::Head(1)),
        (format!("{complete}{}", part("a\"b", "")), FormError::Head(2)),
    ] {
        every_cut(wire.as_bytes(), |pieces| {
            let (parts, end) = read("b", pieces);
            assert_eq!(end, Err(error.clone()), "{wire:?}");
            // Content that looks like a delimiter at first is not the end of a file.
            assert!(error != FormError::Delimiter || !parts[0].3, "{wire:?}");
        });
    }
    let limits = Limits::default();
    for media in ["multipart/form-data", "x; boundary=", "x; boundary=\"a\nb\"", "x; boundary=\"a"]
    {
        let refused = FormReader::new(media.as_bytes(), &limits).unwrap_err();
        assert_eq!(refused, FormError::Boundary, "{media}");
    }
    for length in [70, 71] {
        let media = format!("x; boundary={}", "b".repeat(length));
        assert_eq!(FormReader::new(media.as_bytes(), &limits).is_ok(), length == 70);
    }
}

#[test]
fn heads_parts_and_text_outside_of_parts_have_limits() {
    let Limits { part_head, parts, .. } = Limits::default();
    let empty = part("", "").len() - "--b\r\n\r\n\r\n\r\n".len();
    for (more, result) in [(0, Ok(())), (1, Err(FormError::LongHead { part: 1, limit: part_head }))]
    {
        // The line break behind the boundary counts too.
        let name = "a".repeat(part_head - empty - 2 + more);
        let wire = format!("{}--b--", part(&name, ""));
        assert_eq!(read("b", &[wire.as_bytes()]).1, result);
        let bytes: Vec<&[u8]> = wire.as_bytes().chunks(1).collect();
        assert_eq!(read("b", &bytes).1, result);
    }
    for (count, result) in [(parts, Ok(())), (parts + 1, Err(FormError::Parts(parts)))] {
        let wire = format!("{}--b--", part("a", "x").repeat(count));
        let (read, end) = read("b", &[wire.as_bytes()]);
        assert_eq!((read.len(), end), (parts, result));
    }
    for (count, result) in
        [(part_head - 2, Ok(())), (part_head - 1, Err(FormError::Outside(part_head)))]
    {
        let wire = format!("{}--b--\r\n{}", part("a", "x"), " ".repeat(count));
        assert_eq!(read("b", &[wire.as_bytes()]).1, result, "{count}");
    }
}

proptest! {
    #[test]
    fn content_of_any_bytes_survives(
        contents in prop::collection::vec(prop::collection::vec(
            prop::sample::select(b"\r\n-bc\x00".to_vec()), 0..60), 1..4),
        step in 1_usize..40,
    ) {
        let delimiter = b"\r\n--bb";
        prop_assume!(contents.iter().all(|content| {
            // It may also arise at the border of content and delimiter.
            let whole = [b"\r\n", content.as_slice(), b"\r\n--b"].concat();
            find(&whole, delimiter).is_none()
        }));
        let mut wire = Vec::new();
        for content in &contents {
            let head = part("a", "").replacen("--b", "--bb", 1);
            wire.extend_from_slice(head.strip_suffix("\r\n").unwrap().as_bytes());
            wire.extend_from_slice(content);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"--bb--\r\n");
        let pieces: Vec<&[u8]> = wire.chunks(step).collect();
        let (parts, end) = read("bb", &pieces);
        prop_assert_eq!(end, Ok(()));
        let read: Vec<Vec<u8>> = parts.into_iter().map(|part| part.2).collect();
        prop_assert_eq!(read, contents);
    }
}
