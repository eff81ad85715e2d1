//! Masking (RFC 6455 §5.1, §5.3, §10.3). That it equals the naive one is shown where it is written.

use anyport_proto::limits::Limits;
use anyport_proto::ws::{CloseCode, Fragment, KeySource, Kind, Receiver, Role, Sender, Violation};
use anyport_testkit::{every_cut, hex, noise};

use crate::session::{Keys, Seen, binary, receive, refuses, tells};

#[test]
fn mk_1_unmasked_client_frame_is_refused_with_1002() {
    for wire in ["81 05 48656c6c6f", "82 00", "88 00", "89 00", "8a 00", "82 7e 007e"] {
        refuses(&hex(wire), Violation::NotMasked, CloseCode::PROTOCOL_ERROR);
    }
    // Later in the stream, and inside a message.
    let masked = "02 81 00000000 61";
    for second in ["80 01 61", "89 00"] {
        let wire = hex(&format!("{masked} {second}"));
        refuses(&wire, Violation::NotMasked, CloseCode::PROTOCOL_ERROR);
    }
}

#[test]
fn mk_2_masked_server_frame_is_refused_with_1002() {
    for wire in ["81 85 37fa213d 7f9f4d5158", "88 80 00000000", "89 80 00000000", "8a 80"] {
        every_cut(&hex(wire), |pieces| {
            let client = Receiver::new(Role::Client, &Limits::default());
            assert_eq!(receive(client, pieces).violation, Some(Violation::Masked), "{wire}");
        });
    }
    assert_eq!(Violation::Masked.close_code(), CloseCode::PROTOCOL_ERROR);
}

/// Each frame has its own key and begins at its first byte, whatever came between and wherever a
/// read ended.
#[test]
fn mk_3_the_phase_survives_control_frames_between_and_inside_reads() {
    let mut sender = Sender::client(Keys(9));
    let payload = noise(23, 4);
    for at in 0..=payload.len() {
        let mut wire = Vec::new();
        let (left, right) = payload.split_at(at);
        for (fragment, part) in [(Fragment::First, left), (Fragment::Last, right)] {
            let (header, mask) = sender.begin(Kind::Binary, fragment, part.len() as u64).unwrap();
            wire.extend_from_slice(&header);
            let from = wire.len();
            wire.extend_from_slice(part);
            mask.unwrap().apply(&mut wire[from..]);
            if matches!(fragment, Fragment::First) {
                sender.ping(&payload[..at % 7], &mut wire);
                sender.pong(b"odd", &mut wire);
            }
        }
        let ping = Seen::Ping(payload[..at % 7].to_vec());
        tells(&wire, &[ping, Seen::Pong(b"odd".to_vec()), binary(&payload)]);
    }
}

/// Keys as a test wants them.
struct Listed(Vec<[u8; 4]>);
impl KeySource for Listed {
    fn next_key(&mut self) -> [u8; 4] {
        self.0.remove(0)
    }
}

#[test]
fn mk_5_each_frame_takes_a_key_of_its_own() {
    let keys: Vec<[u8; 4]> = (1..=5).map(|n| [n, 0, 0, n]).collect();
    let mut sender = Sender::client(Listed(keys.clone()));
    let mut wire = Vec::new();
    sender.message(Kind::Text, b"", &mut wire).unwrap();
    sender.ping(b"", &mut wire);
    sender.pong(b"", &mut wire);
    wire.extend_from_slice(&sender.begin(Kind::Binary, Fragment::Whole, 0).unwrap().0);
    sender.close(None, "", &mut wire);
    let seen: Vec<&[u8]> = wire.chunks(6).map(|frame| &frame[2..]).collect();
    assert_eq!(seen, keys);
}

#[test]
fn mk_5_a_key_of_zeros_is_taken_from_others() {
    tells(&hex("82 83 00000000 616263"), &[binary(b"abc")]);
    tells(&hex("89 83 00000000 616263"), &[Seen::Ping(b"abc".to_vec())]);
}

/// The signature says it, `&[u8]`; here is what goes out beside it.
#[test]
fn mk_7_the_callers_payload_is_not_modified() {
    let payload = noise(70_000, 3);
    let kept = payload.clone();
    let mut wire = Vec::new();
    let mut sender = Sender::client(Keys(2));
    sender.message(Kind::Binary, &payload, &mut wire).unwrap();
    sender.ping(&payload[..100], &mut wire);
    assert_eq!(payload, kept);
    assert_ne!(wire[14..14 + payload.len()], payload[..], "masked");
}
