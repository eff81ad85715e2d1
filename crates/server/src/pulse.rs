//! Whether a server turns: each accept loop and each thread of conversations is asked, and has to
//! answer by itself. A process that is merely there, or whose runtime hangs, does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyport_net::reactor::Waker;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

/// Asked of a loop; it answers by sending.
pub(crate) type Question = oneshot::Sender<()>;

/// Where an accept loop hears them.
pub(crate) type Questions = mpsc::Receiver<Question>;

/// Who is to be asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse {
    accepting: Vec<(String, mpsc::Sender<Question>)>,
    conversations: Vec<(Waker, Arc<AtomicU64>)>,
}

impl Pulse {
    /// A loop that accepts at `address`.
    pub(crate) fn accepting(&mut self, address: String) -> Questions {
        let (ask, questions) = mpsc::channel(1);
        self.accepting.push((address, ask));
        questions
    }

    /// A thread of conversations, which counts its turns.
    pub(crate) fn conversing(&mut self, waker: Waker, turns: Arc<AtomicU64>) {
        self.conversations.push((waker, turns));
    }

    /// Asks all of them, and gives who has not answered within `patience`, in words.
    pub(crate) async fn missing(&self, patience: Duration) -> Option<String> {
        for (address, ask) in &self.accepting {
            let (question, answer) = oneshot::channel();
            let asked = async { ask.send(question).await.is_ok() && answer.await.is_ok() };
            if timeout(patience, asked).await != Ok(true) {
                return Some(format!("the accept loop of {address}"));
            }
        }
        for (number, (waker, turns)) in self.conversations.iter().enumerate() {
            let before = turns.load(Ordering::Relaxed);
            waker.wake();
            let turned = async {
                while turns.load(Ordering::Relaxed) == before {
                    sleep(LOOK).await;
                }
            };
            if timeout(patience, turned).await.is_err() {
                return Some(format!("reactor thread {number}"));
            }
        }
        None
    }
}

/// Answers questions while `waited_for` is not ready.
///
/// Cancel safe: as `waited_for` is.
pub(crate) async fn answering<T>(
    questions: &mut Questions,
    waited_for: impl Future<Output = T>,
) -> T {
    let mut waited_for = std::pin::pin!(waited_for);
    loop {
        tokio::select! {
            biased;
            ready = &mut waited_for => return ready,
            Some(question) = questions.recv() => {
                // Who asked may have given up.
                let _ = question.send(());
            }
        }
    }
}

/// Between two looks at a thread that was woken.
const LOOK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_loop_that_answers_turns_and_one_that_hangs_or_is_gone_does_not() {
        let mut pulse = Pulse::default();
        let mut questions = pulse.accepting("192.0.2.1:1".to_owned());
        let long = Duration::from_secs(20);
        let asked = tokio::select! {
            () = answering(&mut questions, std::future::pending()) => unreachable!(),
            missing = pulse.missing(long) => missing,
        };
        assert_eq!(asked, None);
        let hangs = Some("the accept loop of 192.0.2.1:1".to_owned());
        assert_eq!(pulse.missing(PATIENCE).await, hangs, "nobody listens to its questions");
        drop(questions);
        assert_eq!(pulse.missing(long).await, hangs, "it has ended");
    }
}
