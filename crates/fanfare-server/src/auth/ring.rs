//! The present key set, and how it is kept present: one look at its source at a time, made beside
//! the requests and never for one that the present keys can decide.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fanfare::clock::Clock;
use fanfare::model::{Answer, CompanyId, Outcome, Timestamp};
use fanfare::send::{Request, Transport};
use http::header::{ACCEPT, HeaderValue};
use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;
use uuid::Uuid;

use super::JwksSource;
use super::keys::{DOCUMENT_BYTES_MAX, KeySet};
use super::verified::Verified;

/// How often a file's modification time is looked at.
const FILE_PERIOD: Duration = Duration::from_secs(5);
/// How often a URL is fetched.
const URL_PERIOD: Duration = Duration::from_secs(5 * 60);
/// The least time between two fetches that tokens with unknown keys ask for.
const UNKNOWN_KEY_GAP: Duration = Duration::from_secs(30);

/// A key set, and the tokens that were believed under it. A change replaces both.
#[derive(Default)]
pub(super) struct Known {
    pub keys: KeySet,
    pub verified: Verified,
    /// The SHA-256 of the document the keys came from.
    digest: [u8; 32],
}

/// Holds the present key set.
pub(super) struct Ring {
    source: Option<JwksSource>,
    clock: Arc<dyn Clock>,
    transport: Arc<dyn Transport>,
    known: RwLock<Arc<Known>>,
    look: watch::Sender<Look>,
    tasks: TaskTracker,
    quit: CancellationToken,
}

/// Where the looks at the source stand.
#[derive(Default)]
struct Look {
    under_way: bool,
    /// When the newest began.
    began_at: Option<Timestamp>,
    /// The file as it was when its keys were taken over.
    stamp: Option<Stamp>,
    /// The newest look failed, and the operator has been told.
    failing: bool,
}

/// Tells whether a file may have changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp { modified: metadata.modified().ok(), len: metadata.len() }
    }
}

/// What a look found, when it found something new.
struct Document {
    bytes: Bytes,
    stamp: Option<Stamp>,
}

impl Ring {
    /// Takes the keys of a file at once; those of a URL come with the first look.
    pub(super) fn new(
        source: Option<JwksSource>,
        clock: Arc<dyn Clock>,
        transport: Arc<dyn Transport>,
    ) -> Result<Ring, String> {
        let ring = Ring {
            source,
            clock,
            transport,
            known: RwLock::default(),
            look: watch::Sender::new(Look::default()),
            tasks: TaskTracker::new(),
            quit: CancellationToken::new(),
        };
        if let Some(JwksSource::File(path)) = &ring.source {
            let document = read(path, None)
                .and_then(|document| document.map_or(Ok(()), |document| ring.take_over(document)));
            document.map_err(|reason| format!("{}: {reason}", path.display()))?;
        }
        Ok(ring)
    }

    /// Is there a place that keys come from?
    pub(super) fn has_source(&self) -> bool {
        self.source.is_some()
    }

    /// The present key set.
    pub(super) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long to wait between two looks.
    pub(super) fn period(&self) -> Option<Duration> {
        match self.source.as_ref()? {
            JwksSource::File(_) => Some(FILE_PERIOD),
            JwksSource::Url(_) => Some(URL_PERIOD),
        }
    }

    /// Looks again for the sake of a token whose key is unknown, unless that was done lately.
    pub(super) async fn look_for_unknown_key(self: &Arc<Self>) {
        let gap = match &self.source {
            None => return,
            Some(JwksSource::File(_)) => FILE_PERIOD,
            Some(JwksSource::Url(_)) => UNKNOWN_KEY_GAP,
        };
        self.look(gap).await;
    }

    /// Looks at the source, unless a look is under way or one began within `gap`; returns when
    /// none is under way. The look is a task of its own, so that a caller who goes away neither
    /// cuts it short nor uses it up for the others.
    pub(super) async fn look(self: &Arc<Self>, gap: Duration) {
        let now = self.clock.now();
        let mut looks = self.look.subscribe();
        let begins = self.look.send_if_modified(|look| {
            // A clock that was set back must not stop the looks until it has caught up.
            let lately = |began: Timestamp| began <= now && now.since(began) < gap;
            let begins = !look.under_way && !look.began_at.is_some_and(lately);
            if begins {
                (look.under_way, look.began_at) = (true, Some(now));
            }
            begins
        });
        if begins {
            let ring = Arc::clone(self);
            self.tasks.spawn(async move {
                let _landing = Landing(&ring.look);
                ring.quit.run_until_cancelled(ring.refresh()).await;
            });
        }
        // Fails only without a sender, and we are holding it.
        let _ = looks.wait_for(|look| !look.under_way).await;
    }

