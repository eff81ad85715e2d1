//! Pipes without sockets.

use super::course::PIECE_LOAD;
use super::*;
use crate::budget::tests::peer;

/// Bytes and pieces that wait for the slowest.
const BUFFER: usize = 4 * PIECE_LOAD;

fn pipes() -> Arc<Pipes> {
    let limits = PipeLimits { pipes: 2, buffer: BUFFER, wait: Duration::from_secs(60) };
    Arc::new(Pipes::new(limits))
}

fn give(pipes: &Arc<Pipes>, key: &str, receivers: usize) -> Result<Giver, Refusal> {
    pipes.give(peer(1), &Give { key: key.parse().unwrap(), size: None, receivers }, None)
}

fn take(pipes: &Arc<Pipes>, key: &str) -> Result<Taker, Refusal> {
    pipes.take(peer(1), &key.parse().unwrap(), None)
}

fn push(giver: &mut Giver, piece: &[u8]) {
    giver.write(piece);
    giver.pass_on();
}

/// Everything that is there for it, and what follows.
fn drain(taker: &Taker) -> (Vec<u8>, Given) {
    let (mut all, mut buffer) = (Vec::new(), [0; 7]);
    loop {
        match taker.next(&mut buffer) {
            Given::Bytes(count) => all.extend_from_slice(&buffer[..count]),
            other => return (all, other),
        }
    }
}

#[test]
fn it_begins_when_all_are_there_and_each_gets_all() {
    let pipes = pipes();
    let first = take(&pipes, "a").unwrap();
    let mut giver = give(&pipes, "a", 2).unwrap();
    // What came with the request waits with it.
    push(&mut giver, b"early ");
    assert!(
        giver.waits_for().unwrap().until.is_some() && first.waits_for().unwrap().until.is_some()
    );
    let second = take(&pipes, "a").unwrap();
    assert!(
        giver.waits_for().is_none() && first.waits_for().is_none() && second.waits_for().is_none()
    );
    push(&mut giver, b"and late");
    assert_eq!(drain(&first), (b"early and late".to_vec(), Given::Nothing));
    assert!(first.waits_for().unwrap().until.is_none(), "it waits as long as it takes");
    giver.end();
    assert!(first.waits_for().is_none());
    assert_eq!(drain(&first), (Vec::new(), Given::End));
    assert_eq!(drain(&second), (b"early and late".to_vec(), Given::End));
    first.finish();
    assert_eq!(giver.outcome(), None);
    assert!(giver.waits_for().is_some(), "one of them may still go away");
    second.finish();
    assert!(giver.waits_for().is_none());
    let piped = giver.outcome().unwrap().unwrap();
    assert_eq!((piped.bytes, piped.receivers, piped.gone), (14, 2, 0));
    drop(giver);
    assert!(pipes.lock().is_empty());
}

#[test]
fn bp_the_fullest_queue_holds_the_giver_until_half_of_it_is_gone() {
    let pipes = pipes();
    let mut giver = give(&pipes, "a", 2).unwrap();
    let (fast, slow) = (take(&pipes, "a").unwrap(), take(&pipes, "a").unwrap());
    push(&mut giver, &[1; 3 * PIECE_LOAD - 1]);
    assert!(giver.waits_for().is_none());
    drain(&fast);
    drain(&slow);
    push(&mut giver, &[1; 3 * PIECE_LOAD]);
    drain(&fast);
    assert!(giver.waits_for().is_some_and(|held| held.until.is_none()));
    let mut half = [0; BUFFER / 2];
    assert_eq!(slow.next(&mut half[1..]), Given::Bytes(BUFFER / 2 - 1));
    assert!(giver.waits_for().is_some());
    assert_eq!(slow.next(&mut [0; 1]), Given::Bytes(1));
    assert!(giver.waits_for().is_none());
    // Who has gone holds nobody.
    push(&mut giver, &[1; 3 * PIECE_LOAD]);
    drain(&fast);
    assert!(giver.waits_for().is_some());
    drop(slow);
    assert!(giver.waits_for().is_none());
    assert_eq!(giver.outcome(), None);
}

#[test]
fn crumbs_of_one_read_are_one_piece() {
    let pipes = pipes();
    let mut giver = give(&pipes, "a", 1).unwrap();
    let taker = take(&pipes, "a").unwrap();
    (0..90).for_each(|_| giver.write(b"x"));
    giver.pass_on();
    let course = giver.pipe.lock();
    assert_eq!(course.live().map(|queue| queue.pieces.len()).collect::<Vec<_>>(), [1]);
    drop(course);
    drop(taker);
}

/// What comes byte by byte takes more than its bytes.
#[test]
fn a_buffer_holds_pieces_as_well_as_bytes() {
    let limits = PipeLimits { buffer: 256 * 1024, ..PipeLimits::default() };
    let pipes = Arc::new(Pipes::new(limits));
    let mut giver = give(&pipes, "a", 1).unwrap();
    let _taker = take(&pipes, "a").unwrap();
    let mut pieces = 0;
    while giver.waits_for().is_none() {
        push(&mut giver, b"x");
        pieces += 1;
    }
    assert_eq!(pieces, 128);
}

