//! The resolver and the connector against a name server of our own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use fanfare_testkit::names::{Data, NameServer, Record, Reply};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts};

use super::*;

impl Names {
    /// Names as this server knows them.
    pub(in crate::send) fn asking(server: SocketAddr) -> Names {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        let connections = connections.map(|mut connection| {
            connection.port = server.port();
            connection
        });
        let mut servers = NameServerConfig::udp_and_tcp(server.ip());
        servers.connections = connections.to_vec();
        let search = vec![Name::from_ascii("search.example.").unwrap()];
        let config = ResolverConfig::from_parts(None, search, vec![servers]);
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        limit(builder.options_mut());
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        let resolver = OnceCell::new_with(Some(builder.build().unwrap()));
        Names { resolver, known: Known::default() }
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A chain of this many aliases from `0.chain.example` on, with an address at its end.
fn link(name: &str, length: u32) -> Option<Record> {
    let at: u32 = name.split('.').next()?.parse().ok()?;
    let data = if at < length {
        Data::Alias(format!("{}.chain.example", at + 1))
    } else {
        Data::Address(IpAddr::from([8, 8, 8, 8]))
    };
    Some(Record { name: name.to_owned(), ttl: 60, data })
}

/// Answers with the whole chain at once, as name servers do.
fn whole_chain(name: &str, length: u32) -> Reply {
    let first: u32 = name.split('.').next().and_then(|at| at.parse().ok()).unwrap_or(0);
    let names = (first..=length).map(|at| format!("{at}.chain.example"));
    Reply::Records(names.filter_map(|name| link(&name, length)).collect())
}

#[tokio::test]
async fn a_name_is_asked_for_as_it_stands_in_both_families_and_remembered() {
    let server = NameServer::start(|question| match question.is_ipv6() {
        true => Reply::address(question, "2606:4700::1111", 60),
        false => Reply::address(question, "8.8.8.8", 60),
    })
    .await;
    let names = Names::asking(server.address());
    for _ in 0..2 {
        let found = names.addresses("shop.example").await.unwrap();
        assert_eq!(*found, addresses(&["8.8.8.8", "2606:4700::1111"]));
    }
    assert_eq!(server.asked(), ["shop.example", "shop.example"]);
    // No search list, also for a single label and a name that is not there.
    let absent = NameServer::start(|_| Reply::Absent).await;
    let names = Names::asking(absent.address());
    assert_eq!(names.addresses("shop").await, Err(Failure::Dns("no such name")));
    assert!(absent.asked().iter().all(|name| name == "shop"), "{:?}", absent.asked());
}

#[tokio::test]
async fn an_answer_that_may_not_be_kept_is_asked_for_again() {
    let server = NameServer::start(|question| Reply::address(question, "8.8.8.8", 0)).await;
    let names = Names::asking(server.address());
    for asked in [2, 4] {
        names.addresses("shop.example").await.unwrap();
        assert_eq!(server.asked().len(), asked);
    }
}

#[tokio::test]
async fn eight_aliases_are_followed_and_nine_are_not() {
    for (length, good) in [(0, true), (8, true), (9, false), (40, false), (500, false)] {
        let server = NameServer::start(move |question| whole_chain(&question.name, length)).await;
        let found = Names::asking(server.address()).addresses("0.chain.example").await;
        assert_eq!(found.is_ok(), good, "{length}: {found:?}");
    }
}

#[tokio::test]
async fn aliases_that_come_one_at_a_time_end_too() {
    for (length, good) in [(7, true), (9, false), (1000, false)] {
        let server = NameServer::start(move |question| {
            Reply::Records(link(&question.name, length).into_iter().collect())
        })
        .await;
        let found = Names::asking(server.address()).addresses("0.chain.example").await;
        assert_eq!(found.is_ok(), good, "{length}: {found:?}");
        assert!(server.asked().len() <= 16, "{length}: {}", server.asked().len());
    }
}

#[tokio::test]
async fn aliases_that_go_in_a_circle_end() {
    let alias = |name: &str, of: &str| Record {
        name: name.to_owned(),
        ttl: 60,
        data: Data::Alias(of.to_owned()),
    };
    let circles: [Vec<Record>; 2] = [
        vec![alias("a.example", "a.example")],
        vec![alias("a.example", "b.example"), alias("b.example", "a.example")],
    ];
    for circle in circles {
        let server = NameServer::start(move |question| {
            let links = circle.iter().filter(|link| link.name == question.name);
            Reply::Records(links.cloned().collect())
        })
        .await;
        let found = Names::asking(server.address()).addresses("a.example").await;
        assert!(matches!(found, Err(Failure::Dns(_))), "{found:?}");
        assert!(server.asked().len() <= 16, "{}", server.asked().len());
    }
}

#[tokio::test]
async fn silence_ends_and_says_so() {
    let server = NameServer::start(|_| Reply::Silence).await;
    let found = Names::asking(server.address()).addresses("shop.example").await;
    assert!(
        matches!(
            found,
            Err(Failure::Dns("the name servers did not answer" | "no answer within 3 s"))
        ),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_long_answer_comes_over_tcp_and_a_monstrous_one_is_refused() {
    for (count, good) in [(64, true), (65, false), (2000, false)] {
        let server = NameServer::start(move |question| {
            if question.is_ipv6() {
                return Reply::Records(Vec::new());
            }
            let record = |number: u32| Record {
                name: question.name.clone(),
                ttl: 60,
                data: Data::Address(IpAddr::V4((0x0800_0000 + number).into())),
            };
            Reply::Records((0..count).map(record).collect())
        })
        .await;
        let found = Names::asking(server.address()).addresses("long.example").await;
        assert_eq!(found.as_ref().map_or(0, |found| found.len()), if good { 64 } else { 0 });
        assert!(server.asked_over_tcp() > 0, "{count} fitted in a datagram");
        if !good {
            assert_eq!(found, Err(Failure::Dns("the name has more than 64 addresses")));
        }
    }
}

#[tokio::test]
async fn absence_and_refusal_are_told_apart_and_garbage_is_no_answer() {
    for (reply, reason) in [
        (Reply::Absent, "no such name"),
        (Reply::Records(Vec::new()), "the name has no address"),
        (Reply::Garbage, "the name servers did not answer"),
        (Reply::Truncated, "the name could not be resolved"),
    ] {
        let told = reply.clone();
        let server = NameServer::start(move |_| told.clone()).await;
        let found = Names::asking(server.address()).addresses("shop.example").await;
        assert_eq!(found, Err(Failure::Dns(reason)), "{reply:?}");
    }
}

mod rebinding {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::model::{CompanyId, Outcome};
    use crate::send::connect::Connector;
    use crate::send::{GuardPolicy, HttpTransport, Refusal, Request, Transport};

    /// Counts who comes to an address, and answers 204 once.
    struct Watch {
        port: u16,
        came: Arc<AtomicU32>,
        _task: AbortOnDropHandle<()>,
    }

    impl Watch {
        async fn at(address: SocketAddr) -> Watch {
            let listener = TcpListener::bind(address).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let came = Arc::new(AtomicU32::new(0));
            let count = Arc::clone(&came);
            let task = tokio::spawn(async move {
                loop {
                    let (mut socket, _) = listener.accept().await.unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(async move {
                        let _ = socket.read(&mut [0; 4096]).await;
                        let _ = socket
                            .write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
                            .await;
                    });
                }
            });
            Watch { port, came, _task: AbortOnDropHandle::new(task) }
        }

        fn came(&self) -> u32 {
            self.came.load(Ordering::SeqCst)
        }
    }

    fn request(port: u16) -> Request {
        Request {
            company: CompanyId::from_uuid(uuid::Uuid::nil()),
            method: Method::POST,
            url: format!("http://moving.example:{port}/hook").parse().unwrap(),
            headers: HeaderMap::new(),
            identity: None,
            body: Bytes::from_static(b"{}"),
        }
    }

    /// 127.0.0.1 may be reached, 127.0.0.2 not, at the same port; both are watched.
    async fn watched() -> (Watch, Watch) {
        loop {
            let good = Watch::at("127.0.0.1:0".parse().unwrap()).await;
            let taken = TcpListener::bind(("127.0.0.2", good.port)).await;
            if taken.map(drop).is_ok() {
                let bad = Watch::at(SocketAddr::from(([127, 0, 0, 2], good.port))).await;
                return (good, bad);
            }
        }
    }

    fn transport(server: &NameServer, port: u16) -> HttpTransport {
        let policy = GuardPolicy {
            allow_http: true,
            allow_networks: vec![format!("127.0.0.1/32:{port}").parse().unwrap()],
            ..GuardPolicy::default()
        };
        let connector = Connector::asking(policy.clone(), Names::asking(server.address()));
        HttpTransport::over(connector, Duration::from_secs(10))
    }

    #[tokio::test]
    #[expect(clippy::print_stderr, reason = "the count is told in the full form")]
    async fn a_name_that_flips_between_two_questions_never_leads_inside() {
        let flips: u32 = if fanfare_testkit::full() { 1000 } else { 60 };
        let (good, bad) = watched().await;
        let number = AtomicU32::new(0);
        let server = NameServer::start(move |question| {
            if question.is_ipv6() {
                return Reply::Records(Vec::new());
            }
            let even = number.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
            Reply::address(question, if even { "127.0.0.1" } else { "127.0.0.2" }, 0)
        })
        .await;
        let transport = transport(&server, good.port);
        let (mut answered, mut refused) = (0, 0);
        for _ in 0..flips {
            let sent = transport.send(request(good.port)).await;
            match sent.outcome {
                Outcome::Answered(_) => answered += 1,
                Outcome::NoAnswer { reason } => {
                    assert!(reason.starts_with("refused: address_not_public: "), "{reason}");
                    assert!(!reason.contains("127."), "{reason}");
                    assert_eq!(sent.refusal, Some(Refusal::NotPublic));
                    refused += 1;
                }
            }
        }
        assert_eq!((answered, refused), (flips / 2, flips / 2));
        assert_eq!((good.came(), bad.came()), (flips / 2, 0));
        eprintln!("{flips} flips: {answered} went to the judged address, {refused} were refused");
    }

    #[tokio::test]
    async fn a_forbidden_address_beside_good_ones_in_either_family_condemns_the_name() {
        let (good, bad) = watched().await;
        for v6 in [None, Some("::1"), Some("2606:4700::1111"), Some("64:ff9b::7f00:2")] {
            let server = NameServer::start(move |question| {
                let record = |text: &str| Record {
                    name: question.name.clone(),
                    ttl: 0,
                    data: Data::Address(text.parse().unwrap()),
                };
                let v4 =
                    if v6.is_none() { vec!["127.0.0.1", "127.0.0.2"] } else { vec!["127.0.0.1"] };
                let texts = if question.is_ipv6() { v6.into_iter().collect() } else { v4 };
                Reply::Records(texts.into_iter().map(record).collect())
            })
            .await;
            let sent = transport(&server, good.port).send(request(good.port)).await;
            let refused = sent.refusal.is_some();
            // A public address of the other family is no reason to refuse.
            assert_eq!(refused, v6 != Some("2606:4700::1111"), "{v6:?}: {:?}", sent.outcome);
        }
        assert_eq!(bad.came(), 0);
    }
}
