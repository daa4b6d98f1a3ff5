//! An S3 server on this machine, and a proxy in front of it that fails as told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A running server (moto), which holds its objects in memory. It ends when this is dropped.
pub struct ObjectServer {
    child: Child,
    port: u16,
}

impl ObjectServer {
    /// Starts the server with the Python that `AUTOINTERP_MOTO` names; unset, says that the test is skipped.
    pub fn start() -> Option<Self> {
        let Some(python) = std::env::var_os("AUTOINTERP_MOTO") else {
            println!("skipped: AUTOINTERP_MOTO is not set (a Python with moto[s3], flask and flask-cors)");
            return None;
        };
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]).env("PYTHONUNBUFFERED", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines().map_while(Result::ok);
        let port = lines.find_map(|line| line.split("http://127.0.0.1:").nth(1)?.trim().parse().ok());
        // Whoever does not read what it says of each request makes it wait.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, port: port.expect("a port") })
    }

    /// The address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Creates a bucket, or an object of it. The server checks no signature, but only who signs may write over an object.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, \
             Signature=0\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            bytes.len()
        );
        let answer = forward(self.port, head.as_bytes(), bytes).expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What goes wrong with a request.
#[derive(Clone, Copy)]
pub enum Fault {
    /// It is answered with this status, and does nothing.
    Status(u16),
    /// It is answered late.
    Slow,
    /// It is done, and the connection ends without an answer.
    Lost,
    /// As `Lost`; the content of an object breaks off in the middle.
    Torn,
}

/// What goes wrong with the n-th request, counted from 1.
pub type Faults = dyn Fn(usize) -> Option<Fault> + Send + Sync;

/// A running proxy; it ends with the test's process.
pub struct Proxy {
    pub url: String,
    requests: Arc<AtomicUsize>,
}

impl Proxy {
    /// Passes requests on to the server, one for each connection.
    pub fn start(server: &ObjectServer, faults: Box<Faults>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(AtomicUsize::new(0));
        let (faults, counted, port): (Arc<Faults>, _, _) = (Arc::from(faults), requests.clone(), server.port);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (faults, counted) = (faults.clone(), counted.clone());
                // A caller that ends in the middle is none of the proxy's concern.
                std::thread::spawn(move || serve(stream, port, &*faults, &counted).ok());
            }
        });
        Self { url, requests }
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

fn serve(mut client: TcpStream, port: u16, faults: &Faults, counted: &AtomicUsize) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?);
    let (mut head, mut length, mut line) = (String::new(), 0, String::new());
    while lines.read_line(&mut line)? > 2 {
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
        line.clear();
    }
    if head.is_empty() {
        return Ok(());
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body)?;
    let is_object = head.starts_with("GET ") && !head.lines().next().unwrap_or_default().contains('?');
    head.push_str("Connection: close\r\n\r\n");
    let fault = faults(counted.fetch_add(1, Ordering::Relaxed) + 1);
    match fault {
        Some(Fault::Status(status)) => {
            let answer =
                format!("HTTP/1.1 {status} Injected\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return client.write_all(answer.as_bytes());
        }
        Some(Fault::Slow) => std::thread::sleep(Duration::from_millis(150)),
        Some(Fault::Lost | Fault::Torn) | None => {}
    }
    let answer = forward(port, head.as_bytes(), &body)?;
    match fault {
        Some(Fault::Lost) => Ok(()),
        Some(Fault::Torn) if !is_object => Ok(()),
        Some(Fault::Torn) => {
            let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(0, |end| end + 4);
            client.write_all(&answer[..head + (answer.len() - head) / 2])
        }
        _ => client.write_all(&answer),
    }
}

/// Sends a request to a port of this machine and reads the answer to its end.
fn forward(port: u16, head: &[u8], body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    server.write_all(head)?;
    server.write_all(body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    Ok(answer)
}
