//! A name server that answers as it is told, over UDP and TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// The most that goes in a datagram; what is longer is truncated there, and whole over TCP.
const DATAGRAM_BYTES_MAX: usize = 1232;

/// Types of records (RFC 1035, RFC 3596).
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// A name, in lower case, without the dot at its end.
    pub name: String,
    kind: u16,
}

impl Question {
    /// Is it asked for addresses of IPv6?
    pub fn is_ipv6(&self) -> bool {
        self.kind == AAAA
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// These records; none says that the name has nothing of the kind.
    Records(Vec<Record>),
    /// There is no such name.
    Absent,
    /// Nothing at all.
    Silence,
    /// Bytes that are no answer.
    Garbage,
    /// Truncated, over TCP too.
    Truncated,
}

/// A record of an answer.
#[derive(Debug, Clone)]
pub struct Record {
    /// Whose.
    pub name: String,
    /// For how many seconds it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Debug, Clone)]
pub enum Data {
    /// An address, of either family.
    Address(IpAddr),
    /// The name is another one for this.
    Alias(String),
}

impl Reply {
    /// One address for the name that is asked for; nothing where the question is for the other
    /// family.
    pub fn address(question: &Question, address: &str, ttl: u32) -> Reply {
        let address: IpAddr = address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        if address.is_ipv6() != question.is_ipv6() {
            return Reply::Records(Vec::new());
        }
        let name = question.name.clone();
        Reply::Records(vec![Record { name, ttl, data: Data::Address(address) }])
    }
}

type Answerer = Arc<dyn Fn(&Question) -> Reply + Send + Sync>;

/// A name server. It ends when dropped.
pub struct NameServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, Road)>>>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Road {
    Udp,
    Tcp,
}

struct Desk {
    answer: Answerer,
    asked: Arc<Mutex<Vec<(String, Road)>>>,
}

impl NameServer {
    /// One on a free port of this machine.
    pub async fn start(answer: impl Fn(&Question) -> Reply + Send + Sync + 'static) -> NameServer {
        let answer: Answerer = Arc::new(answer);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // The same port must be free for both.
        for _ in 0..100 {
            if let Ok(server) = NameServer::open(any, Arc::clone(&answer)).await {
                return server;
            }
        }
        panic!("no port is free for a name server");
    }

    /// One at this address.
    pub async fn start_at(
        address: SocketAddr,
        answer: impl Fn(&Question) -> Reply + Send + Sync + 'static,
    ) -> io::Result<NameServer> {
        NameServer::open(address, Arc::new(answer)).await
    }

    async fn open(address: SocketAddr, answer: Answerer) -> io::Result<NameServer> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let socket = UdpSocket::bind(address).await?;
        let asked = Arc::default();
        let desk = Arc::new(Desk { answer, asked: Arc::clone(&asked) });
        let tasks = [
            tokio::spawn(serve_udp(socket, Arc::clone(&desk))),
            tokio::spawn(serve_tcp(listener, desk)),
        ];
        Ok(NameServer { address, asked, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names that were asked for over UDP, in their order.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let udp = asked.iter().filter(|(_, road)| *road == Road::Udp);
        udp.map(|(name, _)| name.clone()).collect()
    }

    /// How often it was asked over TCP.
    pub fn asked_over_tcp(&self) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|(_, road)| *road == Road::Tcp).count()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn serve_udp(socket: UdpSocket, desk: Arc<Desk>) {
    let mut message = [0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut message).await else { continue };
        if let Some(answer) = desk.answer(&message[..length], Road::Udp) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, desk: Arc<Desk>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move { converse(stream, &desk).await });
    }
}

/// Messages with their length before them (RFC 1035, section 4.2.2).
async fn converse(mut stream: TcpStream, desk: &Desk) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut message = vec![0; length.into()];
        stream.read_exact(&mut message).await?;
        let Some(answer) = desk.answer(&message, Road::Tcp) else { continue };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat()).await?;
    }
}

impl Desk {
    fn answer(&self, message: &[u8], road: Road) -> Option<Vec<u8>> {
        let (question, end) = read_question(message)?;
        let noted = (question.name.clone(), road);
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(noted);
        let (mut code, mut truncated) = (0, false);
        let mut records = match (self.answer)(&question) {
            Reply::Records(records) => encode(&records),
            Reply::Absent => {
                code = 3;
                Vec::new()
            }
            Reply::Silence => return None,
            Reply::Garbage => return Some(b"\xff\xfe\xfd".to_vec()),
            Reply::Truncated => {
                truncated = true;
                Vec::new()
            }
        };
        let bytes: usize = records.iter().map(Vec::len).sum();
        if road == Road::Udp && end + bytes > DATAGRAM_BYTES_MAX {
            truncated = true;
            records.clear();
        }
        // An answer to a recursive question, by a server that recurses (RFC 1035, section 4.1.1).
        let flags = 0x8180 | u16::from(truncated) << 9 | code;
        let count = u16::try_from(records.len()).unwrap_or(u16::MAX);
        let mut answer = message.get(..2)?.to_vec();
        for number in [flags, 1, count, 0, 0] {
            answer.extend(number.to_be_bytes());
        }
        answer.extend_from_slice(message.get(12..end)?);
        answer.extend(records.concat());
        Some(answer)
    }
}

/// The question of a message, and where it ends.
fn read_question(message: &[u8]) -> Option<(Question, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = message.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
    Some((Question { name: labels.join("."), kind }, at + 4))
}

fn encode(records: &[Record]) -> Vec<Vec<u8>> {
    let encode = |record: &Record| {
        let (kind, data) = match &record.data {
            Data::Address(IpAddr::V4(address)) => (A, address.octets().to_vec()),
            Data::Address(IpAddr::V6(address)) => (AAAA, address.octets().to_vec()),
            Data::Alias(name) => (CNAME, encode_name(name)),
        };
        let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
        let mut bytes = encode_name(&record.name);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(1_u16.to_be_bytes());
        bytes.extend(record.ttl.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(data);
        bytes
    };
    records.iter().map(encode).collect()
}

fn encode_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(63));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
