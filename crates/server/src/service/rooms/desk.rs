//! Listeners that are tasks of the runtime, as streams that share a connection are: what their
//! rooms have for them waits in a queue for each, as bounded as what waits for a socket.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use anyport_net::copy::Gate;
use anyport_net::reactor::Key;
use anyport_proto::rooms::Join;
use anyport_proto::transfer::refusal::Refusal;
use bytes::Bytes;
use slab::Slab;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::floor::{Groups, Outlets};
use super::form::{Carrier, Form};
use super::member::{Entry, Member};
use super::{Rooms, Wake};

/// Where all tasks of a server listen.
#[derive(Debug)]
pub(crate) struct Desk {
    rooms: Arc<Rooms>,
    seated: Mutex<Seated>,
    /// Some room has something for somebody here.
    due: Arc<Notify>,
}

#[derive(Debug)]
struct Seated {
    groups: Groups,
    ears: Ears,
}

#[derive(Debug, Default)]
struct Ears(Slab<Ear>);

/// What waits for one listener.
#[derive(Debug, Default)]
struct Ear {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// Nothing comes behind that.
    finished: bool,
    /// Open while something waits.
    gate: Arc<Gate>,
}

/// One listener. Dropped, it leaves.
#[derive(Debug)]
pub(crate) struct Listener {
    desk: Arc<Desk>,
    key: Key,
    gate: Arc<Gate>,
    /// Held, so that the room counts it.
    _member: Member,
}

impl Desk {
    pub(crate) fn new(rooms: Arc<Rooms>) -> Self {
        let due = Arc::<Notify>::default();
        rooms.set_waker(rooms.tasks(), Wake::Tasks(due.clone()));
        let groups = Groups::new(rooms.clone(), rooms.tasks());
        let seated = Mutex::new(Seated { groups, ears: Ears::default() });
        Self { rooms, seated, due }
    }

    /// Listens to a room as to server-sent events; what it is told at once waits for it already.
    ///
    /// # Errors
    /// There are too many rooms.
    pub(crate) fn listen(self: &Arc<Self>, peer: IpAddr, join: &Join) -> Result<Listener, Refusal> {
        let form = Form::new(Carrier::Event, join.json);
        let mut past = Vec::new();
        // Held until it sits, so that nothing is delivered in between.
        let mut seated = self.lock();
        let Entry { member, seat } =
            self.rooms.enter(peer, join, form, self.rooms.tasks(), &mut past, |_, _| {})?;
        let Seated { groups, ears } = &mut *seated;
        let entry = ears.0.vacant_entry();
        // There are never as many of them: each is a stream.
        let key = Key::of(u32::try_from(entry.key()).unwrap_or(u32::MAX));
        let ear = entry.insert(Ear::default());
        ear.push(Bytes::from(past));
        let gate = ear.gate.clone();
        groups.sit(key, seat);
        drop(seated);
        // That somebody came is for the others here too, and whoever came is not woken by it.
        self.due.notify_one();
        Ok(Listener { desk: self.clone(), key, gate, _member: member })
    }

