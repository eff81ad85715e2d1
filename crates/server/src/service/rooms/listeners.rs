//! Members and listeners that are tasks of the runtime, such as streams that share a connection.
//! Each has a queue, which is bounded like that of a socket.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use anyport_net::copy::Gate;
use anyport_net::reactor::Key;
use anyport_proto::rooms::{Command, Join, Line};
use anyport_proto::transfer::refusal::Refusal;
use bytes::Bytes;
use slab::Slab;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::form::{Carrier, Form};
use super::groups::{Groups, Outlets};
use super::member::{Entry, Member};
use super::{Rooms, Wake};
use crate::access::Participant;

/// All members and listeners of a server that are tasks of the runtime.
#[derive(Debug)]
pub(crate) struct Listeners {
    rooms: Arc<Rooms>,
    subscribers: Mutex<Subscribers>,
    /// Notified when a room has events for a listener here.
    due: Arc<Notify>,
}

#[derive(Debug)]
struct Subscribers {
    groups: Groups,
    mailboxes: Mailboxes,
}

#[derive(Debug, Default)]
struct Mailboxes(Slab<Mailbox>);

/// The queue of one listener.
#[derive(Debug, Default)]
struct Mailbox {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// Whether nothing follows the queued pieces.
    finished: bool,
    /// Open while there is something to read.
    gate: Arc<Gate>,
}

/// One member or listener. Dropping it leaves the room.
#[derive(Debug)]
pub(crate) struct Listener {
    listeners: Arc<Listeners>,
    key: Key,
    gate: Arc<Gate>,
    member: Member,
}

impl Listeners {
    pub(crate) fn new(rooms: Arc<Rooms>) -> Self {
        let due = Arc::<Notify>::default();
        rooms.set_waker(rooms.tasks(), Wake::Tasks(due.clone()));
        let groups = Groups::new(rooms.clone(), rooms.tasks());
        let subscribers = Mutex::new(Subscribers { groups, mailboxes: Mailboxes::default() });
        Self { rooms, subscribers, due }
    }

    /// Joins a room, as a listener without a nickname. Its first output is queued immediately.
    ///
    /// # Errors
    /// There are too many rooms.
    pub(crate) fn listen(
        self: &Arc<Self>,
        participant: Participant,
        join: &Join,
        carrier: Carrier,
    ) -> Result<Listener, Refusal> {
        let form = Form::new(carrier, join.json);
        let mut past = Vec::new();
        // Locked until it is subscribed, so that no event is delivered in between.
        let mut subscribers = self.lock();
        let Entry { member, subscription } =
            self.rooms.enter(participant, join, form, self.rooms.tasks(), &mut past, |_, _| {})?;
        let Subscribers { groups, mailboxes } = &mut *subscribers;
        let entry = mailboxes.0.vacant_entry();
        // There are far fewer listeners, because each is a stream.
        let key = Key::of(u32::try_from(entry.key()).unwrap_or(u32::MAX));
        let mailbox = entry.insert(Mailbox::default());
        mailbox.push(Bytes::from(past));
        let gate = mailbox.gate.clone();
        groups.subscribe(key, subscription);
        drop(subscribers);
        // The join is an event for the others here too; nothing else wakes this task for it.
        self.due.notify_one();
        Ok(Listener { listeners: self.clone(), key, gate, member })
    }

    /// Distributes the events of the rooms until the server stops.
    pub(crate) async fn run(self: Arc<Self>, draining: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = draining.cancelled() => return,
                () = self.due.notified() => {}
            }
            let Subscribers { groups, mailboxes } = &mut *self.lock();
            groups.deliver(mailboxes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// Returns the gate that is open while there may be something to read.
    pub(crate) const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Handles a command of a member. `tell` sends text to this member only, without the framing
    /// of its carrier.
    pub(crate) fn handle(&mut self, command: Command, now: Instant, tell: &mut dyn FnMut(&str)) {
        self.member.handle(Line::Command(command), now, tell);
        // The room wakes no thread for an event that comes from it, and here many tasks share one.
        self.listeners.due.notify_one();
    }

    /// Returns the next piece. Without one, returns `Pending` and closes the gate; returns
    /// `None` at the end.
    pub(crate) fn poll(&self) -> Poll<Option<Bytes>> {
        // Locked, so that an event that is sent from now on opens the gate again.
        let Subscribers { groups, mailboxes } = &mut *self.listeners.lock();
        let Some(mailbox) = mailboxes.0.get_mut(self.key.index()) else { return Poll::Ready(None) };
        if let Some(piece) = mailbox.pop() {
            return Poll::Ready(Some(piece));
        }
        // The final message ends the stream, without a report of lost events.
        if mailbox.finished {
            return Poll::Ready(None);
        }
        let mut missed = Vec::new();
        groups.drained(self.key, &mut missed);
        if missed.is_empty() {
            self.gate.close();
            return Poll::Pending;
        }
        Poll::Ready(Some(Bytes::from(missed)))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Subscribers { groups, mailboxes } = &mut *self.listeners.lock();
        groups.unsubscribe(self.key);
        mailboxes.0.try_remove(self.key.index());
    }
}

impl Mailbox {
    fn push(&mut self, piece: Bytes) {
        if piece.is_empty() || self.finished {
            return;
        }
        self.bytes += piece.len();
        self.pieces.push_back(piece);
        self.gate.open();
    }

    fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.len();
        Some(piece)
    }
}

impl Outlets for Mailboxes {
    fn queued(&self, key: Key) -> usize {
        self.0.get(key.index()).map_or(0, |mailbox| mailbox.bytes)
    }

    fn write(&mut self, key: Key, bytes: &Bytes) {
        if let Some(mailbox) = self.0.get_mut(key.index()) {
            mailbox.push(bytes.clone());
        }
    }

    fn finish(&mut self, key: Key, bytes: &Bytes) {
        if let Some(mailbox) = self.0.get_mut(key.index()) {
            mailbox.push(bytes.clone());
            mailbox.finished = true;
            mailbox.gate.open();
        }
    }
}

#[cfg(test)]
mod tests {
    use anyport_proto::rooms::{Nickname, RoomName};

    use super::*;
    use crate::access::grant::tests::participant;
    use crate::config::{RoomLimits, SlowReader};

    impl Listener {
        async fn next(&self) -> Option<Bytes> {
            loop {
                match self.poll() {
                    Poll::Ready(piece) => return piece,
                    Poll::Pending => self.gate.opened().await,
                }
            }
        }
    }

    async fn next_text(listener: &Listener) -> String {
        let bytes = listener.next().await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn listeners(limits: RoomLimits) -> Arc<Listeners> {
        let limits = RoomLimits { rate: None, history: 0, ..limits };
        Arc::new(Listeners::new(Arc::new(Rooms::new(limits, 1))))
    }

    fn listen(listeners: &Arc<Listeners>) -> Listener {
        let join = Join::from_target("/rooms/lobby", Some("history=0")).unwrap();
        listeners.listen(participant(1), &join, Carrier::Event).unwrap()
    }

    fn post(listeners: &Listeners, text: &str) {
        let room: RoomName = "lobby".parse().unwrap();
        let nick: Nickname = "bob".parse().unwrap();
        listeners.rooms.post(participant(1), &room, Some(nick), text.to_owned()).unwrap();
    }

    #[tokio::test]
    async fn tasks_receive_messages_and_leave_when_they_are_dropped() {
        let listeners = listeners(RoomLimits::default());
        let draining = CancellationToken::new();
        let running = tokio::spawn(listeners.clone().run(draining.clone()));
        let (one, two) = (listen(&listeners), listen(&listeners));
        post(&listeners, "hello");
        let first = next_text(&one).await;
        assert!(first.ends_with("data: bob: hello\n\n"), "{first:?}");
        assert!(next_text(&two).await.ends_with("data: bob: hello\n\n"));
        let lobby: RoomName = "lobby".parse().unwrap();
        assert_eq!(listeners.rooms.look(participant(1), &lobby).unwrap().0.listeners, 2);
        drop(one);
        assert_eq!(listeners.rooms.look(participant(1), &lobby).unwrap().0.listeners, 1);
        post(&listeners, "again");
        assert!(next_text(&two).await.ends_with("data: bob: again\n\n"));
        draining.cancel();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn a_listener_that_does_not_read_holds_a_queue_and_misses_the_rest() {
        let deliver = |listeners: &Listeners| {
            let Subscribers { groups, mailboxes } = &mut *listeners.lock();
            groups.deliver(mailboxes);
        };
        let with_policy = |slow_reader| {
            listeners(RoomLimits { queue: 1000, slow_reader, ..RoomLimits::default() })
        };
        let listeners = with_policy(SlowReader::Drop);
        let slow = listen(&listeners);
        for _ in 0..20 {
            post(&listeners, &"x".repeat(300));
            deliver(&listeners);
        }
        assert!(listeners.lock().mailboxes.queued(slow.key) <= 1000);
        let (mut events, mut lost) = (0, String::new());
        while lost.is_empty() {
            let text = next_text(&slow).await;
            events += text.matches("data: bob: ").count();
            if text.contains(" lost") {
                lost = text;
            }
        }
        assert!(lost.contains(&format!("{} events", 20 - events)), "{events} heard: {lost}");

        let listeners = with_policy(SlowReader::Close);
        let slow = listen(&listeners);
        for _ in 0..20 {
            post(&listeners, &"x".repeat(300));
            deliver(&listeners);
        }
        let mut last = String::new();
        while let Some(text) = slow.next().await {
            last = String::from_utf8(text.to_vec()).unwrap();
        }
        assert!(last.contains("you read too slowly"), "{last}");
    }
}
