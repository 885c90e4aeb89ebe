//! `fanfare demo`: the first minute. A server, a receiver beside it, and events that arrive.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command};
use fanfare::clock::{Clock, SystemClock};
use fanfare::engine::{NewEndpoint, NewEvent, Rules};
use fanfare::metrics::Stopwatch;
use fanfare::model::{CATALOGUE, CompanyId, EventId};
use fanfare::send::GuardPolicy;
use fanfare::sign::Secret;
use fanfare::{Engine, Options};
use fanfare_server::Doors;
use fanfare_server::auth::{AuthSettings, Grant};
use hyper::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::token;
use crate::failure::{Failure, Result};
use crate::keys::Keys;
use crate::receiver::{Arrival, Receiver};
use crate::samples::SAMPLES;
use crate::server::{Plan, Server, bind};
use crate::settings::{Settings, flags};
use crate::signals::Signals;
use crate::verify::{Finding, verify};
use crate::{logs, out, runtime};

/// Where the demo listens when nothing else does.
const PORT: u16 = 8080;
/// How long the events may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the printed token lasts.
const TOKEN_TTL: Duration = Duration::from_hours(24);

pub(super) fn command() -> Command {
    Command::new("demo")
        .about("Shows signed commerce events arriving, on a server that leaves nothing behind")
        .arg(
            Arg::new("exit")
                .long("exit")
                .action(ArgAction::SetTrue)
                .hide(true)
                .help("End once all events have arrived"),
        )
        .args(flags(|setting| setting.starts_with("log")))
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let settings = Settings::load(matches)?;
    logs::start(&settings);
    runtime::on_all_cores(demo(matches.get_flag("exit")))
}

async fn demo(exit: bool) -> Result {
    let mut signals = Signals::catch()?;
    let dir = tempfile::Builder::new().prefix("fanfare-demo-").tempdir();
    let dir = dir.map_err(|error| Failure::Failed(format!("no directory can be made: {error}")))?;
    let receiver = Receiver::bind(0).await?;
    let keys = Keys::throw_away()?;
    let secret = keys.jwt.clone();
    let mut server = Server::start(plan(dir.path(), &receiver, keys).await?).await?;
    out::say(&format!(
        "Fanfare {} at http://{}, a receiver at http://{}, data in {}\n",
        env!("CARGO_PKG_VERSION"),
        server.address(),
        receiver.address,
        dir.path().display()
    ));

    let mut shop = Shop::open(server.engine(), receiver).await?;
    let engine = server.engine().clone();
    let shown = async {
        tokio::select! {
            shown = shop.show(&engine) => shown.map(|()| true),
            () = signals.next() => Ok(false),
        }
    };
    let all_arrived = server.until(shown).await??;
    if all_arrived && !exit {
        invite(server.address(), shop.company, secret.reveal())?;
        server.until(signals.next()).await?;
    }
    server.stop(signals.next()).await?;
    dir.close().map_err(|error| Failure::Failed(format!("the data stays behind: {error}")))
}

async fn plan(dir: &std::path::Path, receiver: &Receiver, keys: Keys) -> Result<Plan> {
    let only_the_receiver = format!("127.0.0.1/32:{}", receiver.address.port());
    let rules = Rules::default();
    Ok(Plan {
        listener: listener().await?,
        grace: rules.request_timeout,
        engine: Options {
            database_url: format!("sqlite:{}", dir.join("fanfare.db").display()),
            encryption_keys: keys.encryption,
            guard: GuardPolicy {
                allow_http: true,
                allow_networks: vec![only_the_receiver.parse().map_err(Failure::Failed)?],
                ..GuardPolicy::default()
            },
            node: "demo".to_owned(),
            rules,
        },
        auth: AuthSettings { secret: keys.jwt.bytes(), jwks: None, issuer: None, audience: None },
        public_url: None,
        doors: Doors::default(),
        company_rate: None,
    })
}

async fn listener() -> Result<TcpListener> {
    match bind(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))).await {
        Ok(listener) => Ok(listener),
        Err(_) => bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await,
    }
}

/// When each event was emitted.
type Emitted = Arc<Mutex<HashMap<EventId, Stopwatch>>>;

/// A company with an endpoint, and what arrives there.
struct Shop {
    company: CompanyId,
    emitted: Emitted,
    arrivals: UnboundedReceiver<Duration>,
}

