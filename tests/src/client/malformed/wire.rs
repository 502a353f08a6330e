//! Requests as they lie on the wire, sent without a library that would put them right.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use kit::failure::causes;
use prost::bytes::Bytes;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tonic::codegen::http;

use super::body::Body;
use crate::client::transport::shown;

/// At most this much of an answer is read, in bytes.
const ANSWER: u64 = 64 * 1024;

/// A request as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wire {
    /// HTTP/1.1 over TCP.
    Http(HttpRequest),
    /// One gRPC message over HTTP/2.
    Grpc(GrpcRequest),
    /// Bytes over TCP, and the end of the stream.
    Tcp(Vec<u8>),
    Udp(Vec<u8>),
}

/// An HTTP/1.1 request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpRequest {
    /// The method, existing or not.
    pub method: String,
    pub target: String,
    /// Headers beside `host`, `connection` and the one that says how long the body is.
    pub headers: Vec<(String, String)>,
    pub body: Body,
    /// Whether the body is sent in chunks, without a length.
    pub chunked: bool,
    /// The connection ends after so many bytes of the body.
    pub cut_after: Option<u64>,
}

/// A gRPC request with one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GrpcRequest {
    /// The HTTP method; gRPC knows only POST.
    pub method: String,
    /// The path: `/package.Service/Method`.
    pub path: String,
    /// Headers beside `te`.
    pub headers: Vec<(String, String)>,
    /// The first byte of the frame: 1 says that the message is compressed.
    pub flag: u8,
    /// The length that the frame claims; that of the message if none is given.
    pub claimed: Option<u32>,
    /// The message; the stream ends after it.
    pub message: Body,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reply", rename_all = "lowercase")]
pub(crate) enum Reply {
    /// An HTTP status, and the beginning of the answer's body.
    Http {
        status: u16,
        /// What the server said.
        text: String,
    },
    /// A gRPC status.
    Grpc {
        code: i32,
        /// What the server said.
        text: String,
    },
    /// The server ended the stream or the connection without a status.
    Closed { reason: String },
    /// Nobody listens there any more.
    Unreachable {
        /// What connecting said.
        reason: String,
    },
    /// Neither an answer nor an end came in time.
    Late {
        /// The time that was given, in seconds.
        seconds: u64,
    },
    /// A packet left; there is never an answer.
    Sent,
}

impl Reply {
    /// The server said that it took the request.
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(
            self,
            Reply::Http { status: 200..=299, .. } | Reply::Grpc { code: 0, .. }
        )
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Http { status, text } => write!(f, "HTTP {status} {text:?}"),
            Reply::Grpc { code, text } => write!(f, "gRPC {:?} {text:?}", tonic::Code::from_i32(*code)),
            Reply::Closed { reason } => write!(f, "closed: {reason}"),
            Reply::Unreachable { reason } => write!(f, "nobody listens: {reason}"),
            Reply::Late { seconds } => write!(f, "no answer within {seconds} s"),
            Reply::Sent => f.write_str("sent"),
        }
    }
}

