//! A network that answers from a script and remembers what it was sent.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use fanfare::Timestamp;
use fanfare::clock::{Clock, ManualClock};
use fanfare::model::{Answer, Headers, Outcome};
use fanfare::send::{self, Request, Transport};
use tokio::sync::oneshot;

use super::pulse::Pulse;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// This status.
    Status(u16),
    /// This status and this `Retry-After`.
    RetryAfter(u16, String),
    /// No answer, for this reason.
    Silence(&'static str),
    /// Nothing, until [`Network::let_go`].
    Hang,
    /// The transport panics.
    Panic,
}

/// A request as it went out.
#[derive(Debug, Clone)]
pub struct Sent {
    /// When.
    pub at: Timestamp,
    /// The request.
    pub request: Request,
}

impl Sent {
    /// A header.
    pub fn header(&self, name: &str) -> String {
        let value = self.request.headers.get(name);
        value.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    /// The event's id, as the receiver sees it.
    pub fn webhook_id(&self) -> String {
        self.header("webhook-id")
    }

    /// Where it went.
    pub fn url(&self) -> &str {
        self.request.url.as_str()
    }
}

type Answering = Box<dyn FnMut(&Sent) -> Reply + Send>;

/// The network of one test; it outlives the engines that use it.
pub struct Network {
    clock: Arc<ManualClock>,
    pulse: Arc<Pulse>,
    state: Mutex<State>,
}

struct State {
    script: VecDeque<Reply>,
    otherwise: Answering,
    sent: Vec<Sent>,
    hanging: Vec<oneshot::Sender<Reply>>,
    panicked: usize,
}

impl Network {
    pub(super) fn new(clock: Arc<ManualClock>, pulse: Arc<Pulse>) -> Network {
        let otherwise: Answering = Box::new(|_| Reply::Status(200));
        let (script, sent, hanging) = (VecDeque::new(), Vec::new(), Vec::new());
        let state = Mutex::new(State { script, otherwise, sent, hanging, panicked: 0 });
        Network { clock, pulse, state }
    }

    /// Answers the next requests like this, one after the other.
    pub fn answers(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state().script.extend(replies);
    }

    /// Answers the next requests with these statuses.
    pub fn statuses(&self, statuses: &[u16]) {
        self.answers(statuses.iter().copied().map(Reply::Status));
    }

    /// Answers every request that no script is left for.
    pub fn otherwise(&self, answer: impl FnMut(&Sent) -> Reply + Send + 'static) {
        self.state().otherwise = Box::new(answer);
    }

    /// Answers every request that no script is left for like this.
    pub fn always(&self, reply: Reply) {
        self.otherwise(move |_| reply.clone());
    }

    /// Answers what hangs.
    pub fn let_go(&self, reply: &Reply) {
        for hanging in std::mem::take(&mut self.state().hanging) {
            // An error means that the engine has given the request up.
            let _ = hanging.send(reply.clone());
        }
    }

    /// What hangs is never answered.
    pub(super) fn forget_hanging(&self) {
        self.state().hanging.clear();
    }

    /// Everything that was sent so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.state().sent.clone()
    }

    /// How much was sent so far.
    pub fn count(&self) -> usize {
        self.state().sent.len()
    }

    /// How many requests hang.
    pub fn hanging(&self) -> usize {
        self.state().hanging.iter().filter(|hanging| !hanging.is_closed()).count()
    }

    /// How many requests ended in a panic of the transport.
    pub fn panicked(&self) -> usize {
        self.state().panicked
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, request: Request) -> Reply {
        let sent = Sent { at: self.clock.now(), request };
        let mut state = self.state();
        let scripted = state.script.pop_front();
        let reply = scripted.unwrap_or_else(|| (state.otherwise)(&sent));
        state.sent.push(sent);
        state.panicked += usize::from(reply == Reply::Panic);
        reply
    }

    fn hang(&self) -> oneshot::Receiver<Reply> {
        let (hanging, released) = oneshot::channel();
        self.state().hanging.push(hanging);
        released
    }
}

/// One engine's way to the network; a crash cuts it.
pub(super) struct Wire {
    pub(super) network: Arc<Network>,
    pub(super) cut: Arc<AtomicBool>,
}

#[async_trait]
impl Transport for Wire {
    async fn send(&self, request: Request) -> send::Sent {
        if self.cut.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let busy = self.network.pulse.busy();
        let reply = match self.network.take(request) {
            Reply::Hang => {
                let released = self.network.hang();
                drop(busy);
                match released.await {
                    Ok(reply) => reply,
                    Err(_) => std::future::pending().await,
                }
            }
            reply => reply,
        };
        outcome(reply).into()
    }
}

fn outcome(reply: Reply) -> Outcome {
    let (status, headers) = match reply {
        Reply::Status(status) => (status, Headers::default()),
        Reply::RetryAfter(status, when) => (status, [("retry-after", when)].into_iter().collect()),
        Reply::Silence(reason) => return Outcome::NoAnswer { reason: reason.to_owned() },
        Reply::Hang | Reply::Panic => panic!("the transport panics, as the test wants it"),
    };
    Outcome::Answered(Answer { status, headers, body: Bytes::from_static(b"thanks"), flaw: None })
}
