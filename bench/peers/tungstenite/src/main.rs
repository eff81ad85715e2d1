//! Rooms and an echo on tokio-tungstenite, as small as they can be: `/echo` gives back, any other path is a room whose
//! messages go to all who are in it, the one who said them too.
//!
//! ```text
//!   anyport-peer-tungstenite [ADDRESS [THREADS]]        one thread, if none are told
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, Sender};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

type Done = Result<(), Box<dyn Error + Send + Sync>>;
type Rooms = Arc<Mutex<HashMap<String, Sender<Message>>>>;

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let address = arguments.first().map_or("127.0.0.1:0", String::as_str);
    let threads = arguments.get(1).map_or(Ok(1), |threads| threads.parse())?;
    let runtime = match threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_io().build()?,
        more => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(more).enable_io().build()?
        }
    };
    // On a task, as all else: what `block_on` runs itself is not on the runtime's threads.
    runtime.block_on(async { tokio::spawn(listen(address.to_owned())).await? })
}

async fn listen(address: String) -> Done {
    let listener = TcpListener::bind(address).await?;
    println!(r#"{{"event":"listening","addr":"{}"}}"#, listener.local_addr()?);
    let rooms = Rooms::default();
    loop {
        let (stream, _) = listener.accept().await?;
        let rooms = rooms.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(stream, rooms).await {
                eprintln!("{error}");
            }
        });
    }
}

async fn serve(stream: TcpStream, rooms: Rooms) -> Done {
    stream.set_nodelay(true)?;
    let mut path = String::new();
    #[expect(clippy::result_large_err, reason = "the library's own")]
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().path().to_owned();
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, look).await?;
    if path == "/echo" {
        while let Some(message) = socket.next().await {
            let message = message?;
            if message.is_text() || message.is_binary() {
                socket.send(message).await?;
            }
        }
        return Ok(());
    }
    let room = {
        let mut rooms = rooms.lock().map_err(|_| "a task has panicked")?;
        rooms.entry(path).or_insert_with(|| broadcast::channel(WAITING).0).clone()
    };
    let mut told = room.subscribe();
    loop {
        tokio::select! {
            said = socket.next() => match said.transpose()? {
                Some(message) if message.is_text() || message.is_binary() => {
                    // Whoever said it is in the room, so there is somebody.
                    let _ = room.send(message);
                }
                Some(_) => {}
                None => return Ok(()),
            },
            message = told.recv() => {
                socket.feed(message?).await?;
                // All that waits goes out with one write.
                while let Ok(message) = told.try_recv() {
                    socket.feed(message).await?;
                }
                socket.flush().await?;
            }
        }
    }
}

/// Messages that may wait for a member that is slow; it is closed if more do.
const WAITING: usize = 16_384;
