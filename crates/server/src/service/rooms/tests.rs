//! Rooms without sockets: the output of a thread is what its members receive.

use anyport_proto::rooms::Command;
use anyport_proto::rooms::Line;

use super::pending::Pending;
use super::*;
use crate::access::grant::tests::participant;

fn rooms(limits: RoomLimits) -> Rooms {
    Rooms::new(RoomLimits { rate: None, ..limits }, 2)
}

fn join(words: &str) -> Join {
    Join::from_target("/rooms/lobby", Some(words)).unwrap()
}

const LINE: Form = Form::new(Carrier::Line, false);

/// Joins on thread 0, and returns the first output.
fn enter(rooms: &Rooms, words: &str) -> (Entry, String) {
    let mut out = Vec::new();
    let entry = rooms.enter(participant(1), &join(words), LINE, 0, &mut out, |_, _| {}).unwrap();
    (entry, String::from_utf8(out).unwrap())
}

fn say(entry: &mut Entry, text: &str) {
    let line = Line::Command(Command::Say { text: text.to_owned(), key: None });
    entry.member.handle(line, Instant::now(), &mut |output| panic!("{output}"));
}

/// Returns all pending lines of a thread.
fn due(rooms: &Rooms, shard: usize) -> String {
    let take = |room: Arc<Room>| {
        let Pending { bytes, .. } = room.take_pending(shard);
        bytes[LINE.index()].clone()
    };
    let bytes: Vec<u8> = rooms.take_due(shard).into_iter().flat_map(take).collect();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn nicknames_are_unique_and_can_be_reused() {
    let rooms = rooms(RoomLimits::default());
    let (one, output) = enter(&rooms, "as=bob");
    assert_eq!(output, "* you are bob in lobby; here: no other members\n");
    let (two, output) = enter(&rooms, "as=bob&history=0");
    assert_eq!(output, "* you are bob-2 in lobby; here: bob\n");
    let (_three, output) = enter(&rooms, "as=bob&history=0");
    assert_eq!(output, "* you are bob-3 in lobby; here: bob, bob-2\n");
    drop((one, two));
    assert_eq!(enter(&rooms, "as=bob&history=0").1, "* you are bob in lobby; here: bob-3\n");
}

#[test]
fn all_threads_receive_the_same_events_in_the_same_order() {
    let rooms = rooms(RoomLimits::default());
    let (mut alice, _) = enter(&rooms, "as=alice");
    let mut out = Vec::new();
    let _bob = rooms.enter(participant(1), &join("as=bob"), LINE, 1, &mut out, |_, _| {}).unwrap();
    due(&rooms, 0);
    due(&rooms, 1);
    (0..3).for_each(|number| say(&mut alice, &format!("number {number}")));
    let lobby = "lobby".parse().unwrap();
    rooms
        .post(participant(1), &lobby, Some("carol".parse().unwrap()), "posted".to_owned())
        .unwrap();
    let expected = "alice: number 0\nalice: number 1\nalice: number 2\ncarol: posted\n";
    assert_eq!((due(&rooms, 0).as_str(), due(&rooms, 1).as_str()), (expected, expected));
    // The batch is returned once.
    assert_eq!((due(&rooms, 0).as_str(), due(&rooms, 1).as_str()), ("", ""));
}

#[test]
fn a_returning_member_receives_missed_events_and_the_number_of_lost_ones() {
    let rooms = rooms(RoomLimits { history: 3, ..RoomLimits::default() });
    let (mut alice, _) = enter(&rooms, "as=alice");
    say(&mut alice, "one");
    let (_, last) = rooms.look(participant(1), &"lobby".parse().unwrap()).unwrap();
    let since = format!("since={}", last.unwrap());
    say(&mut alice, "two");
    say(&mut alice, "three");
    assert_eq!(enter(&rooms, &since).1, "alice: two\nalice: three\n");
    say(&mut alice, "four");
    say(&mut alice, "five");
    let output = enter(&rooms, &since).1;
    assert_eq!(output, "* 1 event lost\nalice: three\nalice: four\nalice: five\n");
    let output = enter(&rooms, "since=zzzzzz-2").1;
    assert_eq!(output, "* events lost\nalice: three\nalice: four\nalice: five\n");
}

#[test]
fn large_rooms_have_no_notices_of_joins_and_leaves() {
    let rooms = rooms(RoomLimits { notices: 2, ..RoomLimits::default() });
    let (alice, _) = enter(&rooms, "as=alice");
    let (bob, _) = enter(&rooms, "as=bob");
    assert_eq!(due(&rooms, 0), "* alice joined\n* bob joined\n");
    let (carol, output) = enter(&rooms, "as=carol&history=0");
    assert_eq!(output, "* you are carol in lobby; here: alice, bob\n");
    // A listener causes no notice.
    let (listener, output) = enter(&rooms, "history=0");
    assert_eq!((output.as_str(), due(&rooms, 0).as_str()), ("", ""));
    drop(listener);
    drop((alice, bob, carol));
    let all = rooms.look(participant(1), &"lobby".parse().unwrap()).unwrap();
    assert_eq!(all.0, Members::default());
}

#[test]
fn rooms_are_bounded_and_empty_ones_expire() {
    let rooms = rooms(RoomLimits { rooms: 2, ..RoomLimits::default() });
    let post =
        |name: &str| rooms.post(participant(1), &name.parse().unwrap(), None, "hi".to_owned());
    post("one").unwrap();
    post("two").unwrap();
    post("one").unwrap();
    let refusal = post("three").unwrap_err();
    assert_eq!(refusal.refusal.message, "all 2 rooms are in use (max-rooms)");
    rooms.lock().get(&"two".parse().unwrap()).unwrap().room.grow_old();
    post("three").unwrap();
    assert!(rooms.look(participant(1), &"two".parse().unwrap()).is_none());
}

#[test]
fn messages_beyond_the_rate_of_a_room_are_refused() {
    let rooms = Rooms::new(RoomLimits { rate: Some(5), ..RoomLimits::default() }, 1);
    let post = || rooms.post(participant(1), &"lobby".parse().unwrap(), None, "hi".to_owned());
    (0..5).for_each(|_| {
        post().unwrap();
    });
    let refused = (0..5).filter_map(|_| post().err()).next_back().unwrap();
    assert_eq!(
        refused.refusal.message,
        "message rate limit of the room lobby exceeded (room-rate)"
    );
}

#[test]
fn one_address_cannot_open_all_rooms() {
    let rooms = rooms(RoomLimits { rooms: 100, ..RoomLimits::default() });
    let post = |address: u8, name: usize| {
        rooms.post(
            participant(address),
            &format!("r{name}").parse().unwrap(),
            None,
            "hi".to_owned(),
        )
    };
    let opened = (0..100).filter(|name| post(1, *name).is_ok()).count();
    assert_eq!(opened, 75);
    let refusal = post(1, 100).unwrap_err().refusal;
    assert_eq!(refusal.message, "your address already uses its share of 100 rooms (max-rooms)");
    // It may use an open room, and other addresses may open their own.
    post(1, 0).unwrap();
    post(2, 101).unwrap();
}

#[test]
fn of_many_members_the_first_thousand_are_named() {
    let rooms = rooms(RoomLimits { notices: 2, ..RoomLimits::default() });
    let members: Vec<_> =
        (0..1001).map(|number| enter(&rooms, &format!("as=m{number}")).0).collect();
    let (here, _) = rooms.look(participant(1), &"lobby".parse().unwrap()).unwrap();
    assert_eq!((here.members.len(), members.len()), (1000, 1001));
}
