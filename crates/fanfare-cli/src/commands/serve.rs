//! `fanfare serve`: the server.

use std::path::Path;

use clap::{ArgMatches, Command};
use fanfare::Options;
use fanfare::clock::{Clock, SystemClock};
use fanfare::model::CompanyId;
use fanfare_server::Doors;
use fanfare_server::auth::AuthSettings;

use crate::failure::Result;
use crate::keys::{Keys, make_data_dir};
use crate::server::{Plan, Server, bind, nearest};
use crate::settings::{Settings, flags};
use crate::signals::Signals;
use crate::{logs, out, runtime};

pub(super) fn command() -> Command {
    Command::new("serve")
        .about("Runs the server: API, deliveries, dashboard")
        .after_help(
            "The same settings are read from FANFARE_… variables and, by their names with \
             underscores, from a TOML file; flags come first, then the environment.\n\
             Durations are whole numbers with ms, s, m, h or d; sizes with B, KiB or MiB.",
        )
        .args(flags(|_| true))
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let settings = Settings::load(matches)?;
    logs::start(&settings);
    runtime::on_all_cores(serve(settings))
}

async fn serve(settings: Settings) -> Result {
    let mut signals = Signals::catch()?;
    let data_dir = settings.data_dir.clone();
    let database = settings.database_url.to_string();
    let mut server = Server::start(plan(settings).await?).await?;
    welcome(&server, &data_dir, &database);
    tracing::info!(address = %server.address(), "serving");
    if let Err(failure) = server.until(signals.next()).await {
        tracing::error!("{}; the process ends", failure.message());
        return Err(failure);
    }
    server.engine().drain();
    tracing::info!("stopping: no new events; attempts in flight may end");
    server.stop(signals.next()).await?;
    tracing::info!("stopped");
    Ok(())
}

async fn plan(settings: Settings) -> Result<Plan> {
    // A busy port is told before anything is made.
    let listener = bind(settings.listen).await?;
    let keys = Keys::load_or_make(&settings)?;
    let store = settings.database_url.path();
    if store.is_some_and(|path| path.starts_with(&settings.data_dir)) {
        make_data_dir(&settings.data_dir)?;
    }
    Ok(Plan {
        listener,
        engine: Options {
            database_url: settings.database_url.reveal().to_owned(),
            encryption_keys: keys.encryption,
            guard: settings.guard,
            node: String::new(),
            rules: settings.rules,
        },
        auth: AuthSettings {
            secret: keys.jwt.bytes(),
            jwks: settings.jwks,
            issuer: settings.jwt_issuer,
            audience: settings.jwt_audience,
        },
        public_url: settings.public_url,
        doors: Doors {
            connections_max: settings.max_connections,
            address_rate: settings.address_rate,
            ..Doors::default()
        },
        company_rate: settings.company_rate,
        grace: settings.grace,
    })
}

/// Says where everything is and what to do first.
fn welcome(server: &Server, data_dir: &Path, database: &str) {
    let version = env!("CARGO_PKG_VERSION");
    let address = server.address();
    let url = format!("http://{}", nearest(address));
    let dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let company = CompanyId::new(SystemClock.now());
    let quoted = dir.display().to_string().replace('\'', r"'\''");
    let dir = dir.display();
    out::say(&format!(
        "Fanfare {version} listens on http://{address}

  API        {url}/docs
  health     {url}/healthz, {url}/readyz, {url}/metrics
  data       {dir}
  store      {database}

To register an endpoint, in another terminal:

  COMPANY={company}
  TOKEN=$(fanfare token --data-dir '{quoted}' --company $COMPANY)
  curl {url}/v1/companies/$COMPANY/endpoints \\
    -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\
    -d '{{\"url\": \"https://example.com/webhooks\", \"events\": [\"order.created\"]}}'

To see webhooks arrive right away: fanfare demo
"
    ));
}