    /// Hands out what the rooms have, until the server stops.
    pub(crate) async fn run(self: Arc<Self>, draining: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = draining.cancelled() => return,
                () = self.due.notified() => {}
            }
            let Seated { groups, ears } = &mut *self.lock();
            groups.deliver(ears);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seated> {
        self.seated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// Returns the gate that is open while there may be something to read.
    pub(crate) const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Returns what the room sent next, or nothing yet, which closes the gate; `None` at the end.
    pub(crate) fn poll(&self) -> Poll<Option<Bytes>> {
        // Held, so that what is sent from now on opens the gate again.
        let Seated { groups, ears } = &mut *self.desk.lock();
        let Some(ear) = ears.0.get_mut(self.key.index()) else { return Poll::Ready(None) };
        if let Some(piece) = ear.pop() {
            return Poll::Ready(Some(piece));
        }
        // Behind the last message there is nothing, not even what was missed.
        if ear.finished {
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
        let Seated { groups, ears } = &mut *self.desk.lock();
        groups.rise(self.key);
        ears.0.try_remove(self.key.index());
    }
}

impl Ear {
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

impl Outlets for Ears {
    fn queued(&self, key: Key) -> usize {
        self.0.get(key.index()).map_or(0, |ear| ear.bytes)
    }

    fn write(&mut self, key: Key, bytes: &Bytes) {
        if let Some(ear) = self.0.get_mut(key.index()) {
            ear.push(bytes.clone());
        }
    }

    fn finish(&mut self, key: Key, bytes: &Bytes) {
        if let Some(ear) = self.0.get_mut(key.index()) {
            ear.push(bytes.clone());
            ear.finished = true;
            ear.gate.open();
        }
    }
}

#[cfg(test)]
mod tests {
    use anyport_proto::rooms::{Nickname, RoomName};

    use super::*;
    use crate::budget::tests::peer;
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

    async fn told(listener: &Listener) -> String {
        let bytes = listener.next().await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn desk(limits: RoomLimits) -> Arc<Desk> {
        let limits = RoomLimits { rate: None, history: 0, ..limits };
        Arc::new(Desk::new(Arc::new(Rooms::new(limits, 1))))
    }

    fn listen(desk: &Arc<Desk>) -> Listener {
        let join = Join::from_target("/rooms/lobby", Some("history=0")).unwrap();
        desk.listen(peer(1), &join).unwrap()
    }

    fn post(desk: &Desk, text: &str) {
        let room: RoomName = "lobby".parse().unwrap();
        let nick: Nickname = "bob".parse().unwrap();
        desk.rooms.post(peer(1), &room, Some(nick), text.to_owned()).unwrap();
    }

    #[tokio::test]
    async fn tasks_are_told_what_is_said_and_leave_when_they_are_dropped() {
        let desk = desk(RoomLimits::default());
        let draining = CancellationToken::new();
        let running = tokio::spawn(desk.clone().run(draining.clone()));
        let (one, two) = (listen(&desk), listen(&desk));
        post(&desk, "hello");
        let first = told(&one).await;
        assert!(first.ends_with("data: bob: hello\n\n"), "{first:?}");
        assert!(told(&two).await.ends_with("data: bob: hello\n\n"));
        let lobby: RoomName = "lobby".parse().unwrap();
        assert_eq!(desk.rooms.look(&lobby).unwrap().0.listeners, 2);
        drop(one);
        assert_eq!(desk.rooms.look(&lobby).unwrap().0.listeners, 1);
        post(&desk, "again");
        assert!(told(&two).await.ends_with("data: bob: again\n\n"));
        draining.cancel();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn a_listener_that_does_not_read_holds_a_queue_and_misses_the_rest() {
        let deliver = |desk: &Desk| {
            let Seated { groups, ears } = &mut *desk.lock();
            groups.deliver(ears);
        };
        let desk_that =
            |slow_reader| desk(RoomLimits { queue: 1000, slow_reader, ..RoomLimits::default() });
        let desk = desk_that(SlowReader::Drop);
        let slow = listen(&desk);
        for _ in 0..20 {
            post(&desk, &"x".repeat(300));
            deliver(&desk);
        }
        assert!(desk.lock().ears.queued(slow.key) <= 1000);
        let (mut events, mut lost) = (0, String::new());
        while lost.is_empty() {
            let told = told(&slow).await;
            events += told.matches("data: bob: ").count();
            if told.contains(" lost") {
                lost = told;
            }
        }
        assert!(lost.contains(&format!("{} events", 20 - events)), "{events} heard: {lost}");

        let desk = desk_that(SlowReader::Close);
        let slow = listen(&desk);
        for _ in 0..20 {
            post(&desk, &"x".repeat(300));
            deliver(&desk);
        }
        let mut last = String::new();
        while let Some(told) = slow.next().await {
            last = String::from_utf8(told.to_vec()).unwrap();
        }
        assert!(last.contains("you read too slowly"), "{last}");
    }
}
