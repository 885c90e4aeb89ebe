//! Names that lead inside, and the name server that says so.

use std::net::{IpAddr, SocketAddr};

use fanfare_testkit::names::{Data, NameServer, Question, Record, Reply};

/// The address of everything that is not hostile.
pub(crate) const PUBLIC: &str = "93.184.215.14";
/// Where a name leads that an operator may allow.
const INSIDE: (&str, &str) = ("inside.example.com", "10.1.2.3");

/// Names, and everything that they resolve to.
pub(crate) const HOSTILE: &[(&str, &[&str])] = &[
    ("metadata.example.com", &["169.254.169.254"]),
    ("ecs.example.com", &["169.254.170.2"]),
    ("azure.example.com", &["168.63.129.16"]),
    ("alibaba.example.com", &["100.100.100.200"]),
    ("oracle.example.com", &["192.0.0.192"]),
    ("loop.example.com", &["127.0.0.1"]),
    ("127.0.0.1.nip.io", &["127.0.0.1"]),
    ("loop8.example.com", &["127.8.8.8"]),
    ("zero.example.com", &["0.0.0.0"]),
    ("ten.example.com", &["10.0.0.1"]),
    ("home.example.com", &["192.168.0.1"]),
    ("docker.example.com", &["172.17.0.1"]),
    ("carrier.example.com", &["100.64.0.1"]),
    ("bench.example.com", &["198.18.0.1"]),
    ("documentation.example.com", &["203.0.113.7"]),
    ("classe.example.com", &["240.0.0.1"]),
    ("multicast.example.com", &["224.0.0.1"]),
    ("broadcast.example.com", &["255.255.255.255"]),
    ("loop6.example.com", &["::1"]),
    ("any6.example.com", &["::"]),
    ("unique.example.com", &["fd00::1"]),
    ("metadata6.example.com", &["fd00:ec2::254"]),
    ("google6.example.com", &["fd20:ce::254"]),
    ("link6.example.com", &["fe80::1"]),
    ("mapped.example.com", &["::ffff:10.0.0.1"]),
    ("compatible.example.com", &["::10.0.0.1"]),
    ("siit.example.com", &["::ffff:0:10.0.0.1"]),
    ("nat64.example.com", &["64:ff9b::10.0.0.1"]),
    ("nat64local.example.com", &["64:ff9b:1::a00:1"]),
    ("sixtofour.example.com", &["2002:a00:1::"]),
    ("teredo.example.com", &["2001::a00:1"]),
    ("isatap.example.com", &["2606:4700::5efe:10.0.0.1"]),
    ("documentation6.example.com", &["2001:db8::1"]),
    ("mixed.example.com", &[PUBLIC, "10.0.0.1"]),
    ("mixed6.example.com", &[PUBLIC, "::1"]),
    (
        "late.example.com",
        &[
            "8.8.8.1",
            "8.8.8.2",
            "8.8.8.3",
            "8.8.8.4",
            "8.8.8.5",
            "8.8.8.6",
            "8.8.8.7",
            "8.8.8.8",
            "8.8.8.9",
            "8.8.8.10",
            "127.0.0.1",
        ],
    ),
    // An alias of another name that leads inside.
    ("alias.example.com", &["10.0.0.1"]),
];

/// Answers until dropped.
pub(crate) async fn serve() -> NameServer {
    let address = SocketAddr::from(([127, 0, 0, 53], 53));
    NameServer::start_at(address, answer).await.expect("the port of name servers is free here")
}

fn answer(question: &Question) -> Reply {
    let name = question.name.as_str();
    let hostile = HOSTILE.iter().find(|(hostile, _)| *hostile == name);
    let addresses = match hostile {
        Some((_, addresses)) => *addresses,
        None if name == INSIDE.0 => &[INSIDE.1],
        None => &[PUBLIC],
    };
    let alias = name == "alias.example.com";
    let owner = if alias { "ten.example.com" } else { name };
    let addresses = addresses.iter().map(|text| text.parse().expect("an address"));
    let asked = addresses.filter(|address: &IpAddr| address.is_ipv6() == question.is_ipv6());
    let record = |data, name: &str| Record { name: name.to_owned(), ttl: 1, data };
    let mut records: Vec<Record> =
        asked.map(|address| record(Data::Address(address), owner)).collect();
    if alias {
        records.insert(0, record(Data::Alias(owner.to_owned()), name));
    }
    Reply::Records(records)
}
