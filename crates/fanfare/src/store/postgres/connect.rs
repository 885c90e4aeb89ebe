//! Where the database is, and how its connections are set up.

use std::future::poll_fn;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, Client, Config, Notification};

use crate::store::postgres::tls::Tls;
use crate::store::postgres::{error, url};
use crate::store::{Result, StoreError};

/// How long a host may take until its connection is ready for statements.
pub(super) const HOST_TIME_MAX: Duration = Duration::from_secs(3);
/// What was sent and is not acknowledged for so long is lost in a network that was cut.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(4);
/// The port where the URL names none.
const PORT: u16 = 5432;
/// The schema where the URL names none.
const SCHEMA: &str = "fanfare";

/// For every connection. Durable commits are promised, so a server's laxer default does not
/// count. Nobody waits for a lock for longer than a caller has patience. Every statement of the
/// store is a walk along an index; without statistics (a fresh table, a cached plan from when it
/// was small) the planner would rather read whole tables, so that is made dear. [`super::check`]
/// lifts it for itself. Plans are made once and for all values: to plan a walk through history, with
/// a partition for each day, takes longer than to take it.
const SETTINGS: [(&str, &str); 9] = [
    ("synchronous_commit", "on"),
    ("lock_timeout", "2s"),
    ("idle_in_transaction_session_timeout", IDLE_MAX_TEXT),
    ("jit", "off"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// How long the server keeps a transaction open whose client says nothing.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(10);
const IDLE_MAX_TEXT: &str = "10s";

/// What must hold whoever stands between us and the server: a pooler may ignore what we ask for.
const HOLDS: &str = "
    select current_setting('synchronous_commit'), current_setting('search_path'), current_user,
           current_database()";

/// A database's address, and the schema in it.
#[derive(Clone)]
pub(super) struct Address {
    /// For each host one, in their order.
    hosts: Vec<Config>,
    tls: Tls,
    schema: String,
}

/// A connection. Dropped means closed.
pub(super) struct Connection {
    client: Client,
    driver: JoinHandle<()>,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let parsed = url::parse(url)?;
        let tls = Tls::new(&parsed.tls)?;
        let asked = parsed.hosts.first().and_then(Config::get_options).unwrap_or_default();
        let named = first_schema(asked);
        let schema = named.clone().unwrap_or_else(|| SCHEMA.to_owned());
        let path = if named.is_none() { format!("-csearch_path={schema} ") } else { String::new() };
        let ours: String =
            SETTINGS.iter().map(|(name, value)| format!("-c{name}={value} ")).collect();
        // The later one of two counts, so what the URL says does.
        let options = format!("{ours}{path}{asked}");
        let mut hosts = parsed.hosts;
        hosts.iter_mut().for_each(|host| set_up(host, options.trim_end()));
        Ok(Address { hosts, tls, schema })
    }

    pub(super) fn read_only(mut self) -> Self {
        for host in &mut self.hosts {
            let options = host.get_options().unwrap_or_default();
            let options = format!("{options} -cdefault_transaction_read_only=on");
            // A standby is as good as a primary.
            host.options(options).target_session_attrs(TargetSessionAttrs::Any);
        }
        self
    }

    pub(super) fn schema(&self) -> &str {
        &self.schema
    }

    /// A connection to the first host that can be used.
    ///
    /// # Errors
    /// What each host said. A host that says nothing is given up after three seconds.
    pub(super) async fn connect(&self) -> Result<Connection> {
        self.connect_hearing(|_| {}).await
    }

    /// The same, with every notification handed to `hear`.
    pub(super) async fn connect_hearing(
        &self,
        hear: impl Fn(&Notification) + Clone + Send + 'static,
    ) -> Result<Connection> {
        let mut refusals = Vec::new();
        for host in &self.hosts {
            match timeout(HOST_TIME_MAX, self.connect_to(host, hear.clone())).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => refusals.push(error),
                Err(_) => {
                    let text = format!("no answer within {HOST_TIME_MAX:?}");
                    refusals.push(StoreError::Away(text));
                }
            }
        }
        Err(self.together(refusals))
    }

    async fn connect_to(
        &self,
        host: &Config,
        hear: impl Fn(&Notification) + Send + 'static,
    ) -> Result<Connection> {
        let (client, mut connection) = host.connect(self.tls.clone()).await?;
        // How it ended is told to whoever uses the client.
        let driver = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(notification) = message {
                    hear(&notification);
                }
            }
        });
        let connection = Connection { client, driver };
        self.verify(&connection).await?;
        Ok(connection)
    }

    /// Makes sure that what was asked for at the start of the connection holds.
    async fn verify(&self, connection: &Connection) -> Result<()> {
        let row = connection.query_one(HOLDS, &[]).await?;
        let (commit, path): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let first = path.split(',').next().unwrap_or_default().trim().trim_matches('"');
        if commit != "off" && first == self.schema {
            return Ok(());
        }
        let (user, database): (String, String) = (row.try_get(2)?, row.try_get(3)?);
        let path = [("search_path", self.schema.as_str())];
        let statements: String = SETTINGS
            .iter()
            .chain(&path)
            .map(|(name, value)| {
                format!(" alter role \"{user}\" in database \"{database}\" set {name} = '{value}';")
            })
            .collect();
        Err(StoreError::Taken(format!(
            "the database does not keep the settings of a connection (synchronous_commit is \
             {commit}, search_path is {path}); behind a pooler, run this once:{statements}",
            path = row.try_get::<_, String>(1)?
        )))
    }

    /// One error of many hosts.
    fn together(&self, mut refusals: Vec<StoreError>) -> StoreError {
        let settings = |error: &StoreError| !error.passes();
        let only = refusals.iter().position(settings).or((refusals.len() == 1).then_some(0));
        if let Some(at) = only {
            return refusals.swap_remove(at);
        }
        let told = self.hosts.iter().zip(&refusals).map(|(host, error)| {
            let name = names(host).next().unwrap_or_default();
            format!("{name}: {}", error::reason(error))
        });
        StoreError::Away(told.collect::<Vec<_>>().join("; "))
    }
}