impl Shop {
    /// Registers the receiver for every documented event type and lets it print what arrives.
    async fn open(engine: &Engine, receiver: Receiver) -> Result<Shop> {
        let company = CompanyId::new(SystemClock.now());
        let url = format!("http://{}/webhooks", receiver.address);
        let subscriptions = CATALOGUE.iter().map(|known| known.name.parse());
        let subscriptions: std::result::Result<_, _> = subscriptions.collect();
        let url = engine.parse_url("url", &url)?;
        let endpoint = NewEndpoint::new(url, subscriptions.map_err(Failure::Failed)?);
        let endpoint = engine.register(company, endpoint).await?;
        let secret = engine.secret(&endpoint)?;
        let (arrived, arrivals) = unbounded_channel();
        let emitted = Emitted::default();
        let looking = Arc::clone(&emitted);
        let look = move |arrival: Arrival| show(&arrival, &secret, &looking, &arrived);
        tokio::spawn(receiver.run(StatusCode::NO_CONTENT, look));
        Ok(Shop { company, emitted, arrivals })
    }

    /// Emits the samples, waits until all have arrived, and says how long it took.
    async fn show(&mut self, engine: &Engine) -> Result {
        for (event_type, payload) in SAMPLES {
            let id = EventId::new(SystemClock.now());
            self.emitted
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(id, Stopwatch::start());
            let event_type = event_type.parse().map_err(Failure::Failed)?;
            let payload = Bytes::from_static(payload.as_bytes());
            let event = NewEvent { id: Some(id), ..NewEvent::new(event_type, payload) };
            engine.emit(self.company, event).await?;
        }
        let mut took = Vec::new();
        let all = async {
            while took.len() < SAMPLES.len() {
                took.extend(self.arrivals.recv().await);
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, all).await.is_ok();
        let (arrived, wanted) = (took.len(), SAMPLES.len());
        if !in_time {
            let message = format!("only {arrived} of {wanted} events arrived and were verified");
            return Err(Failure::Failed(message));
        }
        took.sort();
        let (half, all) = (ms(took[arrived / 2]), ms(took[arrived - 1]));
        out::say(&format!(
            "\n{arrived} of {wanted} events arrived, every signature verified: half of them \
             within {half}, all within {all} of being emitted"
        ));
        Ok(())
    }
}

/// Prints a line for what arrived, and tells of it when it is one of ours and verified.
fn show(
    arrival: &Arrival,
    secret: &Secret,
    emitted: &Emitted,
    arrived: &UnboundedSender<Duration>,
) {
    let event_type = arrival.event_type().map_or("-".to_owned(), |known| known.to_string());
    let finding = verify(arrival, std::slice::from_ref(secret), SystemClock.now());
    if let Finding::NotVerified(why) = finding {
        return out::say(&format!("  {event_type:<22} NOT VERIFIED: {why}"));
    }
    let id = arrival.header("webhook-id").and_then(|id| id.parse().ok());
    let first = id
        .and_then(|id: EventId| emitted.lock().unwrap_or_else(PoisonError::into_inner).remove(&id));
    let Some(stopwatch) = first else {
        return out::say(&format!("  {event_type:<22} verified"));
    };
    let took = stopwatch.elapsed();
    out::say(&format!("  {event_type:<22} verified  {:>9}", ms(took)));
    // Nobody counts any more once all have arrived.
    let _ = arrived.send(took);
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// Says what to do next.
fn invite(address: SocketAddr, company: CompanyId, secret: &str) -> Result {
    let grant = Grant {
        secret: secret.as_bytes(),
        company,
        role: token::ROLE,
        ttl: TOKEN_TTL,
        issuer: None,
        audience: None,
    };
    let token = token::sign(&grant)?;
    out::say(&format!(
        "
It stays up:

  dashboard  http://{address}/
  API        http://{address}/docs
  company    {company}
  token      {token}

Emit another event, and see it arrive here:

  curl http://{address}/v1/companies/{company}/events \\
    -H 'Authorization: Bearer {token}' \\
    -H 'Content-Type: application/json' \\
    -d '{{\"type\": \"order.created\", \"data\": {{\"order\": {{\"total\": \"19.90\"}}}}}}'

Ctrl-C ends it and removes its data.
"
    ));
    Ok(())
}
