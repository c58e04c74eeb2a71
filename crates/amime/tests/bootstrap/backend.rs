//! A backend that says what it saw: name, method, path, headers, body. It obeys the first segments of the path:
//! `/status/503`, `/delay/300` (milliseconds), `/fail-first/2` (503 for the first two of that path), `/close`,
//! `/headers?name=value` (headers of the response).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

pub(crate) struct Backend {
    port: u16,
    stopped: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Shared {
    name: String,
    tries: Arc<Mutex<BTreeMap<String, u32>>>,
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

pub(crate) fn start(name: &str, port: u16) -> Backend {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let stopped = Arc::new(AtomicBool::new(false));
    let shared = Shared {
        name: name.to_owned(),
        tries: Arc::default(),
    };
    let over = stopped.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if over.load(Ordering::SeqCst) {
                return;
            }
            let (Ok(stream), shared) = (stream, shared.clone()) else {
                continue;
            };
            std::thread::spawn(move || serve(stream, &shared));
        }
    });
    Backend { port, stopped }
}

impl Drop for Backend {
    /// Frees the port.
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        // The port is free when nobody can be reached there.
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let Ok(mut writer) = stream.try_clone() else {
        return;
    };
    let mut reader = BufReader::new(stream);
    if reader.fill_buf().is_ok_and(|begin| begin.starts_with(b"tcp ")) {
        return echo(&mut reader, &mut writer, &shared.name);
    }
    while let Some(request) = read(&mut reader) {
        let Some((status, headers)) = decide(&request, shared) else {
            return;
        };
        let seen = json!({
            "name": shared.name,
            "method": request.method,
            "path": request.path,
            "headers": request.headers,
            "body": request.body,
        });
        let body = seen.to_string();
        let bodiless = [204, 304].contains(&status);
        let mut head = format!("HTTP/1.1 {status} Said\r\n");
        if !bodiless {
            let length = body.len();
            head.push_str(&format!(
                "content-type: application/json\r\ncontent-length: {length}\r\n"
            ));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        if request.method != "HEAD" && !bodiless {
            head.push_str(&body);
        }
        if writer.write_all(head.as_bytes()).is_err() {
            return;
        }
    }
}

fn echo(reader: &mut impl BufRead, writer: &mut impl Write, name: &str) {
    let mut line = String::new();
    if reader.read_line(&mut line).is_ok() {
        let _ = writer.write_all(format!("{name} heard {line}").as_bytes());
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |wanted: &str| {
        headers
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
    };
    let body = match header("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            String::from_utf8_lossy(&body).into_owned()
        }
        None if header("transfer-encoding").is_some() => chunks(reader)?,
        None => String::new(),
    };
    Some(Request {
        method,
        path,
        headers,
        body,
    })
}

fn chunks(reader: &mut impl BufRead) -> Option<String> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk).ok()?;
        if length == 0 {
            return Some(String::from_utf8_lossy(&body).into_owned());
        }
        body.extend_from_slice(&chunk[..length]);
    }
}

/// Status and headers; `None` closes the connection.
fn decide(request: &Request, shared: &Shared) -> Option<(u16, Vec<(String, String)>)> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let mut segments = path.split('/').skip(1);
    let (word, value) = (
        segments.next().unwrap_or_default(),
        segments.next().unwrap_or_default(),
    );
    let number: u32 = value.parse().unwrap_or_default();
    let mut status = 200;
    let mut headers = Vec::new();
    match word {
        "status" => status = u16::try_from(number).unwrap_or(500),
        "delay" => std::thread::sleep(Duration::from_millis(number.into())),
        "close" => return None,
        "fail-first" => {
            let mut tries = shared.tries.lock().expect("nobody panics");
            let tries = tries.entry(request.path.clone()).or_default();
            *tries += 1;
            status = if *tries > number { 200 } else { 503 };
        }
        "headers" => {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            headers = pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
        }
        _ => {}
    }
    Some((status, headers))
}
