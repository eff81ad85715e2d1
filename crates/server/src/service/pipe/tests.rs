//! Pipes without sockets.

use super::progress::PIECE_LOAD;
use super::*;
use crate::access::grant::tests::participant;

/// Buffer size: bytes of the slowest receiver's queue, plus [`PIECE_LOAD`] for each piece.
const BUFFER: usize = 4 * PIECE_LOAD;

fn pipes() -> Arc<Pipes> {
    let limits = PipeLimits { pipes: 2, buffer: BUFFER, wait: Duration::from_secs(60) };
    Arc::new(Pipes::new(limits).unwrap())
}

fn connect_sender(pipes: &Arc<Pipes>, key: &str, receivers: usize) -> Result<PipeSender, Refusal> {
    pipes.give(participant(1), &Give { key: key.parse().unwrap(), size: None, receivers }, None)
}

fn connect_receiver(pipes: &Arc<Pipes>, key: &str) -> Result<PipeReceiver, Refusal> {
    pipes.take(participant(1), &key.parse().unwrap(), None)
}

fn push(sender: &mut PipeSender, piece: &[u8]) {
    sender.write(piece);
    sender.pass_on();
}

/// Returns all available content, and the result that follows.
fn drain(receiver: &PipeReceiver) -> (Vec<u8>, Output) {
    let (mut all, mut buffer) = (Vec::new(), [0; 7]);
    loop {
        match receiver.next(&mut buffer) {
            Output::Bytes(count) => all.extend_from_slice(&buffer[..count]),
            other => return (all, other),
        }
    }
}

#[test]
fn a_pipe_begins_when_all_are_connected_and_each_receives_all() {
    let pipes = pipes();
    let first = connect_receiver(&pipes, "a").unwrap();
    let mut sender = connect_sender(&pipes, "a", 2).unwrap();
    // Content that arrives with the request waits.
    push(&mut sender, b"early ");
    assert!(
        sender.waits_for().unwrap().until.is_some() && first.waits_for().unwrap().until.is_some()
    );
    let second = connect_receiver(&pipes, "a").unwrap();
    assert!(
        sender.waits_for().is_none() && first.waits_for().is_none() && second.waits_for().is_none()
    );
    push(&mut sender, b"and late");
    assert_eq!(drain(&first), (b"early and late".to_vec(), Output::Nothing));
    assert!(first.waits_for().unwrap().until.is_none(), "no deadline after the pipe has begun");
    sender.end();
    assert!(first.waits_for().is_none());
    assert_eq!(drain(&first), (Vec::new(), Output::End));
    assert_eq!(drain(&second), (b"early and late".to_vec(), Output::End));
    first.finish();
    assert_eq!(sender.outcome(), None);
    assert!(sender.waits_for().is_some(), "the second receiver has not finished");
    second.finish();
    assert!(sender.waits_for().is_none());
    let piped = sender.outcome().unwrap().unwrap();
    assert_eq!((piped.bytes, piped.receivers, piped.gone), (14, 2, 0));
    drop(sender);
    assert!(pipes.lock().is_empty());
}

#[test]
fn bp_the_fullest_queue_stops_the_sender_until_half_of_it_is_read() {
    let pipes = pipes();
    let mut sender = connect_sender(&pipes, "a", 2).unwrap();
    let (fast, slow) =
        (connect_receiver(&pipes, "a").unwrap(), connect_receiver(&pipes, "a").unwrap());
    push(&mut sender, &[1; 3 * PIECE_LOAD - 1]);
    assert!(sender.waits_for().is_none());
    drain(&fast);
    drain(&slow);
    push(&mut sender, &[1; 3 * PIECE_LOAD]);
    drain(&fast);
    assert!(sender.waits_for().is_some_and(|wait| wait.until.is_none()));
    let mut half = [0; BUFFER / 2];
    assert_eq!(slow.next(&mut half[1..]), Output::Bytes(BUFFER / 2 - 1));
    assert!(sender.waits_for().is_some());
    assert_eq!(slow.next(&mut [0; 1]), Output::Bytes(1));
    assert!(sender.waits_for().is_none());
    // A receiver that left no longer holds the sender back.
    push(&mut sender, &[1; 3 * PIECE_LOAD]);
    drain(&fast);
    assert!(sender.waits_for().is_some());
    drop(slow);
    assert!(sender.waits_for().is_none());
    assert_eq!(sender.outcome(), None);
}

