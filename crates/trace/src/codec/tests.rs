use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::diagnosis::{Diagnosis, Direction, Ended, Limit};
use crate::event::{Certificate, Http2Frame, LengthForm, Side, TlsMessage, WebSocketFrame};
use crate::recorder::Header;
use crate::sample::Sample;
use crate::segment::{Checksum, Mark, Segment, Syn, TcpOption};

fn json(trace: &Trace) -> String {
    let mut bytes = Vec::new();
    trace.write_json(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// One value of each kind of event, made from arbitrary texts and numbers.
fn all(text: &str, number: u64, yes: bool) -> Vec<What> {
    let owned = || text.to_owned();
    let optional = || yes.then(owned);
    let small = number as u32;
    let segment = Segment {
        flags: vec!["SYN".to_owned(), owned()],
        seq: small,
        ack: yes.then_some(small),
        relative_seq: number,
        relative_ack: yes.then_some(number),
        window: number as u16,
        window_bytes: yes.then_some(number),
        payload: number,
        options: vec![
            TcpOption::Mss(1460),
            TcpOption::WindowScale(7),
            TcpOption::SackPermitted,
            TcpOption::Sack(vec![(small, 2)]),
            TcpOption::Timestamps(small, 0),
            TcpOption::Other(34, owned()),
        ],
        ttl: 64,
        checksum: if yes { Checksum::Offloaded } else { Checksum::Unknown },
        marks: vec![Mark::Retransmission, Mark::Spurious, Mark::DuplicateSack, Mark::ZeroWindow],
    };
    vec![
        What::Resolved { host: owned(), addresses: vec![owned(), owned()] },
        What::Attempt { address: owned() },
        What::AttemptFailed { address: owned(), reason: owned() },
        What::Connected { local: owned(), peer: owned(), congestion: optional() },
        What::Segment(segment.clone()),
        What::Syn(Syn {
            ip_version: 4,
            ttl: 64,
            source: owned(),
            destination: owned(),
            ip_flags: vec!["DF".to_owned()],
            segment,
            bytes: owned(),
        }),
        What::TlsMessage(TlsMessage {
            name: owned(),
            bytes: number,
            version: optional(),
            server_name: optional(),
            alpn: vec![owned()],
            suites: vec![],
        }),
        What::TlsRecords { kind: owned(), count: number, bytes: number },
        What::TlsDone {
            version: owned(),
            suite: owned(),
            group: optional(),
            alpn: optional(),
            certificate: yes.then(|| Certificate { names: vec![owned()], ..Default::default() }),
        },
        What::Head { start: owned(), fields: vec![(owned(), owned())] },
        What::WebSocketAccept {
            key: owned(),
            concatenation: owned(),
            sha1: owned(),
            expected: owned(),
            received: owned(),
            equal: yes,
        },
        What::Frame(WebSocketFrame {
            opcode: owned(),
            fin: yes,
            compressed: !yes,
            mask: optional(),
            length: number,
            length_form: LengthForm::Medium,
            header: owned(),
            code: yes.then_some(1000),
            text: optional(),
            payload: optional(),
            count: 1 + u64::from(yes),
        }),
        What::Http2(Http2Frame {
            kind: owned(),
            flags: vec![owned()],
            stream: small,
            length: number,
            values: vec![(owned(), owned())],
            payload: yes.then(owned),
            count: 1 + u64::from(yes),
        }),
        What::Line { text: owned() },
        What::Content { bytes: number, payload: optional() },
        What::Fin,
        What::Reset,
        What::Failed { text: owned() },
        What::Hashed { bytes: number },
        What::Stored { bytes: number, sync: yes.then(|| Time(Duration::from_nanos(small.into()))) },
        What::Gap { events: number },
        What::Note { text: owned() },
    ]
}

/// A trace with each kind of event, of arbitrary texts and numbers.
pub(crate) fn trace(text: &str, number: u64, nanos: u64, yes: bool) -> Trace {
    let at = |step: usize| Time(Duration::from_nanos(nanos.saturating_add(step as u64 * 7)));
    let event = |(step, what)| Event {
        at: at(step),
        took: yes.then(|| at(step)),
        connection: yes.then_some(number as u32),
        from: yes.then_some(Side::Server),
        basis: if yes { Basis::Inferred } else { Basis::Observed },
        what,
    };
    let sample = |step| Sample {
        at: at(step),
        connection: 1,
        rtt_us: Some(number),
        app_limited: Some(yes),
        arrived_twice: Some(number),
        overtaken: Some(number),
        ..Sample::default()
    };
    Trace {
        header: Header {
            version: 1,
            command: text.to_owned(),
            began: 1.5,
            captured: yes,
            recorded_by: Side::Server,
        },
        events: all(text, number, yes).into_iter().enumerate().map(event).collect(),
        samples: vec![sample(0), sample(3), sample(100)],
        left_out: number,
        diagnosis: Some(Diagnosis {
            main: Limit::RateLimit,
            ended: yes.then_some(Ended::TimedOut),
            share: Some(0.25),
            direction: Some(Direction::Receiving),
            evidence: vec![text.to_owned()],
            advice: yes.then(|| text.to_owned()),
        }),
    }
}

proptest! {
    #[test]
    fn a_trace_is_read_as_it_was_written(
        text: String, number: u64, nanos in 0..1_000_000_000_000_000_u64, yes: bool,
    ) {
        let trace = trace(&text, number, nanos, yes);
        let json = json(&trace);
        prop_assert_eq!(Trace::read_json(json.as_bytes()).unwrap(), trace);
        prop_assert!(json.lines().all(|line| !line.contains(char::is_control)));
    }

    #[test]
    fn any_bytes_are_read_or_refused_with_their_line(bytes: Vec<u8>) {
        let with_header = [b"{\"event\":\"trace\",\"version\":1,\"command\":\"\",\"began\":0,\
            \"captured\":false}\n", bytes.as_slice()].concat();
        if let Err(error) = Trace::read_json(with_header.as_slice()) {
            prop_assert!(error.to_string().starts_with("line "));
        }
    }
}

#[test]
fn every_event_has_a_name_that_is_read() {
    let mut names: Vec<_> = all("", 0, true)
        .iter()
        .map(|what| serde_json::to_value(what).unwrap()["event"].as_str().unwrap().to_owned())
        .collect();
    names.push("sample".to_owned());
    assert_eq!(names, NAMES);
}

#[test]
fn events_and_samples_are_written_by_time_between_header_and_diagnosis() {
    let json = json(&trace("", 1, 0, false));
    let event = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        (value["event"].as_str().unwrap().to_owned(), value["at"].as_f64())
    };
    let lines: Vec<_> = json.lines().map(event).collect();
    assert_eq!((lines[0].0.as_str(), lines.last().unwrap().0.as_str()), ("trace", "diagnosis"));
    assert!(lines[1..lines.len() - 1].is_sorted_by_key(|(_, at)| *at));
    assert_eq!(lines.iter().filter(|(name, _)| name == "sample").count(), 3);
}

#[test]
fn events_of_a_later_version_are_skipped_and_counted() {
    let json = "\
{\"event\":\"trace\",\"version\":2,\"command\":\"c\",\"began\":0,\"captured\":false,\"new\":[]}
{\"event\":\"fin\",\"at\":1.5,\"from\":\"client\",\"basis\":\"observed\",\"new\":{}}

{\"event\":\"quic-packet\",\"at\":2}
{\"event\":\"diagnosis\",\"main\":\"moon-phase\",\"evidence\":[]}
";
    let trace = Trace::read_json(json.as_bytes()).unwrap();
    assert_eq!(trace.events.len(), 2, "{trace:?}");
    let note = What::Note { text: "written as version 2, 2 events skipped".to_owned() };
    assert_eq!(trace.events[1].what, note);
}

#[test]
fn an_error_names_the_line_and_its_fault() {
    let header =
        r#"{"event":"trace","version":1,"command":"c","began":0,"captured":false}"#.to_owned();
    let second = |line: &str| format!("{header}\n{line}\n");
    for (text, error) in [
        (String::new(), "line 1: the file is empty"),
        ("{\"event\":\"fin\"}".to_owned(), "line 1: this is not a trace"),
        ("{\"event\":\"trace\"}".to_owned(), "line 1: missing field `version`"),
        (second("[]"), "line 2: not an object"),
        (second("{"), "line 2: EOF while parsing an object"),
        (second("{\"at\":1}"), "line 2: the key \"event\" is missing"),
        (second("{\"event\":\"fin\",\"at\":-1,\"basis\":\"observed\"}"), "line 2: "),
        (
            second("{\"event\":\"fin\",\"at\":0,\"basis\":\"\\u001b[2J\"}"),
            "line 2: unknown variant",
        ),
        (second(&format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_LINE))), "line 2: longer than"),
    ] {
        let found = Trace::read_json(text.as_bytes()).unwrap_err().to_string();
        assert!(found.starts_with(error), "{found:?} for {error:?}");
        assert!(!found.contains(char::is_control), "{found:?}");
    }
}

#[test]
fn a_trace_is_read_up_to_a_number_of_bytes() {
    let header = json(&Trace::default());
    let line = [b' '; MAX_LINE - 1];
    let endless = std::iter::repeat_n(line.as_slice(), 300).collect::<Vec<_>>().join(&b'\n');
    let error = Trace::read_json(header.as_bytes().chain(endless.as_slice())).unwrap_err();
    assert!(error.to_string().contains("more than 268435456 bytes"), "{error}");
}
