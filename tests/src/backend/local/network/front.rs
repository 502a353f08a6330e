//! One port of a Service: spreads connections and UDP sources over the pods behind it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long a pod may take to accept a connection before the next one is asked.
const CONNECT: Duration = Duration::from_secs(1);
/// How soon a listener is tried again whose address another socket holds.
const AGAIN: Duration = Duration::from_millis(20);
/// A UDP source that was silent for this long is a new one (kube-proxy: 120 s for a stream, conntrack).
const UDP_IDLE: Duration = Duration::from_secs(120);
/// How long the other side may take to end a connection over which it was refused.
const REFUSED: Duration = Duration::from_secs(5);
const BUFFER: usize = 64 * 1024;

/// What the network knows of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodState {
    /// The pod's own address.
    pub address: Ipv4Addr,
    /// Whether its readiness probes pass.
    pub ready: bool,
    /// Whether nothing gets to it or away from it.
    pub cut_off: bool,
    /// How long each piece of data is held back on its way, in both directions.
    pub delay: Duration,
    /// Whether nothing of what it is sent arrives, and nothing that it sends, over connections that stay open.
    pub silent: bool,
    /// After how many bytes in one direction its connections break.
    pub breaks_after: Option<u64>,
    /// The HTTP status that is answered in its place.
    pub refuses: Option<u16>,
}

impl PodState {
    /// A pod that isn't ready yet and to which nothing happens.
    pub fn new(address: Ipv4Addr) -> PodState {
        PodState {
            address,
            ready: false,
            cut_off: false,
            delay: Duration::ZERO,
            silent: false,
            breaks_after: None,
            refuses: None,
        }
    }
}

/// All pods by name.
pub type Pods = BTreeMap<String, PodState>;

/// The transport of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// A connection goes to one pod for as long as it lives.
    Tcp,
    /// What comes from one source goes to one pod.
    Udp,
}

impl Protocol {
    /// As Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        }
    }
}

/// Where a port of a Service leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// The names of the pods behind it.
    pub pods: Vec<String>,
    /// Their port.
    pub port: u16,
}

/// From where to where a front relays.
#[derive(Debug, Clone)]
pub struct Route {
    /// The pod that connects; none for this machine.
    pub from: Option<String>,
    /// Where it leads now. Who changes it touches `pods` afterwards, which is what is waited for.
    pub behind: watch::Receiver<Behind>,
    /// What is known of them.
    pub pods: watch::Receiver<Pods>,
    /// How often something was done to a connection: it was ended, held back or answered.
    pub disturbed: Arc<AtomicU64>,
}