    /// Ends the look under way, and all later ones.
    pub(super) async fn close(&self) {
        self.quit.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn refresh(&self) {
        let found = match &self.source {
            None => return,
            Some(JwksSource::File(path)) => self.read_beside(path.clone()).await,
            Some(JwksSource::Url(url)) => self.fetch(url.clone()).await.map(Some),
        };
        let outcome =
            found.and_then(|found| found.map_or(Ok(()), |document| self.take_over(document)));
        self.report(outcome.err());
    }

    /// Reads the file where waiting for a disk holds nobody up.
    async fn read_beside(&self, path: PathBuf) -> Result<Option<Document>, String> {
        let stamp = self.look.borrow().stamp;
        let read = tokio::task::spawn_blocking(move || read(&path, stamp)).await;
        read.unwrap_or_else(|_| Err("reading it was broken off".into()))
    }

    async fn fetch(&self, url: Url) -> Result<Document, String> {
        let accept = HeaderValue::from_static("application/jwk-set+json, application/json");
        let request = Request {
            // Nobody's: for the server itself.
            company: CompanyId::from_uuid(Uuid::nil()),
            method: Method::GET,
            url,
            headers: HeaderMap::from_iter([(ACCEPT, accept)]),
            body: Bytes::new(),
            identity: None,
        };
        match self.transport.send(request).await.outcome {
            Outcome::Answered(Answer { status: 200, body: bytes, flaw: None, .. }) => {
                Ok(Document { bytes, stamp: None })
            }
            Outcome::Answered(Answer { status: 200, flaw: Some(flaw), .. }) => Err(flaw),
            Outcome::Answered(Answer { status, .. }) => Err(format!("answered {status}")),
            Outcome::NoAnswer { reason } => Err(reason),
        }
    }

    /// Makes the document's keys the present ones. An unchanged document changes nothing, so that
    /// the tokens believed before need not be verified again.
    fn take_over(&self, document: Document) -> Result<(), String> {
        let digest: [u8; 32] = Sha256::digest(&document.bytes).into();
        if digest != self.known().digest {
            let keys = KeySet::parse(&document.bytes)?;
            let count = keys.len();
            let known = Known { keys, verified: Verified::default(), digest };
            *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
            if count == 0 {
                tracing::warn!("FANFARE_JWKS has no key for RS256, ES256 or EdDSA");
            } else {
                tracing::info!(keys = count, "took over the keys of FANFARE_JWKS");
            }
        }
        self.look.send_modify(|look| look.stamp = document.stamp);
        Ok(())
    }

    /// Tells the operator once when looks begin to fail, and once when they work again.
    fn report(&self, failure: Option<String>) {
        let failing = failure.is_some();
        let mut failed_before = false;
        self.look.send_modify(|look| {
            failed_before = std::mem::replace(&mut look.failing, failing);
        });
        match failure {
            Some(reason) if !failed_before => {
                tracing::warn!(reason, "FANFARE_JWKS cannot be read: the present keys stay");
            }
            None if failed_before => tracing::info!("FANFARE_JWKS can be read again"),
            _ => {}
        }
    }
}

/// Marks the look as over when dropped, also by a panic.
struct Landing<'a>(&'a watch::Sender<Look>);

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|look| look.under_way = false);
    }
}

/// Reads a key set's file, unless it is still as it was.
fn read(path: &Path, stamp: Option<Stamp>) -> Result<Option<Document>, String> {
    let failed = |error: std::io::Error| error.to_string();
    let metadata = std::fs::metadata(path).map_err(failed)?;
    // Opening a pipe would wait for whoever writes to it.
    if !metadata.is_file() {
        return Err("not a file".into());
    }
    let now = Stamp::of(&metadata);
    if stamp == Some(now) {
        return Ok(None);
    }
    let limit = DOCUMENT_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(Document { bytes: bytes.into(), stamp: Some(now) }))
}