/// Only where its session cannot see it: others know how long their peers took nothing.
#[test]
fn a_taker_that_takes_nothing_for_too_long_is_left_behind() {
    const PATIENCE: Duration = Duration::from_millis(50);
    let pipes = pipes();
    let key = "a".parse().unwrap();
    let mut giver = give(&pipes, "a", 3).unwrap();
    let seen = pipes.take(peer(1), &key, Some(PATIENCE)).unwrap();
    let blocked = pipes.take(peer(1), &key, Some(PATIENCE)).unwrap();
    let unseen = pipes.take(peer(1), &key, None).unwrap();
    push(&mut giver, &[1; BUFFER]);
    let until = giver.waits_for().unwrap().until.unwrap();
    drain(&seen);
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    assert!(giver.leaves_behind() && !giver.leaves_behind());
    assert!(matches!(blocked.next(&mut [0; 9]), Given::Broken(_)));
    drop(blocked);
    // Nobody is left that could be.
    assert_eq!(giver.waits_for().unwrap().until, None);
    assert_eq!(drain(&unseen), (vec![1; BUFFER], Given::Nothing));
    assert!(giver.pipe.lock().relieved >= Some(until), "its silence is counted from here");
    // The end can be left lying as well.
    giver.end();
    let until = giver.waits_for().unwrap().until.unwrap();
    unseen.finish();
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    assert!(giver.leaves_behind());
    let piped = giver.outcome().unwrap().unwrap();
    assert_eq!((piped.receivers, piped.gone), (1, 2));
    drop(seen);
    assert_eq!(giver.outcome().unwrap().unwrap(), piped);
}

#[test]
fn a_giver_that_breaks_off_breaks_every_taker() {
    let pipes = pipes();
    let mut giver = give(&pipes, "a", 1).unwrap();
    let taker = take(&pipes, "a").unwrap();
    push(&mut giver, b"half");
    assert_eq!(drain(&taker), (b"half".to_vec(), Given::Nothing));
    giver.broken("its connection broke");
    assert!(taker.waits_for().is_none());
    assert_eq!(drain(&taker), (Vec::new(), Given::Broken("its connection broke".to_owned())));
    drop((taker, giver));
    let giver = give(&pipes, "a", 1).unwrap();
    let taker = take(&pipes, "a").unwrap();
    drop(giver);
    assert!(matches!(taker.next(&mut [0; 9]), Given::Broken(_)));
}

#[test]
fn a_taker_that_goes_away_is_told_and_the_last_one_ends_it() {
    let pipes = pipes();
    let mut giver = give(&pipes, "a", 2).unwrap();
    let (stays, goes) = (take(&pipes, "a").unwrap(), take(&pipes, "a").unwrap());
    drop(goes);
    push(&mut giver, b"x");
    giver.end();
    assert_eq!(drain(&stays), (b"x".to_vec(), Given::End));
    stays.finish();
    let piped = giver.outcome().unwrap().unwrap();
    assert_eq!((piped.receivers, piped.gone), (1, 1));
    drop(giver);
    let giver = give(&pipes, "a", 1).unwrap();
    drop(take(&pipes, "a").unwrap());
    assert!(giver.waits_for().is_none());
    let refusal = giver.outcome().unwrap().unwrap_err();
    assert_eq!(refusal.to_string(), "the receiver of this pipe disconnected");
}

#[test]
fn a_key_has_one_giver_and_a_taker_too_many_waits_for_the_next() {
    let pipes = pipes();
    let giver = give(&pipes, "a", 1).unwrap();
    let refusal = give(&pipes, "a", 1).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Exists);
    let taker = take(&pipes, "a").unwrap();
    let next = take(&pipes, "a").unwrap();
    assert!(giver.waits_for().is_none() && next.waits_for().is_some());
    // Also while it runs.
    assert_eq!(give(&pipes, "a", 1).unwrap_err().code, RefusalCode::Exists);
    drop((giver, taker));
    let giver = give(&pipes, "a", 1).unwrap();
    assert!(giver.waits_for().is_none() && next.waits_for().is_none());
}

#[test]
fn pipes_and_those_who_wait_for_one_are_bounded_and_freed() {
    let pipes = pipes();
    let (giver, taker) = (give(&pipes, "a", 1).unwrap(), take(&pipes, "b").unwrap());
    assert_eq!(give(&pipes, "c", 1).unwrap_err().code, RefusalCode::Busy);
    assert_eq!(take(&pipes, "c").unwrap_err().code, RefusalCode::Busy);
    drop(giver);
    let takers: Vec<_> = (0..MAX_PIPE_RECEIVERS).map(|_| take(&pipes, "c").unwrap()).collect();
    assert_eq!(take(&pipes, "c").unwrap_err().code, RefusalCode::Busy);
    drop((taker, takers));
    assert!(pipes.lock().is_empty());
}

#[test]
fn who_waited_in_vain_is_told_for_what() {
    let pipes = pipes();
    let giver = give(&pipes, "a", 1).unwrap();
    assert_eq!(giver.in_vain().to_string(), "no receiver connected to this pipe within 60s");
    let (three, _one) = (give(&pipes, "b", 3).unwrap(), take(&pipes, "b").unwrap());
    assert_eq!(three.in_vain().to_string(), "1 of 3 receivers connected to this pipe within 60s");
    drop(giver);
    let taker = take(&pipes, "a").unwrap();
    assert_eq!(
        taker.in_vain().to_string(),
        "the pipe did not start within 60s: no sender, or too few receivers"
    );
}

#[test]
fn one_address_cannot_take_all_keys() {
    let pipes = Arc::new(Pipes::new(PipeLimits { pipes: 100, ..PipeLimits::default() }));
    let take = |address: u8, key: usize| {
        pipes.take(peer(address), &format!("k{key}").parse().unwrap(), None)
    };
    let mut takers: Vec<_> = (0..100).filter_map(|key| take(1, key).ok()).collect();
    assert_eq!(takers.len(), 75);
    let refusal = take(1, 100).map(drop).unwrap_err();
    assert_eq!(refusal.message, "your address already uses its share of 100 pipes (--max-pipes)");
    // A key that is there may be used, and other addresses have their own.
    takers.extend([take(1, 0).unwrap(), take(2, 100).unwrap()]);
    drop(takers);
    assert_eq!(pipes.count(), 0);
    take(1, 100).unwrap();
}