/// A port that relays. Dropping it ends its connections.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Front {
    /// Takes the address and relays from then on.
    pub async fn open(listen: SocketAddr, protocol: Protocol, route: Route) -> io::Result<Front> {
        let route = Arc::new(Shared {
            route,
            turn: AtomicUsize::new(0),
        });
        let (address, task) = match protocol {
            Protocol::Tcp => {
                let socket = bound(listen)?;
                let address = socket.local_addr()?;
                (address, tokio::spawn(serve_tcp(route, address, socket)))
            }
            Protocol::Udp => {
                let socket = UdpSocket::bind(listen).await?;
                (socket.local_addr()?, tokio::spawn(serve_udp(route, socket)))
            }
        };
        Ok(Front { address, task })
    }

    /// Ends it and waits until its address is free.
    pub async fn close(mut self) {
        self.task.abort();
        // It was cancelled, or had ended.
        let _ = (&mut self.task).await;
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A socket that holds its address and refuses connections until it listens.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // As servers do: connections of a listener that is gone don't keep the address.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

struct Shared {
    route: Route,
    turn: AtomicUsize,
}

impl Shared {
    /// The pods that take connections now, the one whose turn it is first.
    fn candidates(&self) -> Vec<(String, PodState)> {
        let pods = self.route.pods.borrow();
        let mut ready = self.ready(&pods);
        if !ready.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % ready.len();
            ready.rotate_left(turn);
        }
        ready
    }

    fn ready(&self, pods: &Pods) -> Vec<(String, PodState)> {
        if self.sender_is_cut_off(pods) {
            return Vec::new();
        }
        let behind = self.route.behind.borrow();
        let named = behind.pods.iter().filter_map(|name| Some((name, pods.get(name)?)));
        named
            .filter(|(_, pod)| pod.ready && !pod.cut_off)
            .map(|(name, pod)| (name.clone(), *pod))
            .collect()
    }

    fn sender_is_cut_off(&self, pods: &Pods) -> bool {
        let from = self.route.from.as_ref().and_then(|from| pods.get(from));
        from.is_some_and(|from| from.cut_off)
    }

    /// Waits until some pod takes connections, or until none does. Never returns once the network is gone.
    async fn until(&self, open: bool) {
        let mut pods = self.route.pods.clone();
        if pods.wait_for(|pods| self.ready(pods).is_empty() != open).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The port of the pods.
    fn port(&self) -> u16 {
        self.route.behind.borrow().port
    }

    fn disturbed(&self) {
        self.route.disturbed.fetch_add(1, Ordering::Relaxed);
    }

    /// What is known of a pod and of the sender.
    fn states(&self, pod: &str) -> [Option<PodState>; 2] {
        let pods = self.route.pods.borrow();
        [Some(pod), self.route.from.as_deref()].map(|name| pods.get(name?).copied())
    }

    /// Waits for as long as nothing gets through between the sender and that pod.
    async fn until_heard(&self, pod: &str) {
        let mut pods = self.route.pods.clone();
        let silent = |pods: &Pods| {
            let names = [Some(pod), self.route.from.as_deref()];
            names
                .iter()
                .flatten()
                .any(|name| pods.get(*name).is_some_and(|pod| pod.silent))
        };
        if silent(&pods.borrow_and_update()) {
            self.disturbed();
        }
        if pods.wait_for(|pods| !silent(pods)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until nothing gets from the sender to that pod.
    async fn until_cut(&self, pod: &str) {
        let mut pods = self.route.pods.clone();
        let cut = |pods: &Pods| {
            self.sender_is_cut_off(pods) || pods.get(pod).is_none_or(|pod| pod.cut_off || pod.refuses.is_some())
        };
        // An error means that the network is gone, and with it all connections.
        let _ = pods.wait_for(cut).await;
    }

    /// How long data is held back between the sender and that pod.
    fn delay(&self, pod: &str) -> Duration {
        self.states(pod).iter().flatten().map(|state| state.delay).sum()
    }

    /// After how many bytes a connection between the sender and that pod breaks.
    fn breaks_after(&self, pod: &str) -> Option<u64> {
        self.states(pod)
            .iter()
            .flatten()
            .filter_map(|state| state.breaks_after)
            .min()
    }
}

async fn serve_tcp(route: Arc<Shared>, address: SocketAddr, first: TcpSocket) {
    let mut connections = JoinSet::new();
    let mut socket = first;
    loop {
        route.until(true).await;
        // To refuse a connection is not to listen: the kernel accepts for whoever does.
        if let Ok(listener) = socket.listen(BACKLOG) {
            accept(&route, &listener, &mut connections).await;
        }
        socket = loop {
            match bound(address) {
                Ok(socket) => break socket,
                Err(_) => sleep(AGAIN).await,
            }
        };
    }
}

/// Accepts connections for as long as there is a pod for them.
async fn accept(route: &Arc<Shared>, listener: &TcpListener, connections: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => { connections.spawn(relay(Arc::clone(route), client)); }
                // Too many open files: what is accepted next may work.
                Err(_) => sleep(AGAIN).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = route.until(false) => return,
        }
    }
}

async fn relay(route: Arc<Shared>, mut client: TcpStream) {
    for (name, pod) in route.candidates() {
        if let Some(status) = pod.refuses {
            route.disturbed();
            return refuse(client, status).await;
        }
        let address = (pod.address, route.port());
        let Ok(Ok(mut server)) = timeout(CONNECT, TcpStream::connect(address)).await else {
            continue;
        };
        // Without it small requests wait for the acknowledgement of the one before.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let broken = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let (route, name) = (&route, name.as_str());
            tokio::select! {
                done = async { tokio::try_join!(
                    pump(route, name, from_client, to_server),
                    pump(route, name, from_server, to_client),
                ) } => done.is_err(),
                () = route.until_cut(name) => true,
            }
        };
        if broken {
            route.disturbed();
            reset(&client);
            reset(&server);
        }
        return;
    }
    reset(&client);
}