fn set_up(host: &mut Config, options: &str) {
    host.options(options);
    if host.get_application_name().is_none() {
        host.application_name("fanfare");
    }
    if host.get_connect_timeout().is_none() {
        host.connect_timeout(HOST_TIME_MAX);
    }
    if host.get_tcp_user_timeout().is_none() {
        host.tcp_user_timeout(UNACKNOWLEDGED_MAX);
    }
    host.keepalives_idle(Duration::from_secs(10));
}

/// Every host and port that a URL names; sockets of this machine's file system have neither.
pub(in crate::store) fn hosts(url: &str) -> Vec<(String, u16)> {
    let Ok(parsed) = url::parse(url) else { return Vec::new() };
    let port = |host: &Config| host.get_ports().first().copied().unwrap_or(PORT);
    let of = |host: &Config| -> Vec<_> {
        let port = port(host);
        names(host).map(|name| (name, port)).collect()
    };
    parsed.hosts.iter().flat_map(of).collect()
}

/// A host's name and its address, where the URL gives them.
fn names(host: &Config) -> impl Iterator<Item = String> {
    let named = host.get_hosts().iter().filter_map(|host| match host {
        Host::Tcp(name) => Some(name.clone()),
        #[cfg(unix)]
        Host::Unix(_) => None,
    });
    named.chain(host.get_hostaddrs().iter().map(ToString::to_string))
}

/// The first schema of a `-csearch_path=…` among a connection's options.
fn first_schema(options: &str) -> Option<String> {
    let (_, path) = options.rsplit_once("search_path=")?;
    let first = path.split([' ', ',']).next()?.trim_matches('"');
    (!first.is_empty()).then(|| first.to_owned())
}

impl Connection {
    /// Returns once it is broken.
    pub(super) async fn ended(&mut self) {
        // A driver that was aborted has ended too.
        let _ = (&mut self.driver).await;
    }

    /// Ends it: whoever waits for an answer is told so.
    pub(super) fn end(&self) {
        self.driver.abort();
    }
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
        assert!(address.hosts[0].get_options().unwrap().ends_with("-csearch_path=shop -cjit=on"));
        let plain = Address::parse("postgres://h/d").unwrap();
        assert!(plain.hosts[0].get_options().unwrap().contains("-csearch_path=fanfare"));
    }
}