#[test]
fn the_pieces_of_one_read_become_one() {
    let pipes = pipes();
    let mut sender = connect_sender(&pipes, "a", 1).unwrap();
    let receiver = connect_receiver(&pipes, "a").unwrap();
    (0..90).for_each(|_| sender.write(b"x"));
    sender.pass_on();
    let progress = sender.pipe.lock();
    assert_eq!(progress.live().map(|queue| queue.pieces.len()).collect::<Vec<_>>(), [1]);
    drop(progress);
    drop(receiver);
}

/// A piece of one byte counts as one byte plus [`PIECE_LOAD`].
#[test]
fn a_buffer_holds_pieces_as_well_as_bytes() {
    let limits = PipeLimits { buffer: 256 * 1024, ..PipeLimits::default() };
    let pipes = Arc::new(Pipes::new(limits).unwrap());
    let mut sender = connect_sender(&pipes, "a", 1).unwrap();
    let _receiver = connect_receiver(&pipes, "a").unwrap();
    let mut pieces = 0;
    while sender.waits_for().is_none() {
        push(&mut sender, b"x");
        pieces += 1;
    }
    assert_eq!(pieces, 128);
}

/// The pipe checks only receivers with an idle timeout, whose session cannot check it.
#[test]
fn a_receiver_that_reads_nothing_for_too_long_is_removed() {
    const TIMEOUT: Duration = Duration::from_millis(50);
    let pipes = pipes();
    let key = "a".parse().unwrap();
    let mut sender = connect_sender(&pipes, "a", 3).unwrap();
    let reading = pipes.take(participant(1), &key, Some(TIMEOUT)).unwrap();
    let blocked = pipes.take(participant(1), &key, Some(TIMEOUT)).unwrap();
    let unchecked = pipes.take(participant(1), &key, None).unwrap();
    push(&mut sender, &[1; BUFFER]);
    let until = sender.waits_for().unwrap().until.unwrap();
    drain(&reading);
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    assert!(sender.remove_slow_receivers() && !sender.remove_slow_receivers());
    assert!(matches!(blocked.next(&mut [0; 9]), Output::Broken(_)));
    drop(blocked);
    // None of the remaining receivers has an idle timeout that can expire.
    assert_eq!(sender.waits_for().unwrap().until, None);
    assert_eq!(drain(&unchecked), (vec![1; BUFFER], Output::Nothing));
    assert!(sender.pipe.lock().resumed_at >= Some(until), "the sender's idle time starts here");
    // A receiver may also fail to read the end.
    sender.end();
    let until = sender.waits_for().unwrap().until.unwrap();
    unchecked.finish();
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    assert!(sender.remove_slow_receivers());
    let piped = sender.outcome().unwrap().unwrap();
    assert_eq!((piped.receivers, piped.gone), (1, 2));
    drop(reading);
    assert_eq!(sender.outcome().unwrap().unwrap(), piped);
}

#[test]
fn an_interrupted_sender_interrupts_every_receiver() {
    let pipes = pipes();
    let mut sender = connect_sender(&pipes, "a", 1).unwrap();
    let receiver = connect_receiver(&pipes, "a").unwrap();
    push(&mut sender, b"half");
    assert_eq!(drain(&receiver), (b"half".to_vec(), Output::Nothing));
    sender.broken("its connection broke");
    assert!(receiver.waits_for().is_none());
    assert_eq!(drain(&receiver), (Vec::new(), Output::Broken("its connection broke".to_owned())));
    drop((receiver, sender));
    let sender = connect_sender(&pipes, "a", 1).unwrap();
    let receiver = connect_receiver(&pipes, "a").unwrap();
    drop(sender);
    assert!(matches!(receiver.next(&mut [0; 9]), Output::Broken(_)));
}