/// Makes the other side learn of the end at once, and not as of an answer's end.
fn reset(stream: &TcpStream) {
    // Without it the end is an ordinary one.
    let _ = stream.set_zero_linger();
}

/// Answers a request over HTTP in the place of the one that it was sent to.
async fn refuse(mut client: TcpStream, status: u16) {
    let answer = format!("HTTP/1.1 {status} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let answered = async {
        let mut buffer = vec![0; BUFFER];
        // An answer before the question would belong to the one before.
        if client.read(&mut buffer).await? == 0 {
            return Ok(());
        }
        client.write_all(answer.as_bytes()).await?;
        client.shutdown().await?;
        // With something unread the end would be a reset, which may overtake the answer.
        while client.read(&mut buffer).await? > 0 {}
        io::Result::Ok(())
    };
    // Whoever doesn't take the answer has ended the connection.
    let _ = timeout(REFUSED, answered).await;
}

async fn pump(
    route: &Shared,
    pod: &str,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut passed = 0;
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        route.until_heard(pod).await;
        let delay = route.delay(pod);
        if !delay.is_zero() {
            route.disturbed();
            sleep(delay).await;
        }
        to.write_all(&buffer[..read]).await?;
        passed += read as u64;
        if route.breaks_after(pod).is_some_and(|bytes| passed >= bytes) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
}

/// Where what comes from one UDP source goes.
struct Flow {
    pod: String,
    socket: Arc<UdpSocket>,
    last: Instant,
    answers: JoinHandle<()>,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

async fn serve_udp(route: Arc<Shared>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        // An error is about an earlier datagram, of which UDP promises nothing.
        let Ok((length, source)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let open: Vec<String> = route
            .ready(&route.route.pods.borrow())
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        flows.retain(|_, flow| flow.last.elapsed() < UDP_IDLE && open.contains(&flow.pod));
        let flow = match flows.entry(source) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => match flow(&route, &socket, source).await {
                Some(flow) => new.insert(flow),
                None => continue,
            },
        };
        flow.last = Instant::now();
        deliver(
            route.delay(&flow.pod),
            Arc::clone(&flow.socket),
            buffer[..length].to_vec(),
        )
        .await;
    }
}

/// A way to the pod whose turn it is; none if no pod is there.
async fn flow(route: &Arc<Shared>, front: &Arc<UdpSocket>, source: SocketAddr) -> Option<Flow> {
    let (pod, state) = route.candidates().into_iter().next()?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.ok()?;
    socket.connect((state.address, route.port())).await.ok()?;
    let socket = Arc::new(socket);
    let answers = tokio::spawn({
        let (front, socket) = (Arc::clone(front), Arc::clone(&socket));
        async move {
            let mut buffer = vec![0; BUFFER];
            loop {
                match socket.recv(&mut buffer).await {
                    Ok(length) => {
                        // UDP promises nothing.
                        let _ = front.send_to(&buffer[..length], source).await;
                    }
                    // The pod's port is closed for now.
                    Err(_) => sleep(AGAIN).await,
                }
            }
        }
    });
    Some(Flow {
        pod,
        socket,
        last: Instant::now(),
        answers,
    })
}