/// Sends a request and waits for what comes back, at most for `timeout`.
pub async fn send(to: SocketAddr, wire: &Wire, timeout: Duration) -> Reply {
    let exchange = async {
        match wire {
            Wire::Http(request) => http_exchange(to, request).await,
            Wire::Grpc(request) => grpc_exchange(to, request).await,
            Wire::Tcp(bytes) => tcp_exchange(to, bytes).await,
            Wire::Udp(packet) => udp_send(to, packet).await,
        }
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or(Reply::Late {
        seconds: timeout.as_secs(),
    })
}

fn closed(error: impl std::error::Error + 'static) -> Reply {
    Reply::Closed { reason: causes(&error) }
}

fn unreachable(error: &std::io::Error) -> Reply {
    Reply::Unreachable {
        reason: error.to_string(),
    }
}

async fn udp_send(to: SocketAddr, packet: &[u8]) -> Reply {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let sent = async { UdpSocket::bind(any).await?.send_to(packet, to).await };
    sent.await.map_or_else(closed, |_| Reply::Sent)
}

async fn tcp_exchange(to: SocketAddr, bytes: &[u8]) -> Reply {
    let write = async |stream: &mut tokio::net::tcp::OwnedWriteHalf| stream.write_all(bytes).await;
    exchange(to, write).await
}

async fn http_exchange(to: SocketAddr, request: &HttpRequest) -> Reply {
    let mut head = format!(
        "{} {} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n",
        request.method, request.target
    );
    if request.chunked {
        head.push_str("transfer-encoding: chunked\r\n");
    } else {
        head.push_str(&format!("content-length: {}\r\n", request.body.len()));
    }
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let write = async |stream: &mut tokio::net::tcp::OwnedWriteHalf| {
        stream.write_all(head.as_bytes()).await?;
        let mut left = request.cut_after.unwrap_or(u64::MAX);
        for chunk in request.body.chunks() {
            let part = &chunk[..chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            left -= part.len() as u64;
            if part.is_empty() {
                return Ok(());
            }
            if request.chunked {
                stream.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await?;
                stream.write_all(part).await?;
                stream.write_all(b"\r\n").await?;
            } else {
                stream.write_all(part).await?;
            }
        }
        if request.chunked && request.cut_after.is_none() {
            stream.write_all(b"0\r\n\r\n").await?;
        }
        Ok(())
    };
    exchange(to, write).await
}

/// Writes, ends the own side and reads at the same time: a server that refuses answers early and
/// hangs up, and then writing fails although there is an answer.
async fn exchange(
    to: SocketAddr,
    write: impl AsyncFnOnce(&mut tokio::net::tcp::OwnedWriteHalf) -> std::io::Result<()>,
) -> Reply {
    let stream = match TcpStream::connect(to).await {
        Ok(stream) => stream,
        Err(error) => return unreachable(&error),
    };
    let (read, mut out) = stream.into_split();
    let mut answer = Vec::new();
    let writing = async {
        write(&mut out).await?;
        out.shutdown().await
    };
    let mut read = read.take(ANSWER);
    let reading = read.read_to_end(&mut answer);
    let (written, read) = tokio::join!(writing, reading);
    http_reply(&answer).unwrap_or_else(|| match read.and(written) {
        Ok(()) => Reply::Closed {
            reason: format!("after {:?}", shown(&answer)),
        },
        Err(error) => closed(error),
    })
}

/// `HTTP/1.1 400 Bad Request`, headers, an empty line and a body.
fn http_reply(answer: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(answer);
    let status = text.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Some(Reply::Http {
        status,
        text: shown(body.as_bytes()),
    })
}

async fn grpc_exchange(to: SocketAddr, request: &GrpcRequest) -> Reply {
    match try_grpc(to, request).await {
        Ok(reply) => reply,
        Err(error) => closed(error),
    }
}

async fn try_grpc(to: SocketAddr, request: &GrpcRequest) -> Result<Reply, h2::Error> {
    let stream = match TcpStream::connect(to).await {
        Ok(stream) => stream,
        Err(error) => return Ok(unreachable(&error)),
    };
    let (sender, connection) = h2::client::handshake(stream).await?;
    // Ends when the last stream does, at the latest with the timeout of the whole exchange.
    let connection = tokio::spawn(connection);
    let _end = End(connection.abort_handle());
    let mut head = http::Request::builder()
        .method(request.method.as_str())
        .uri(format!("http://{to}{}", request.path))
        .version(http::Version::HTTP_2)
        .header("te", "trailers");
    for (name, value) in &request.headers {
        head = head.header(name.as_str(), value.as_str());
    }
    let head = match head.body(()) {
        Ok(head) => head,
        Err(error) => return Ok(closed(error)),
    };
    let (answer, mut out) = sender.ready().await?.send_request(head, false)?;
    let length = request.claimed.unwrap_or(request.message.len() as u32);
    let mut prefix = vec![request.flag];
    prefix.extend(length.to_be_bytes());
    let writing = async {
        write_all(&mut out, prefix.into()).await?;
        for chunk in request.message.chunks() {
            write_all(&mut out, chunk.into()).await?;
        }
        out.send_data(Bytes::new(), true)
    };
    // A server that refuses answers before it has read everything; writing fails then.
    let (written, answer) = tokio::join!(writing, answer);
    let answer = match (answer, written) {
        (Ok(answer), _) => answer,
        (Err(error), _) => return Err(error),
    };
    grpc_reply(answer).await
}

struct End(tokio::task::AbortHandle);

impl Drop for End {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn write_all(out: &mut h2::SendStream<Bytes>, mut bytes: Bytes) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        out.reserve_capacity(bytes.len());
        match std::future::poll_fn(|cx| out.poll_capacity(cx)).await {
            Some(room) => {
                let room = room?;
                out.send_data(bytes.split_to(room.min(bytes.len())), false)?;
            }
            // The stream is closed; the answer says why.
            None => return Ok(()),
        }
    }
    Ok(())
}

/// The status is in the trailers, or in the headers if there is no message.
async fn grpc_reply(answer: http::Response<h2::RecvStream>) -> Result<Reply, h2::Error> {
    let (head, mut body) = answer.into_parts();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if (text.len() as u64) < ANSWER {
            text.extend_from_slice(&data);
        }
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    let field = |name: &str| {
        let value = trailers.get(name).or_else(|| head.headers.get(name))?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    match field("grpc-status").and_then(|code| code.parse().ok()) {
        Some(code) => Ok(Reply::Grpc {
            code,
            text: field("grpc-message").unwrap_or_default(),
        }),
        None => Ok(Reply::Http {
            status: head.status.as_u16(),
            text: shown(&text),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_answer_is_read_from_its_bytes() {
        let answer = b"HTTP/1.1 415 Unsupported Media Type\r\ncontent-length: 3\r\n\r\nno\n";
        let reply = http_reply(answer).unwrap();
        assert_eq!(reply.to_string(), "HTTP 415 \"no\"");
        assert!(!reply.is_accepted());
        assert_eq!(http_reply(b"\0\0\x06\x04 settings"), None);
        assert_eq!(http_reply(b""), None);
    }

    #[test]
    fn silence_is_not_accepted() {
        for reply in [Reply::Late { seconds: 1 }, Reply::Sent] {
            assert!(!reply.is_accepted());
        }
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_late_and_one_that_hangs_up_has_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let request = Wire::Tcp(b"x".to_vec());
        let late = send(to, &request, Duration::from_millis(50)).await;
        assert!(matches!(late, Reply::Late { .. }), "{late}");
        let (reply, ()) = tokio::join!(send(to, &request, Duration::from_secs(10)), async {
            for _ in 0..2 {
                drop(listener.accept().await.unwrap());
            }
        });
        assert!(matches!(reply, Reply::Closed { .. }), "{reply}");
        drop(listener);
        let reply = send(to, &request, Duration::from_secs(10)).await;
        assert!(matches!(reply, Reply::Unreachable { .. }), "{reply}");
    }
}