#[test]
fn a_receiver_that_leaves_is_counted_and_the_last_one_ends_the_pipe() {
    let pipes = pipes();
    let mut sender = connect_sender(&pipes, "a", 2).unwrap();
    let (stays, goes) =
        (connect_receiver(&pipes, "a").unwrap(), connect_receiver(&pipes, "a").unwrap());
    drop(goes);
    push(&mut sender, b"x");
    sender.end();
    assert_eq!(drain(&stays), (b"x".to_vec(), Output::End));
    stays.finish();
    let piped = sender.outcome().unwrap().unwrap();
    assert_eq!((piped.receivers, piped.gone), (1, 1));
    drop(sender);
    let sender = connect_sender(&pipes, "a", 1).unwrap();
    drop(connect_receiver(&pipes, "a").unwrap());
    assert!(sender.waits_for().is_none());
    let refusal = sender.outcome().unwrap().unwrap_err();
    assert_eq!(refusal.to_string(), "the receiver of this pipe disconnected");
}

#[test]
fn a_key_has_one_sender_and_a_surplus_receiver_waits_for_the_next() {
    let pipes = pipes();
    let sender = connect_sender(&pipes, "a", 1).unwrap();
    let refusal = connect_sender(&pipes, "a", 1).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Exists);
    let receiver = connect_receiver(&pipes, "a").unwrap();
    let next = connect_receiver(&pipes, "a").unwrap();
    assert!(sender.waits_for().is_none() && next.waits_for().is_some());
    // A key in use by a running pipe accepts no second sender either.
    assert_eq!(connect_sender(&pipes, "a", 1).unwrap_err().code, RefusalCode::Exists);
    drop((sender, receiver));
    let sender = connect_sender(&pipes, "a", 1).unwrap();
    assert!(sender.waits_for().is_none() && next.waits_for().is_none());
}

#[test]
fn pipes_and_waiting_clients_are_bounded_and_freed() {
    let pipes = pipes();
    let (sender, receiver) =
        (connect_sender(&pipes, "a", 1).unwrap(), connect_receiver(&pipes, "b").unwrap());
    assert_eq!(connect_sender(&pipes, "c", 1).unwrap_err().code, RefusalCode::Busy);
    assert_eq!(connect_receiver(&pipes, "c").unwrap_err().code, RefusalCode::Busy);
    drop(sender);
    let receivers: Vec<_> =
        (0..MAX_PIPE_RECEIVERS).map(|_| connect_receiver(&pipes, "c").unwrap()).collect();
    assert_eq!(connect_receiver(&pipes, "c").unwrap_err().code, RefusalCode::Busy);
    drop((receiver, receivers));
    assert!(pipes.lock().is_empty());
}

#[test]
fn the_reason_of_a_pipe_that_never_began_names_the_missing_side() {
    let pipes = pipes();
    let sender = connect_sender(&pipes, "a", 1).unwrap();
    assert_eq!(sender.never_began().to_string(), "no receiver connected to this pipe within 60s");
    let (three, _one) =
        (connect_sender(&pipes, "b", 3).unwrap(), connect_receiver(&pipes, "b").unwrap());
    assert_eq!(
        three.never_began().to_string(),
        "1 of 3 receivers connected to this pipe within 60s"
    );
    drop(sender);
    let receiver = connect_receiver(&pipes, "a").unwrap();
    assert_eq!(
        receiver.never_began().to_string(),
        "the pipe did not start within 60s: no sender, or too few receivers"
    );
}

#[test]
fn one_address_cannot_use_all_keys() {
    let pipes = Arc::new(Pipes::new(PipeLimits { pipes: 100, ..PipeLimits::default() }).unwrap());
    let take = |address: u8, key: usize| {
        pipes.take(participant(address), &format!("k{key}").parse().unwrap(), None)
    };
    let mut receivers: Vec<_> = (0..100).filter_map(|key| take(1, key).ok()).collect();
    assert_eq!(receivers.len(), 75);
    let refusal = take(1, 100).map(drop).unwrap_err();
    assert_eq!(refusal.message, "your address already uses its share of 100 pipes (max-pipes)");
    // An existing key may be used, and other addresses have their own share.
    receivers.extend([take(1, 0).unwrap(), take(2, 100).unwrap()]);
    drop(receivers);
    assert_eq!(pipes.count(), 0);
    take(1, 100).unwrap();
}