async fn deliver(delay: Duration, socket: Arc<UdpSocket>, datagram: Vec<u8>) {
    if delay.is_zero() {
        // A closed port loses it, as on any network.
        let _ = socket.send(&datagram).await;
        return;
    }
    tokio::spawn(async move {
        sleep(delay).await;
        let _ = socket.send(&datagram).await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pod that answers every connection with its name, and every datagram too.
    async fn pod(name: &'static str, port: u16) -> (Ipv4Addr, u16) {
        // Any address of 127.0.0.0/8 does; the port of the first pod is everybody's.
        let address = Ipv4Addr::new(127, 213, 7, name.as_bytes()[0]);
        let listener = TcpListener::bind((address, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let udp = UdpSocket::bind((address, port)).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 64];
                    while let Ok(1..) = stream.read(&mut buffer).await {
                        if stream.write_all(name.as_bytes()).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            while let Ok((_, source)) = udp.recv_from(&mut buffer).await {
                let _ = udp.send_to(name.as_bytes(), source).await;
            }
        });
        (address, port)
    }

    /// A front of the pods `a` and `b`, and the switch for what is known of them.
    async fn front(protocol: Protocol) -> (Front, watch::Sender<Pods>) {
        let (a, target) = pod("a", 0).await;
        let (b, _) = pod("b", target).await;
        let state = |address| PodState {
            ready: true,
            ..PodState::new(address)
        };
        let pods = Pods::from([("a".to_owned(), state(a)), ("b".to_owned(), state(b))]);
        let (sender, receiver) = watch::channel(pods);
        let route = Route {
            from: Some("c".into()),
            behind: watch::channel(Behind {
                pods: vec!["a".into(), "b".into()],
                port: target,
            })
            .1,
            pods: receiver,
            disturbed: Arc::default(),
        };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        (Front::open(listen, protocol, route).await.unwrap(), sender)
    }

    async fn connect(front: &Front) -> io::Result<TcpStream> {
        let mut tries = 0;
        loop {
            match TcpStream::connect(front.address()).await {
                // It begins to listen a moment after it was opened.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && tries < 50 => tries += 1,
                other => return other,
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<String> {
        stream.write_all(b"?").await?;
        let mut buffer = [0; 8];
        let length = stream.read(&mut buffer).await?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    async fn who(front: &Front) -> String {
        ask(&mut connect(front).await.unwrap()).await.unwrap()
    }

    fn change(pods: &watch::Sender<Pods>, name: &str, change: impl FnOnce(&mut PodState)) {
        pods.send_modify(|pods| change(pods.get_mut(name).unwrap()));
    }

    #[tokio::test]
    async fn connections_go_to_each_ready_pod_in_turn_and_stay_there() {
        let (front, pods) = front(Protocol::Tcp).await;
        let answers = [
            who(&front).await,
            who(&front).await,
            who(&front).await,
            who(&front).await,
        ];
        assert!(
            answers == ["a", "b", "a", "b"] || answers == ["b", "a", "b", "a"],
            "{answers:?}"
        );
        let mut kept = connect(&front).await.unwrap();
        let first = ask(&mut kept).await.unwrap();
        assert_eq!(ask(&mut kept).await.unwrap(), first);
        change(&pods, "a", |pod| pod.ready = false);
        assert_eq!([who(&front).await, who(&front).await], ["b", "b"]);
        // What is open stays open: a pod that stops finishes its requests.
        assert_eq!(ask(&mut kept).await.unwrap(), first);
    }

    #[tokio::test]
    async fn a_front_without_a_ready_pod_refuses_and_comes_back() {
        let (front, pods) = front(Protocol::Tcp).await;
        who(&front).await;
        for name in ["a", "b"] {
            change(&pods, name, |pod| pod.ready = false);
        }
        // Whoever connects while the listener is closed is reset; after that it is refused.
        let refused = async {
            loop {
                match TcpStream::connect(front.address()).await {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => break,
                    _ => sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(Duration::from_secs(10), refused).await.unwrap();
        change(&pods, "b", |pod| pod.ready = true);
        assert_eq!(who(&front).await, "b");
    }

    #[tokio::test]
    async fn a_pod_that_is_cut_off_loses_its_connections_and_gets_no_new_ones() {
        let (front, pods) = front(Protocol::Tcp).await;
        let (mut one, mut two) = (connect(&front).await.unwrap(), connect(&front).await.unwrap());
        let answers = [ask(&mut one).await.unwrap(), ask(&mut two).await.unwrap()];
        let (of_a, of_b) = if answers[0] == "a" {
            (&mut one, &mut two)
        } else {
            (&mut two, &mut one)
        };
        change(&pods, "a", |pod| pod.cut_off = true);
        let ended = of_a.read(&mut [0; 8]).await;
        assert!(!matches!(ended, Ok(1..)), "{ended:?}");
        assert_eq!(ask(of_b).await.unwrap(), "b");
        assert_eq!([who(&front).await, who(&front).await], ["b", "b"]);
        change(&pods, "a", |pod| pod.cut_off = false);
        assert_ne!(who(&front).await, who(&front).await);
    }

    #[tokio::test]
    async fn a_sender_that_is_cut_off_reaches_nobody() {
        let (front, pods) = front(Protocol::Tcp).await;
        let mut open = connect(&front).await.unwrap();
        ask(&mut open).await.unwrap();
        let sender = PodState {
            ready: true,
            cut_off: true,
            ..PodState::new(Ipv4Addr::LOCALHOST)
        };
        pods.send_modify(|pods| {
            pods.insert("c".into(), sender);
        });
        let ended = open.read(&mut [0; 8]).await;
        assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    }

    #[tokio::test]
    async fn a_slow_pod_answers_late() {
        let (front, pods) = front(Protocol::Tcp).await;
        for name in ["a", "b"] {
            change(&pods, name, |pod| pod.delay = Duration::from_millis(100));
        }
        let begun = Instant::now();
        who(&front).await;
        // There and back.
        assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn what_is_sent_to_a_silent_pod_arrives_once_it_is_heard_again() {
        let (front, pods) = front(Protocol::Tcp).await;
        let mut open = connect(&front).await.unwrap();
        ask(&mut open).await.unwrap();
        for name in ["a", "b"] {
            change(&pods, name, |pod| pod.silent = true);
        }
        let answer = timeout(Duration::from_millis(200), ask(&mut open)).await;
        assert!(answer.is_err(), "{answer:?}");
        for name in ["a", "b"] {
            change(&pods, name, |pod| pod.silent = false);
        }
        let mut buffer = [0; 8];
        assert_eq!(open.read(&mut buffer).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_connection_breaks_in_the_middle() {
        let (front, pods) = front(Protocol::Tcp).await;
        for name in ["a", "b"] {
            change(&pods, name, |pod| pod.breaks_after = Some(3));
        }
        let mut open = connect(&front).await.unwrap();
        let mut answers = 0;
        while answers < 9 && matches!(ask(&mut open).await, Ok(answer) if !answer.is_empty()) {
            answers += 1;
        }
        assert!((1..=3).contains(&answers), "{answers}");
    }

    #[tokio::test]
    async fn a_pod_that_refuses_is_answered_for_over_http() {
        let (front, pods) = front(Protocol::Tcp).await;
        for name in ["a", "b"] {
            change(&pods, name, |pod| pod.refuses = Some(503));
        }
        let url = format!("http://{}/bucket", front.address());
        connect(&front).await.unwrap();
        let answer = crate::client::credentials::http_client()
            .unwrap()
            .put(&url)
            .body("x".repeat(1 << 20));
        assert_eq!(answer.send().await.unwrap().status().as_u16(), 503);
        for name in ["a", "b"] {
            change(&pods, name, |pod| pod.refuses = None);
        }
        assert!(["a", "b"].contains(&who(&front).await.as_str()));
    }

    #[tokio::test]
    async fn datagrams_of_one_source_go_to_one_pod_and_its_answers_come_back() {
        let (front, pods) = front(Protocol::Udp).await;
        let mut seen = Vec::new();
        for _ in 0..2 {
            let source = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            source.connect(front.address()).await.unwrap();
            let mut answers = Vec::new();
            for _ in 0..3 {
                answers.push(echo(&source).await);
            }
            answers.dedup();
            assert_eq!(answers.len(), 1, "{answers:?}");
            seen.extend(answers);
        }
        seen.sort();
        assert_eq!(seen, ["a", "b"]);
        change(&pods, "a", |pod| pod.cut_off = true);
        let source = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        source.connect(front.address()).await.unwrap();
        assert_eq!(echo(&source).await, "b");
    }

    async fn echo(source: &UdpSocket) -> String {
        source.send(b"?").await.unwrap();
        let mut buffer = [0; 8];
        let length = source.recv(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }
}
