//! The server as a whole: store, engine, tokens and HTTP, started and stopped in order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fanfare::clock::{Clock, SystemClock};
use fanfare::{Engine, Options};
use fanfare_server::auth::{Auth, AuthSettings};
use fanfare_server::{App, Doors, Rate, router, serve};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::failure::{Failure, Result};

/// What a server is made of.
pub(crate) struct Plan {
    /// Where it is asked.
    pub listener: TcpListener,
    /// Its engine.
    pub engine: Options,
    /// Whose tokens it believes.
    pub auth: AuthSettings,
    /// Base of the links in answers.
    pub public_url: Option<Url>,
    /// What connections and requests are held to.
    pub doors: Doors,
    /// Requests of one company.
    pub company_rate: Option<Rate>,
    /// How long a stop waits for attempts in flight.
    pub grace: Duration,
}

/// A server at work.
pub(crate) struct Server {
    engine: Engine,
    address: SocketAddr,
    grace: Duration,
    http: JoinHandle<()>,
    stop_http: CancellationToken,
}

/// Listens on an address.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::Failed(format!(
            "{address} cannot be listened on: {error}; choose another address with --listen"
        ))
    })
}

/// Where a server that listens on `listen` is reached from the same machine.
pub(crate) fn nearest(listen: SocketAddr) -> SocketAddr {
    let address = match listen.ip() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        named => named,
    };
    SocketAddr::new(address, listen.port())
}

/// What a server is called among others on the same store: where it is.
fn node_name(address: SocketAddr) -> String {
    if !address.ip().is_unspecified() && !address.ip().is_loopback() {
        return address.to_string();
    }
    let machine = rustix::system::uname();
    format!("{}:{}", machine.nodename().to_string_lossy(), address.port())
}

impl Server {
    /// Opens the store, takes up what an earlier process left behind, and serves.
    pub(crate) async fn start(mut plan: Plan) -> Result<Server> {
        let address = plan.listener.local_addr();
        let address = address.map_err(|error| Failure::Failed(error.to_string()))?;
        // Known for sure only now: a port of 0 becomes another one.
        plan.engine.guard.own_sockets.push(address);
        plan.engine.node = node_name(address);
        let engine = Engine::open(plan.engine).await?;
        engine.agree_on_key("FANFARE_JWT_SECRET", &plan.auth.secret).await?;
        let (clock, transport) = (Arc::clone(engine.clock()), Arc::clone(engine.transport()));
        let auth = Auth::new(plan.auth, clock, transport);
        let auth = Arc::new(auth.map_err(|error| Failure::Usage(error.to_string()))?);
        engine.start().await?;

        let stop_http = CancellationToken::new();
        tokio::spawn(Arc::clone(&auth).run(stop_http.clone()));
        let app = App::new(engine.clone(), auth, plan.public_url);
        let router = router(app.with_company_rate(plan.company_rate));
        let http = tokio::spawn(serve(plan.listener, router, plan.doors, stop_http.clone()));
        Ok(Server { engine, address, grace: plan.grace, http, stop_http })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Serves until `done`.
    ///
    /// # Errors
    /// [`Failure::Untrusted`] when the disk lost a write meanwhile.
    pub(crate) async fn until<T>(&mut self, done: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            value = done => Ok(value),
            reason = self.engine.lost() => Err(Failure::Untrusted(reason)),
            ended = &mut self.http => Err(Failure::Failed(format!("HTTP ended: {ended:?}"))),
        }
    }

    /// Refuses new events, and ends once attempts in flight are recorded and every answer is
    /// given; whatever is left is cut when the grace is over, or by `impatience`.
    pub(crate) async fn stop(self, impatience: impl Future<Output = ()>) -> Result {
        let Server { engine, grace, mut http, stop_http, .. } = self;
        engine.drain();
        let cut = CancellationToken::new();
        let patience_ends = async {
            tokio::select! {
                () = SystemClock.sleep_until(SystemClock.now().plus(grace)) => {}
                () = impatience => {}
            }
            cut.cancel();
            std::future::pending::<()>().await;
        };
        // Until the engine has ended, callers are still told so: `/readyz` and events answer 503.
        let end = async {
            engine.stop(cut.cancelled()).await;
            stop_http.cancel();
            tokio::select! {
                _ = &mut http => {}
                () = cut.cancelled() => http.abort(),
            }
        };
        tokio::select! {
            () = end => Ok(()),
            () = patience_ends => Ok(()),
            reason = engine.lost() => Err(Failure::Untrusted(reason)),
        }
    }
}
