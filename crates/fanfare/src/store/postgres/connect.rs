//! Where the database is, and how its connections are set up.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

use crate::store::{Result, StoreError};

/// How many connections at most, the owner's own aside.
const CONNECTIONS_MAX: usize = 8;
/// How long a call waits for a connection, new or given back.
const PATIENCE: Duration = Duration::from_secs(5);
/// The port where the URL names none.
const PORT: u16 = 5432;
/// The schema where the URL names none.
const SCHEMA: &str = "fanfare";

/// For every connection. Durable commits are promised, so a server's laxer default does not
/// count. Every statement of the store is a walk along an index; without statistics (a fresh
/// table, a cached plan from when it was small) the planner would rather read whole tables, so
/// that is made dear. [`super::check`] lifts it for itself.
const OPTIONS: &str = "-csynchronous_commit=on -clock_timeout=10s \
    -cidle_in_transaction_session_timeout=10s -cjit=off -cenable_seqscan=off \
    -cenable_bitmapscan=off -cenable_hashjoin=off -cenable_mergejoin=off";

/// A database's address, and the schema in it.
pub(super) struct Address {
    config: Config,
    schema: String,
}

/// A connection outside the pool. Dropped means closed.
pub(super) struct Connection {
    client: Client,
    driver: JoinHandle<()>,
}

/// Why a URL names no database; the URL itself may hold a password.
fn unusable(error: &tokio_postgres::Error) -> StoreError {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    StoreError::Taken(format!("FANFARE_DATABASE_URL: {error}{}", cause.unwrap_or_default()))
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let mut config: Config = url.parse().map_err(|error| unusable(&error))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(StoreError::Taken("FANFARE_DATABASE_URL names no host".to_owned()));
        }
        let asked = config.get_options().unwrap_or_default().to_owned();
        let named = first_schema(&asked);
        let schema = named.clone().unwrap_or_else(|| SCHEMA.to_owned());
        let path = if named.is_none() { format!(" -csearch_path={schema}") } else { String::new() };
        // The later one of two counts, so what the URL says does.
        config.options(format!("{OPTIONS}{path} {asked}"));
        if config.get_application_name().is_none() {
            config.application_name("fanfare");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(PATIENCE);
        }
        // A cut network must not keep a call waiting for as long as TCP would.
        config.keepalives_idle(Duration::from_secs(10)).tcp_user_timeout(Duration::from_secs(15));
        Ok(Address { config, schema })
    }

    pub(super) fn read_only(mut self) -> Self {
        let options = self.config.get_options().unwrap_or_default();
        let options = format!("{options} -cdefault_transaction_read_only=on");
        self.config.options(options);
        self
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn schema(&self) -> &str {
        &self.schema
    }

    pub(super) async fn connect(&self) -> Result<Connection> {
        let (client, connection) = self.config.connect(NoTls).await?;
        // How it ended is told to whoever uses the client.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { client, driver })
    }

    pub(super) fn pool(&self) -> Result<Pool> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(self.config.clone(), NoTls, recycling);
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(PATIENCE))
            .create_timeout(Some(PATIENCE))
            .build();
        pool.map_err(|error| StoreError::Broken(error.to_string()))
    }
}

/// Every host and port that a URL names; sockets of this machine's file system have neither.
pub(in crate::store) fn hosts(url: &str) -> Vec<(String, u16)> {
    let Ok(config) = url.parse::<Config>() else { return Vec::new() };
    let named = config.get_hosts().iter().filter_map(|host| match host {
        Host::Tcp(name) => Some(name.clone()),
        #[cfg(unix)]
        Host::Unix(_) => None,
    });
    let addresses = config.get_hostaddrs().iter().map(ToString::to_string);
    // A single port is meant for every host.
    let ports = config.get_ports();
    let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(PORT);
    let hosts = named.enumerate().chain(addresses.enumerate());
    hosts.map(|(at, host)| (host, port(at))).collect()
}

/// The first schema of a `-csearch_path=…` among a connection's options.
fn first_schema(options: &str) -> Option<String> {
    let (_, path) = options.rsplit_once("search_path=")?;
    let first = path.split([' ', ',']).next()?.trim_matches('"');
    (!first.is_empty()).then(|| first.to_owned())
}

impl std::ops::Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The client's own end would close the connection too, but not while a query is stuck.
        self.driver.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_the_first_of_the_search_path() {
        let cases = [
            ("", None),
            ("-cjit=off", None),
            ("-csearch_path=shop", Some("shop")),
            ("-c search_path=\"Shop\",public -cjit=off", Some("Shop")),
            ("-csearch_path=", None),
        ];
        for (options, schema) in cases {
            assert_eq!(first_schema(options).as_deref(), schema, "{options}");
        }
    }

    #[test]
    fn the_hosts_of_a_url_are_known_with_their_ports() {
        let found = |url| -> Vec<String> {
            hosts(url).into_iter().map(|(host, port)| format!("{host} {port}")).collect()
        };
        assert_eq!(found("postgres://u:p@db.example/d"), ["db.example 5432"]);
        assert_eq!(found("postgres://a:6000,b:6001/d"), ["a 6000", "b 6001"]);
        assert_eq!(found("postgres://a:6000/d?hostaddr=10.0.0.1"), ["a 6000", "10.0.0.1 6000"]);
        assert!(found("postgres:///d?host=/run/postgresql").is_empty());
    }

    #[test]
    fn what_the_url_says_comes_last_and_counts() {
        let address =
            Address::parse("postgres://h/d?options=-csearch_path%3Dshop%20-cjit%3Don").unwrap();
        assert_eq!(address.schema(), "shop");
        assert!(address.config.get_options().unwrap().ends_with("-csearch_path=shop -cjit=on"));
        let plain = Address::parse("postgres://h/d").unwrap();
        assert!(plain.config.get_options().unwrap().contains("-csearch_path=fanfare"));
    }
}
